//! Whether there is room on the disk for the log, as whoever looks after the disk says.
//!
//! ```text
//! no room ─▶ entries and snapshots of a leader are refused (heartbeats are not), nothing is proposed here, the lead is
//!            handed over, no snapshot is written; this node still votes
//! room    ─▶ the leader's next attempt brings all that is missing
//! ```
//!
//! A write that fails ends openraft, and with it this node's part until the next start; one that is refused costs
//! nothing. Not for how much room there is, nor for writes that fail all the same.

use std::sync::{Arc, Mutex, PoisonError};
use tonic::Status;

/// What is known of it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    lack: Arc<Mutex<Option<String>>>,
}

impl Room {
    /// `lack`: why there is none, as a sentence.
    pub(crate) fn set(&self, lack: Option<String>) {
        *self.lack.lock().unwrap_or_else(PoisonError::into_inner) = lack;
    }

    /// Why there is none, while there is none.
    pub(crate) fn lack(&self) -> Option<String> {
        self.lack.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_lacking(&self) -> bool {
        self.lack().is_some()
    }

    /// For whoever would write something here.
    ///
    /// # Errors
    /// What to answer a peer, while there is none.
    #[allow(clippy::result_large_err, reason = "the type is tonic's")]
    pub(crate) fn check(&self) -> Result<(), Status> {
        self.lack().map_or(Ok(()), |why| Err(Status::resource_exhausted(why)))
    }
}
