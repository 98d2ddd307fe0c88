//! A log that jails name: which files its wildcards lead to now, and which of them are not known yet.
//!
//! Not for following those files (`followed_path.rs`).

use super::FilesSpec;
use super::polling::{POLL_MS, is_on_network};
use super::watcher::Watcher;
use bannkreis_core::failure::LogId;
use bannkreis_filter::this_host::log_glob::{LogGlob, LogsFound};
use std::io;
use std::path::PathBuf;

/// So often a log is looked for again at once because directories have changed meanwhile; the next change is an event anyway.
const LOOKS_MAX: usize = 8;

/// A log, with wildcards or without.
pub(super) struct FollowedLog {
    pub(super) id: LogId,
    pub(super) spec: FilesSpec,
    pub(super) reader: String,
    glob: LogGlob,
    is_polled: bool,
    /// CLOCK_BOOTTIME in ms of the next look at a log that is polled.
    next_poll_ms: u64,
    /// What keeps it from being looked for, as it was said last.
    said: Option<String>,
}

impl FollowedLog {
    /// A log that nobody has looked for yet.
    pub(super) fn new(id: LogId, spec: FilesSpec, reader: String) -> FollowedLog {
        let glob = LogGlob::new(&spec.pattern);
        let is_polled = glob.has_wildcards() && (spec.is_polled || is_on_network(&glob.directory()));
        FollowedLog { id, spec, reader, glob, is_polled, next_poll_ms: 0, said: None }
    }

    /// Whether other files may be found for it later.
    pub(super) fn has_wildcards(&self) -> bool {
        self.glob.has_wildcards()
    }

    /// The paths to follow now, and what keeps others from being found. Without wildcards that is one path, whether there
    /// is a file or not.
    pub(super) fn look(&self, watcher: &mut Watcher) -> (Vec<PathBuf>, io::Result<()>) {
        if !self.has_wildcards() {
            return (vec![PathBuf::from(&self.spec.pattern)], Ok(()));
        }
        let LogsFound { mut files, mut watched } = self.glob.look();
        let mut outcome = Ok(());
        for _ in 0..LOOKS_MAX {
            outcome = watcher.watch_log(self.id, &watched);
            // What changed before its watch was there made no event.
            let now = self.glob.look();
            let is_same = now.watched == watched;
            LogsFound { files, watched } = now;
            if is_same {
                break;
            }
        }
        (files, outcome)
    }

    /// Says once what keeps it from being found, or what it is too much.
    pub(super) fn say(&mut self, problem: Option<String>) {
        if let Some(problem) = problem.as_ref().filter(|problem| self.said.as_ref() != Some(*problem)) {
            tracing::warn!("{}: {}: {problem}", self.reader, self.spec.pattern);
        }
        self.said = problem;
    }

    /// When it wants to be looked for without an event.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.is_polled.then_some(self.next_poll_ms)
    }

    /// Whether it is to be looked for now, without an event.
    pub(super) fn is_due(&mut self, now_ms: u64) -> bool {
        let is_due = self.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms);
        if is_due {
            self.next_poll_ms = now_ms + POLL_MS;
        }
        is_due
    }
}
