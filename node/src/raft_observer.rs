//! What happens here when the replicated log moves on: the clock learns the time, the warden learns the
//! changes, and what is worth keeping for people goes into the cold store.
//!
//! It is called on openraft's own task, so it never waits: see `LoopHandle::applied`.

use crate::clock::SystemClock;
use crate::event_loop::LoopHandle;
use crate::local_store::{Batch, ColdKey, Key, LocalStore};
use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::{Change, OpResult};
use bannkreis_core::command::Op;
use bannkreis_core::event::Event;
use bannkreis_core::judge::Verdict;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::convert::{decode_ops, encode_ops};
use bannkreis_raft::{AppliedBatch, AppliedEntry, Observer};
use std::sync::Arc;

/// A cold record larger than this is not kept: imports, whose bans speak for themselves.
const COLD_RECORD_BYTES_MAX: usize = 4_000;
/// Cold records older than this many log entries are forgotten.
const COLD_ENTRIES_MAX: u64 = 1_000_000;
/// How often, in log entries, old cold records are looked for, and how many go at once.
const COLD_TRIM_INTERVAL: u64 = 1_000;
/// The format byte of a cold record: the leader's stamp, then an encoded operation list of one.
const COLD_FORMAT: u8 = 1;

fn encode_cold(at: Timestamp, op: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(op.len() + 9);
    value.push(COLD_FORMAT);
    value.extend_from_slice(&at.0.to_be_bytes());
    value.extend_from_slice(op);
    value
}

/// The leader's stamp and the operation in a cold record; `None` when this release can not read it.
#[must_use]
pub fn decode_cold(value: &[u8]) -> Option<(Timestamp, Op)> {
    let (&COLD_FORMAT, rest) = value.split_first()? else { return None };
    let (at, op) = rest.split_at_checked(8)?;
    let at = u64::from_be_bytes(at.try_into().ok()?);
    Some((Timestamp(at), decode_ops(op).ok()?.into_iter().next()?))
}

/// Hands on what openraft applies.
pub struct RaftObserver {
    /// The warden's queue.
    pub events: LoopHandle,
    /// Learns cluster time.
    pub clock: Arc<SystemClock>,
    /// Keeps evidence and operators' commands.
    pub store: Arc<LocalStore>,
}

impl Observer for RaftObserver {
    fn applied(&mut self, batch: AppliedBatch) {
        let mut changes: Vec<Change> = Vec::new();
        let mut cold = Batch::new();
        for entry in batch.entries {
            self.clock.observe(entry.at, entry.median);
            self.keep(&entry, &mut cold);
            changes.extend(entry.applied.changes);
        }
        if !cold.is_empty()
            && let Err(error) = self.store.commit(cold)
        {
            tracing::error!("evidence is not kept for `why`: {error}");
        }
        self.events.applied(&batch.view, Event::Applied { view: batch.view.clone(), changes });
    }

    fn installed(&mut self, view: BanView) {
        self.clock.observe(view.now(), None);
        self.events.applied(&view, Event::Installed { view: view.clone() });
    }
}

impl RaftObserver {
    /// Puts what people may ask about later into the batch.
    fn keep(&self, entry: &AppliedEntry, cold: &mut Batch) {
        for (n, (op, result)) in entry.command.ops.iter().zip(&entry.applied.results).enumerate() {
            let is_worth_it = match (op, result) {
                (Op::Ban(_), OpResult::Judged(verdict)) => *verdict == Verdict::Open,
                (_, OpResult::Operator { .. }) => true,
                _ => false,
            };
            let bytes = if is_worth_it { encode_ops(std::slice::from_ref(op)) } else { continue };
            if bytes.len() > COLD_RECORD_BYTES_MAX {
                continue;
            }
            let key = ColdKey { position: entry.position, op: u32::try_from(n).unwrap_or(u32::MAX) };
            if let Err(error) = cold.put(Key::Cold(key), encode_cold(entry.command.at, &bytes)) {
                tracing::error!("evidence is not kept for `why`: {error}");
            }
        }
        if entry.position.index.is_multiple_of(COLD_TRIM_INTERVAL) {
            self.forget_old(entry, cold);
        }
    }

    fn forget_old(&self, entry: &AppliedEntry, cold: &mut Batch) {
        let floor = entry.position.index.saturating_sub(COLD_ENTRIES_MAX);
        let first = ColdKey { position: bannkreis_core::ids::Position::default(), op: 0 };
        let n_max = usize::try_from(COLD_TRIM_INTERVAL).unwrap_or(usize::MAX) * 2;
        let Ok(oldest) = self.store.cold_from(first, n_max) else { return };
        for (key, _) in oldest {
            let is_old = key.position.generation < entry.position.generation || key.position.index < floor;
            if is_old && floor > 0 {
                cold.delete(Key::Cold(key));
            }
        }
    }
}
