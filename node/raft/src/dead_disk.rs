//! What becomes of a sled database whose disk is dead: sled syncs when the last handle is dropped, and panics if that is
//! refused. Not for a disk that works again: what has failed is opened anew by another process.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

/// Held until the process ends.
static GIVEN_UP: Mutex<Vec<sled::Db>> = Mutex::new(Vec::new());

/// Called before the last handle of `db`, whose file is `file`, is dropped.
pub fn let_go(db: &sled::Db, file: &File) {
    if file.sync_data().is_err() {
        GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner).push(db.clone());
    }
}
