//! What a filter says about a log line, and the line itself.
//!
//! Not for how lines are found (`node::source`) or judged (`bannkreis-filter`).

use crate::event_id::LineDigest;
use crate::jail::JailName;
use crate::subnet::Subnet;
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;

/// A log line is judged on this many bytes. What comes after is never looked at, and no end anchor
/// matches at the cut, so padding can not move the end of a line.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// A log that jails of this host name, such as a `logpath` with wildcards, numbered in the order of the configuration. Any
/// number of sources may be found for it, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

/// Which source on this host, numbered as they are found since the daemon's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// Where in a source a line begins: bytes since the source was first read, over all rotations, so
/// that a later line always has a greater position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePosition(pub u64);

/// One line of a watched log, as bytes: what attackers write need not be text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub source: SourceId,
    /// Where it begins there.
    pub position: SourcePosition,
    /// This host's wall clock when it was read.
    pub received_at: Timestamp,
    /// When it was written, where the source knows that besides: it counts for a line without a date.
    pub written_at: Option<Timestamp>,
    /// The line without its end, at most [`LINE_BYTES_MAX`] bytes.
    pub text: Vec<u8>,
    /// The line went on behind `text`.
    pub cut: bool,
    /// It was in the log when the log was opened: read again after a restart, or written while nobody read.
    /// Its own date counts, however old it is.
    pub replayed: bool,
}

/// One recognised hostile line about one offender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who recognised it.
    pub jail: JailName,
    /// Who did it.
    pub offender: Subnet,
    /// When, by this host's wall clock.
    pub at: Timestamp,
    /// The line, without control characters, cut to evidence length.
    pub evidence: String,
    /// What the line is known by on all hosts that have a copy of it.
    pub line: LineDigest,
    /// The account that was tried, when the line names one.
    pub user: Option<String>,
    /// Which line: for the position rule.
    pub source: SourceId,
    /// Which line: for the position rule.
    pub position: SourcePosition,
    /// See [`LogLine::replayed`].
    pub replayed: bool,
}
