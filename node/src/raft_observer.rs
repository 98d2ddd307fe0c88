//! What happens here when the replicated log moves on: the clock learns the time, the warden learns the
//! changes, and what is worth keeping for people goes into this node's own store: evidence of bans as cold records,
//! what has ended and what operators did as history.
//!
//! It is called on openraft's own task, so it never waits: see `LoopHandle::applied`.

use crate::clock::SystemClock;
use crate::control::ColdRecord;
use crate::event_loop::LoopHandle;
use crate::history;
use crate::local_store::{Batch, ColdKey, Key, LocalStore};
use crate::retention::NewlyKept;
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::change::{Change, OpResult};
use bannkreis_core::command::Op;
use bannkreis_core::event::Event;
use bannkreis_core::judge::Verdict;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::convert::{decode_ops, encode_ops};
use bannkreis_raft::{AppliedBatch, AppliedEntry, Keeping, Observer};
use std::borrow::Cow;
use std::sync::Arc;

/// A cold record larger than this is not kept: imports, whose bans speak for themselves.
const COLD_RECORD_BYTES_MAX: usize = 4_000;
/// The format byte of a cold record: the leader's stamp, then an encoded operation list of one.
const COLD_FORMAT: u8 = 1;

/// A cold record of these encoded operations.
pub(crate) fn encode_cold(at: Timestamp, op: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(op.len() + 9);
    value.push(COLD_FORMAT);
    value.extend_from_slice(&at.0.to_be_bytes());
    value.extend_from_slice(op);
    value
}

/// What a cold record says; `None` when this release can not read it.
#[must_use]
pub fn decode_cold(value: &[u8]) -> Option<ColdRecord> {
    let (&COLD_FORMAT, rest) = value.split_first()? else { return None };
    let (at, op) = rest.split_at_checked(8)?;
    let at = u64::from_be_bytes(at.try_into().ok()?);
    Some(ColdRecord { at: Timestamp(at), op: decode_ops(op).ok()?.into_iter().next()? })
}

/// Hands on what openraft applies.
pub struct RaftObserver {
    /// The warden's queue.
    pub events: LoopHandle,
    /// Learns cluster time.
    pub clock: Arc<SystemClock>,
    /// Keeps evidence and the history.
    pub store: Arc<LocalStore>,
    /// Counts what was put there.
    pub newly_kept: Arc<NewlyKept>,
}

impl Observer for RaftObserver {
    fn applied(&mut self, batch: AppliedBatch) {
        let mut changes: Vec<Change> = Vec::new();
        let (mut cold, mut n_kept) = (Batch::new(), 0);
        for entry in batch.entries {
            self.clock.observe(entry.at, entry.median);
            n_kept += keep(&entry, &batch.view, &mut cold);
            changes.extend(entry.applied.changes);
        }
        self.newly_kept.add(n_kept, cold.n_bytes());
        if !cold.is_empty()
            && let Err(error) = self.store.commit(cold)
        {
            tracing::error!("what has happened is not kept for `why` and `history`: {error}");
        }
        self.events.applied(&batch.view, Event::Applied { view: batch.view.clone(), changes });
    }

    fn installed(&mut self, view: BanView) {
        self.clock.observe(view.now(), None);
        self.events.applied(&view, Event::Installed { view: view.clone() });
    }

    fn keeping(&mut self) -> Keeping {
        let store = self.store.clone();
        Arc::new(move || {
            if let Err(error) = store.flush() {
                tracing::error!("what has happened may not be kept for `why` and `history`: {error}");
            }
        })
    }
}

/// Puts what people may ask about later into the batch, and says how many records that are.
fn keep(entry: &AppliedEntry, view: &BanList, cold: &mut Batch) -> usize {
    let n_told = history::keep(entry, view, cold).unwrap_or_else(|error| {
        tracing::error!("what has happened is not kept for `history`: {error}");
        0
    });
    n_told + keep_evidence(entry, cold)
}

/// Puts the evidence of bans into the batch, and says how many pieces that are.
pub(crate) fn keep_evidence(entry: &AppliedEntry, cold: &mut Batch) -> usize {
    let mut n_kept = 0;
    for (n, (op, result)) in entry.command.ops.iter().zip(&entry.applied.results).enumerate() {
        let is_worth_it = match (op, result) {
            (Op::Ban(_), OpResult::Judged(verdict)) => *verdict == Verdict::Open,
            (Op::OperatorBan { .. } | Op::Import { .. }, OpResult::Operator { .. }) => true,
            _ => false,
        };
        let bytes = if is_worth_it { encode_ops(std::slice::from_ref(&*evidence_in(op))) } else { continue };
        if bytes.len() > COLD_RECORD_BYTES_MAX {
            continue;
        }
        let key = ColdKey { position: entry.position, op: u32::try_from(n).unwrap_or(u32::MAX) };
        match cold.put(Key::Cold(key), encode_cold(entry.command.at, &bytes)) {
            Ok(()) => n_kept += 1,
            Err(error) => tracing::error!("evidence is not kept for `why`: {error}"),
        }
    }
    n_kept
}

/// What of an operation led to bans.
pub(crate) fn evidence_in(op: &Op) -> Cow<'_, Op> {
    match op {
        Op::Import { operator, bans, .. } => {
            let (operator, bans) = (operator.clone(), bans.clone());
            Cow::Owned(Op::Import { operator, bans, allow: Vec::new(), history: Vec::new() })
        }
        other => Cow::Borrowed(other),
    }
}
