//! What this host alone remembers over a restart: the outbox, overrides, places in logs, cold records, the
//! history and a few facts, in the sled database `local/` of the state directory.
//!
//! Values are bytes that begin with a format byte; what they mean is known to who writes them. The
//! Raft log is elsewhere (`bannkreis-raft`): losing this database loses no acknowledged ban.
//!
//! Writing never waits for the disk: [`LocalStore::commit`] puts a batch beside those that wait, and
//! one thread writes and syncs them together, at most [`SYNC_DELAY`] later. What is read is what is
//! committed, written or not; a restart sees whole batches, in the order in which they were committed.

mod history;
mod key;
mod opening;
mod writer;

pub use history::{Page, Subjects};
pub use key::{Batch, ColdKey, KEY_BYTES_MAX, Key, VALUE_BYTES_MAX};
pub use opening::{QUARANTINES_MAX, Quarantine};
pub use writer::{PENDING_BYTES_MAX, SYNC_DELAY};

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use writer::Writer;

/// Keys and values, in the order of the stored keys.
pub type Entries<K> = Vec<(K, Vec<u8>)>;

/// Why the local store can not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LocalStoreError {
    /// The database can not be opened, and it is not corrupt.
    #[error("the local database {} can not be opened: {why}", path.display())]
    Open {
        /// Its directory.
        path: PathBuf,
        /// What, and what to do.
        why: String,
    },
    /// Something is longer than it may be; it is not stored.
    #[error("{what} has {n_bytes} bytes, {max} are the most; it is not kept over a restart")]
    TooLong {
        /// What.
        what: String,
        /// How long it is.
        n_bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// More waits for the disk than [`PENDING_BYTES_MAX`]; the batch is not taken.
    #[error("the disk under the local database does not keep up; the newest changes are not stored")]
    Full,
    /// Writing or syncing failed; what waits is kept and tried again.
    #[error("the local database can not be written: {0}; free space on the disk or check it")]
    Write(String),
    /// Reading failed.
    #[error("the local database can not be read: {0}; restart bannkreisd, which puts a damaged one aside")]
    Read(String),
}

/// The database and the thread that writes it. Dropping it flushes it.
pub struct LocalStore {
    db: sled::Db,
    writer: Writer,
}

impl LocalStore {
    /// Opens or creates `local/` in `state_dir`. A corrupt one is renamed to `local.corrupt-<n>`, and
    /// a fresh one made: the second value then says where the old one is.
    ///
    /// # Errors
    /// When it is in use, not writable, or written by a newer release.
    pub fn open(state_dir: &Path) -> Result<(LocalStore, Option<Quarantine>), LocalStoreError> {
        let (opened, quarantine) = opening::open(state_dir)?;
        let db = opened.db.clone();
        let writer = Writer::start(opened)
            .map_err(|error| opening::open_error(state_dir, &format!("no thread for it: {error}")))?;
        Ok((LocalStore { db, writer }, quarantine))
    }

    /// Takes a batch and returns at once. It is stored whole or not at all, after all earlier ones,
    /// and synced at most [`SYNC_DELAY`] and one sync later. Later values of a key replace waiting
    /// ones.
    ///
    /// # Errors
    /// [`LocalStoreError::Full`] when too much waits already.
    pub fn commit(&self, batch: Batch) -> Result<(), LocalStoreError> {
        self.writer.commit(batch)
    }

    /// Waits until everything that was committed before is on the disk.
    ///
    /// # Errors
    /// When the disk refuses; what waits is kept and tried again.
    pub fn flush(&self) -> Result<(), LocalStoreError> {
        self.writer.flush()
    }

    /// What the last write failed with; `None` when it succeeded.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.writer.error()
    }

    /// The stored outbox, in the order of its keys.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn outbox(&self) -> Result<Entries<Vec<u8>>, LocalStoreError> {
        self.all(key::OUTBOX, |key| Some(key.to_vec()))
    }

    /// The stored overrides, in the order of their keys.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn overrides(&self) -> Result<Entries<Vec<u8>>, LocalStoreError> {
        self.all(key::OVERRIDES, |key| Some(key.to_vec()))
    }

    /// The stored places in logs.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn sources(&self) -> Result<Vec<(PathBuf, Vec<u8>)>, LocalStoreError> {
        self.all(key::SOURCES, key::decode_source)
    }

    /// A stored fact.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn meta(&self, name: &'static str) -> Result<Option<Vec<u8>>, LocalStoreError> {
        self.get(&Key::Meta(name))
    }

    /// The last cold record of the same log entry whose operation is not after this one.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn cold_upto(&self, key: ColdKey) -> Result<Option<(ColdKey, Vec<u8>)>, LocalStoreError> {
        let first = Key::Cold(ColdKey { op: 0, ..key }).encode();
        let after = [Key::Cold(key).encode(), vec![0]].concat();
        Ok(cold_records(self.range_back(first..after, 1)?)?.pop())
    }

    /// The first `n_max` cold records from `key` on, in order.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn cold_from(&self, key: ColdKey, n_max: usize) -> Result<Entries<ColdKey>, LocalStoreError> {
        cold_records(self.range(Key::Cold(key).encode()..vec![key::COLD + 1], n_max)?)
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, LocalStoreError> {
        let start = key.encode();
        let mut end = start.clone();
        end.push(0);
        Ok(self.range(start..end, 1)?.pop().map(|(_, value)| value))
    }

    fn all<K>(&self, table: u8, decode: impl Fn(&[u8]) -> Option<K>) -> Result<Entries<K>, LocalStoreError> {
        let entries = self.range(vec![table]..vec![table + 1], usize::MAX)?;
        // A key that this release can not read is a newer one's: it is left alone.
        Ok(entries.into_iter().filter_map(|(stored, value)| Some((decode(&stored[1..])?, value))).collect())
    }

    /// The first `n_max` entries in a range of keys, those that are not written yet included.
    fn range(&self, keys: Range<Vec<u8>>, n_max: usize) -> Result<Entries<Vec<u8>>, LocalStoreError> {
        let found = self.merged(keys, |written, n| Box::new(written.take(n)), n_max)?;
        Ok(found.into_iter().filter_map(|(key, value)| Some((key, value?))).take(n_max).collect())
    }

    /// The last `n_max` entries in a range of keys, the last one first, those that are not written yet included.
    fn range_back(&self, keys: Range<Vec<u8>>, n_max: usize) -> Result<Entries<Vec<u8>>, LocalStoreError> {
        let found = self.merged(keys, |written, n| Box::new(written.rev().take(n)), n_max)?;
        Ok(found.into_iter().rev().filter_map(|(key, value)| Some((key, value?))).take(n_max).collect())
    }

    /// What a direction of reading finds, with what is not written yet; removed ones stand there without a value.
    fn merged(
        &self,
        keys: Range<Vec<u8>>,
        direction: impl FnOnce(
            sled::Iter,
            usize,
        ) -> Box<dyn Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>>,
        n_max: usize,
    ) -> Result<BTreeMap<Vec<u8>, Option<Vec<u8>>>, LocalStoreError> {
        // In this order: what is written in between is found twice, not missed.
        let unwritten = self.writer.unwritten(keys.clone());
        let mut found = BTreeMap::new();
        for entry in direction(self.db.range(keys), n_max.saturating_add(unwritten.len())) {
            let (key, value) = entry.map_err(|error| read_error(&error))?;
            found.insert(key.to_vec(), Some(value.to_vec()));
        }
        found.extend(unwritten);
        Ok(found)
    }
}

fn cold_records(found: Entries<Vec<u8>>) -> Result<Entries<ColdKey>, LocalStoreError> {
    let records = found.into_iter().map(|(stored, value)| match ColdKey::decode(&stored[1..]) {
        Some(key) => Ok((key, value)),
        None => Err(LocalStoreError::Read("a cold record's key has a wrong length".into())),
    });
    records.collect()
}

fn read_error(error: &sled::Error) -> LocalStoreError {
    LocalStoreError::Read(error.to_string())
}

/// Makes a rename in `directory` survive a power cut (fsync(2), "directory containing the file").
fn sync_directory(directory: &Path) -> io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
