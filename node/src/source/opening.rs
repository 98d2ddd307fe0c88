//! Where a source begins when the daemon starts: at the end, at the beginning, or where an earlier
//! process stopped, whatever has become of its files since.
//!
//! Not for what happens to the files later (`followed_path.rs`).

use super::checkpoint::SourceCheckpoint;
use super::followed_file::unfinished_line_start;
use super::followed_path::{FollowedPath, is_same};
use super::rotation::{self, OpenLog};
use super::watcher::Watcher;
use super::{Reading, SourceSpec, Start};
use std::io;
use std::os::unix::fs::MetadataExt;

/// A file that is to be read, and from where.
struct Opening {
    log: OpenLog,
    offset: u64,
    replay_until: u64,
}

impl FollowedPath {
    /// Opens the files that the source begins with.
    pub(super) fn open(&mut self, spec: &SourceSpec, reading: &Reading, watcher: &mut Watcher) {
        let outcome = self.try_open(spec, reading, watcher);
        self.report(outcome);
    }

    fn try_open(&mut self, spec: &SourceSpec, reading: &Reading, watcher: &mut Watcher) -> io::Result<()> {
        // Watch first, look then: what changes in between is an event.
        let watched = watcher.watch_path(self.shared.id, &spec.path);
        let current = match rotation::open_log(&spec.path) {
            Ok(log) => Some(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // Only now: a file that is renamed in this moment is the open one, not one that was missed.
        self.know_rotated(reading);
        let openings = match &spec.start {
            Start::End => at_end(current)?,
            Start::Beginning => current.map(|log| replayed(log, 0)).into_iter().collect(),
            Start::Resume(from) => resumed(from, current),
            Start::At(offset) => current.map(|log| replayed(log, *offset)).into_iter().collect(),
        };
        for Opening { log, offset, replay_until } in openings {
            self.push(log, offset, replay_until, reading, watcher)?;
        }
        watched
    }
}

/// The lines that are in the file now are replayed.
fn replayed(log: OpenLog, offset: u64) -> Opening {
    Opening { offset, replay_until: log.metadata.len(), log }
}

fn at_end(current: Option<OpenLog>) -> io::Result<Vec<Opening>> {
    let Some(log) = current else { return Ok(Vec::new()) };
    let offset = unfinished_line_start(&log.file, log.metadata.len())?;
    Ok(vec![Opening { log, offset, replay_until: 0 }])
}

/// The rests of all files that were open at `from`, then the files that were rotated away since
/// then, then the one that is current now.
fn resumed(from: &SourceCheckpoint, current: Option<OpenLog>) -> Vec<Opening> {
    let mut openings: Vec<Opening> = Vec::new();
    let mut current_offset = 0;
    let mut others_since = None;
    for place in &from.files {
        let Some(log) = rotation::find(&from.path, &place.fingerprint, place.offset) else {
            tracing::warn!(
                "{}: the file that was read up to byte {} is gone, deleted or compressed; lines that were \
                 written to it since then are not read",
                from.path.display(),
                place.offset
            );
            continue;
        };
        let is_current = current.as_ref().is_some_and(|current| current.metadata.ino() == log.metadata.ino());
        // A file of which hardly a line was there may have been copied and truncated any number of times since it
        // was made. Of others only one that was current then and is a rotated one now has younger ones beside it.
        others_since = match (place.fingerprint.is_telling(), is_current) {
            (false, _) => log.metadata.created().ok(),
            (true, false) => log.metadata.modified().ok(),
            (true, true) => None,
        };
        if is_current {
            current_offset = place.offset;
        } else if !openings.iter().any(|other| other.log.metadata.ino() == log.metadata.ino()) {
            openings.push(replayed(log, place.offset));
        }
    }
    if let Some(since) = others_since {
        let between = rotation::written_since(rotation::rotated(&from.path), since, |log| {
            let fingerprints = from.files.iter().map(|place| &place.fingerprint);
            fingerprints.into_iter().any(|known| is_same(known, log))
                || current.as_ref().is_some_and(|current| current.metadata.ino() == log.metadata.ino())
        });
        openings.extend(between.into_iter().map(|log| replayed(log, 0)));
    }
    openings.extend(current.map(|log| replayed(log, current_offset)));
    openings
}
