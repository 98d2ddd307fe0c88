//! What the daemon's parts promise each other: small traits, declared by who uses them.
//!
//! Not for what implements them: sources, clocks and the Raft handle know these traits, these traits
//! know nothing.

use bannkreis_core::failure::{LogId, LogLine, SourceId, SourcePosition};
use bannkreis_core::log_block::LogBlock;
use bannkreis_core::time::{Now, Timestamp};
use std::net::IpAddr;

/// Tells the time. The only implementation that asks the machine is in `clock.rs`.
pub trait Clock: Send + Sync {
    /// This host's wall clock.
    fn wall(&self) -> Timestamp;
    /// Milliseconds of CLOCK_BOOTTIME (clock_gettime(2)): monotonic, and counts suspend.
    fn boottime_ms(&self) -> u64;
    /// Wall clock and cluster time together.
    fn now(&self) -> Now;
    /// Whether cluster time goes on from a wall clock, and nobody has put it right yet.
    fn is_guessed(&self) -> bool {
        self.now().estimated
    }
}

/// Knows the addresses of hosts. Never asked on a thread that reads logs: an answer may take seconds.
pub trait Names: Send + Sync {
    /// The addresses of a host's name, each once.
    ///
    /// # Errors
    /// When they can not be told, in the resolver's words.
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String>;
}

/// Takes the lines that a source reads. Called on the source's own thread, in the order of the file;
/// whatever it does delays the next line.
pub trait LineSink: Send {
    /// From now on lines of `source` come, and they are those of these logs too.
    fn open(&mut self, source: SourceId, logs: &[LogId]);
    /// Whoever has sent what comes from it may have been anybody: it never counts for the cluster.
    fn low_trust(&mut self, source: SourceId);
    /// What is to be stored for places in it has become more certain.
    fn place_known_better(&mut self, source: SourceId);
    /// No more lines of it come.
    fn close(&mut self, source: SourceId);
    /// One line.
    fn line(&mut self, line: &LogLine);
    /// Many lines; they count as if each had come by itself.
    fn block(&mut self, block: &LogBlock<'_>);
    /// No more lines for now; everything before `read_up_to` has been handed over.
    fn end_of_batch(&mut self, source: SourceId, read_up_to: SourcePosition);
}
