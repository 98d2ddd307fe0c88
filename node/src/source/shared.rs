//! What the source thread shows to other threads about one source.
//!
//! The lock is held for a few instructions, never while reading or handing over.

use super::position_table::PositionTable;
use super::stored_place::StoredPlace;
use super::{SourceSpec, Start};
use bannkreis_core::failure::{LogId, SourceId, SourcePosition};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a source is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Which source.
    pub id: SourceId,
    /// The logs that led to it.
    pub logs: Vec<LogId>,
    /// Its path, or which part of the journal it is.
    pub name: String,
    /// The size of the file under that path; `None` when there is none.
    pub size_bytes: Option<u64>,
    /// The position of the next line.
    pub position: SourcePosition,
    /// Lines handed over since the start of the process.
    pub n_lines: u64,
    /// What keeps it from being read, with the remedy.
    pub error: Option<String>,
}

/// A source, as other threads see it.
pub(super) trait Source: Send + Sync {
    /// Which one.
    fn id(&self) -> SourceId;
    /// What to store so that a later process goes on with the line at this position; `None` when that is forgotten.
    fn stored_at(&self, position: SourcePosition) -> Option<StoredPlace>;
    /// What to store of where it begins, when no earlier process has read it.
    fn beginning(&self) -> Option<StoredPlace>;
    /// How it is doing.
    fn status(&self) -> SourceStatus;
    /// It is not read any more.
    fn give_up(&self, why: &str);
}

/// One file, shared between the source thread and its handle.
pub(super) struct SharedSource {
    pub(super) id: SourceId,
    pub(super) path: PathBuf,
    pub(super) reader: String,
    /// Where it begins, when no earlier process has read it.
    pub(super) beginning: Option<SourcePosition>,
    state: Mutex<SharedState>,
}

/// What changes about it.
pub(super) struct SharedState {
    pub(super) table: PositionTable,
    /// The end of what was told to be read.
    read_up_to: SourcePosition,
    pub(super) n_lines: u64,
    pub(super) logs: Vec<LogId>,
    pub(super) error: Option<String>,
}

impl SharedSource {
    /// A source that will hand over its first line at `start`.
    pub(super) fn new(spec: &SourceSpec) -> SharedSource {
        let (start, is_new) = match &spec.start {
            Start::Resume(from) => (from.position, false),
            Start::End | Start::Beginning | Start::At(_) => (SourcePosition(0), true),
        };
        let logs = vec![spec.log];
        let state = SharedState {
            table: PositionTable::new(start),
            read_up_to: start,
            n_lines: 0,
            logs,
            error: None,
        };
        SharedSource {
            id: spec.id,
            path: spec.path.clone(),
            reader: spec.reader.clone(),
            beginning: is_new.then_some(start),
            state: Mutex::new(state),
        }
    }

    /// Nothing panics while holding the lock, so a poisoned one still holds true values.
    pub(super) fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position of its next line.
    pub(super) fn end(&self) -> SourcePosition {
        self.lock().table.end()
    }

    /// Everything before this position is read; gives the greatest that was told so far.
    pub(super) fn read_up_to(&self, position: SourcePosition) -> SourcePosition {
        let mut state = self.lock();
        state.read_up_to = state.read_up_to.max(position);
        state.read_up_to
    }

    /// Whether this log led to it.
    pub(super) fn is_of(&self, log: LogId) -> bool {
        self.lock().logs.contains(&log)
    }
}

impl Source for SharedSource {
    fn id(&self) -> SourceId {
        self.id
    }

    fn stored_at(&self, position: SourcePosition) -> Option<StoredPlace> {
        Some(self.lock().table.checkpoint(&self.path, position)?.stored())
    }

    fn beginning(&self) -> Option<StoredPlace> {
        self.stored_at(self.beginning?)
    }

    fn give_up(&self, why: &str) {
        self.lock().error = Some(why.to_owned());
    }

    fn status(&self) -> SourceStatus {
        let size_bytes = std::fs::metadata(&self.path).ok().map(|metadata| metadata.len());
        let state = self.lock();
        SourceStatus {
            id: self.id,
            logs: state.logs.clone(),
            name: self.path.display().to_string(),
            size_bytes,
            position: state.table.end(),
            n_lines: state.n_lines,
            error: state.error.clone(),
        }
    }
}
