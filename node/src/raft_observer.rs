//! What happens here when the replicated log moves on: the clock learns the time, the warden learns the
//! changes, and what is worth keeping for people goes into this node's own store: evidence of bans as cold records,
//! what has ended and what operators did as history.
//!
//! It is called on openraft's own task, so it never waits: see `LoopHandle::applied`.

use crate::clock::SystemClock;
use crate::event_loop::LoopHandle;
use crate::evidence;
use crate::history;
use crate::local_store::{Batch, LocalStore};
use crate::retention::NewlyKept;
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::change::Change;
use bannkreis_core::event::Event;
use bannkreis_raft::{AppliedBatch, AppliedEntry, Keeping, Observer};
use std::sync::Arc;

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
        let (mut kept, mut n_kept) = (Batch::new(), 0);
        for entry in batch.entries {
            self.clock.observe(entry.at, entry.median);
            n_kept += keep(&entry, &batch.view, &mut kept);
            changes.extend(entry.applied.changes);
        }
        self.newly_kept.add(n_kept, kept.n_bytes());
        if !kept.is_empty()
            && let Err(error) = self.store.commit(kept)
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
fn keep(entry: &AppliedEntry, view: &BanList, batch: &mut Batch) -> usize {
    let n_told = history::keep(entry, view, batch).unwrap_or_else(|error| {
        tracing::error!("what has happened is not kept for `history`: {error}");
        0
    });
    let n_pieces = evidence::keep(entry, batch).unwrap_or_else(|error| {
        tracing::error!("evidence is not kept for `why`: {error}");
        0
    });
    n_told + n_pieces
}
