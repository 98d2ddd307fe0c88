//! A real rsyslog, unpacked from Debian's packages and never installed, and util-linux's logger: those who send syslog messages.
//!
//! Not for what a node makes of messages.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::failed::{Context, Result, expect};
use crate::lab::netns::Netns;
use crate::lab::wait::wait_for;

/// Names where it is unpacked: what `.ci/unpacked rsyslog libestr0 libfastjson4` prints.
const VARIABLE: &str = "BANNKREIS_RSYSLOG_DIR";
const STARTED: Duration = Duration::from_secs(10);

/// Where it is unpacked, or why it is not there.
///
/// # Errors
/// What is missing, for a test that is skipped then.
pub fn unpacked() -> std::result::Result<PathBuf, String> {
    let directory = std::env::var_os(VARIABLE).filter(|directory| !directory.is_empty());
    directory.map(PathBuf::from).ok_or_else(|| {
        format!("{VARIABLE} does not say where rsyslog is unpacked; .ci/unpacked rsyslog libestr0 libfastjson4 does that")
    })
}

/// An rsyslogd, until it is dropped.
pub struct Rsyslog {
    child: Child,
}

impl Rsyslog {
    /// Starts it with this configuration, in a host's network or in this one's, and keeps what it needs in `directory`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(unpacked: &Path, netns: Option<&Netns>, directory: &Path, config: &str) -> Result<Rsyslog> {
        let (file, pid) = (directory.join("rsyslog.conf"), directory.join("rsyslog.pid"));
        fs::write(&file, config).context(|| "cannot write rsyslog's configuration".to_owned())?;
        let libraries = fs::read_dir(unpacked.join("usr/lib"))
            .ok()
            .and_then(|entries| entries.flatten().find(|entry| entry.path().join("rsyslog").is_dir()))
            .map(|entry| entry.path());
        let libraries = libraries
            .ok_or_else(|| crate::failed::Failed(format!("{} has no rsyslog in it", unpacked.display())))?;
        let program = unpacked.join("usr/sbin/rsyslogd");
        let mut command = match netns {
            Some(netns) => netns.command(&program.to_string_lossy()),
            None => Command::new(&program),
        };
        let child = command
            .arg("-n")
            .arg("-f")
            .arg(&file)
            .arg("-i")
            .arg(&pid)
            .arg("-M")
            .arg(libraries.join("rsyslog"))
            .env("LD_LIBRARY_PATH", &libraries)
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .spawn()
            .context(|| "cannot start rsyslogd".to_owned())?;
        let rsyslog = Rsyslog { child };
        wait_for("rsyslogd runs", STARTED, || {
            expect(pid.exists(), || "it has written no process id".to_owned())
        })?;
        Ok(rsyslog)
    }
}

impl Rsyslog {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one message with logger from a host's network. `how`: its options, such as `-d` or `-T --octet-count`.
///
/// # Errors
/// When logger can not be run, or says that something is wrong.
pub fn log(netns: &Netns, to: SocketAddr, how: &[&str], text: &str) -> Result<()> {
    let port = to.port().to_string();
    let status = netns
        .command("logger")
        .args(["-n", &to.ip().to_string(), "-P", &port, "-p", "mail.info", "-t", "kerio-connect"])
        .args(how)
        .args(["--", text])
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .status()
        .context(|| "cannot run logger".to_owned())?;
    expect(status.success(), || format!("logger ended with {status}"))
}
