//! The program that reads the journal, and what it has to say.
//!
//! It ends with the thread that started it, however that ends.

use bannkreis_filter::journal::Journal;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

const PROGRAM: &str = "journalctl";

/// What a line is made of, beside what the matches look at.
const FIELDS: [&str; 8] = [
    "_HOSTNAME",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_PID",
    "_PID",
    "_COMM",
    "MESSAGE",
    "_SOURCE_REALTIME_TIMESTAMP",
    "_SOURCE_MONOTONIC_TIMESTAMP",
];

/// So much of what it complains about is remembered.
const COMPLAINT_BYTES_MAX: usize = 500;

/// Where reading begins.
pub(super) enum From<'c> {
    /// With this entry, which was read already.
    Cursor(&'c str),
    /// With the first.
    Beginning,
}

/// journalctl, following a journal.
pub(super) struct Journalctl {
    child: Child,
    pub(super) entries: ChildStdout,
    pub(super) complaints: ChildStderr,
}

impl Journalctl {
    /// Starts it on this thread, with which it ends.
    ///
    /// # Errors
    /// When it can not be started.
    pub(super) fn follow(
        journal: &Journal,
        matches: &[String],
        fields: &BTreeSet<String>,
        from: &From<'_>,
    ) -> io::Result<Journalctl> {
        let mut command = command(journal, fields);
        command.arg("--follow").arg("--no-tail");
        if let From::Cursor(cursor) = from {
            // Not --after-cursor: when that entry is no match, releases of systemd differ in which one comes next.
            command.arg(format!("--cursor={cursor}"));
        }
        command.args(matches);
        // SAFETY: prctl(2) with these arguments takes no pointer and may be called between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn()?;
        let missing = || io::Error::other("it has no output");
        let entries = child.stdout.take().ok_or_else(missing)?;
        let complaints = child.stderr.take().ok_or_else(missing)?;
        for fd in [entries.as_fd(), complaints.as_fd()] {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Journalctl { child, entries, complaints })
    }

    /// Whether it has ended, and with what.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Journalctl {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the last entry of a journal is, as journalctl writes it; nothing when there is none.
///
/// # Errors
/// When journalctl can not be started, or says that something is wrong.
pub(super) fn last_entry(journal: &Journal) -> io::Result<Vec<u8>> {
    let output = command(journal, &BTreeSet::new()).args(["--lines=1", "--quiet"]).output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(io::Error::other(complaint(&output.stderr)))
}

fn command(journal: &Journal, fields: &BTreeSet<String>) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--output=export", "--no-pager", "--all"]).args(journal.arguments());
    let fields: Vec<&str> = FIELDS.into_iter().chain(fields.iter().map(String::as_str)).collect();
    command.arg(format!("--output-fields={}", fields.join(",")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Adds what it says to what it has said, of which the end is kept.
pub(super) fn read_complaints(from: &mut impl Read, said: &mut Vec<u8>) {
    let mut piece = [0; 1024];
    while let Ok(n_read @ 1..) = from.read(&mut piece) {
        said.extend_from_slice(&piece[..n_read]);
        let n_old = said.len().saturating_sub(COMPLAINT_BYTES_MAX);
        said.drain(..n_old);
    }
}

/// The last line of what it has said.
pub(super) fn complaint(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing").trim().to_owned()
}
