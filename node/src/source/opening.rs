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
        let watched = watcher.watch_path(self.index, &spec.path);
        let current = match rotation::open_log(&spec.path) {
            Ok(log) => Some(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // Only now: a file that is renamed in this moment is the open one, not one that was missed.
        self.know_rotated(reading);
        let openings = match &spec.start {
            _ if spec.is_tail => at_end(current)?,
            Start::End => at_end(current)?,
            Start::Beginning => current
                .map(|log| Opening { offset: 0, replay_until: log.metadata.len(), log })
                .into_iter()
                .collect(),
            Start::Resume { from, replay_until } => {
                let mut openings = resumed(from, current);
                if let Some(replay_until) = replay_until {
                    mark_replayed(&mut openings, replay_until);
                }
                openings
            }
        };
        for Opening { log, offset, replay_until } in openings {
            self.push(log, offset, replay_until, reading, watcher)?;
        }
        watched
    }
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
    let mut newest_found = None;
    for place in &from.files {
        newest_found = None;
        let Some(log) = rotation::find(&from.path, &place.fingerprint, place.offset) else {
            tracing::warn!(
                "{}: the file that was read up to byte {} is gone, deleted or compressed; lines that were \
                 written to it since then are not read",
                from.path.display(),
                place.offset
            );
            continue;
        };
        if current.as_ref().is_some_and(|current| current.metadata.ino() == log.metadata.ino()) {
            current_offset = place.offset;
        } else if !openings.iter().any(|other| other.log.metadata.ino() == log.metadata.ino()) {
            newest_found = log.metadata.modified().ok();
            openings.push(Opening { log, offset: place.offset, replay_until: 0 });
        }
    }
    // Only when the file that was current then is a rotated one now, others may lie in between.
    if let Some(since) = newest_found {
        let between = rotation::written_since(rotation::rotated(&from.path), since, |log| {
            let fingerprints = from.files.iter().map(|place| &place.fingerprint);
            fingerprints.into_iter().any(|known| is_same(known, log))
                || current.as_ref().is_some_and(|current| current.metadata.ino() == log.metadata.ino())
        });
        openings.extend(between.into_iter().map(|log| Opening { log, offset: 0, replay_until: 0 }));
    }
    openings.extend(current.map(|log| Opening { log, offset: current_offset, replay_until: 0 }));
    openings
}

/// Files before the first one that was open at `replay_until` had been read as a whole.
fn mark_replayed(openings: &mut [Opening], replay_until: &SourceCheckpoint) {
    let offset_then = |log: &OpenLog| {
        replay_until.files.iter().find(|place| is_same(&place.fingerprint, log)).map(|place| place.offset)
    };
    let then: Vec<Option<u64>> = openings.iter().map(|opening| offset_then(&opening.log)).collect();
    let Some(first) = then.iter().position(Option::is_some) else { return };
    for (index, opening) in openings.iter_mut().enumerate() {
        opening.replay_until =
            if index < first { opening.log.metadata.len() } else { then[index].unwrap_or(0) };
    }
}
