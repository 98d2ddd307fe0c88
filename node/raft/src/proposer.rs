//! How operations get into the log: collected on the leader while one flight is on its way, stamped,
//! packed into entries, written, answered.
//!
//! ```text
//! callers here and on other nodes ─▶ queue ─▶ one flight: ≤ 16 entries, each ≤ 100 bans, ≤ 256 KiB
//!                                               │  stamp = cluster time and level; clocks first when they are due
//!                                               ▼
//!                                             openraft ─▶ committed, applied ─▶ results, one per operation
//! ```
//!
//! Everything in an entry was checked to be decodable: what no node could read would halt them all.
//! Not for finding the leader (`handle.rs`), nor for what is proposed when nobody asks
//! (`housekeeping.rs`).

use crate::cluster_time::ClusterTime;
use crate::flight::Flight;
use crate::types::{Payload, Raft};
use bannkreis_core::apply::TICK_INTERVAL_MIN_MS;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::OpResult;
use bannkreis_core::command::Op;
use bannkreis_core::ids::{NodeId, Position};
use bannkreis_core::time::Timestamp;
use bannkreis_proto::convert::{EncodedOp, join_command};
use futures::TryStreamExt;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// An entry's operations are at most this long, encoded, in bytes. A larger operation is refused.
pub(crate) const ENTRY_BYTES_MAX: usize = 256 * 1024;
/// Entries that are written together.
const FLIGHT_ENTRIES_MAX: usize = 16;
/// A request brings at most this many operations.
pub(crate) const REQUEST_OPS_MAX: usize = 512;
/// So many requests may wait for the next flight; one more is told that the node is busy.
pub(crate) const REQUESTS_WAITING_MAX: usize = 1_024;
/// A flight that is not committed after this long is given up: what became of it is unknown.
const FLIGHT_TIMEOUT: Duration = Duration::from_secs(5);

/// Operations that are in the log and applied on the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Where they stand; when they were spread over several entries, where the last ones stand.
    pub position: Position,
    /// What came of each, in order.
    pub results: Vec<OpResult>,
}

/// Operations whose result is not known to be in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// They may or may not be in the log: the answer was lost. Every operation may be proposed
    /// again.
    #[error("whether this was done is unknown: {why}")]
    Unknown {
        /// The cause, as a sentence.
        why: String,
    },
    /// They are not in the log: no leader could be asked. Try again later.
    #[error("the cluster has no leader that can be reached: {why}")]
    NoLeader {
        /// The cause, as a sentence.
        why: String,
    },
    /// They are not in the log: too many are waiting. Try again later.
    #[error("too many proposals are waiting: {why}")]
    Busy {
        /// The cause, as a sentence.
        why: String,
    },
    /// They are not in the log, and trying again would not help.
    #[error("refused: {why}")]
    Refused {
        /// The cause, as a sentence.
        why: String,
    },
}

/// The clocks of all voters that this node can reach, its own included.
pub type Readings = Arc<dyn Fn() -> Vec<(NodeId, Timestamp)> + Send + Sync>;

/// What came of a request on this node.
#[derive(Debug)]
pub(crate) enum LocalError {
    /// This node does not lead: nothing was written.
    NotLeader,
    /// Something else.
    Failed(ProposeError),
}

pub(crate) type LocalResult = Result<Proposed, LocalError>;

/// Operations with somebody who waits for what comes of them. No operations at all means: read the
/// voters' clocks, if it is time.
pub(crate) struct Request {
    pub(crate) ops: Vec<EncodedOp>,
    pub(crate) answer: oneshot::Sender<LocalResult>,
}

/// Brings operations to this node's proposer and waits for what comes of them.
pub(crate) async fn submit(queue: &mpsc::Sender<Request>, ops: Vec<EncodedOp>) -> LocalResult {
    let (answer, outcome) = oneshot::channel();
    queue.try_send(Request { ops, answer }).map_err(|error| {
        LocalError::Failed(match error {
            mpsc::error::TrySendError::Full(_) => {
                ProposeError::Busy { why: format!("{REQUESTS_WAITING_MAX} requests wait already") }
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })
    })?;
    outcome.await.unwrap_or_else(|_| Err(LocalError::Failed(stopped())))
}

fn stopped() -> ProposeError {
    ProposeError::Unknown { why: "this node was stopped meanwhile".to_string() }
}

/// Writes what callers bring, as long as this node leads.
pub(crate) struct Proposer {
    pub(crate) raft: Raft,
    pub(crate) generation: u32,
    pub(crate) views: watch::Receiver<BanView>,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) readings: Readings,
    /// The term in which this leader has read the voters' clocks.
    pub(crate) ticked_term: Option<u64>,
}

impl Proposer {
    /// Until the queue is closed.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.recv().await {
            let mut flight = Flight::default();
            flight.take(first);
            while flight.entries.len() < FLIGHT_ENTRIES_MAX
                && let Ok(next) = queue.try_recv()
            {
                flight.take(next);
            }
            self.fly(flight).await;
        }
    }

    async fn fly(&mut self, mut flight: Flight) {
        let term = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.state == ServerState::Leader).then_some(metrics.current_term)
        };
        let Some(term) = term else {
            flight.answer_all(&|| LocalError::NotLeader);
            return;
        };
        let level = self.views.borrow().level();
        let (at, readings) = self.stamp(term);
        let ticks = !readings.is_empty();
        if ticks {
            flight.put_first(EncodedOp::new(Op::Tick { readings }));
        }
        let n_entries = flight.entries.len();
        let payloads = flight.entries.iter_mut().map(|entry| {
            let ops = std::mem::take(&mut entry.ops);
            Payload(join_command(at, level, &ops))
        });
        let payloads: Vec<Payload> = payloads.collect();
        if payloads.is_empty() {
            flight.succeed(Position { generation: self.generation, index: 0 });
            return;
        }
        let written = tokio::time::timeout(FLIGHT_TIMEOUT, self.write(payloads, &mut flight)).await;
        if written.is_err() {
            let waited = FLIGHT_TIMEOUT.as_secs();
            flight.fail_rest(&|| {
                unknown(&format!("not committed within {waited} s: no quorum, or a slow disk"))
            });
        } else if ticks && flight.n_written == n_entries {
            self.ticked_term = Some(term);
        }
        flight.answer();
    }

    /// The stamp of the next flight, and the clocks when it is time to read them: once at the
    /// beginning of a term, then when the last reading is old.
    fn stamp(&self, term: u64) -> (Timestamp, Vec<(NodeId, Timestamp)>) {
        let at = self.time.now();
        let is_due = at.ms_since(self.views.borrow().last_tick()) >= TICK_INTERVAL_MIN_MS;
        if !is_due && self.ticked_term == Some(term) {
            return (at, Vec::new());
        }
        let readings = (self.readings)();
        // Apply moves cluster time to the lower median. Stamping with it as well lets operations in
        // the same flight count from the new time on, not from before a long stop.
        let mut clocks: Vec<Timestamp> = readings.iter().map(|(_, clock)| *clock).collect();
        clocks.sort_unstable();
        let median = clocks.get(clocks.len().saturating_sub(1) / 2).copied().unwrap_or_default();
        (at.max(median), readings)
    }

    async fn write(&self, payloads: Vec<Payload>, flight: &mut Flight) {
        let mut answers = match self.raft.client_write_many(payloads).await {
            Ok(answers) => answers,
            Err(fatal) => return flight.fail_rest(&|| unknown(&fatal.to_string())),
        };
        loop {
            match answers.try_next().await {
                Ok(Some(Ok(response))) => {
                    let position = Position { generation: self.generation, index: response.log_id.index };
                    flight.next_written(position, response.response.results);
                }
                Ok(Some(Err(error))) => flight.next_failed(&error),
                Ok(None) => break,
                Err(fatal) => return flight.fail_rest(&|| unknown(&fatal.to_string())),
            }
        }
        flight.fail_rest(&|| unknown("openraft has not said"));
    }
}

pub(crate) fn unknown(why: &str) -> LocalError {
    LocalError::Failed(ProposeError::Unknown { why: why.to_string() })
}
