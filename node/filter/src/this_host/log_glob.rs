//! A `logpath` on this host: the files that it names now, and the directories in which others may appear.
//!
//! Wildcards mean what they mean to fail2ban, which expands them with Python's `glob`: `*`, `?` and `[…]` inside one name, and
//! none of them a leading dot. Not for reading logs, and not for what to do about files that come and go (`node::source`).

use crate::container_path::ContainerPath;
use crate::syslog_path::SyslogPath;
use glob::{MatchOptions, Pattern};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Of one directory so many entries are looked at.
const ENTRIES_MAX: usize = 10_000;
/// A pattern leads through so many directories at most.
const DIRECTORIES_MAX: usize = 1_000;

/// Where Docker keeps what its containers write.
const DOCKER: &str = "/var/lib/docker/containers";

/// Files that are compressed are no logs, whatever a wildcard says.
const COMPRESSED: [&[u8]; 6] = [b".gz", b".bz2", b".xz", b".zst", b".lz4", b".Z"];

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// One name of a path, or what names have to look like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogName {
    /// This one.
    Is(OsString),
    /// Those with this pattern.
    Like(Pattern),
}

impl LogName {
    fn new(text: &OsStr) -> LogName {
        let like = text.to_str().filter(|text| text.contains(['*', '?', '['])).and_then(|text| {
            let mut pattern = String::with_capacity(text.len());
            // Several in a row say no more than one.
            for part in text.chars() {
                if part != '*' || !pattern.ends_with('*') {
                    pattern.push(part);
                }
            }
            Pattern::new(&pattern).ok()
        });
        // What is no pattern (`[a`) can still be a file's own name.
        like.map_or_else(|| LogName::Is(text.to_owned()), LogName::Like)
    }

    /// Whether it is, or looks like, this name.
    #[must_use]
    pub fn is(&self, name: &OsStr) -> bool {
        match self {
            LogName::Is(own) => own == name,
            LogName::Like(pattern) => name.to_str().is_some_and(|name| pattern.matches_with(name, OPTIONS)),
        }
    }
}

/// A `logpath`: a path whose names may have wildcards, or the output of containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGlob {
    paths: Vec<PathGlob>,
    /// Of Docker's files, those of containers with such a name.
    docker: Option<LogName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PathGlob {
    start: PathBuf,
    names: Vec<LogName>,
}

/// What a [`LogGlob`] leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogsFound {
    /// The regular files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// Where a name that appears, goes, or comes to lead elsewhere changes what the pattern leads to.
    pub watched: BTreeSet<(PathBuf, LogName)>,
}

impl LogGlob {
    /// Reads a pattern; every text is one. What names no containers (see [`ContainerPath::parse`]), or
    /// messages, leads nowhere.
    #[must_use]
    pub fn new(pattern: &str) -> LogGlob {
        if SyslogPath::is_one(pattern) {
            return LogGlob { paths: Vec::new(), docker: None };
        }
        if !ContainerPath::is_one(pattern) {
            return LogGlob { paths: vec![PathGlob::new(pattern)], docker: None };
        }
        let Ok(containers) = ContainerPath::parse(pattern) else {
            return LogGlob { paths: Vec::new(), docker: None };
        };
        let mut paths = vec![PathGlob::new(&containers.in_kubernetes())];
        let docker = containers.may_be_dockers().then(|| {
            paths.push(PathGlob::new(&format!("{DOCKER}/*/*-json.log")));
            LogName::new(containers.container.as_ref())
        });
        LogGlob { paths, docker }
    }

    /// Whether it may lead to any number of files, not to one only.
    #[must_use]
    pub fn has_wildcards(&self) -> bool {
        match self.paths.as_slice() {
            [path] => path.has_wildcards(),
            _ => true,
        }
    }

    /// The directory below which everything lies that it may lead to.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.paths.first().map_or_else(PathBuf::new, PathGlob::directory)
    }

    /// What is there now. Without wildcards that is the path itself; with them, parts that rotation has put aside are left
    /// out, for they are read by their log's own name: see [`is_rotated_name`].
    #[must_use]
    pub fn look(&self) -> LogsFound {
        let mut found = LogsFound::default();
        for path in &self.paths {
            let LogsFound { files, watched } = path.look();
            found.files.extend(files);
            found.watched.extend(watched);
        }
        if let Some(name) = &self.docker {
            found.files.retain(|file| {
                !file.starts_with(DOCKER) || docker_name(file).is_some_and(|own| name.is(&own))
            });
        }
        found.files.sort();
        found.files.dedup();
        if self.has_wildcards() {
            found.files.retain(|file| !is_compressed(file));
            found.files = without_rotated(&found.files, |_| false);
        }
        found
    }
}

/// The name of the container whose output is in one of Docker's files, which stands beside it.
fn docker_name(file: &Path) -> Option<OsString> {
    const BEFORE: &str = "\"Name\":\"/";
    let settings = fs::read_to_string(file.with_file_name("config.v2.json")).ok()?;
    // Only the container's own name begins with a slash.
    let (_, rest) = settings.split_once(BEFORE)?;
    rest.split_once('"').map(|(name, _)| name.into())
}

impl PathGlob {
    fn new(pattern: &str) -> PathGlob {
        let path = Path::new(pattern);
        let start = PathBuf::from(if path.is_absolute() { "/" } else { "." });
        let names = path.components().filter_map(|component| match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
            Component::ParentDir => Some(LogName::Is("..".into())),
            Component::Normal(name) => Some(LogName::new(name)),
        });
        PathGlob { names: names.collect(), start }
    }

    fn has_wildcards(&self) -> bool {
        self.names.iter().any(|name| matches!(name, LogName::Like(_)))
    }

    fn directory(&self) -> PathBuf {
        let certain = self.names.iter().map_while(|name| match name {
            LogName::Is(own) => Some(own),
            LogName::Like(_) => None,
        });
        certain.fold(self.start.clone(), |directory, name| directory.join(name))
    }

    fn look(&self) -> LogsFound {
        let mut found = LogsFound::default();
        let mut directories = vec![self.start.clone()];
        for (place, name) in self.names.iter().enumerate() {
            let is_last = place + 1 == self.names.len();
            let mut next = Vec::new();
            for directory in directories {
                let entries = match name {
                    LogName::Is(own) => vec![directory.join(own)],
                    LogName::Like(_) => entries_like(&directory, name),
                };
                let is_wanted = |path: &PathBuf| if is_last { path.is_file() } else { path.is_dir() };
                next.extend(entries.into_iter().filter(is_wanted));
                found.watched.insert((directory, name.clone()));
            }
            next.truncate(if is_last { usize::MAX } else { DIRECTORIES_MAX });
            directories = next;
        }
        found.files = if self.names.is_empty() { Vec::new() } else { directories };
        found
    }
}

fn entries_like(directory: &Path, name: &LogName) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.take(ENTRIES_MAX).filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut names: Vec<OsString> = names.filter(|found| name.is(found)).collect();
    names.sort();
    names.into_iter().map(|name| directory.join(name)).collect()
}

fn is_compressed(file: &Path) -> bool {
    COMPRESSED.iter().any(|ending| file.as_os_str().as_bytes().ends_with(ending))
}

/// Those of `files` that are no rotated part of another one of them, nor of a log that `is_log` knows.
#[must_use]
pub fn without_rotated(files: &[PathBuf], is_log: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let all: BTreeSet<&Path> = files.iter().map(PathBuf::as_path).collect();
    let is_rotated = |file: &Path| {
        let name = file.file_name().unwrap_or_default();
        logs_rotated_to(name).any(|log| {
            let log = file.with_file_name(log);
            all.contains(log.as_path()) || is_log(&log)
        })
    };
    files.iter().filter(|file| !is_rotated(file)).cloned().collect()
}

/// The names of which rotation may have made this one.
fn logs_rotated_to(name: &OsStr) -> impl Iterator<Item = OsString> + use<'_> {
    let bytes = name.as_bytes();
    let starts = (1..bytes.len()).filter(move |&at| b".-_~".contains(&bytes[at]));
    starts.flat_map(move |at| {
        let ends = (at + 1..=bytes.len()).filter(move |&end| end == bytes.len() || bytes[end] == b'.');
        ends.filter_map(move |end| {
            let log = [&bytes[..at], &bytes[end..]].concat();
            let log = OsStr::from_bytes(&log).to_owned();
            is_rotated_name(&log, name).then_some(log)
        })
    })
}

/// Whether rotation gives a log called `name` such a name: a number or a date behind it or before
/// its ending (logrotate(8): `dateext`, `extension`), or `.old`. Compressed parts are none: they end
/// otherwise.
#[must_use]
pub fn is_rotated_name(name: &OsStr, candidate: &OsStr) -> bool {
    let (name, candidate) = (name.as_bytes(), candidate.as_bytes());
    if let Some(rest) = candidate.strip_prefix(name)
        && (rest == b".old" || rest == b"~" || is_number_or_date(rest))
    {
        return true;
    }
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0) else { return false };
    let (stem, ending) = name.split_at(dot);
    candidate.strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending)).is_some_and(is_number_or_date)
}

fn is_number_or_date(bytes: &[u8]) -> bool {
    matches!(bytes, [b'.' | b'-' | b'_', b'0'..=b'9', rest @ ..]
        if rest.iter().all(|byte| byte.is_ascii_digit() || b".-_:T".contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files.
    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        directory
    }

    /// What a pattern in `directory` leads to, without the directory.
    fn files(directory: &Path, pattern: &str) -> Vec<String> {
        let found = LogGlob::new(&directory.join(pattern).display().to_string()).look();
        let inside = |file: &PathBuf| file.strip_prefix(directory).unwrap().display().to_string();
        found.files.iter().map(inside).collect()
    }

    #[test]
    fn wildcards_are_those_of_python() {
        let at = directory(&["a.log", "b.log", ".hidden.log", "c.txt", "x/a.log", "y/a.log", "[a"]);
        for (pattern, expected) in [
            ("*.log", &["a.log", "b.log"][..]),
            ("[!a].log", &["b.log"]),
            ("?.log", &["a.log", "b.log"]),
            (".*", &[".hidden.log"]),
            ("*/a.log", &["x/a.log", "y/a.log"]),
            ("**/a.log", &["x/a.log", "y/a.log"]),
            ("***.txt", &["c.txt"]),
            ("x/../c.txt", &["x/../c.txt"]),
            ("[a", &["[a"]),
            ("c.txt", &["c.txt"]),
            ("none", &[]),
            ("x", &[]),
        ] {
            assert_eq!(files(at.path(), pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn the_directories_are_watched_in_which_a_log_may_appear() {
        let at = directory(&["x/a.log", "y/b.log"]);
        let path = |name: &str| at.path().join(name);
        let found = LogGlob::new(&path("*/a.log").display().to_string()).look();
        let is_watched = |directory: &Path, name: &str| {
            found.watched.iter().any(|(watched, wanted)| watched == directory && wanted.is(name.as_ref()))
        };
        assert!(is_watched(at.path(), "z") && is_watched(&path("y"), "a.log"));
        assert!(!is_watched(&path("y"), "b.log"));
        // Also where the directory itself is missing.
        let found = LogGlob::new(&path("later/*.log").display().to_string()).look();
        assert!(found.watched.contains(&(at.path().to_owned(), LogName::Is("later".into()))));
    }

    #[test]
    fn of_rotated_logs_only_the_log_is_found() {
        let at = directory(&[
            "mail.log",
            "mail.log.1",
            "mail.log.2.gz",
            "app.log",
            "app-20261130.log",
            "day-2026-11-29.log",
            "day-2026-11-30.log",
            "other.log.1",
        ]);
        assert_eq!(
            files(at.path(), "*"),
            ["app.log", "day-2026-11-29.log", "day-2026-11-30.log", "mail.log", "other.log.1"]
        );
        // Whoever names one by its own name gets it.
        assert_eq!(files(at.path(), "mail.log.1"), ["mail.log.1"]);
    }

    #[test]
    fn names_that_rotation_gives() {
        let is_rotated = |name: &str, candidate: &str| {
            let logs: Vec<OsString> = logs_rotated_to(candidate.as_ref()).collect();
            let is = is_rotated_name(name.as_ref(), candidate.as_ref());
            assert_eq!(is, logs.contains(&name.into()), "{candidate}: {logs:?}");
            is
        };
        for candidate in [
            "mail.log.1",
            "mail.log.12",
            "mail.log-20261122",
            "mail.log.2026-11-22T10:00",
            "mail.log.old",
            "mail-20261122.log",
            "mail.1.log",
        ] {
            assert!(is_rotated("mail.log", candidate), "{candidate}");
        }
        for candidate in [
            "mail.log",
            "mail.log.1.gz",
            "mail.log.bak.gz",
            "mail.logger",
            "mail.err",
            "mail.log.d",
            "mail-x.log",
            "mail.log.",
            "amail.log.1",
        ] {
            assert!(!is_rotated("mail.log", candidate), "{candidate}");
        }
        assert!(is_rotated("messages", "messages-20261122"));
    }
}
