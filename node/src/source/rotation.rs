//! Where a log file went when it was rotated: the files beside it that may be its older parts.
//!
//! Looks into directories; does not read lines and decides nothing about when to look.

use super::fingerprint::Fingerprint;
use bannkreis_filter::this_host::log_glob::is_rotated_name;
use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Of a directory so many entries are looked at; rotated files behind them are not found.
const DIRECTORY_ENTRIES_MAX: usize = 10_000;

/// So often a directory is listed anew when it changed meanwhile; the next change is an event anyway.
const LISTINGS_MAX: usize = 4;

/// Of the rotated parts of one log the newest so many are considered.
pub(super) const SIBLINGS_MAX: usize = 64;

/// An open log file, and what it was when it was opened: it may be truncated at any moment.
#[derive(Debug)]
pub(super) struct OpenLog {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    pub(super) fingerprint: Fingerprint,
}

/// Opens a log for reading. Never waits: a named pipe under this name is refused, not opened.
///
/// # Errors
/// As open(2), or when it is no regular file.
pub(super) fn open_log(path: &Path) -> io::Result<OpenLog> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(OpenLog { metadata, fingerprint: Fingerprint::of(&file)?, file })
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// The file with this fingerprint that holds at least `offset` bytes: the same inode under any name
/// in the directory of `path`, otherwise a copy under `path` itself or the name of a rotated part.
pub(super) fn find(path: &Path, fingerprint: &Fingerprint, offset: u64) -> Option<OpenLog> {
    let holds =
        |log: &OpenLog| log.metadata.len() >= offset && fingerprint.is_head_of(&log.file).unwrap_or(false);
    let real = real_path(path);
    let same_inode = entries(&real)
        .into_iter()
        .filter(|entry| entry.ino() == fingerprint.inode)
        .filter_map(|entry| open_log(&entry.path()).ok())
        .find(|log| holds(log));
    if same_inode.is_some() || !fingerprint.is_telling() {
        return same_inode;
    }
    let newest_first = rotated(path).into_iter().rev();
    open_log(&real).into_iter().chain(newest_first).find(holds)
}

/// Those of `rotated` that were written to after `since` and that `is_known` does not know.
pub(super) fn written_since(
    mut rotated: Vec<OpenLog>,
    since: SystemTime,
    mut is_known: impl FnMut(&OpenLog) -> bool,
) -> Vec<OpenLog> {
    rotated.retain(|log| log.metadata.modified().is_ok_and(|modified| modified >= since) && !is_known(log));
    rotated
}

/// The newest [`SIBLINGS_MAX`] rotated parts of `path`, oldest first.
pub(super) fn rotated(path: &Path) -> Vec<OpenLog> {
    let real = real_path(path);
    let mut before = rotated_now(&real);
    // A directory that is being renamed in is listed with gaps: until two listings agree.
    for _ in 0..LISTINGS_MAX {
        let now = rotated_now(&real);
        let inodes = |logs: &[OpenLog]| logs.iter().map(|log| log.metadata.ino()).collect::<BTreeSet<_>>();
        if inodes(&before) == inodes(&now) {
            return now;
        }
        before = now;
    }
    before
}

fn rotated_now(real: &Path) -> Vec<OpenLog> {
    let Some(name) = real.file_name() else { return Vec::new() };
    let mut logs: Vec<(SystemTime, OpenLog)> = entries(real)
        .into_iter()
        .filter(|entry| is_rotated_name(name, &entry.file_name()))
        .filter_map(|entry| open_log(&entry.path()).ok())
        .filter_map(|log| Some((log.metadata.modified().ok()?, log)))
        .collect();
    logs.sort_by_key(|(modified, log)| (*modified, log.metadata.ino()));
    logs.dedup_by_key(|(_, log)| log.metadata.ino());
    let n_older = logs.len().saturating_sub(SIBLINGS_MAX);
    logs.into_iter().skip(n_older).map(|(_, log)| log).collect()
}

fn entries(real: &Path) -> Vec<fs::DirEntry> {
    let Some(directory) = real.parent() else { return Vec::new() };
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.take(DIRECTORY_ENTRIES_MAX).filter_map(Result::ok).collect()
}

/// `path` with symbolic links followed; when it does not exist, at least its directory's.
fn real_path(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    match (path.parent().and_then(|parent| fs::canonicalize(parent).ok()), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_pipe_is_refused_at_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let error = open_log(dir.path()).expect_err("a directory is no log");
        assert!(error.to_string().contains("not a regular file"));
    }
}
