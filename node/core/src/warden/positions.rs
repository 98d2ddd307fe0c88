//! How far each source was read, and which place of it is stored: a process that starts again there misses nothing that
//! still counts.
//!
//! Not for what still counts: that is the tally's.

use crate::failure::{SourceId, SourcePosition};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A source's stored position is at most this far behind what was read, whatever still counts.
pub const REPLAY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The open sources.
#[derive(Debug, Default)]
pub(super) struct Positions {
    of: BTreeMap<SourceId, Positioned>,
}

#[derive(Debug)]
struct Positioned {
    read: SourcePosition,
    stored: Option<SourcePosition>,
}

impl Positions {
    /// A source was read up to there.
    pub(super) fn read_up_to(&mut self, source: SourceId, position: SourcePosition) {
        self.of.entry(source).or_insert(Positioned { read: position, stored: None }).read = position;
    }

    /// What is stored of a source is to be stored once more.
    pub(super) fn stored_is_old(&mut self, source: SourceId) {
        if let Some(positioned) = self.of.get_mut(&source) {
            positioned.stored = None;
        }
    }

    /// Nothing comes from it any more.
    pub(super) fn close(&mut self, source: SourceId) {
        self.of.remove(&source);
    }

    pub(super) fn sources(&self) -> Vec<SourceId> {
        self.of.keys().copied().collect()
    }

    /// What is to be stored of a source now, if that is news, when the line at `oldest` is the first that still counts:
    /// the position never passes it, nor falls more than [`REPLAY_BYTES_MAX`] behind.
    pub(super) fn next_to_store(
        &mut self,
        source: SourceId,
        oldest: Option<SourcePosition>,
    ) -> Option<SourcePosition> {
        let Positioned { read, stored } = self.of.get_mut(&source)?;
        let counts_from = oldest.map_or(*read, |oldest| oldest.min(*read));
        let position = counts_from.max(SourcePosition(read.0.saturating_sub(REPLAY_BYTES_MAX)));
        (stored.replace(position) != Some(position)).then_some(position)
    }
}
