//! The thread `source`, and the handle by which the rest of the daemon sees it.
//!
//! Started when all files are open; ended by [`SourcesHandle::stop`], which waits for it. It has
//! no queue: a line is handed over in the call that found it.

use super::checkpoint::FilePlace;
use super::followed_log::FollowedLog;
use super::followed_path::{FollowedPath, described};
use super::journal::FollowedJournal;
use super::rotation::{self, OpenLog};
use super::shared::{SharedSource, Source};
use super::syslog::{FollowedSyslog, SyslogPlan, Trust};
use super::watcher::{Changes, Watcher};
use super::{
    Beginnings, LogKind, LogSpec, Reading, SourceCheckpoint, SourceSpec, SourceStatus, Start, StoredPlace,
};
use crate::borders::{Clock, LineSink};
use bannkreis_core::failure::{LogId, SourceId, SourcePosition};
use bannkreis_filter::journal::Journal;
use bannkreis_filter::journal_match::JournalMatch;
use bannkreis_filter::syslog_path::SyslogPath;
use bannkreis_filter::this_host::log_glob::without_rotated;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// A node follows so many files; of what wildcards name beyond that when they are looked for, those written to last. What
/// comes later waits until others are gone. Each takes an open file and a watch.
pub const SOURCES_MAX: usize = 4096;

/// So many files are remembered that are not followed any more, so that none is read twice when it gets another name.
const GONE_MAX: usize = 4096;

/// Why the sources can not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// More than [`SOURCES_MAX`].
    #[error(
        "{n_sources} log files are to be followed, but {SOURCES_MAX} are the most; enable fewer jails, or \
         remove paths from their logpath"
    )]
    TooMany {
        /// How many.
        n_sources: usize,
    },
    /// inotify(7) is not to be had.
    #[error(
        "log files can not be watched: {0}; if the limit is reached, raise the sysctl \
         fs.inotify.max_user_instances"
    )]
    Inotify(io::Error),
    /// The thread can not be started.
    #[error(
        "the thread that reads log files can not be started: {0}; raise the limit of threads (LimitNPROC)"
    )]
    Thread(io::Error),
}

/// The sources as every thread sees them.
type SharedSources = Arc<Mutex<Vec<Arc<dyn Source>>>>;

/// The logs that are followed.
pub struct Sources {
    /// Those that are files.
    logs: BTreeMap<LogId, FollowedLog>,
    journals: Vec<FollowedJournal>,
    syslog: Option<FollowedSyslog>,
    paths: BTreeMap<SourceId, FollowedPath>,
    /// The same by their paths.
    ids: BTreeMap<PathBuf, SourceId>,
    next_id: u32,
    beginnings: Beginnings,
    /// Files that were read and let go, the latest [`GONE_MAX`].
    gone: VecDeque<FilePlace>,
    shared: SharedSources,
    watcher: Watcher,
    reading: Reading,
}

impl Sources {
    /// Opens all files here and now, then reads them on a thread of its own until the handle is
    /// stopped or dropped. A file that can not be opened is no error: its status says why, and it is
    /// tried again when it changes. The sink is told of each source, and then gets one `end_of_batch` for it with
    /// the position it begins at.
    ///
    /// # Errors
    /// When files can not be watched at all, or are too many.
    pub fn start(
        logs: Vec<LogSpec>,
        syslog: SyslogPlan,
        beginnings: Beginnings,
        sink: Box<dyn LineSink>,
        clock: Arc<dyn Clock>,
    ) -> Result<SourcesHandle, SourceError> {
        let (stop, stopped) = UnixStream::pair().map_err(SourceError::Inotify)?;
        let mut sources = Sources {
            logs: BTreeMap::new(),
            journals: Vec::new(),
            syslog: syslog.is_on().then(|| FollowedSyslog::new(syslog)),
            paths: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_id: 0,
            beginnings,
            gone: VecDeque::new(),
            shared: SharedSources::default(),
            watcher: Watcher::new(stopped).map_err(SourceError::Inotify)?,
            reading: Reading::new(sink, clock),
        };
        for (id, LogSpec { kind, reader }) in (0..).map(LogId).zip(logs) {
            match kind {
                LogKind::Files(files) => {
                    sources.logs.insert(id, FollowedLog::new(id, files, reader));
                }
                LogKind::Journal(journal, matches) => sources.follow_journal(id, journal, matches, reader),
                LogKind::Syslog(path, trust) => sources.follow_syslog(id, path, trust),
            }
        }
        let with_wildcards = |sources: &Sources, has: bool| -> Vec<LogId> {
            sources.logs.values().filter(|log| log.has_wildcards() == has).map(|log| log.id).collect()
        };
        let (named, patterns) = (with_wildcards(&sources, false), with_wildcards(&sources, true));
        if named.len() > SOURCES_MAX {
            return Err(SourceError::TooMany { n_sources: named.len() });
        }
        // Paths that are named come first: wildcards get what room is left.
        for id in named.iter().chain(&patterns) {
            sources.look_for(*id, true);
        }
        let new_patterns = patterns
            .iter()
            .map(|id| PathBuf::from(&sources.logs[id].spec.pattern))
            .filter(|pattern| !sources.beginnings.kept.contains_key(pattern))
            .collect();
        // Whatever appears from now on is new.
        sources.beginnings.kept.clear();
        let shared = Arc::clone(&sources.shared);
        let thread = thread::Builder::new()
            .name("source".into())
            .spawn(move || sources.run())
            .map_err(SourceError::Thread)?;
        Ok(SourcesHandle { shared, new_patterns, stop: Some(stop), thread: Some(thread) })
    }

    fn run(mut self) {
        let mut ready: BTreeSet<SourceId> = self.paths.keys().copied().collect();
        let sources = lock(&self.shared).clone();
        for source in &sources {
            self.reading.sink.end_of_batch(source.id(), source.status().position);
        }
        let mut are_others_ready = true;
        loop {
            let is_busy = are_others_ready || !ready.is_empty();
            let timeout_ms = if is_busy { Some(0) } else { self.until_deadline_ms() };
            let of_journals = self.journals.iter().flat_map(FollowedJournal::fds);
            let of_syslog = self.syslog.iter().flat_map(FollowedSyslog::fds);
            let fds: Vec<RawFd> = of_journals.chain(of_syslog).collect();
            let changes = match self.watcher.wait(timeout_ms, &fds) {
                Ok(changes) => changes,
                Err(error) => return self.give_up(&error),
            };
            if changes.stop {
                return;
            }
            are_others_ready = self.read_journals(&changes.ready);
            if let Some(syslog) = &mut self.syslog {
                are_others_ready |= syslog.read(&changes.ready, &mut self.reading);
            }
            self.take_note(changes, &mut ready);
            ready.retain(|id| {
                self.paths.get_mut(id).is_some_and(|path| path.read(&mut self.reading, &mut self.watcher))
            });
            if self.let_go_of_paths() {
                // A file that was somebody's rotated part may be a log by itself now.
                let all = self.logs.values().filter(|log| log.has_wildcards()).map(|log| log.id);
                for id in all.collect::<Vec<LogId>>() {
                    ready.extend(self.look_for(id, false));
                }
            }
        }
    }

    /// Looks at what has changed, and at what has to be looked at without an event.
    fn take_note(&mut self, changes: Changes, ready: &mut BTreeSet<SourceId>) {
        for id in &changes.look {
            if let Some(path) = self.paths.get_mut(id) {
                path.look(&self.reading, &mut self.watcher);
            }
        }
        ready.extend(changes.look);
        ready.extend(changes.read);
        for log in changes.logs {
            // Paths first: a file that was renamed is still theirs.
            ready.extend(self.look_for(log, false));
        }
        if self.until_deadline_ms() != Some(0) {
            return;
        }
        let now_ms = self.reading.clock.boottime_ms();
        for (id, path) in &mut self.paths {
            if path.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
                path.poll(now_ms, &self.reading, &mut self.watcher);
                ready.insert(*id);
            }
        }
        let due: Vec<LogId> =
            self.logs.values_mut().filter_map(|log| log.is_due(now_ms).then_some(log.id)).collect();
        for id in due {
            ready.extend(self.look_for(id, false));
        }
    }

    /// Reads the journals that have something, or whose time has come. True when there may be more at once.
    fn read_journals(&mut self, ready: &BTreeSet<RawFd>) -> bool {
        let now_ms = self.reading.clock.boottime_ms();
        let mut is_more = false;
        for journal in &mut self.journals {
            let is_due = journal.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms);
            if is_due || journal.fds().iter().any(|fd| ready.contains(fd)) {
                is_more |= journal.read(&mut self.reading);
            }
        }
        is_more
    }

    fn follow_journal(&mut self, log: LogId, journal: Journal, matches: JournalMatch, reader: String) {
        let place = self.journals.iter().position(|known| known.is(&journal)).unwrap_or_else(|| {
            self.journals.push(FollowedJournal::new(journal, reader, self.reading.clock.wall()));
            self.journals.len() - 1
        });
        let id = self.next_id();
        let shared = self.journals[place].add((id, log), matches, &self.beginnings);
        self.reading.sink.open(id, &[log]);
        lock(&self.shared).push(shared);
    }

    fn follow_syslog(&mut self, log: LogId, path: SyslogPath, trust: Trust) {
        let id = self.next_id();
        // That nobody can send any was said when the jails were read.
        let Some(syslog) = &mut self.syslog else { return };
        let shared = syslog.add((id, log), path, trust);
        self.reading.sink.open(id, &[log]);
        if trust == Trust::Low {
            self.reading.sink.low_trust(id);
        }
        lock(&self.shared).push(shared);
    }

    fn next_id(&mut self) -> SourceId {
        self.next_id += 1;
        SourceId(self.next_id - 1)
    }

    /// Follows the files that a log leads to and that are not followed yet. Gives their sources.
    fn look_for(&mut self, log_id: LogId, is_first: bool) -> Vec<SourceId> {
        let Some(log) = self.logs.get(&log_id) else { return Vec::new() };
        let is_found = log.has_wildcards();
        let (mut found, outcome) = log.look(&mut self.watcher);
        let n_found = found.len();
        found.retain(|path| !self.is_of_low_trust(path));
        let is_left_out = found.len() < n_found && !is_found;
        if is_found {
            let is_log = |path: &Path| self.beginnings.kept.contains_key(path) || self.ids.contains_key(path);
            found = without_rotated(&found, is_log);
        }
        let mut new = Vec::new();
        for path in found {
            match self.ids.get(&path).and_then(|id| self.paths.get_mut(id)) {
                Some(known) if known.shared.is_of(log_id) => {}
                Some(known) => {
                    known.is_found &= is_found;
                    known.shared.lock().logs.push(log_id);
                    self.reading.sink.open(known.shared.id, &[log_id]);
                }
                None => new.push(path),
            }
        }
        let room = SOURCES_MAX.saturating_sub(self.paths.len());
        let n_new = new.len();
        let mut problem = outcome.err().map(|error| described(&error));
        if is_left_out {
            problem =
                Some("anybody may have sent what is saved there; name `syslog://` in its place".to_owned());
        }
        if n_new > room && is_found {
            problem = Some(format!(
                "of its files, {} are not read until others are gone: {SOURCES_MAX} are the most that are followed; \
                 narrow the wildcards, or remove old files",
                n_new - room
            ));
            new.sort_by_key(|path| path.metadata().and_then(|facts| facts.modified()).ok());
            new.drain(..n_new - room);
        }
        if let Some(log) = self.logs.get_mut(&log_id) {
            log.say(problem);
        }
        new.into_iter().filter_map(|path| self.follow(log_id, path, is_found, is_first)).collect()
    }

    /// Whether messages of low trust are saved to a file, or were.
    fn is_of_low_trust(&self, path: &Path) -> bool {
        let saved = self.syslog.as_ref().and_then(FollowedSyslog::saved_low_trust);
        saved.is_some_and(|saved| {
            let part = path.to_str().and_then(|path| path.strip_prefix(saved.to_str()?));
            part.is_some_and(|part| part.is_empty() || part.starts_with('.'))
        })
    }

    /// Begins to follow one file; `None` when its log reads it already, under another name.
    fn follow(&mut self, log: LogId, path: PathBuf, is_found: bool, is_first: bool) -> Option<SourceId> {
        let log = self.logs.get(&log)?;
        let open = if is_found { rotation::open_log(&path).ok() } else { None };
        let is_read = |open: &OpenLog| {
            self.paths.values().any(|known| known.shared.is_of(log.id) && known.follows(&open.metadata))
        };
        if open.as_ref().is_some_and(is_read) {
            return None;
        }
        let start = match &open {
            _ if is_first => self.beginnings.of(&path, &log.spec),
            // Under the name that it had before, it was read up to there.
            Some(open) => match self.gone.iter().rev().find(|known| known.is_in(open)) {
                Some(known) => Start::At(known.offset),
                None => Start::Beginning,
            },
            None => Start::Beginning,
        };
        let (log, reader, is_polled) = (log.id, log.reader.clone(), log.spec.is_polled);
        let id = self.next_id();
        let spec = SourceSpec { id, log, path, reader, start };
        let shared = Arc::new(SharedSource::new(&spec));
        let mut path = FollowedPath::new(Arc::clone(&shared), is_found, is_polled);
        self.reading.sink.open(id, &[log]);
        path.open(&spec, &self.reading, &mut self.watcher);
        lock(&self.shared).push(shared);
        if !is_first {
            self.reading.sink.end_of_batch(id, path.shared.end());
        }
        self.ids.insert(spec.path, id);
        self.paths.insert(id, path);
        Some(id)
    }

    /// Remembers the files that were let go, and lets paths go to which nothing leads any more. Says whether there
    /// were any.
    fn let_go_of_paths(&mut self) -> bool {
        let gone: Vec<FilePlace> =
            self.paths.values_mut().flat_map(|path| std::mem::take(&mut path.gone)).collect();
        if gone.is_empty() {
            return false;
        }
        self.gone.extend(gone);
        let n_oldest = self.gone.len().saturating_sub(GONE_MAX);
        self.gone.drain(..n_oldest);
        let over = |(id, path): (&SourceId, &FollowedPath)| path.is_over().then_some(*id);
        for id in self.paths.iter().filter_map(over).collect::<Vec<SourceId>>() {
            if let Some(path) = self.paths.remove(&id) {
                self.ids.remove(&path.shared.path);
            }
            self.watcher.forget_source(id);
            lock(&self.shared).retain(|shared| shared.id() != id);
            self.reading.sink.close(id);
        }
        true
    }

    fn until_deadline_ms(&self) -> Option<u64> {
        let of_paths = self.paths.values().filter_map(FollowedPath::deadline_ms);
        let of_logs = self.logs.values().filter_map(FollowedLog::deadline_ms);
        let of_journals = self.journals.iter().filter_map(FollowedJournal::deadline_ms);
        let of_syslog = self.syslog.iter().filter_map(FollowedSyslog::deadline_ms);
        let first = of_paths.chain(of_logs).chain(of_journals).chain(of_syslog).min()?;
        Some(first.saturating_sub(self.reading.clock.boottime_ms()))
    }

    /// Without events no log is read any more: every source says so.
    fn give_up(&self, error: &io::Error) {
        tracing::error!("log files are not read any more: {error}; restart bannkreisd");
        for source in lock(&self.shared).iter() {
            source.give_up(&format!("it is not read any more: {error}; restart bannkreisd"));
        }
    }
}

/// Nothing panics while holding the lock, so a poisoned one still holds true values.
fn lock(shared: &SharedSources) -> MutexGuard<'_, Vec<Arc<dyn Source>>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running sources, for every other thread. Dropping it ends them without waiting.
pub struct SourcesHandle {
    shared: SharedSources,
    /// Wildcards that no earlier process has looked for.
    new_patterns: Vec<PathBuf>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl SourcesHandle {
    /// What to store so that a later process begins with the line at `position`. `None` when the
    /// source is unknown, or the position so old that it is forgotten: what is stored stays then.
    #[must_use]
    pub fn stored_at(&self, source: SourceId, position: SourcePosition) -> Option<StoredPlace> {
        let shared = lock(&self.shared).iter().find(|shared| shared.id() == source).map(Arc::clone)?;
        shared.stored_at(position)
    }

    /// What to store of what no earlier process has read: where its sources begin, and which wildcards were looked for.
    #[must_use]
    pub fn beginnings(&self) -> Vec<StoredPlace> {
        let nowhere = |pattern: &PathBuf| SourceCheckpoint {
            path: pattern.clone(),
            position: SourcePosition(0),
            files: Vec::new(),
        };
        let patterns = self.new_patterns.iter().map(|pattern| nowhere(pattern).stored());
        let sources = lock(&self.shared).clone();
        patterns.chain(sources.iter().filter_map(|source| source.beginning())).collect()
    }

    /// How each source is doing, in the order in which they were found.
    #[must_use]
    pub fn status(&self) -> Vec<SourceStatus> {
        let shared = lock(&self.shared).clone();
        shared.iter().map(|shared| shared.status()).collect()
    }

    /// Ends the thread after the block it is reading, waits for it, and drops the sink.
    pub fn stop(mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads log files had panicked; please report this");
        }
    }
}
