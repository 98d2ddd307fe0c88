//! Snapshot files: the ban list at one place in the log, record by record.
//!
//! ```text
//! magic "BANNKRS1" · format u16 · level u32 · generation u32 · index u64
//! hot:  bytes u64 · records u64 · CRC-32 u32
//! cold: bytes u64 · records u64 · CRC-32 u32      (no cold records are written yet)
//! meta length u32 · openraft's snapshot meta · CRC-32 of everything up to here u32
//! hot records, then cold records: each length u32, then an encoded record (ban.proto)
//! ```
//!
//! All numbers are little-endian. A file is written under another name, synced, renamed, and the
//! directory synced; so what has a snapshot's name is whole, or the disk is broken, and then the
//! checksums say so. The newest two are kept.
//!
//! Not for what records mean (`bannkreis-core`) nor for sending files (`network.rs`, `server.rs`).

use crate::types::{SnapshotMeta, decode, encode, invalid};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::settings::Settings;
use bannkreis_proto::convert::bounds::RECORD_BYTES_MAX;
use bannkreis_proto::convert::{decode_record_up_to, encode_record};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: &[u8; 8] = b"BANNKRS1";
const FORMAT: u16 = 1;
/// Everything before the meta.
const HEAD_BYTES: usize = 8 + 2 + 4 + 4 + 8 + 2 * PART_BYTES + 4;
const PART_BYTES: usize = 8 + 8 + 4;
/// openraft's meta: the membership of 25 nodes is some kilobytes.
const META_BYTES_MAX: usize = 1024 * 1024;
/// So many snapshots are kept: the older one serves when the newer one can not be read.
const KEPT: usize = 2;
/// What a complete snapshot file is called after its position.
const SUFFIX: &str = ".snapshot";
/// What a file is called that is still being written or received.
pub(crate) const UNFINISHED_SUFFIX: &str = ".tmp";
/// What a file is called that turned out to be damaged. It is kept for people to look at.
const DAMAGED_SUFFIX: &str = ".damaged";

/// A snapshot file. It can be read as long as this value lives, even when it was removed meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    pub(crate) size_bytes: u64,
    /// It was received, and has no name of its own yet.
    _received: Option<Arc<Received>>,
}

impl SnapshotFile {
    pub(crate) fn open(path: PathBuf) -> io::Result<SnapshotFile> {
        let file = File::open(&path)?;
        let size_bytes = file.metadata()?.len();
        Ok(SnapshotFile { path, file: Arc::new(file), size_bytes, _received: None })
    }
}

/// A file on its way in: gone when nobody has to do with it any more, neither the call that brings it nor openraft,
/// which may take it over when its sender has given up, and it was not taken over by its final name.
#[derive(Debug)]
pub(crate) struct Received {
    path: PathBuf,
}

impl Received {
    /// A new, empty file in `dir`.
    pub(crate) fn create(dir: &Path) -> io::Result<(Received, File)> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("receiving-{number}{UNFINISHED_SUFFIX}"));
        let file = File::create(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok((Received { path }, file))
    }

    /// The file, whole.
    pub(crate) fn open(self) -> io::Result<SnapshotFile> {
        let file = SnapshotFile::open(self.path.clone())?;
        Ok(SnapshotFile { _received: Some(Arc::new(self)), ..file })
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // Renamed when it was installed; then there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

/// One of the two parts of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    bytes: u64,
    records: u64,
    checksum: u32,
}

/// What stands before the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) level: u32,
    pub(crate) generation: u32,
    pub(crate) index: u64,
    pub(crate) meta: SnapshotMeta,
    hot: Part,
    cold: Part,
}

impl Header {
    fn encode(&self) -> io::Result<Vec<u8>> {
        let meta = encode(&self.meta)?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + meta.len() + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.level.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.index.to_le_bytes());
        for part in [self.hot, self.cold] {
            bytes.extend_from_slice(&part.bytes.to_le_bytes());
            bytes.extend_from_slice(&part.records.to_le_bytes());
            bytes.extend_from_slice(&part.checksum.to_le_bytes());
        }
        let meta_length =
            u32::try_from(meta.len()).map_err(|_| invalid("the snapshot's meta is too large"))?;
        bytes.extend_from_slice(&meta_length.to_le_bytes());
        bytes.extend_from_slice(&meta);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    fn read(input: &mut impl Read, level_max: u32) -> io::Result<Header> {
        let mut bytes = vec![0; HEAD_BYTES];
        input.read_exact(&mut bytes)?;
        if &bytes[..8] != MAGIC {
            return Err(invalid("it does not begin like a snapshot"));
        }
        let mut fields = Fields { bytes: &bytes, at: 8 };
        let format = u16::from_le_bytes(fields.take());
        if format != FORMAT {
            return Err(invalid(&format!("it has format {format}, this release reads {FORMAT}")));
        }
        let level = u32::from_le_bytes(fields.take());
        if level > level_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                TooHigh { found: level, readable: level_max },
            ));
        }
        let generation = u32::from_le_bytes(fields.take());
        let index = u64::from_le_bytes(fields.take());
        let mut part = || Part {
            bytes: u64::from_le_bytes(fields.take()),
            records: u64::from_le_bytes(fields.take()),
            checksum: u32::from_le_bytes(fields.take()),
        };
        let (hot, cold) = (part(), part());
        let meta_length = u32::from_le_bytes(fields.take()) as usize;
        if meta_length > META_BYTES_MAX {
            return Err(invalid(&format!("its meta would be {meta_length} bytes")));
        }
        bytes.resize(HEAD_BYTES + meta_length, 0);
        input.read_exact(&mut bytes[HEAD_BYTES..])?;
        let mut checksum = [0; 4];
        input.read_exact(&mut checksum)?;
        if u32::from_le_bytes(checksum) != crc32fast::hash(&bytes) {
            return Err(invalid("its header is damaged"));
        }
        let meta = decode(&bytes[HEAD_BYTES..])?;
        Ok(Header { level, generation, index, meta, hot, cold })
    }
}

/// A snapshot of a level that this release does not read: nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is of level {found}, and this release reads up to level {readable}")]
pub(crate) struct TooHigh {
    pub(crate) found: u32,
    pub(crate) readable: u32,
}

impl TooHigh {
    /// What `error` is about, if it is that.
    pub(crate) fn of(error: &io::Error) -> Option<TooHigh> {
        error.get_ref()?.downcast_ref::<TooHigh>().copied()
    }

    /// What the first bytes of a file say, when they are long enough to say it.
    pub(crate) fn begins(bytes: &[u8], level_max: u32) -> Option<TooHigh> {
        let level = bytes.strip_prefix(MAGIC)?.get(2..6)?.try_into().ok().map(u32::from_le_bytes)?;
        (level > level_max).then_some(TooHigh { found: level, readable: level_max })
    }
}

/// Takes fixed-size fields from a buffer that is known to hold them all.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        field
    }
}

/// Writes the snapshot of `view` into `dir` and removes all but the newest ones.
pub(crate) fn write(
    dir: &Path,
    generation: u32,
    meta: &SnapshotMeta,
    view: &BanList,
) -> io::Result<SnapshotFile> {
    fs::create_dir_all(dir)?;
    let index = meta.last_log_id.map_or(0, |last| last.index);
    let unfinished = dir.join(format!("building-{generation}-{index}{UNFINISHED_SUFFIX}"));
    let written = File::create(&unfinished)
        .and_then(|file| write_into(&file, &[], generation, meta, view))
        .and_then(|()| finish(dir, &unfinished, generation, index));
    if written.is_err() {
        // Where there is no room, half a snapshot only takes some; whatever stays is removed at the next start.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// Writes the snapshot of `view` into a new file, behind `before`, and syncs it.
pub(crate) fn write_into(
    file: &File,
    before: &[u8],
    generation: u32,
    meta: &SnapshotMeta,
    view: &BanList,
) -> io::Result<()> {
    let index = meta.last_log_id.map_or(0, |last| last.index);
    let mut header = Header {
        level: view.level(),
        generation,
        index,
        meta: meta.clone(),
        hot: Part::default(),
        cold: Part::default(),
    };
    let mut output = BufWriter::new(file);
    output.write_all(before)?;
    // Room for the header: its length does not depend on the numbers in it.
    output.write_all(&header.encode()?)?;
    let mut checksum = crc32fast::Hasher::new();
    for record in view.records() {
        let record = encode_record(&record);
        let length = u32::try_from(record.len()).map_err(|_| invalid("a record is larger than 4 GiB"))?;
        for bytes in [&length.to_le_bytes()[..], &record] {
            checksum.update(bytes);
            output.write_all(bytes)?;
            header.hot.bytes += bytes.len() as u64;
        }
        header.hot.records += 1;
    }
    header.hot.checksum = checksum.finalize();
    output.seek(SeekFrom::Start(before.len() as u64))?;
    output.write_all(&header.encode()?)?;
    output.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Gives a complete and synced file its name and removes all but the newest ones.
fn finish(dir: &Path, unfinished: &Path, generation: u32, index: u64) -> io::Result<SnapshotFile> {
    let path = dir.join(format!("{generation:010}-{index:020}{SUFFIX}"));
    fs::rename(unfinished, &path)?;
    File::open(dir)?.sync_all()?;
    for (_, old) in complete(dir)?.into_iter().skip(KEPT) {
        fs::remove_file(old)?;
    }
    SnapshotFile::open(path)
}

/// Puts a received file, whose content [`load`] has accepted, among the snapshots in `dir`.
pub(crate) fn keep(dir: &Path, received: &SnapshotFile, header: &Header) -> io::Result<SnapshotFile> {
    if received.path.parent() == Some(dir) && received.path.to_string_lossy().ends_with(SUFFIX) {
        return Ok(received.clone());
    }
    fs::create_dir_all(dir)?;
    let unfinished = if received.path.parent() == Some(dir) {
        received.path.clone()
    } else {
        let copy = dir.join(format!("copying-{}-{}{UNFINISHED_SUFFIX}", header.generation, header.index));
        fs::copy(&received.path, &copy)?;
        copy
    };
    File::open(&unfinished)?.sync_all()?;
    finish(dir, &unfinished, header.generation, header.index)
}

/// Reads the whole file: every record, every checksum.
pub(crate) fn load(file: &File, level_max: u32) -> io::Result<(Header, BanList)> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    load_from(&mut BufReader::with_capacity(64 * 1024, file), level_max)
}

/// The same of what begins where `input` stands, and must end where that ends.
pub(crate) fn load_from(mut input: &mut impl Read, level_max: u32) -> io::Result<(Header, BanList)> {
    let header = Header::read(&mut input, level_max)?;
    let mut list = empty_list();
    read_part(&mut input, header.hot, |record| {
        list.restore(decode_record_up_to(record, level_max).map_err(|error| invalid(&error.to_string()))?);
        Ok(())
    })?;
    // Written by a newer release of the same format: nothing of it is needed to enforce.
    read_part(&mut input, header.cold, |_| Ok(()))?;
    if input.read(&mut [0])? != 0 {
        return Err(invalid("it goes on after its end"));
    }
    if list.position().index != header.index || list.position().generation != header.generation {
        return Err(invalid(&format!(
            "its records say {}, its header {}.{}",
            list.position(),
            header.generation,
            header.index
        )));
    }
    Ok((header, list))
}

/// Whether a file is whole and what was announced, without taking its records in.
pub(crate) fn verify(
    file: &File,
    announced: &SnapshotMeta,
    generation: u32,
    level_max: u32,
) -> io::Result<()> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut input = BufReader::with_capacity(64 * 1024, file);
    let header = Header::read(&mut input, level_max)?;
    check_announced(&header, announced, generation)?;
    read_part(&mut input, header.hot, |_| Ok(()))?;
    read_part(&mut input, header.cold, |_| Ok(()))
}

/// Whether a file is the one that was announced, and of this node's generation.
pub(crate) fn check_announced(header: &Header, announced: &SnapshotMeta, generation: u32) -> io::Result<()> {
    if header.generation != generation {
        let found = header.generation;
        return Err(invalid(&format!(
            "a snapshot of generation {found} came to one of generation {generation}"
        )));
    }
    if header.meta != *announced {
        return Err(invalid("a snapshot is not the one that was announced"));
    }
    Ok(())
}

fn read_part(
    input: &mut impl Read,
    part: Part,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut checksum = crc32fast::Hasher::new();
    let mut left = part.bytes;
    let mut record = Vec::new();
    for _ in 0..part.records {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        checksum.update(&length);
        let n_bytes = u64::from(u32::from_le_bytes(length));
        left = left.checked_sub(4 + n_bytes).ok_or_else(|| invalid("a record is longer than its part"))?;
        let n_bytes = usize::try_from(n_bytes).unwrap_or(usize::MAX);
        if n_bytes > RECORD_BYTES_MAX {
            return Err(invalid(&format!("a record would be {n_bytes} bytes")));
        }
        record.resize(n_bytes, 0);
        input.read_exact(&mut record)?;
        checksum.update(&record);
        take(&record)?;
    }
    if left != 0 || checksum.finalize() != part.checksum {
        return Err(invalid("its records are damaged"));
    }
    Ok(())
}

/// A ban list before any entry. Its settings are those of nobody: the cluster's own are the content of
/// its first command, so every node begins alike.
pub(crate) fn empty_list() -> BanList {
    BanList::new(Settings::at_birth([0; 16]))
}

/// The newest snapshot of this generation that can be read. Damaged ones are put aside on the way; one of a
/// level that this release does not read is an error.
pub(crate) fn newest(
    dir: &Path,
    generation: u32,
    level_max: u32,
) -> io::Result<Option<(SnapshotFile, Header, BanList)>> {
    for (of_generation, path) in complete(dir)? {
        if of_generation != generation {
            continue;
        }
        let snapshot = SnapshotFile::open(path.clone())?;
        match load(&snapshot.file, level_max) {
            Ok((header, list)) => return Ok(Some((snapshot, header, list))),
            Err(error) if TooHigh::of(&error).is_some() => return Err(error),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a snapshot can not be read and is put aside");
                let mut aside = path.clone().into_os_string();
                aside.push(DAMAGED_SUFFIX);
                fs::rename(&path, aside)?;
            }
        }
    }
    Ok(None)
}

/// Snapshots in the state directory `dir` that could not be read and were put aside, for people to look at.
#[must_use]
pub fn damaged_snapshots(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join(crate::options::SNAPSHOTS_DIR)).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut damaged: Vec<PathBuf> =
        paths.filter(|path| path.to_string_lossy().ends_with(DAMAGED_SUFFIX)).collect();
    damaged.sort();
    damaged
}

/// The complete snapshots in `dir` with their generations, the newest first.
fn complete(dir: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
        let Some((generation, index)) = name.and_then(|name| name.split_once('-')) else { continue };
        if let (Ok(generation), Ok(index)) = (generation.parse::<u32>(), index.parse::<u64>()) {
            found.push((generation, index, path));
        }
    }
    found.sort_unstable_by_key(|(generation, index, _)| std::cmp::Reverse((*generation, *index)));
    Ok(found.into_iter().map(|(generation, _, path)| (generation, path)).collect())
}

/// Removes what an earlier process has left unfinished.
pub(crate) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(UNFINISHED_SUFFIX) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
