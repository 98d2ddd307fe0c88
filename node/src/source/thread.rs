//! The thread `source`, and the handle by which the rest of the daemon sees it.
//!
//! Started when all files are open; ended by [`FileSourcesHandle::stop`], which waits for it. It has
//! no queue: a line is handed over in the call that found it.

use super::followed_path::FollowedPath;
use super::shared::SharedSource;
use super::watcher::Watcher;
use super::{Reading, SourceCheckpoint, SourceSpec, SourceStatus, Start};
use crate::borders::{Clock, LineSink};
use bannkreis_core::failure::{SourceId, SourcePosition};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A node follows so many files; with more it does not start. Each takes an open file and a watch.
pub const SOURCES_MAX: usize = 1024;

/// Why the sources can not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// More than [`SOURCES_MAX`].
    #[error(
        "{n_sources} log files are to be followed, but {SOURCES_MAX} are the most; enable fewer jails, or \
         narrow the wildcards in their logpath"
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

/// The files that are followed.
pub struct FileSources {
    paths: Vec<FollowedPath>,
    watcher: Watcher,
    reading: Reading,
}

impl FileSources {
    /// Opens all files here and now, then reads them on a thread of its own until the handle is
    /// stopped or dropped. A file that can not be opened is no error: its status says why, and it is
    /// tried again when it changes. The first call to the sink is one `end_of_batch` per source with
    /// the position it begins at.
    ///
    /// # Errors
    /// When files can not be watched at all, or are too many.
    pub fn start(
        specs: Vec<SourceSpec>,
        sink: Box<dyn LineSink>,
        clock: Arc<dyn Clock>,
    ) -> Result<FileSourcesHandle, SourceError> {
        if specs.len() > SOURCES_MAX {
            return Err(SourceError::TooMany { n_sources: specs.len() });
        }
        let (stop, stopped) = UnixStream::pair().map_err(SourceError::Inotify)?;
        let mut watcher = Watcher::new(stopped).map_err(SourceError::Inotify)?;
        let reading = Reading::new(sink, clock);
        let paths: Vec<FollowedPath> = specs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| {
                let shared = SharedSource::new(&spec, start_position(&spec));
                let mut path = FollowedPath::new(index, Arc::new(shared));
                path.open(&spec, &reading, &mut watcher);
                path
            })
            .collect();
        let shared = paths.iter().map(|path| Arc::clone(&path.shared)).collect();
        let sources = FileSources { paths, watcher, reading };
        let thread = thread::Builder::new()
            .name("source".into())
            .spawn(move || sources.run())
            .map_err(SourceError::Thread)?;
        Ok(FileSourcesHandle { shared, stop: Some(stop), thread: Some(thread) })
    }

    fn run(mut self) {
        for path in &self.paths {
            let position = path.shared.lock().table.end();
            self.reading.sink.end_of_batch(path.shared.id, position);
        }
        let mut ready: BTreeSet<usize> = (0..self.paths.len()).collect();
        loop {
            let timeout_ms = if ready.is_empty() { self.until_deadline_ms() } else { Some(0) };
            let changes = match self.watcher.wait(timeout_ms) {
                Ok(changes) => changes,
                Err(error) => return self.give_up(&error),
            };
            if changes.stop {
                return;
            }
            for &index in &changes.look {
                self.paths[index].look(&self.reading, &mut self.watcher);
            }
            ready.extend(changes.look);
            ready.extend(changes.read);
            ready.extend(self.overdue());
            ready.retain(|&index| self.paths[index].read(&mut self.reading, &mut self.watcher));
        }
    }

    fn until_deadline_ms(&self) -> Option<u64> {
        let first = self.paths.iter().filter_map(FollowedPath::deadline_ms).min()?;
        Some(first.saturating_sub(self.reading.clock.boottime_ms()))
    }

    fn overdue(&self) -> Vec<usize> {
        let with_deadline = self.paths.iter().filter_map(|path| Some((path.index, path.deadline_ms()?)));
        let mut with_deadline = with_deadline.peekable();
        if with_deadline.peek().is_none() {
            return Vec::new();
        }
        let now_ms = self.reading.clock.boottime_ms();
        with_deadline.filter(|&(_, deadline_ms)| deadline_ms <= now_ms).map(|(index, _)| index).collect()
    }

    /// Without events no log is read any more: every source says so.
    fn give_up(&self, error: &io::Error) {
        tracing::error!("log files are not read any more: {error}; restart bannkreisd");
        for path in &self.paths {
            path.shared.lock().error = Some(format!("it is not read any more: {error}; restart bannkreisd"));
        }
    }
}

fn start_position(spec: &SourceSpec) -> SourcePosition {
    match &spec.start {
        Start::Resume(from) => from.position,
        Start::End | Start::Beginning => SourcePosition(0),
    }
}

/// The running sources, for every other thread. Dropping it ends them without waiting.
pub struct FileSourcesHandle {
    shared: Vec<Arc<SharedSource>>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl FileSourcesHandle {
    /// What to store so that a later process begins with the line at `position`. `None` when the
    /// source is unknown, or the position so old that it is forgotten: what is stored stays then.
    #[must_use]
    pub fn checkpoint(&self, source: SourceId, position: SourcePosition) -> Option<SourceCheckpoint> {
        let shared = self.shared.iter().find(|shared| shared.id == source)?;
        shared.lock().table.checkpoint(&shared.path, position)
    }

    /// How each source is doing, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<SourceStatus> {
        self.shared.iter().map(|shared| shared.status()).collect()
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
