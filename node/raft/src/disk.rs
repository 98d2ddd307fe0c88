//! What the log store needs of a disk, and a disk in memory for tests. The real one is
//! `sled_disk.rs`; both pass the same tests.
//!
//! A disk knows numbered byte strings and a few named ones. It does not know what an entry is, does
//! not cache, and makes nothing durable before `sync`.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The named byte strings beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum MetaKey {
    /// The vote: must be durable before anybody is told.
    Vote = 1,
    /// The log id up to which the log was purged.
    Purged = 2,
    /// The last log id known to be committed. Written without a sync of its own.
    Committed = 3,
    /// Whose log this is: cluster, generation and node id.
    Owner = 4,
}

impl MetaKey {
    pub(crate) const ALL: [MetaKey; 4] = [MetaKey::Vote, MetaKey::Purged, MetaKey::Committed, MetaKey::Owner];
}

/// What a disk holds when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// The indices of the entries; empty when there are none.
    pub(crate) indices: Range<u64>,
    /// The named byte strings.
    pub(crate) meta: BTreeMap<MetaKey, Vec<u8>>,
}

/// A durable log of numbered byte strings without holes.
///
/// Calls take effect in order. Nothing is durable, and nothing appended need be readable, before
/// `sync` has returned; after a crash everything up to the last `sync` is there, and of what came
/// later a part from the beginning may be. After an error the disk must not be used any more.
pub(crate) trait Disk: Send + 'static {
    /// What is there. Once, before everything else.
    fn load(&mut self) -> io::Result<Loaded>;
    /// Adds entries. The first one follows the last one stored, or the log is empty.
    fn append(&mut self, batch: &[(u64, Bytes)]) -> io::Result<()>;
    /// Removes this entry and all after it.
    fn truncate_from(&mut self, index: u64) -> io::Result<()>;
    /// Removes this entry and all before it.
    fn purge_upto(&mut self, index: u64) -> io::Result<()>;
    /// Writes a named byte string.
    fn put_meta(&mut self, key: MetaKey, value: &[u8]) -> io::Result<()>;
    /// Makes everything durable and readable.
    fn sync(&mut self) -> io::Result<()>;
    /// Reads beside the writer.
    fn reader(&self) -> Box<dyn DiskReader>;
}

/// Reads entries while the disk goes on being written.
pub(crate) trait DiskReader: Send + Sync + 'static {
    /// The entries of this range that are synced, in order, without holes. What was purged in the
    /// meantime is missing at the beginning.
    fn read(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>>;
}

/// The error of an append that would leave a hole.
pub(crate) fn check_follows(indices: &Range<u64>, batch: &[(u64, Bytes)]) -> io::Result<()> {
    let mut expected = (!indices.is_empty()).then_some(indices.end);
    for (index, _) in batch {
        if expected.is_some_and(|expected| expected != *index) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("log entry {index} does not follow {}", indices.end),
            ));
        }
        expected = Some(index + 1);
    }
    Ok(())
}

/// A disk in memory: for tests, and for nodes that must leave no trace. Clones share what they hold, so
/// a test can drop one and open another as if the process had died.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    entries: BTreeMap<u64, Bytes>,
    meta: BTreeMap<MetaKey, Vec<u8>>,
}

impl MemoryDisk {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn indices(entries: &BTreeMap<u64, Bytes>) -> Range<u64> {
    match (entries.first_key_value(), entries.last_key_value()) {
        (Some((first, _)), Some((last, _))) => *first..last + 1,
        _ => 0..0,
    }
}

impl Disk for MemoryDisk {
    fn load(&mut self) -> io::Result<Loaded> {
        let held = self.held();
        Ok(Loaded { indices: indices(&held.entries), meta: held.meta.clone() })
    }

    fn append(&mut self, batch: &[(u64, Bytes)]) -> io::Result<()> {
        let mut held = self.held();
        check_follows(&indices(&held.entries), batch)?;
        held.entries.extend(batch.iter().cloned());
        Ok(())
    }

    fn truncate_from(&mut self, index: u64) -> io::Result<()> {
        self.held().entries.split_off(&index);
        Ok(())
    }

    fn purge_upto(&mut self, index: u64) -> io::Result<()> {
        let mut held = self.held();
        held.entries = held.entries.split_off(&index.saturating_add(1));
        Ok(())
    }

    fn put_meta(&mut self, key: MetaKey, value: &[u8]) -> io::Result<()> {
        self.held().meta.insert(key, value.to_vec());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reader(&self) -> Box<dyn DiskReader> {
        Box::new(self.clone())
    }
}

impl DiskReader for MemoryDisk {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.held().entries.range(range).map(|(index, bytes)| (*index, bytes.to_vec())).collect())
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
