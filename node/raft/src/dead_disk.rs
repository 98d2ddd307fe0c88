//! What becomes of a sled database whose disk is dead: sled syncs when the last handle is dropped, and panics if that is
//! refused. Not for a disk that works again: what has failed is opened anew by another process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Held until the process ends.
static GIVEN_UP: Mutex<Vec<sled::Db>> = Mutex::new(Vec::new());

/// Called before the last handle of `db`, whose file is `file`, is dropped.
pub fn let_go(db: &sled::Db, file: &File) {
    if file.sync_data().is_err() {
        give_up(db);
    }
}

fn give_up(db: &sled::Db) {
    GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner).push(db.clone());
}

/// A database that is being opened: whatever becomes of that, it is let go, until it [`has_an_owner`](BeingOpened::has_an_owner).
pub struct BeingOpened {
    db: sled::Db,
    /// Where its file is; `None` once somebody else lets it go.
    file: Option<PathBuf>,
}

impl BeingOpened {
    /// `db` is the database in `dir`.
    #[must_use]
    pub fn new(db: &sled::Db, dir: &Path) -> BeingOpened {
        BeingOpened { db: db.clone(), file: Some(dir.join("db")) }
    }

    /// From now on whoever has opened it lets it go.
    pub fn has_an_owner(mut self) {
        self.file = None;
    }
}

impl Drop for BeingOpened {
    fn drop(&mut self) {
        match self.file.take().map(File::open) {
            Some(Ok(file)) => let_go(&self.db, &file),
            Some(Err(_)) => give_up(&self.db),
            None => {}
        }
    }
}
