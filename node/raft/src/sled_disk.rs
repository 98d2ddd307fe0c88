//! The durable log in sled 0.34.
//!
//! Two facts about sled shape this file (docs/decisions: sled's missing fsync). Its `flush` reaches the
//! kernel and not the disk: `sync` here is `flush` followed by fdatasync(2) on a descriptor of the
//! database file of our own. And values that make a page larger than 128 KiB go to separate files
//! which sled never syncs: so no value here is larger than [`RECORD_BYTES_MAX`].
//!
//! And sled takes a database whose end is damaged for one that was written less far, and says nothing. So each `sync`
//! is numbered in the database, as the last thing in it, and in a small file beside it, afterwards and without a
//! sync of its own: a database that does not know of the last one is not opened. After a power cut the file may be
//! behind, never ahead. (A directory that was put back whole to an earlier state can not be told from a good one.)
//!
//! A record's key is the index of its first entry and a fragment number, both big-endian. Entries
//! that were written together and fit are packed into one record; an entry that does not fit alone
//! is spread over several.
//!
//! ```text
//! packed    key (first index, 0)   'P' { length u32, bytes } { length u32, bytes } …
//! fragment  key (index, 0, 1, 2 …) 'F' whole length u32, bytes
//! ```

use crate::dead_disk::{self, BeingOpened};
use crate::disk::{Disk, DiskReader, Loaded, MetaKey, check_follows};
use crate::types::invalid;
use bytes::Bytes;
use std::fs::{File, OpenOptions, create_dir_all};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// A record's largest size in bytes; see the module's first paragraph.
const RECORD_BYTES_MAX: usize = 4_096;
/// What sled may hold in memory, in bytes. Reads of old entries are rare: the tail is cached above.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// sled keeps several buffers of this size, in bytes. At 128 KiB, a quarter of it still holds eight
/// full records, so none is ever put into a file of its own.
const SEGMENT_BYTES: usize = 512 * 1024;
/// How often, and after which pause, a database that is locked is tried again: for two seconds.
const LOCK_TRIES_MAX: u32 = 100;
const LOCK_DELAY: Duration = Duration::from_millis(20);
/// The bytes before an entry in a packed record.
const LENGTH_BYTES: usize = 4;
/// The bytes before the content of a fragment.
const FRAGMENT_HEAD_BYTES: usize = 5;
/// Beside the named byte strings of [`MetaKey`]: the first entry that was not purged, and how often was synced.
const FIRST_KEPT: u8 = 0;
const N_SYNCS: u8 = 100;
/// Says up to where the database must reach.
const SYNCED_FILE: &str = "synced";
const PACKED: u8 = b'P';
const FRAGMENT: u8 = b'F';

/// The log and its named byte strings in one sled database.
pub(crate) struct SledDisk {
    db: sled::Db,
    log: sled::Tree,
    meta: sled::Tree,
    /// The database file, to make durable what sled has written.
    file: File,
    /// Holds the number of the last sync, big-endian.
    synced: File,
    /// That number.
    n_syncs: u64,
    /// Appended and not yet handed to sled.
    unwritten: Vec<(u64, Bytes)>,
    /// All entries, the unwritten ones included.
    indices: Range<u64>,
}

impl SledDisk {
    /// Opens the database in `dir`, or makes it. The directory and its parent are synced, so that the
    /// files are found again after a power cut.
    pub(crate) fn open(dir: &Path) -> io::Result<SledDisk> {
        create_dir_all(dir)?;
        let db = open_when_free(
            &sled::Config::new()
                .path(dir)
                .flush_every_ms(None)
                .cache_capacity(CACHE_BYTES)
                .segment_size(SEGMENT_BYTES),
        )?;
        let opening = BeingOpened::new(&db, dir);
        let log = db.open_tree("log").map_err(from_sled)?;
        let meta = db.open_tree("meta").map_err(from_sled)?;
        let file = File::open(dir.join("db"))?;
        let synced = dir.join(SYNCED_FILE);
        let synced = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(synced)?;
        let n_syncs = number(&meta, N_SYNCS)?;
        let mut told = [0; 8];
        // A new file is shorter, and says nothing.
        let is_told = synced.read_exact_at(&mut told, 0).is_ok();
        if is_told && u64::from_be_bytes(told) > n_syncs {
            return Err(invalid("its end is damaged or missing: what was acknowledged last is gone"));
        }
        let mut disk =
            SledDisk { db, log, meta, file, synced, n_syncs, unwritten: Vec::new(), indices: 0..0 };
        opening.has_an_owner();
        disk.sync()?;
        File::open(dir)?.sync_all()?;
        if let Some(parent) = dir.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(disk)
    }

    /// Hands what was appended to sled, packed. Record after record and not as one `sled::Batch`: sled
    /// recovers a beginning of what it was handed, which is all that is promised, and a batch would
    /// cost three writes to the disk, one after the other, where this costs one.
    fn write(&mut self) -> io::Result<()> {
        let log = &self.log;
        let put = |key: [u8; 12], record: Vec<u8>| log.insert(key, record).map(drop).map_err(from_sled);
        let mut packed: Vec<u8> = Vec::new();
        let mut packed_first = 0;
        for (index, bytes) in self.unwritten.drain(..) {
            let fits = packed.len() + LENGTH_BYTES + bytes.len() <= RECORD_BYTES_MAX;
            if !packed.is_empty() && !fits {
                put(key(packed_first, 0), std::mem::take(&mut packed))?;
            }
            if 1 + LENGTH_BYTES + bytes.len() > RECORD_BYTES_MAX {
                put_fragments(put, index, &bytes)?;
                continue;
            }
            if packed.is_empty() {
                packed.push(PACKED);
                packed_first = index;
            }
            push_packed(&mut packed, &bytes)?;
        }
        if !packed.is_empty() {
            put(key(packed_first, 0), packed)?;
        }
        Ok(())
    }

    /// The key of the record that holds this entry, or the beginning of it.
    fn record_of(&self, index: u64) -> io::Result<Option<(u64, sled::IVec)>> {
        let below = self.log.get_lt(key(index.saturating_add(1), 0)).map_err(from_sled)?;
        below.map(|(found, value)| Ok((parse_key(&found)?.0, value))).transpose()
    }

    fn remove(&self, range: Range<u64>) -> io::Result<()> {
        for found in self.log.range(key(range.start, 0)..key(range.end, 0)).keys() {
            self.log.remove(found.map_err(from_sled)?).map_err(from_sled)?;
        }
        Ok(())
    }
}

impl Disk for SledDisk {
    fn load(&mut self) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        for meta_key in MetaKey::ALL {
            if let Some(value) = self.meta.get([meta_key as u8]).map_err(from_sled)? {
                loaded.meta.insert(meta_key, value.to_vec());
            }
        }
        let mut walk = Walk::default();
        for record in &self.log {
            let (found, value) = record.map_err(from_sled)?;
            walk.take(parse_key(&found)?, &value)?;
        }
        if let Some(torn) = walk.unfinished() {
            // The process died between the fragments of an entry that nobody was told about.
            self.remove(torn..u64::MAX)?;
        }
        let first = first_kept(&self.meta)?.max(walk.indices.start).min(walk.indices.end);
        self.indices = first..walk.indices.end;
        loaded.indices = self.indices.clone();
        Ok(loaded)
    }

    fn append(&mut self, batch: &[(u64, Bytes)]) -> io::Result<()> {
        check_follows(&self.indices, batch)?;
        let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) else { return Ok(()) };
        if self.indices.is_empty() {
            self.indices.start = *first;
        }
        self.indices.end = last + 1;
        self.unwritten.extend_from_slice(batch);
        Ok(())
    }

    fn truncate_from(&mut self, index: u64) -> io::Result<()> {
        self.write()?;
        // From the end backwards, so that a crash in between leaves no hole.
        for found in self.log.range(key(index, 0)..).keys().rev() {
            self.log.remove(found.map_err(from_sled)?).map_err(from_sled)?;
        }
        if let Some((first, record)) = self.record_of(index)?
            && record.first() == Some(&PACKED)
        {
            let mut kept = vec![PACKED];
            let n_kept = usize::try_from(index - first).unwrap_or(usize::MAX);
            for bytes in unpack(&record).take(n_kept) {
                push_packed(&mut kept, bytes?)?;
            }
            if kept.len() < record.len() {
                self.log.insert(key(first, 0), kept).map_err(from_sled)?;
            }
        }
        self.indices.end = self.indices.end.min(index).max(self.indices.start);
        Ok(())
    }

    fn purge_upto(&mut self, index: u64) -> io::Result<()> {
        self.write()?;
        let first = index.saturating_add(1);
        if first <= self.indices.start {
            return Ok(());
        }
        // Written first: the record in which the log now begins may keep older entries for a while.
        self.meta.insert([FIRST_KEPT], &first.to_be_bytes()).map_err(from_sled)?;
        if first >= self.indices.end {
            self.remove(0..u64::MAX)?;
            self.indices = first..first;
            return Ok(());
        }
        if let Some((holding, _)) = self.record_of(first)? {
            self.remove(0..holding)?;
        }
        self.indices.start = first;
        Ok(())
    }

    fn put_meta(&mut self, meta_key: MetaKey, value: &[u8]) -> io::Result<()> {
        self.meta.insert([meta_key as u8], value).map_err(from_sled).map(|_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write()?;
        self.n_syncs += 1;
        self.meta.insert([N_SYNCS], &self.n_syncs.to_be_bytes()).map_err(from_sled)?;
        self.db.flush().map_err(from_sled)?;
        self.file.sync_data()?;
        self.synced.write_all_at(&self.n_syncs.to_be_bytes(), 0)
    }

    fn reader(&self) -> Box<dyn DiskReader> {
        Box::new(SledReader { log: self.log.clone(), meta: self.meta.clone() })
    }
}

impl Drop for SledDisk {
    fn drop(&mut self) {
        dead_disk::let_go(&self.db, &self.file);
    }
}

/// sled's own threads may hold the lock a moment longer than the database that was dropped: a node that
/// starts its next life in the same directory waits for them.
fn open_when_free(config: &sled::Config) -> io::Result<sled::Db> {
    let mut n_tries = 0;
    loop {
        match config.open() {
            Err(sled::Error::Io(cause))
                if cause.to_string().contains("could not acquire lock") && n_tries < LOCK_TRIES_MAX =>
            {
                n_tries += 1;
                thread::sleep(LOCK_DELAY);
            }
            result => return result.map_err(from_sled),
        }
    }
}

/// Below this everything was purged, even if a record still holds it.
fn first_kept(meta: &sled::Tree) -> io::Result<u64> {
    number(meta, FIRST_KEPT)
}

/// A number of this file's own among the named byte strings; 0 when it was never written.
fn number(meta: &sled::Tree, key: u8) -> io::Result<u64> {
    let Some(value) = meta.get([key]).map_err(from_sled)? else { return Ok(0) };
    let bytes = value.as_ref().try_into().map_err(|_| invalid("a number beside the log is damaged"))?;
    Ok(u64::from_be_bytes(bytes))
}

struct SledReader {
    log: sled::Tree,
    meta: sled::Tree,
}

impl DiskReader for SledReader {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        loop {
            let first_kept_before = first_kept(&self.meta)?;
            let kept = range.start.max(first_kept_before)..range.end;
            match self.read_kept(&kept) {
                // What looks like a hole was made by a purge under our feet.
                Err(_) if first_kept(&self.meta)? != first_kept_before => {}
                result => return result,
            }
        }
    }
}

impl SledReader {
    fn read_kept(&self, range: &Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let below = self.log.get_lt(key(range.start.saturating_add(1), 0)).map_err(from_sled)?;
        let from = below.map_or(Ok(range.start), |(found, _)| parse_key(&found).map(|(index, _)| index))?;
        let mut walk = Walk { kept: Some(Vec::new()), ..Walk::default() };
        for record in self.log.range(key(from, 0)..key(range.end, 0)) {
            let (found, value) = record.map_err(from_sled)?;
            walk.take(parse_key(&found)?, &value)?;
        }
        let mut entries = walk.kept.unwrap_or_default();
        entries.retain(|(index, _)| range.contains(index));
        Ok(entries)
    }
}

/// Reads records in order and checks that they leave no hole.
#[derive(Default)]
struct Walk {
    indices: Range<u64>,
    /// The entries, when they are wanted.
    kept: Option<Vec<(u64, Vec<u8>)>>,
    /// The entry of which not all fragments were seen yet: index, whole length, what there is.
    open: Option<(u64, usize, Vec<u8>)>,
}

impl Walk {
    fn take(&mut self, (index, fragment): (u64, u32), record: &[u8]) -> io::Result<()> {
        match record.first() {
            Some(&PACKED) if fragment == 0 && self.open.is_none() => {
                for (n, bytes) in unpack(record).enumerate() {
                    self.finish(index + n as u64, bytes?.to_vec())?;
                }
                Ok(())
            }
            Some(&FRAGMENT) => self.take_fragment(index, fragment, &record[1..]),
            _ => Err(invalid(&format!("the log's record at entry {index} is damaged"))),
        }
    }

    fn take_fragment(&mut self, index: u64, fragment: u32, content: &[u8]) -> io::Result<()> {
        let damaged = || invalid(&format!("fragment {fragment} of log entry {index} is damaged"));
        let (length, bytes) = content.split_at_checked(LENGTH_BYTES).ok_or_else(damaged)?;
        let length = read_length(length).ok_or_else(damaged)?;
        let (open_index, open_length, mut held) = match self.open.take() {
            None if fragment == 0 => (index, length, Vec::new()),
            Some(open) => open,
            None => return Err(damaged()),
        };
        held.extend_from_slice(bytes);
        if (open_index, open_length) != (index, length) || held.len() > length {
            return Err(damaged());
        }
        if held.len() == length {
            return self.finish(index, held);
        }
        self.open = Some((index, length, held));
        Ok(())
    }

    fn finish(&mut self, index: u64, bytes: Vec<u8>) -> io::Result<()> {
        if self.indices.is_empty() {
            self.indices = index..index;
        }
        if self.indices.end != index {
            return Err(invalid(&format!("the log has a hole between {} and {index}", self.indices.end)));
        }
        self.indices.end = index + 1;
        if let Some(kept) = &mut self.kept {
            kept.push((index, bytes));
        }
        Ok(())
    }

    /// The last entry, when some of its fragments are missing.
    fn unfinished(&self) -> Option<u64> {
        self.open.as_ref().map(|(index, _, _)| *index)
    }
}

fn key(index: u64, fragment: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&fragment.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> io::Result<(u64, u32)> {
    let split = key.split_at_checked(8).and_then(|(index, fragment)| {
        Some((u64::from_be_bytes(index.try_into().ok()?), u32::from_be_bytes(fragment.try_into().ok()?)))
    });
    split.ok_or_else(|| invalid("a key of the log is damaged"))
}

fn length_bytes(bytes: &[u8]) -> io::Result<[u8; 4]> {
    let length = u32::try_from(bytes.len()).map_err(|_| invalid("a log entry is larger than 4 GiB"))?;
    Ok(length.to_le_bytes())
}

fn read_length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

fn push_packed(record: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    record.extend_from_slice(&length_bytes(bytes)?);
    record.extend_from_slice(bytes);
    Ok(())
}

fn put_fragments(
    put: impl Fn([u8; 12], Vec<u8>) -> io::Result<()>,
    index: u64,
    bytes: &[u8],
) -> io::Result<()> {
    let length = length_bytes(bytes)?;
    for (fragment, content) in (0u32..).zip(bytes.chunks(RECORD_BYTES_MAX - FRAGMENT_HEAD_BYTES)) {
        let mut record = Vec::with_capacity(FRAGMENT_HEAD_BYTES + content.len());
        record.push(FRAGMENT);
        record.extend_from_slice(&length);
        record.extend_from_slice(content);
        put(key(index, fragment), record)?;
    }
    Ok(())
}

/// The entries in a packed record.
fn unpack(record: &[u8]) -> impl Iterator<Item = io::Result<&[u8]>> {
    let mut rest = &record[1..];
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = rest.split_at_checked(LENGTH_BYTES).and_then(|(length, after)| {
            let (bytes, after) = after.split_at_checked(read_length(length)?)?;
            rest = after;
            Some(bytes)
        });
        if taken.is_none() {
            rest = &[];
        }
        Some(taken.ok_or_else(|| invalid("a packed record of the log is damaged")))
    })
}

fn from_sled(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { .. } => invalid("sled: the database is corrupt"),
        other => io::Error::other(format!("sled: {other}")),
    }
}

#[cfg(test)]
impl SledDisk {
    /// What a death between two fragments would leave.
    pub(crate) fn drop_last_record(&self) {
        self.log.pop_max().unwrap();
        self.db.flush().unwrap();
    }
}
