//! Where log lines come from. So far: files, followed by inotify(7) over rotations and restarts.
//!
//! One thread, `source`, reads all files and hands each line to its [`LineSink`] at once; without new
//! lines it sleeps in poll(2). What a line means is not known here. In the order of suggested reading:
//! how a block becomes lines, what identifies a file, how a place in it is stored and found again, an
//! open file, a path whose files come and go, the kernel's events, the thread.

mod line_splitter;

mod fingerprint;

mod checkpoint;
mod position_table;
mod rotation;

mod followed_file;
mod followed_path;
mod opening;
mod shared;
mod watcher;

mod thread;

pub use checkpoint::{CheckpointError, FILES_OPEN_MAX, FilePlace, SourceCheckpoint};
pub use fingerprint::{Fingerprint, HEAD_BYTES_MAX, HEAD_BYTES_TELLING};
pub use shared::SourceStatus;
pub use thread::{FileSources, FileSourcesHandle, SOURCES_MAX, SourceError};

use crate::borders::{Clock, LineSink};
use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

/// One log file to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// What its lines are labelled with; no two sources have the same.
    pub id: SourceId,
    /// The file's name. The file itself need not exist yet; it may be a symbolic link.
    pub path: PathBuf,
    /// Who wants it read, for people: the first jail that does, and where that is written.
    pub reader: String,
    /// Where to begin.
    pub start: Start,
    /// fail2ban's `tail` behind a logpath: whatever `start` says, lines that are there already are
    /// not read.
    pub is_tail: bool,
}

/// Where reading a source begins. A file that does not exist yet is read from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Behind the last whole line: what was written before is none of this node's business.
    End,
    /// At the first line; those that are there already are replayed.
    Beginning,
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
            text: Vec::new(),
            cut: false,
            replayed: false,
        };
        Reading { block: vec![0; BLOCK_BYTES], line, sink, clock }
    }
}

#[cfg(test)]
mod tests;
