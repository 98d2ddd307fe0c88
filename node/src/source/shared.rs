//! What the source thread shows to other threads about one source.
//!
//! The lock is held for a few instructions, never while reading or handing over.

use super::SourceSpec;
use super::position_table::PositionTable;
use bannkreis_core::failure::{SourceId, SourcePosition};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a source is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Which source.
    pub id: SourceId,
    /// Its path, as it is configured.
    pub path: PathBuf,
    /// The size of the file under that path; `None` when there is none.
    pub size_bytes: Option<u64>,
    /// The position of the next line.
    pub position: SourcePosition,
    /// Lines handed over since the start of the process.
    pub n_lines: u64,
    /// What keeps it from being read, with the remedy.
    pub error: Option<String>,
}

/// One source, shared between the source thread and its handle.
pub(super) struct SharedSource {
    pub(super) id: SourceId,
    pub(super) path: PathBuf,
    pub(super) reader: String,
    state: Mutex<SharedState>,
}

/// What changes about it.
pub(super) struct SharedState {
    pub(super) table: PositionTable,
    pub(super) n_lines: u64,
    pub(super) error: Option<String>,
}

impl SharedSource {
    /// A source that will hand over its first line at `start`.
    pub(super) fn new(spec: &SourceSpec, start: SourcePosition) -> SharedSource {
        let state = SharedState { table: PositionTable::new(start), n_lines: 0, error: None };
        SharedSource {
            id: spec.id,
            path: spec.path.clone(),
            reader: spec.reader.clone(),
            state: Mutex::new(state),
        }
    }

    /// Nothing panics while holding the lock, so a poisoned one still holds true values.
    pub(super) fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is doing now.
    pub(super) fn status(&self) -> SourceStatus {
        let size_bytes = std::fs::metadata(&self.path).ok().map(|metadata| metadata.len());
        let state = self.lock();
        SourceStatus {
            id: self.id,
            path: self.path.clone(),
            size_bytes,
            position: state.table.end(),
            n_lines: state.n_lines,
            error: state.error.clone(),
        }
    }
}
