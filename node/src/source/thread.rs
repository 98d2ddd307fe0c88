//! The thread `source`, and the handle by which the rest of the daemon sees it.
//!
//! Started when all files are open; ended by [`FileSourcesHandle::stop`], which waits for it. It has
//! no queue: a line is handed over in the call that found it.

use super::checkpoint::FilePlace;
use super::followed_log::FollowedLog;
use super::followed_path::{FollowedPath, described, is_same};
use super::rotation::{self, OpenLog};
use super::shared::SharedSource;
use super::watcher::{Changes, Watcher};
use super::{Beginnings, LogSpec, Reading, SourceCheckpoint, SourceSpec, SourceStatus, Start};
use crate::borders::{Clock, LineSink};
use bannkreis_core::failure::{LogId, SourceId, SourcePosition};
use bannkreis_filter::this_host::log_glob::without_rotated;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// A node follows so many files; of what wildcards name beyond that, those written to last are followed. Each takes an
/// open file and a watch.
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
type SharedSources = Arc<Mutex<Vec<Arc<SharedSource>>>>;

/// The logs that are followed.
pub struct FileSources {
    logs: Vec<FollowedLog>,
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

impl FileSources {
    /// Opens all files here and now, then reads them on a thread of its own until the handle is
    /// stopped or dropped. A file that can not be opened is no error: its status says why, and it is
    /// tried again when it changes. The sink is told of each source, and then gets one `end_of_batch` for it with
    /// the position it begins at.
    ///
    /// # Errors
    /// When files can not be watched at all, or are too many.
    pub fn start(
        logs: Vec<LogSpec>,
        beginnings: Beginnings,
        sink: Box<dyn LineSink>,
        clock: Arc<dyn Clock>,
    ) -> Result<FileSourcesHandle, SourceError> {
        let (stop, stopped) = UnixStream::pair().map_err(SourceError::Inotify)?;
        let logs: Vec<FollowedLog> =
            (0..).zip(logs).map(|(id, spec)| FollowedLog::new(LogId(id), spec)).collect();
        let n_sources = logs.iter().filter(|log| !log.has_wildcards()).count();
        if n_sources > SOURCES_MAX {
            return Err(SourceError::TooMany { n_sources });
        }
        let mut sources = FileSources {
            logs,
            paths: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_id: 0,
            beginnings,
            gone: VecDeque::new(),
            shared: SharedSources::default(),
            watcher: Watcher::new(stopped).map_err(SourceError::Inotify)?,
            reading: Reading::new(sink, clock),
        };
        // Paths that are named come first: wildcards get what room is left.
        for with_wildcards in [false, true] {
            for place in 0..sources.logs.len() {
                if sources.logs[place].has_wildcards() == with_wildcards {
                    sources.look_for(place, true);
                }
            }
        }
        let new_patterns = sources
            .logs
            .iter()
            .filter(|log| log.has_wildcards())
            .map(|log| PathBuf::from(&log.spec.pattern))
            .filter(|pattern| !sources.beginnings.kept.contains_key(pattern))
            .collect();
        // Whatever appears from now on is new.
        sources.beginnings.kept.clear();
        let shared = Arc::clone(&sources.shared);
        let thread = thread::Builder::new()
            .name("source".into())
            .spawn(move || sources.run())
            .map_err(SourceError::Thread)?;
        Ok(FileSourcesHandle { shared, new_patterns, stop: Some(stop), thread: Some(thread) })
    }

    fn run(mut self) {
        let mut ready: BTreeSet<SourceId> = self.paths.keys().copied().collect();
        for path in self.paths.values() {
            self.reading.sink.end_of_batch(path.shared.id, path.shared.end());
        }
        loop {
            let timeout_ms = if ready.is_empty() { self.until_deadline_ms() } else { Some(0) };
            let changes = match self.watcher.wait(timeout_ms) {
                Ok(changes) => changes,
                Err(error) => return self.give_up(&error),
            };
            if changes.stop {
                return;
            }
            self.take_note(changes, &mut ready);
            ready.retain(|id| {
                self.paths.get_mut(id).is_some_and(|path| path.read(&mut self.reading, &mut self.watcher))
            });
            if self.let_go_of_paths() {
                // A file that was somebody's rotated part may be a log by itself now.
                let all = (0..self.logs.len()).filter(|&place| self.logs[place].has_wildcards());
                for place in all.collect::<Vec<usize>>() {
                    ready.extend(self.look_for(place, false));
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
            ready.extend(self.look_for(log.0 as usize, false));
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
        for place in 0..self.logs.len() {
            if self.logs[place].is_due(now_ms) {
                ready.extend(self.look_for(place, false));
            }
        }
    }

    /// Follows the files that a log leads to and that are not followed yet. Gives their sources.
    fn look_for(&mut self, place: usize, is_first: bool) -> Vec<SourceId> {
        let log = &self.logs[place];
        let (log_id, is_found) = (log.id, log.has_wildcards());
        let (mut found, outcome) = log.look(&mut self.watcher);
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
        if n_new > room && is_found {
            problem = Some(format!(
                "of its files, {} are not read: {SOURCES_MAX} are the most that are followed, and those written to \
                 last go first; narrow the wildcards, or remove old files",
                n_new - room
            ));
            new.sort_by_key(|path| path.metadata().and_then(|facts| facts.modified()).ok());
            new.drain(..n_new - room);
        }
        self.logs[place].say(problem);
        new.into_iter().filter_map(|path| self.follow(place, path, is_found, is_first)).collect()
    }

    /// Begins to follow one file; `None` when its log reads it already, under another name.
    fn follow(&mut self, place: usize, path: PathBuf, is_found: bool, is_first: bool) -> Option<SourceId> {
        let log = &self.logs[place];
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
            Some(open) => match self.gone.iter().rev().find(|known| is_same(&known.fingerprint, open)) {
                Some(known) => Start::At(known.offset),
                None => Start::Beginning,
            },
            None => Start::Beginning,
        };
        let id = SourceId(self.next_id);
        self.next_id += 1;
        let spec = SourceSpec { id, log: log.id, path, reader: log.spec.reader.clone(), start };
        let shared = Arc::new(SharedSource::new(&spec));
        let mut path = FollowedPath::new(Arc::clone(&shared), is_found, log.spec.is_polled);
        self.reading.sink.open(id, &[log.id]);
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
            lock(&self.shared).retain(|shared| shared.id != id);
            self.reading.sink.close(id);
        }
        true
    }

    fn until_deadline_ms(&self) -> Option<u64> {
        let of_paths = self.paths.values().filter_map(FollowedPath::deadline_ms);
        let of_logs = self.logs.iter().filter_map(FollowedLog::deadline_ms);
        let first = of_paths.chain(of_logs).min()?;
        Some(first.saturating_sub(self.reading.clock.boottime_ms()))
    }

    /// Without events no log is read any more: every source says so.
    fn give_up(&self, error: &io::Error) {
        tracing::error!("log files are not read any more: {error}; restart bannkreisd");
        for path in self.paths.values() {
            path.shared.lock().error = Some(format!("it is not read any more: {error}; restart bannkreisd"));
        }
    }
}

/// Nothing panics while holding the lock, so a poisoned one still holds true values.
fn lock(shared: &SharedSources) -> MutexGuard<'_, Vec<Arc<SharedSource>>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running sources, for every other thread. Dropping it ends them without waiting.
pub struct FileSourcesHandle {
    shared: SharedSources,
    /// Wildcards that no earlier process has looked for.
    new_patterns: Vec<PathBuf>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl FileSourcesHandle {
    /// What to store so that a later process begins with the line at `position`. `None` when the
    /// source is unknown, or the position so old that it is forgotten: what is stored stays then.
    #[must_use]
    pub fn checkpoint(&self, source: SourceId, position: SourcePosition) -> Option<SourceCheckpoint> {
        let shared = lock(&self.shared).iter().find(|shared| shared.id == source).map(Arc::clone)?;
        shared.lock().table.checkpoint(&shared.path, position)
    }

    /// What to store of what no earlier process has read: where its sources begin, and which wildcards were looked for.
    #[must_use]
    pub fn beginnings(&self) -> Vec<SourceCheckpoint> {
        let patterns = self.new_patterns.iter().map(|pattern| SourceCheckpoint {
            path: pattern.clone(),
            position: SourcePosition(0),
            files: Vec::new(),
        });
        let sources = lock(&self.shared).clone();
        let of_source =
            |shared: &Arc<SharedSource>| shared.lock().table.checkpoint(&shared.path, shared.beginning?);
        patterns.chain(sources.iter().filter_map(of_source)).collect()
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
