//! The node as the daemon holds it: start, propose, look, stop. Nothing generic leaves this crate.

use crate::apart::Apart;
use crate::cluster_time::ClusterTime;
use crate::forward::portions;
use crate::identity::Identity;
use crate::level::{Halted, Release};
use crate::log_writer::WriterState;
use crate::membership::{self, JoinError, JoinInfo};
use crate::network::{MESSAGE_BYTES_MAX, Peers};
use crate::options::{RaftOptions, Timing};
use crate::orders::{self, Order, OrderError};
use crate::outgoing::Outgoing;
use crate::progress::Progress;
use crate::proposer::{ProposeError, Proposed, Request};
use crate::room::Room;
use crate::server::RaftService;
use crate::spectator::Spectator;
use crate::start::StartError;
use crate::status::{Decided, Liveness, RaftStatus};
use crate::types::{Member, Metrics, Raft};
use crate::voters;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::command::Op;
use bannkreis_core::ids::{ClusterId, NodeId, Operator};
use bannkreis_core::settings::Settings;
use bannkreis_proto::v1::raft_server::RaftServer;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A node that asks to join tries for this long.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const JOIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// A snapshot is waited for this long when the node stops.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(2);
/// And asked for again after this long.
const SNAPSHOT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// The log's writer is waited for this long when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running node. Clones are the same node.
#[derive(Clone)]
pub struct RaftNode {
    pub(crate) inner: Arc<Inner>,
    pub(crate) life: Arc<Life>,
}

/// What the node's own tasks and its service share.
pub(crate) struct Inner {
    pub(crate) identity: Identity,
    pub(crate) member: Member,
    pub(crate) raft: Raft,
    pub(crate) peers: Arc<Peers>,
    pub(crate) views: watch::Receiver<BanView>,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) timing: Timing,
    pub(crate) queue: mpsc::Sender<Request>,
    /// Proposals on their way to a leader elsewhere.
    pub(crate) outgoing: Outgoing,
    /// Held while the membership is changed: one change at a time.
    pub(crate) changes: tokio::sync::Mutex<()>,
    /// Held while a snapshot comes in: one at a time.
    pub(crate) receiving: Semaphore,
    pub(crate) snapshots_dir: PathBuf,
    /// The state directory.
    pub(crate) dir: PathBuf,
    /// What this node has lost, while it is no member for that.
    pub(crate) spectator: Mutex<Option<Spectator>>,
    /// Why its cluster goes on without it, as far as this node knows.
    pub(crate) apart: Mutex<Option<Apart>>,
    pub(crate) started_ms: u64,
    pub(crate) release: Release,
    /// Who writes the log.
    pub(crate) writer: watch::Receiver<WriterState>,
    pub(crate) halted: Arc<Halted>,
    pub(crate) room: Room,
    /// Held for reading while a node is taken in, for writing while the level is raised.
    pub(crate) joining: tokio::sync::RwLock<()>,
    /// What this leader has decided in its last round.
    pub(crate) decisions: Mutex<Vec<Decided>>,
}

/// What ends with the node.
pub(crate) struct Life {
    pub(crate) tasks: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) writer: watch::Receiver<WriterState>,
    pub(crate) progress: watch::Receiver<Progress>,
}

impl Life {
    fn stop_tasks(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stop_tasks();
    }
}

impl Inner {
    /// A copy: holding openraft's own would hold openraft up.
    pub(crate) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow_watched().clone()
    }

    /// See [`RaftNode::failure`].
    pub(crate) fn failure(&self) -> Option<String> {
        if let Some(why) = &self.writer.borrow().failure {
            return Some(format!("the Raft log can not be written: {why}"));
        }
        match &self.raft.metrics().borrow_watched().running_state {
            Ok(()) | Err(Fatal::Stopped) => None,
            Err(fatal) => Some(fatal.to_string()),
        }
    }
}

impl RaftNode {
    /// Starts the node that lives in `options.dir`.
    ///
    /// An empty directory becomes a new cluster of one: `birth` makes its settings from a random event
    /// key (`Settings::at_birth` is one such function), and when this returns the node leads and
    /// they are applied. A directory that holds a node goes on where it stopped; all it had
    /// acknowledged is in the view as soon as that is known to be committed, alone at once. An
    /// identity made for joining starts empty and waits for [`RaftNode::request_join`]. One whose log is lost
    /// or damaged must not take part under its id any more: the node starts as a [`Spectator`].
    ///
    /// # Errors
    /// As [`StartError`] says.
    pub async fn start(
        options: RaftOptions,
        birth: impl FnOnce([u8; 16]) -> Settings,
    ) -> Result<RaftNode, StartError> {
        crate::start::start(options, birth).await
    }

    /// The ban list as it is here and now.
    #[must_use]
    pub fn view(&self) -> BanView {
        self.inner.views.borrow().clone()
    }

    /// The ban list, each time it changes.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<BanView> {
        self.inner.views.clone()
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.inner.identity.node
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.inner.identity.cluster
    }

    /// Its cluster's generation.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.inner.identity.generation
    }

    /// Who leads, and where it is reached: this node, or one that it has heard from within an election
    /// time.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, String)> {
        self.inner.leader()
    }

    /// Whether this node leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.inner.metrics().state == ServerState::Leader
    }

    /// What this node knows about its cluster.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        self.inner.status()
    }

    /// How far this node is in applying what it has learned to be committed.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.life.progress.clone()
    }

    /// Puts operations into the log, through whoever leads, and gives one result for each. Waits for a
    /// leader for at most 5 s, and for its answer for at most 8 s more. Operations are written in order; long
    /// lists go in portions of 512 operations and 256 KiB.
    ///
    /// # Errors
    /// As [`ProposeError`] says. `NoLeader`, `Busy` and `Refused` mean that nothing was written;
    /// `Unknown` means that all, a part or nothing was.
    pub async fn propose(&self, ops: Vec<Op>) -> Result<Proposed, ProposeError> {
        let mut whole: Option<Proposed> = None;
        for portion in portions(ops)? {
            match (self.inner.propose(portion).await, &mut whole) {
                (Ok(proposed), None) => whole = Some(proposed),
                (Ok(mut proposed), Some(whole)) => {
                    whole.position = proposed.position;
                    whole.results.append(&mut proposed.results);
                }
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => {
                    return Err(ProposeError::Unknown { why: format!("a part was written, then: {error}") });
                }
            }
        }
        Ok(whole.unwrap_or(Proposed { position: self.view().position(), results: Vec::new() }))
    }

    /// The request with this node's metadata, for a service of the daemon's own. `to`: whom it is for.
    #[must_use]
    pub fn sign<T>(&self, message: T, to: Option<NodeId>) -> tonic::Request<T> {
        self.inner.peers.sender().sign(message, to)
    }

    /// Checks a request to a service of the daemon's own as those of this crate are, and says who sent it.
    ///
    /// # Errors
    /// The status to answer with, when the sender is no node of this cluster and generation.
    #[allow(clippy::result_large_err, reason = "the type is tonic's")]
    pub fn check<T>(&self, request: &tonic::Request<T>) -> Result<NodeId, tonic::Status> {
        let former = self.spectator().map(|lost| lost.former);
        self.inner.peers.sender().check_as(request, former)
    }

    /// The service `bannkreis.v1.Raft`, for the daemon's server. Every request must carry a `Peer` in its
    /// extensions.
    #[must_use]
    pub fn service(&self) -> RaftServer<RaftService> {
        RaftServer::new(RaftService { inner: self.inner.clone() })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Has an operator's order about a member carried out by the leader. `by`: whose word it is; the same id for
    /// the same order, given again.
    ///
    /// # Errors
    /// Why not, and whether giving it again may help.
    pub async fn order(&self, order: &Order, by: &Operator) -> Result<(), OrderError> {
        orders::carry_out_or_forward(&self.inner, order, by, false).await
    }

    /// Says whether there is room on the disk for the log. `lack`: why not, as a sentence; then this node takes nothing
    /// in and hands the lead over, until it is told that there is.
    pub fn set_room(&self, lack: Option<String>) {
        self.inner.room.set(lack);
    }

    /// Why there is no room for the log, as it was said last; `None`: there is.
    #[must_use]
    pub fn no_room(&self) -> Option<String> {
        self.inner.room.lack()
    }

    /// What ended this node's part, such as its disk, when it was not stopped in order. Only another start mends it.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.inner.failure()
    }

    /// Whether this node is the only member of its cluster.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let status = self.status();
        status.learners.is_empty() && matches!(&status.voters[..], [voter] if voter.node == self.node_id())
    }

    /// Whether this node may leave its own cluster for that one.
    ///
    /// # Errors
    /// Why not, as a sentence: its own cluster has other members, or it is the same cluster, or the other
    /// is full or of a newer level.
    pub fn may_join(&self, info: &JoinInfo) -> Result<(), JoinError> {
        membership::may_join(&self.inner, info)
    }

    /// Asks the cluster at `host_port`, of which this node already has an identity, to take it in, and
    /// waits until its leader has reached this node.
    ///
    /// # Errors
    /// When nobody answers there, the cluster refuses, or no leader has reached this node within 30 s.
    pub async fn request_join(&self, host_port: &str) -> Result<(), JoinError> {
        self.request_join_then(host_port, JOIN_TIMEOUT, || {}).await
    }

    /// The same, asking for so long as `patience`; `joined` is called when the cluster has agreed, before its leader
    /// is waited for.
    ///
    /// # Errors
    /// As [`RaftNode::request_join`].
    pub async fn request_join_then(
        &self,
        host_port: &str,
        patience: Duration,
        joined: impl FnOnce() + Send,
    ) -> Result<(), JoinError> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        let ask_until = Instant::now() + patience;
        let inner = &self.inner;
        loop {
            let mut client = inner.peers.new_client(host_port, None).await?;
            let request = inner.peers.sender().sign(membership::request(inner), None);
            let asked = match tokio::time::timeout_at(deadline, client.join(request)).await {
                Ok(Ok(answer)) => membership::read_response(answer.into_inner()),
                Ok(Err(status)) if status.code() == tonic::Code::FailedPrecondition => {
                    Err(JoinError::Refused { why: status.message().to_string() })
                }
                Ok(Err(status)) => {
                    Err(JoinError::NotNow { why: format!("{host_port} answers: {}", status.message()) })
                }
                Err(_) => Err(JoinError::NotNow { why: format!("{host_port} does not answer") }),
            };
            match asked {
                Ok(()) => break,
                Err(JoinError::NotNow { .. }) if Instant::now() + JOIN_RETRY_DELAY < ask_until => {
                    tokio::time::sleep(JOIN_RETRY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
        joined();
        while !(self.status().is_member && self.leader().is_some()) {
            if Instant::now() >= deadline {
                let address = &inner.member.address;
                let why = format!("this node is taken in, but the leader does not reach it at {address}");
                return Err(JoinError::NotNow { why });
            }
            tokio::time::sleep(JOIN_RETRY_DELAY).await;
        }
        Ok(())
    }

    /// Has a snapshot written of all that is applied, and waits for it for at most 2 s: what a node that loses its
    /// log goes on from.
    pub async fn save_snapshot(&self) {
        if self.inner.room.is_lacking() {
            return;
        }
        let applied = self.inner.metrics().last_applied;
        let mut watched = self.inner.raft.metrics();
        let written = async {
            while watched.borrow_watched().snapshot < applied {
                // While one is being written, asking for another is for nothing: it is asked again.
                if self.inner.raft.trigger().snapshot().await.is_err() {
                    return;
                }
                let _ = tokio::time::timeout(SNAPSHOT_RETRY_DELAY, watched.changed()).await;
            }
        };
        // The log has all of it anyway.
        let _ = tokio::time::timeout(SNAPSHOT_TIMEOUT, written).await;
    }

    /// Stops the node; a leader hands over first, for a few seconds at most. When this returns, the state directory is
    /// free to be moved or opened again, provided that no call of the service is under way.
    pub async fn shutdown(&self) {
        voters::hand_over(&self.inner).await;
        self.life.stop_tasks();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "Raft has not stopped cleanly");
        }
        let mut ended = self.life.writer.clone();
        if tokio::time::timeout(STOP_TIMEOUT, ended.wait_for(|writer| writer.has_ended)).await.is_err() {
            tracing::warn!("the Raft log is still in use");
        }
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
