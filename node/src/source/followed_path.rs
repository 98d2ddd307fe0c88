//! One source: a path, the file that it leads to now, and rotated files that are not finished.
//!
//! ```text
//!   path ──▶ current ──renamed, new file appears──▶ waits its turn behind the old ones ──▶ current
//!               │                                          old: read to its end, then kept open
//!               └──truncated──▶ rest of it from its copy, then from 0       │
//!                                                       deleted, or quiet for LINGER_MS ──▶ let go
//! ```
//!
//! Not for where a source begins after a start (`opening.rs`).

use super::Reading;
use super::checkpoint::{FILES_OPEN_MAX, FilePlace};
use super::fingerprint::Fingerprint;
use super::followed_file::{FollowedFile, ReadOutcome};
use super::line_splitter::LineSplitter;
use super::polling::{POLL_MS, is_on_network};
use super::rotation::{self, OpenLog};
use super::shared::SharedSource;
use super::watcher::Watcher;
use bannkreis_filter::container_lines::{self, ContainerLines, ENTRY_BYTES_MAX};
use std::fs::Metadata;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A rotated file is read on for so long after its last line: a web server that was told to reopen
/// its logs writes to the old one until its last old connection ends.
pub(super) const LINGER_MS: u64 = 10 * 60 * 1000;

/// After so many blocks another source has its turn.
const BLOCKS_PER_TURN: u32 = 16;

/// A file system's clock may be this much behind the wall clock (kernel ticks, network file systems).
const MODIFIED_SLACK: Duration = Duration::from_secs(1);

/// So many files that are not followed are remembered, so that they are not read again; twice as many
/// as are looked for, because some may have no name any more.
const KNOWN_MAX: usize = 2 * rotation::SIBLINGS_MAX;

/// A path that is followed.
pub(super) struct FollowedPath {
    pub(super) shared: Arc<SharedSource>,
    /// Oldest first; the last one is, or was last, the one under the path.
    pub(super) files: Vec<FollowedFile>,
    /// Files that were let go, and rotated parts that were there at the last look: what is unknown at
    /// the next was rotated since. At most [`KNOWN_MAX`], the latest.
    pub(super) known: Vec<Fingerprint>,
    pub(super) looked_at: SystemTime,
    /// Only wildcards lead to it, so it is over when its file is.
    pub(super) is_found: bool,
    /// No event tells what others do to it: it is looked at again and again.
    pub(super) is_polled: bool,
    /// Files that were let go since somebody asked last.
    pub(super) gone: Vec<FilePlace>,
    /// CLOCK_BOOTTIME in ms of the next look of a path that is polled.
    next_poll_ms: u64,
    /// Not all new files could be opened at once.
    look_again: bool,
    /// CLOCK_BOOTTIME in ms when a file has been quiet for long enough to be let go.
    deadline_ms: Option<u64>,
}

impl FollowedPath {
    /// A path of which nothing is open yet.
    pub(super) fn new(shared: Arc<SharedSource>, is_found: bool, is_polled: bool) -> FollowedPath {
        FollowedPath {
            is_polled: is_polled || is_on_network(&shared.path),
            shared,
            files: Vec::new(),
            known: Vec::new(),
            looked_at: SystemTime::UNIX_EPOCH,
            is_found,
            gone: Vec::new(),
            next_poll_ms: 0,
            look_again: false,
            deadline_ms: None,
        }
    }

    /// When this path wants a turn without an event.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let next_poll_ms = self.is_polled.then_some(self.next_poll_ms);
        self.deadline_ms.into_iter().chain(next_poll_ms).min()
    }

    /// Looks at a path that is polled, when its time has come.
    pub(super) fn poll(&mut self, now_ms: u64, reading: &Reading, watcher: &mut Watcher) {
        if self.is_polled && self.next_poll_ms <= now_ms {
            self.next_poll_ms = now_ms + POLL_MS;
            self.look(reading, watcher);
        }
    }

    /// Whether nothing can come from it any more: its file is gone, and only wildcards led there.
    pub(super) fn is_over(&self) -> bool {
        self.is_found && self.files.is_empty() && !self.shared.path.exists()
    }

    /// Whether one of its open files is this one.
    pub(super) fn follows(&self, metadata: &Metadata) -> bool {
        self.files.iter().any(|file| file.fingerprint.is_inode(metadata))
    }

    /// Finds out which file the path leads to now.
    pub(super) fn look(&mut self, reading: &Reading, watcher: &mut Watcher) {
        let outcome = self.try_look(reading, watcher);
        self.report(outcome);
    }

    fn try_look(&mut self, reading: &Reading, watcher: &mut Watcher) -> io::Result<()> {
        // Watch first, look then: what changes in between is an event.
        watcher.watch_path(self.shared.id, &self.shared.path)?;
        let log = match rotation::open_log(&self.shared.path) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(place) = self.files.iter().position(|file| file.fingerprint.is_inode(&log.metadata)) {
            // Usually the last one already; another one was renamed back.
            let file = self.files.remove(place);
            self.files.push(file);
            return Ok(());
        }
        let (looked_at, rotated) = (wall(reading), rotation::rotated(&self.shared.path));
        let known = fingerprints(&rotated);
        let mut missed = self.missed(rotated, &log.metadata);
        self.make_room(missed.len() + 1, watcher);
        let room = FILES_OPEN_MAX.saturating_sub(self.files.len());
        self.look_again = missed.len() + 1 > room;
        missed.truncate(room);
        for old in missed {
            self.push(old, 0, 0, reading, watcher)?;
        }
        if !self.look_again {
            self.push(log, 0, 0, reading, watcher)?;
            self.has_looked(looked_at, known);
        }
        Ok(())
    }

    /// Those of the rotated parts that were written since the last look, and that nobody has read or knew of then.
    fn missed(&self, rotated: Vec<OpenLog>, current: &Metadata) -> Vec<OpenLog> {
        let since = self.looked_at.checked_sub(MODIFIED_SLACK).unwrap_or(SystemTime::UNIX_EPOCH);
        rotation::written_since(rotated, since, |other| {
            same_inode(&other.metadata, current) || self.knows(other)
        })
    }

    /// All rotated parts that there were at that time are read, or about to be.
    fn has_looked(&mut self, at: SystemTime, known: Vec<Fingerprint>) {
        self.looked_at = at;
        for fingerprint in known {
            self.know(fingerprint);
        }
    }

    fn know(&mut self, fingerprint: Fingerprint) {
        if !self.known.contains(&fingerprint) {
            self.known.push(fingerprint);
        }
        let n_oldest = self.known.len().saturating_sub(KNOWN_MAX);
        self.known.drain(..n_oldest);
    }

    /// Remembers which rotated parts there are.
    pub(super) fn know_rotated(&mut self, reading: &Reading) {
        self.looked_at = wall(reading);
        self.known = fingerprints(&rotation::rotated(&self.shared.path));
    }

    /// Whether `log` is, or is a copy of, a file that has been read or was there before.
    fn knows(&self, log: &OpenLog) -> bool {
        let followed = self.files.iter().map(|file| &file.fingerprint);
        followed.chain(&self.known).any(|known| is_same(known, log))
    }

    /// Begins to follow an open file from `offset` on, behind all others.
    pub(super) fn push(
        &mut self,
        log: OpenLog,
        offset: u64,
        replay_until: u64,
        reading: &Reading,
        watcher: &mut Watcher,
    ) -> io::Result<()> {
        let file = self.follow(log, offset, replay_until, reading, watcher)?;
        self.files.push(file);
        Ok(())
    }

    fn follow(
        &mut self,
        log: OpenLog,
        offset: u64,
        replay_until: u64,
        reading: &Reading,
        watcher: &mut Watcher,
    ) -> io::Result<FollowedFile> {
        let fingerprint = log.fingerprint;
        let is_of_containers = container_lines::is_of_containers(&self.shared.path);
        let watch = watcher.watch_file(self.shared.id, &log.file)?;
        tracing::debug!(
            "{}: a file is followed from byte {offset} (inode {}, head of {} bytes)",
            self.shared.path.display(),
            fingerprint.inode,
            fingerprint.head_bytes
        );
        Ok(FollowedFile {
            file: log.file,
            number: self.shared.lock().table.open(fingerprint, offset),
            fingerprint,
            watch,
            consumed: offset,
            replay_until,
            drained: false,
            last_bytes_at_ms: reading.clock.boottime_ms(),
            // Unlike every other: its first look is a whole one.
            changed: (0, 0),
            splitter: if is_of_containers {
                LineSplitter::keeping(ENTRY_BYTES_MAX)
            } else {
                LineSplitter::default()
            },
            container: is_of_containers.then(ContainerLines::default),
        })
    }

    /// Reads what is there, up to a bound. True when there may be more at once.
    pub(super) fn read(&mut self, reading: &mut Reading, watcher: &mut Watcher) -> bool {
        let outcome = self.try_read(reading, watcher);
        self.let_go_of_old_files(reading, watcher);
        match outcome {
            Ok(more) if self.look_again && !more => {
                self.look(reading, watcher);
                true
            }
            Ok(more) => more,
            Err(error) => {
                self.report(Err(error));
                false
            }
        }
    }

    fn try_read(&mut self, reading: &mut Reading, watcher: &mut Watcher) -> io::Result<bool> {
        let mut more = false;
        let mut index = 0;
        while index < self.files.len() {
            let mut at_end = false;
            for _ in 0..BLOCKS_PER_TURN {
                match self.files[index].read_block(reading, &self.shared)? {
                    ReadOutcome::More => {}
                    ReadOutcome::AtEnd => {
                        at_end = true;
                        break;
                    }
                    ReadOutcome::Replaced => {
                        self.replaced(index, reading, watcher)?;
                        // The files are others now: from the first.
                        return Ok(true);
                    }
                    ReadOutcome::Begun => {
                        self.begun(index, reading, watcher)?;
                        return Ok(true);
                    }
                }
            }
            more |= !at_end;
            if !self.files[index].drained {
                // Lines of the files behind it are younger: they wait.
                break;
            }
            index += 1;
        }
        Ok(more)
    }

    /// A file was truncated. When it was copied before (logrotate's `copytruncate`), the copy has the
    /// lines that were not read in time; it is read first.
    fn replaced(&mut self, index: usize, reading: &Reading, watcher: &mut Watcher) -> io::Result<()> {
        let FollowedFile { number: before, fingerprint, consumed, .. } = self.files[index];
        self.shared.lock().table.retire(before);
        // Before its copies are looked for: when it is truncated once more, that is noticed.
        let anew = Fingerprint::of(&self.files[index].file)?;
        let copy = rotation::find(&self.shared.path, &fingerprint, consumed);
        let copy = copy.filter(|copy| !self.follows(&copy.metadata)).map(|copy| (copy, consumed));
        // Its copy has the same head: whatever becomes of it, it is read now or was read already.
        self.know(fingerprint);
        self.read_before(index, copy, reading, watcher)?;
        if let Some(file) = self.files.iter_mut().find(|file| file.number == before) {
            let number = self.shared.lock().table.open(anew, 0);
            file.begin_anew(number, anew);
        }
        Ok(())
    }

    /// A file has enough bytes to be known again. Before it had, it may have been copied and truncated unnoticed.
    fn begun(&mut self, index: usize, reading: &mut Reading, watcher: &mut Watcher) -> io::Result<()> {
        let number = self.files[index].number;
        let anew = Fingerprint::of(&self.files[index].file)?;
        self.read_before(index, None, reading, watcher)?;
        if let Some(file) = self.files.iter_mut().find(|file| file.number == number) {
            file.fingerprint = anew;
            self.shared.lock().table.improve(number, anew);
            reading.sink.place_known_better(self.shared.id);
        }
        Ok(())
    }

    /// Reads before a file its copy from some offset on, and all rotated parts that were missed: it may have been copied
    /// and truncated more than once.
    fn read_before(
        &mut self,
        index: usize,
        copy: Option<(OpenLog, u64)>,
        reading: &Reading,
        watcher: &mut Watcher,
    ) -> io::Result<()> {
        let (number, current) = (self.files[index].number, self.files[index].file.metadata()?);
        let (looked_at, rotated) = (wall(reading), rotation::rotated(&self.shared.path));
        let known = fingerprints(&rotated);
        let missed = self.missed(rotated, &current).into_iter().map(|part| (part, 0));
        let parts: Vec<(OpenLog, u64)> = copy.into_iter().chain(missed).collect();
        self.make_room(parts.len(), watcher);
        // Those that are not finished may be too many by now: nobody finds a copy later.
        let place = self.files.iter().position(|file| file.number == number).unwrap_or(self.files.len());
        for (n, (part, offset)) in parts.into_iter().enumerate() {
            let part = self.follow(part, offset, 0, reading, watcher)?;
            self.files.insert(place + n, part);
        }
        self.has_looked(looked_at, known);
        Ok(())
    }

    /// Lets the oldest finished files go when `n_new` more would be too many.
    fn make_room(&mut self, n_new: usize, watcher: &mut Watcher) {
        // It may have grown since it was read to its end.
        while self.files.len() + n_new > FILES_OPEN_MAX
            && self.files.first().is_some_and(FollowedFile::is_finished)
        {
            self.let_go(0, watcher);
        }
    }

    fn let_go_of_old_files(&mut self, reading: &Reading, watcher: &mut Watcher) {
        self.deadline_ms = None;
        let now_ms = reading.clock.boottime_ms();
        let mut index = 0;
        while index < self.files.len() {
            let file = &self.files[index];
            let is_last = index + 1 == self.files.len();
            let is_deleted = file.is_deleted();
            if (is_last && !is_deleted) || !file.is_finished() {
                index += 1;
                continue;
            }
            let quiet_at_ms = file.last_bytes_at_ms + LINGER_MS;
            if (is_deleted && !is_last) || quiet_at_ms <= now_ms {
                self.let_go(index, watcher);
            } else {
                self.deadline_ms = Some(self.deadline_ms.map_or(quiet_at_ms, |other| other.min(quiet_at_ms)));
                index += 1;
            }
        }
    }

    fn let_go(&mut self, index: usize, watcher: &mut Watcher) {
        let file = self.files.remove(index);
        self.gone.push(FilePlace { fingerprint: file.fingerprint, offset: file.consumed });
        self.shared.lock().table.retire(file.number);
        self.know(file.fingerprint);
        watcher.forget_file(self.shared.id, &file.watch);
    }

    /// Remembers what keeps the source from being read, and says it once.
    pub(super) fn report(&self, outcome: io::Result<()>) {
        let error = outcome.err().map(|error| described(&error));
        let mut state = self.shared.lock();
        if state.error != error {
            let (reader, path) = (&self.shared.reader, self.shared.path.display());
            match &error {
                Some(error) => tracing::warn!("{reader} can not read {path}: {error}"),
                None => tracing::info!("{path} can be read again"),
            }
            state.error = error;
        }
    }
}

fn wall(reading: &Reading) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(reading.clock.wall().0)
}

fn fingerprints(logs: &[OpenLog]) -> Vec<Fingerprint> {
    logs.iter().map(|log| log.fingerprint).collect()
}

/// Whether an open file is the one that `known` was made of, or a copy of it.
pub(super) fn is_same(known: &Fingerprint, log: &OpenLog) -> bool {
    use std::os::unix::fs::MetadataExt;
    (known.inode == log.metadata.ino() || known.is_telling()) && known.is_head_of(&log.file).unwrap_or(false)
}

fn same_inode(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    a.dev() == b.dev() && a.ino() == b.ino()
}

/// What is wrong, and what to do about it.
pub(super) fn described(error: &io::Error) -> String {
    let remedy = match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::PermissionDenied, _) => {
            "run bannkreisd as root, or give its user read access, for example by the group adm"
        }
        (_, Some(libc::ENOSPC)) => {
            "the limit of inotify watches is reached: raise the sysctl fs.inotify.max_user_watches"
        }
        (_, Some(libc::EMFILE | libc::ENFILE)) => "the limit of open files is reached: raise LimitNOFILE",
        _ => return error.to_string(),
    };
    format!("{error}; {remedy}")
}
