//! A fail2ban configuration directory, the log files that its patterns name, the ports of this host's
//! services.
//!
//! The one place of this crate that touches the machine: the node and `bannkreis check` must read the same
//! files in the same way, and neither may know the other. What the files mean is decided elsewhere, on any
//! [`ConfigTree`].

use crate::jail_config::{LogPath, Logs, ReadJail, log_paths};
use crate::line_digest::logging_host_of_line;
use crate::tree::ConfigTree;
use crate::unsupported::{self, Remark};
use bannkreis_core::jail::Scope;
use log_glob::LogGlob;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

pub mod log_glob;

/// A configuration file is not read beyond this; nobody writes longer ones, but /dev/zero is longer.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where journald keeps its files: over restarts of the machine, or not.
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// So much of a log's end says which hosts write into it.
const TAIL_BYTES: u64 = 64 * 1024;
/// So many hosts of a log are named.
const HOSTS_SHOWN_MAX: usize = 5;

/// The files below one directory.
#[derive(Clone, Debug)]
pub struct DirTree {
    root: PathBuf,
}

impl DirTree {
    /// The tree in this directory, which need not exist: then it is empty.
    #[must_use]
    pub fn new(root: &Path) -> DirTree {
        DirTree { root: root.to_owned() }
    }
}

impl ConfigTree for DirTree {
    fn read(&self, path: &str) -> Result<Option<String>, String> {
        // Joining an absolute path gives that path, which is what an `[INCLUDES]` with one means.
        let path = self.root.join(path);
        match std::fs::metadata(&path) {
            Ok(facts) if !facts.is_file() => return Err("it is no regular file".to_owned()),
            Ok(facts) if facts.len() > FILE_BYTES_MAX => {
                return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        }
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => Err(error.to_string()),
        }
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.root.join(directory)) else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect()
    }

    fn shown(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }
}

/// What is at `path` instead of a log, if something is: a directory, a device, a link that goes round. A file that is not
/// there yet is waited for.
#[must_use]
pub fn instead_of_log(path: &str) -> Option<String> {
    let kind = match std::fs::metadata(path) {
        Ok(facts) => facts.file_type(),
        // The sources say so when they try.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return None;
        }
        Err(error) => return Some(format!("can not be looked at ({error})")),
    };
    if kind.is_file() {
        return None;
    }
    let is_what =
        [(kind.is_dir(), "is a directory"), (kind.is_fifo(), "is a pipe"), (kind.is_socket(), "is a socket")];
    let what = is_what.into_iter().find(|(is_it, _)| *is_it).map_or("is a device", |(_, what)| what);
    Some(what.to_owned())
}

/// What stands in a jail's `logpath` and is no log, or a log of several hosts, with the line that sets it.
#[must_use]
pub fn log_remarks(jail: &ReadJail) -> Vec<Remark> {
    let Logs::Files(paths) = &jail.logs else { return Vec::new() };
    let place = jail.log_place().cloned();
    let others = paths
        .iter()
        .filter_map(|path| Some(unsupported::not_a_log(&path.glob, &instead_of_log(&path.glob)?)));
    let is_counted_with_peers = jail.jail.scope == Scope::Cluster;
    let counted = paths.iter().filter(|_| is_counted_with_peers);
    let files = counted.flat_map(|path| LogGlob::new(&path.glob).look().files);
    let central = files.filter_map(|file| {
        let hosts = logging_hosts(&file);
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        (hosts.len() > 1).then(|| unsupported::central_log(&file.display().to_string(), &hosts))
    });
    others.chain(central).map(|sentence| Remark { place: place.clone(), sentence }).collect()
}

/// The hosts that the last lines of a log name, at most [`HOSTS_SHOWN_MAX`] of them.
fn logging_hosts(file: &Path) -> BTreeSet<String> {
    let tail = || {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok::<Vec<u8>, std::io::Error>(bytes)
    };
    // A log that can not be read is named by whoever has to read it.
    let bytes = tail().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let hosts = text.lines().filter_map(logging_host_of_line).map(str::to_owned);
    let mut found = BTreeSet::new();
    for host in hosts {
        if found.len() < HOSTS_SHOWN_MAX {
            found.insert(host);
        }
    }
    found
}

/// Whether this host has a journal, and none of the files that a `logpath` names.
#[must_use]
pub fn is_journal_instead(log_path: &str) -> bool {
    let is_there = |log: &LogPath| !log.is_path() || !LogGlob::new(&log.glob).look().files.is_empty();
    JOURNALS.iter().any(|journal| Path::new(journal).is_dir()) && !log_paths(log_path).iter().any(is_there)
}

/// The port of a service by its name or alias, as services(5) of this host has it.
#[must_use]
pub fn service_port(name: &str) -> Option<u16> {
    port_in(&std::fs::read_to_string("/etc/services").ok()?, name)
}

/// Lines are `name port/protocol alias…`, with comments after `#`.
fn port_in(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (service, port) = (words.next()?, words.next()?);
        let is_it = service == name || words.any(|alias| alias == name);
        port.split('/').next().filter(|_| is_it)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::log_glob::LogGlob;
    use super::{DirTree, instead_of_log, port_in};
    use crate::tree::ConfigTree;

    #[test]
    fn reads_what_is_there_and_says_what_is_not_readable() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("jail.d")).unwrap();
        std::fs::write(dir.path().join("jail.d/x.conf"), b"[x\xff]\n").unwrap();
        let tree = DirTree::new(dir.path());
        assert_eq!(tree.read("jail.d/x.conf"), Ok(Some("[x\u{fffd}]\n".to_owned())));
        assert_eq!(tree.read("jail.local"), Ok(None));
        assert_eq!(tree.read("jail.d"), Err("it is no regular file".to_owned()));
        assert_eq!(tree.list("jail.d"), ["x.conf"]);
        assert_eq!(tree.list("filter.d"), Vec::<String>::new());
    }

    #[test]
    fn a_service_is_found_by_name_and_alias() {
        let services = "# x\nsmtp 25/tcp mail\nsubmissions\t465/tcp ssmtp smtps urd # over TLS\n";
        assert_eq!(port_in(services, "mail"), Some(25));
        assert_eq!(port_in(services, "smtps"), Some(465));
        assert_eq!(port_in(services, "TLS"), None);
    }

    #[test]
    fn what_is_no_regular_file_is_no_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        std::fs::create_dir(path("dir")).unwrap();
        std::fs::write(path("log"), "").unwrap();
        std::os::unix::fs::symlink(path("log"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("round"), path("round")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (path, what) in [
            (text("dir"), "is a directory"),
            (text("socket"), "is a socket"),
            ("/dev/null".to_owned(), "is a device"),
            (text("round"), "can not be looked at ("),
        ] {
            assert_eq!(LogGlob::new(&path).look().files, Vec::<std::path::PathBuf>::new(), "{path}");
            let found = instead_of_log(&path).unwrap_or_default();
            assert!(found.starts_with(what), "{path}: {found}");
        }
        assert_eq!((instead_of_log(&text("log")), instead_of_log(&text("link"))), (None, None));
        assert_eq!(instead_of_log(&text("not there yet")), None);
        assert_eq!(LogGlob::new(&text("*")).look().files, [path("link"), path("log")]);
    }
}
