//! inotify(7) in this program's terms: which source has to be read, whose path may have changed, and which log's
//! wildcards may lead to other files now.
//!
//! Not for reading, and not for deciding what to watch.

use bannkreis_core::failure::{LogId, SourceId};
use bannkreis_filter::this_host::log_glob::LogName;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Symbolic links behind one another that are followed (path_resolution(7) allows 40).
const LINKS_MAX: usize = 8;

/// One read takes this much from the kernel's queue; what does not fit comes with the next.
const EVENT_BUFFER_BYTES: usize = 16 * 1024;

/// What may lead a name in a directory to another file.
const DIRECTORY_MASK: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::DELETE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::DELETE_SELF);

/// What an event asks for.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Sources with new bytes, perhaps.
    pub(super) read: BTreeSet<SourceId>,
    /// Sources whose path may lead to another file now. They are to be read as well.
    pub(super) look: BTreeSet<SourceId>,
    /// Logs whose wildcards may lead to other files now.
    pub(super) logs: BTreeSet<LogId>,
    /// Descriptors of others from which something can be read, or that were closed.
    pub(super) ready: BTreeSet<RawFd>,
    /// The thread is asked to end.
    pub(super) stop: bool,
}

#[derive(Debug, PartialEq)]
enum Interest {
    File(SourceId),
    /// In a directory only this name matters.
    Entry(SourceId, OsString),
    /// In a directory only such names matter.
    Names(LogId, LogName),
}

/// Holds the kernel's watches.
pub(super) struct Watcher {
    inotify: Inotify,
    stop: UnixStream,
    interests: HashMap<WatchDescriptor, Vec<Interest>>,
    buffer: Vec<u8>,
}

impl Watcher {
    /// A watcher of nothing. A byte (or the end) from `stop` means the thread shall end.
    ///
    /// # Errors
    /// When the kernel has no inotify instance left for this user.
    pub(super) fn new(stop: UnixStream) -> io::Result<Watcher> {
        stop.set_nonblocking(true)?;
        let buffer = vec![0; EVENT_BUFFER_BYTES];
        Ok(Watcher { inotify: Inotify::init()?, stop, interests: HashMap::new(), buffer })
    }

    /// Watches an open file, whatever its name is now or will be.
    ///
    /// # Errors
    /// When the kernel's limit of watches is reached.
    pub(super) fn watch_file(&mut self, source: SourceId, file: &File) -> io::Result<WatchDescriptor> {
        let through_proc = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mask = WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::MOVE_SELF;
        let watch = self.inotify.watches().add(through_proc, mask)?;
        self.add(watch.clone(), Interest::File(source));
        Ok(watch)
    }

    /// Stops watching a file for this source.
    pub(super) fn forget_file(&mut self, source: SourceId, watch: &WatchDescriptor) {
        self.forget(watch, |interest| *interest == Interest::File(source));
    }

    /// Watches every directory in which a change could lead `path` to another file, and no others
    /// for this source. A directory that does not exist yet is awaited in the nearest one that does.
    ///
    /// # Errors
    /// When the kernel's limit of watches is reached, or a directory can not be read.
    pub(super) fn watch_path(&mut self, source: SourceId, path: &Path) -> io::Result<()> {
        let mut wanted = entries_on_the_way(path);
        let mut kept = Vec::new();
        for _ in 0..LINKS_MAX {
            kept.clear();
            for (directory, name) in &wanted {
                let watch = self.inotify.watches().add(directory, DIRECTORY_MASK)?;
                kept.push((watch, Interest::Entry(source, name.clone())));
            }
            // What changed before its watch was there made no event.
            let now = entries_on_the_way(path);
            if now == wanted {
                break;
            }
            wanted = now;
        }
        self.keep_only(kept, |interest| matches!(interest, Interest::Entry(of, _) if *of == source));
        Ok(())
    }

    /// Watches such names in these directories, and in no others for this log. A directory that is gone by now is left
    /// out: its own name is watched in the one above it.
    ///
    /// # Errors
    /// When the kernel's limit of watches is reached, or a directory can not be read.
    pub(super) fn watch_log(&mut self, log: LogId, names: &BTreeSet<(PathBuf, LogName)>) -> io::Result<()> {
        let mut kept = Vec::new();
        for (directory, name) in names {
            match self.inotify.watches().add(directory, DIRECTORY_MASK) {
                Ok(watch) => kept.push((watch, Interest::Names(log, name.clone()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.keep_only(kept, |interest| matches!(interest, Interest::Names(of, _) if *of == log));
        Ok(())
    }

    /// Watches nothing any more for this source.
    pub(super) fn forget_source(&mut self, source: SourceId) {
        self.keep_only(Vec::new(), |interest| match interest {
            Interest::File(of) | Interest::Entry(of, _) => *of == source,
            Interest::Names(..) => false,
        });
    }

    /// Of the interests that `is_own` says, these are the ones from now on.
    fn keep_only(&mut self, kept: Vec<(WatchDescriptor, Interest)>, is_own: impl Fn(&Interest) -> bool) {
        let watches: Vec<WatchDescriptor> = self.interests.keys().cloned().collect();
        for watch in watches {
            self.forget(&watch, |interest| {
                is_own(interest)
                    && !kept.iter().any(|(kept_watch, kept)| *kept_watch == watch && kept == interest)
            });
        }
        for (watch, interest) in kept {
            self.add(watch, interest);
        }
    }

    fn add(&mut self, watch: WatchDescriptor, interest: Interest) {
        let interests = self.interests.entry(watch).or_default();
        if !interests.contains(&interest) {
            interests.push(interest);
        }
    }

    fn forget(&mut self, watch: &WatchDescriptor, is_stale: impl Fn(&Interest) -> bool) {
        let Some(interests) = self.interests.get_mut(watch) else { return };
        interests.retain(|interest| !is_stale(interest));
        if interests.is_empty() {
            self.interests.remove(watch);
            // The kernel may have dropped the watch already, with the file.
            let _ = self.inotify.watches().remove(watch.clone());
        }
    }

    /// Waits until something happens, also to one of these descriptors, at most `timeout_ms`; `None` waits for ever.
    ///
    /// # Errors
    /// When poll(2) or the event queue fails.
    pub(super) fn wait(&mut self, timeout_ms: Option<u64>, others: &[RawFd]) -> io::Result<Changes> {
        let timeout = timeout_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
        let own = [self.inotify.as_raw_fd(), self.stop.as_raw_fd()];
        let ready = poll(own.iter().chain(others).copied(), timeout)?;
        let stop = ready.contains(&own[1]) && self.is_told_to_stop();
        let ready = ready.into_iter().filter(|fd| !own.contains(fd)).collect();
        let mut changes = Changes { stop, ready, ..Changes::default() };
        loop {
            let events = match self.inotify.read_events(&mut self.buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for event in events {
                note(&self.interests, &mut changes, event.mask, &event.wd, event.name);
                if event.mask.contains(EventMask::IGNORED) {
                    self.interests.remove(&event.wd);
                }
            }
        }
    }

    fn is_told_to_stop(&mut self) -> bool {
        match self.stop.read_exact(&mut [0; 1]) {
            Ok(()) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

fn note(
    interests: &HashMap<WatchDescriptor, Vec<Interest>>,
    changes: &mut Changes,
    mask: EventMask,
    watch: &WatchDescriptor,
    name: Option<&OsStr>,
) {
    if mask.contains(EventMask::Q_OVERFLOW) {
        // Events were lost: any source may have changed.
        for interest in interests.values().flatten() {
            match interest {
                Interest::File(source) | Interest::Entry(source, _) => changes.look.insert(*source),
                Interest::Names(log, _) => changes.logs.insert(*log),
            };
        }
        return;
    }
    for interest in interests.get(watch).into_iter().flatten() {
        match interest {
            Interest::File(source) if mask.contains(EventMask::MODIFY) => {
                changes.read.insert(*source);
            }
            Interest::File(source) => {
                changes.look.insert(*source);
            }
            // An event without a name is about the directory itself.
            Interest::Entry(source, wanted) if name.is_none_or(|name| name == wanted) => {
                changes.look.insert(*source);
            }
            Interest::Names(log, wanted) if name.is_none_or(|name| wanted.is(name)) => {
                changes.logs.insert(*log);
            }
            Interest::Entry(..) | Interest::Names(..) => {}
        }
    }
}

/// Which descriptors are ready, after waiting for any.
fn poll(fds: impl Iterator<Item = RawFd>, timeout: i32) -> io::Result<BTreeSet<RawFd>> {
    let mut fds: Vec<libc::pollfd> =
        fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the pointer and the length are those of a live array of initialised pollfd.
    let n_ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    if n_ready < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(fds.iter().filter(|fd| fd.revents != 0).map(|fd| fd.fd).collect())
}

/// Directories and names in them that decide which file `path` leads to: its own entry, and that of
/// each symbolic link's target.
fn entries_on_the_way(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut entries = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let (directory, name) = nearest_existing(&path);
        if name.is_empty() {
            break;
        }
        entries.push((directory, name));
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    entries
}

/// The deepest directory above `path` that exists, and the name that is looked for in it.
fn nearest_existing(path: &Path) -> (PathBuf, OsString) {
    let mut path = path;
    loop {
        let name = path.file_name().unwrap_or_default().to_owned();
        let Some(parent) = path.parent() else { return (PathBuf::from("/"), name) };
        let parent_or_here = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if parent_or_here.is_dir() {
            return (parent_or_here.to_owned(), name);
        }
        path = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_way_to_a_file_leads_over_missing_directories_and_links() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        assert_eq!(entries_on_the_way(&at("a/b/log")), vec![(dir.path().to_owned(), "a".into())]);

        fs::create_dir(at("real")).expect("mkdir");
        symlink("real/today.log", at("log")).expect("symlink");
        assert_eq!(
            entries_on_the_way(&at("log")),
            vec![(dir.path().to_owned(), "log".into()), (at("real"), "today.log".into())]
        );

        symlink("loop", at("loop")).expect("symlink");
        assert_eq!(entries_on_the_way(&at("loop")).len(), LINKS_MAX);
    }
}
