//! Where log lines come from: files, followed by inotify(7) over rotations and restarts, systemd's journal, and syslog messages
//! that others send.
//!
//! A *log* is what a jail names, such as a `logpath` with wildcards; a *source* is what is found for it, such as one of the
//! files. One thread, `source`, reads all sources and hands each line to its [`LineSink`] at once; without new
//! lines it sleeps in poll(2). What a line means is not known here. In the order of suggested reading:
//! how a block becomes lines; what identifies a file, how a place in it is stored and found again, an
//! open file, a path whose files come and go, a log whose paths come and go, the kernel's events, the journal,
//! syslog, the thread.

mod line_splitter;

mod fingerprint;
mod stored_place;

mod checkpoint;
mod position_table;
mod rotation;

mod followed_file;
mod followed_log;
mod followed_path;
mod opening;
mod polling;
mod shared;
mod watcher;

mod journal;
mod syslog;

mod thread;

pub use checkpoint::{CheckpointError, FILES_OPEN_MAX, FilePlace, PLACES_MAX, SourceCheckpoint};
pub use fingerprint::{Fingerprint, HEAD_BYTES_MAX, HEAD_BYTES_TELLING};
pub use shared::SourceStatus;
pub use stored_place::StoredPlace;
pub use syslog::{SyslogPlan, Trust};
pub use thread::{SOURCES_MAX, SourceError, Sources, SourcesHandle};

use crate::borders::{Clock, LineSink};
use bannkreis_core::failure::{LogId, LogLine, SourceId, SourcePosition};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::journal::Journal;
use bannkreis_filter::journal_match::JournalMatch;
use bannkreis_filter::syslog_path::SyslogPath;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log that jails name. Its [`LogId`] is its place in the list of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// What it is.
    pub kind: LogKind,
    /// Who wants it read, for people: the first jail that does, and where that is written.
    pub reader: String,
}

/// What a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Files.
    Files(FilesSpec),
    /// Those entries of this journal.
    Journal(Journal, JournalMatch),
    /// Those of the messages that are sent to this node and are of such trust.
    Syslog(SyslogPath, Trust),
}

/// Files that are one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSpec {
    /// The file's name, with wildcards or without. Nothing of it need exist yet; it may be a symbolic link.
    pub pattern: String,
    /// fail2ban's `tail` behind a logpath: lines that are there already are not read.
    pub is_tail: bool,
    /// fail2ban's `backend = polling`: it is looked at again and again, for no event tells of its changes. So are files
    /// on network file systems, whatever this says.
    pub is_polled: bool,
}

/// Where sources begin whose file is there when the daemon starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginnings {
    /// Where earlier processes stopped, by the paths of sources; and, by the text of their patterns, which wildcards
    /// they have looked for.
    pub kept: BTreeMap<PathBuf, Vec<u8>>,
    /// Of a log that no earlier process has read, everything is read that is there.
    pub catch_up: bool,
}

impl Beginnings {
    /// Where to begin with the file `path` of this log.
    fn of(&self, path: &Path, log: &FilesSpec) -> Start {
        if log.is_tail {
            return Start::End;
        }
        let from = self.kept.get(path).and_then(|bytes| match SourceCheckpoint::decode(path, bytes) {
            Ok(from) => Some(from),
            Err(error) => {
                tracing::warn!("{}: where it was read to can not be told ({error})", path.display());
                None
            }
        });
        match from {
            Some(from) => Start::Resume(from),
            // It appeared while nobody looked.
            None if self.catch_up || self.kept.contains_key(Path::new(&log.pattern)) => Start::Beginning,
            None => Start::End,
        }
    }
}

/// One file to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceSpec {
    id: SourceId,
    log: LogId,
    path: PathBuf,
    reader: String,
    start: Start,
}

/// Where reading a source begins. A file that does not exist yet is read from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Start {
    /// Behind the last whole line: what was written before is none of this node's business.
    End,
    /// At the first line; those that are there already are replayed.
    Beginning,
    /// At the line that begins there; those that are there already are replayed.
    At(u64),
    /// Where an earlier process stopped, also in files that were rotated since.
    /// Lines that are there already are replayed: nobody knows which of them an earlier process has judged,
    /// and none of them is from now.
    Resume(SourceCheckpoint),
}

/// A source hands over so much at once. Larger blocks delay the first line, smaller ones cost calls.
const BLOCK_BYTES: usize = 256 * 1024;

/// What reading needs beside the file; one for the whole thread.
struct Reading {
    block: Vec<u8>,
    line: LogLine,
    sink: Box<dyn LineSink>,
    clock: Arc<dyn Clock>,
}

impl Reading {
    fn new(sink: Box<dyn LineSink>, clock: Arc<dyn Clock>) -> Reading {
        let line = LogLine {
            source: SourceId(0),
            position: SourcePosition(0),
            received_at: Timestamp::ZERO,
            written_at: None,
            text: Vec::new(),
            cut: false,
            replayed: false,
        };
        Reading { block: vec![0; BLOCK_BYTES], line, sink, clock }
    }
}

#[cfg(test)]
mod tests;
