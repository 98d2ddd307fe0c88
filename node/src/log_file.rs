//! Where the daemon's own log goes: standard error, or a file that is opened anew when the daemon is told to, so that
//! it can be rotated. What is written is harmless to whoever reads it in a terminal.
//!
//! Not for what is logged, nor for the logs that jails read (`source/`).

use crate::fail2ban_log::{self, Columns};
use crate::startup::StartupError;
use bannkreis_core::harmless::is_invisible;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// What a new log file may be read by: its owner and its group. It quotes logs of others.
const MODE: u32 = 0o640;

/// The daemon's own log; clones write to the same one.
#[derive(Clone, Debug)]
pub struct DaemonLog {
    /// `None`: standard error.
    file: Option<Arc<LogFile>>,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    open: Mutex<File>,
}

impl DaemonLog {
    /// The log that goes to standard error.
    #[must_use]
    pub fn to_stderr() -> DaemonLog {
        DaemonLog { file: None }
    }

    /// The log that goes to the file `path`.
    ///
    /// # Errors
    /// When it can not be opened.
    pub fn to_file(path: &Path) -> Result<DaemonLog, StartupError> {
        let open = open(path).map_err(|error| {
            StartupError(format!(
                "log target {}: {error}; set a file that this user may write, or \"stderr\"",
                path.display()
            ))
        })?;
        Ok(DaemonLog { file: Some(Arc::new(LogFile { path: path.to_owned(), open: Mutex::new(open) })) })
    }

    /// What writes into this log whatever is told that `filter` lets pass: time, level and text; and into another one
    /// what fail2ban would write.
    #[must_use]
    pub fn subscriber(
        self,
        filter: &str,
        fail2ban: Option<DaemonLog>,
    ) -> impl tracing::Subscriber + Send + Sync + use<> {
        let own = EnvFilter::new(format!("{filter},{}=off", fail2ban_log::TARGETS.trim_end_matches('.')));
        let own = fmt::layer().with_target(false).with_ansi(false).with_writer(self).with_filter(own);
        let fail2ban = fail2ban.map(|log| {
            let is_its = filter_fn(|told| told.target().starts_with(fail2ban_log::TARGETS));
            fmt::layer().event_format(Columns).with_ansi(false).with_writer(log).with_filter(is_its)
        });
        tracing_subscriber::registry().with(own).with(fail2ban)
    }

    /// Goes on in the file that has the log's name now. When there is none and none can be made, it goes on in the
    /// old one, and says so there.
    fn reopen(&self) {
        let Some(file) = &self.file else { return };
        match open(&file.path) {
            Ok(new) => {
                *file.open.lock().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!("the log file {} was opened anew", file.path.display());
            }
            Err(error) => tracing::error!(
                "the log file {} can not be opened anew ({error}): the log goes on in the old file; make the path \
                 writable for this user and send SIGHUP again",
                file.path.display()
            ),
        }
    }
}

/// Opens the files of these logs anew whenever one of `signals` comes, for ever.
pub async fn reopen_on(logs: Vec<DaemonLog>, mut signals: ReopenSignals) {
    loop {
        signals.next().await;
        let logs = logs.clone();
        // A file system that hangs holds up nobody else.
        let _ = tokio::task::spawn_blocking(move || logs.iter().for_each(DaemonLog::reopen)).await;
    }
}

fn open(path: &Path) -> io::Result<File> {
    match OpenOptions::new().create_new(true).append(true).open(path) {
        Ok(file) => {
            // By hand: the daemon's umask leaves nothing for the group.
            file.set_permissions(Permissions::from_mode(MODE))?;
            Ok(file)
        }
        // What is there keeps its owner and mode, as logrotate's `create` has set them.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().create(true).append(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// SIGHUP and SIGUSR1: both mean "open your log file anew", whether there is one or not. From the moment this exists
/// neither ends the process.
#[derive(Debug)]
pub struct ReopenSignals {
    hangup: Signal,
    user: Signal,
}

impl ReopenSignals {
    /// Begins to listen. Needs a tokio runtime.
    ///
    /// # Errors
    /// As sigaction(2).
    pub fn new() -> io::Result<ReopenSignals> {
        Ok(ReopenSignals {
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.user.recv() => {}
        }
    }
}

impl<'a> MakeWriter<'a> for DaemonLog {
    type Writer = HarmlessLine<'a>;

    fn make_writer(&'a self) -> HarmlessLine<'a> {
        HarmlessLine(self)
    }
}

/// Writes one line of the log. Text from outside can be in it; what steers a terminal or reorders a line is escaped,
/// as `bannkreis` does when it shows such text.
#[derive(Debug)]
pub struct HarmlessLine<'a>(&'a DaemonLog);

impl Write for HarmlessLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = harmless(&String::from_utf8_lossy(line));
        match &self.0.file {
            None => io::stderr().write_all(text.as_bytes())?,
            Some(file) => {
                file.open.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes())?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The subscriber has escaped what came from outside and steers terminals; ESC and line feeds that are left are its own.
fn harmless(text: &str) -> String {
    let is_harmful = |c: char| is_invisible(c) || (c.is_control() && !matches!(c, '\n' | '\t' | '\u{1b}'));
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            harmless.extend(c.escape_default());
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// The lines that the daemon's log holds after `tell`.
#[cfg(test)]
pub(crate) fn log_of(tell: impl FnOnce()) -> Vec<String> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("log");
    let log = DaemonLog::to_file(&path).expect("it can be opened");
    tracing::subscriber::with_default(log.subscriber("debug", None), tell);
    std::fs::read_to_string(path).expect("text").lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_renamed_log_goes_on_in_a_new_file_that_only_owner_and_group_may_read() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let log = DaemonLog::to_file(&path).expect("it can be opened");
        let write = |text: &str| log.make_writer().write_all(text.as_bytes()).expect("it can be written");
        write("one\n");
        assert_eq!(mode(&path), MODE);
        fs::rename(&path, dir.path().join("log.1")).expect("rename");
        write("two\n");
        log.reopen();
        write("three\n");
        assert_eq!(fs::read_to_string(dir.path().join("log.1")).expect("read"), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).expect("read"), "three\n");
        assert_eq!(mode(&path), MODE);
    }

    #[test]
    fn a_log_that_can_not_be_opened_anew_goes_on() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let log = DaemonLog::to_file(&path).expect("it can be opened");
        let aside = dir.path().join("aside");
        fs::rename(&path, &aside).expect("rename");
        fs::create_dir(&path).expect("mkdir");
        log.reopen();
        log.make_writer().write_all(b"one\n").expect("it can be written");
        assert_eq!(fs::read_to_string(aside).expect("read"), "one\n");
    }

    #[test]
    fn what_reorders_or_breaks_a_line_is_escaped() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let log = DaemonLog::to_file(&path).expect("it can be opened");
        let subscriber = log.subscriber("info", None);
        let nasty = "a\u{202e}b\u{2028}c\u{2066}d\u{200b}e\rf\u{9b}g\u{1b}[31mh";
        tracing::subscriber::with_default(subscriber, || tracing::warn!("user {nasty} and {}", "grüße 你好"));
        let written = fs::read_to_string(&path).expect("read");
        assert_eq!(written.lines().count(), 1);
        assert!(written.contains("grüße 你好"), "{written}");
        assert!(written.contains("a\\u{202e}b\\u{2028}c\\u{2066}d\\u{200b}e\\rf"), "{written}");
        let harmful = written.chars().filter(|c| *c != '\n' && (c.is_control() || is_invisible(*c)));
        assert_eq!(harmful.count(), 0, "{written:?}");
    }
}
