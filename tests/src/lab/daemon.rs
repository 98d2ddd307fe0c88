//! One running `bannkreisd` in its host's namespaces.
//!
//! It dies with its guard, with the thread that started it, and with this process, whatever happens
//! to either.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, UnshareFlags, remove_capability_from_bounding_set, unshare_unsafe};

use crate::failed::{Context, Failed, Result, expect};
use crate::lab::netns::Netns;
use crate::lab::programs::program;
use crate::lab::wait::wait_for;

/// How long a daemon may take to end in order.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What a daemon is started with.
pub struct DaemonPlan<'a> {
    /// Its network.
    pub netns: &'a Netns,
    /// `--config`.
    pub config: &'a Path,
    /// What it finds under /var/log.
    pub logs: &'a Path,
    /// Where its own words go, added to the end.
    pub words: &'a Path,
    /// More environment.
    pub environment: &'a [(String, String)],
    /// What the process may not do although it is root, capabilities(7).
    pub without: CapabilitySet,
}

/// A running daemon.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts the process; it may well end again at once.
    ///
    /// # Errors
    /// When there is no such program or it cannot be started.
    pub fn spawn(plan: &DaemonPlan<'_>) -> Result<Daemon> {
        let words = append_to(plan.words)?;
        let path = program("bannkreisd")?;
        let mut command = plan.netns.command(&path.to_string_lossy());
        command
            .arg("--config")
            .arg(plan.config)
            .env("TZ", "UTC")
            .envs(plan.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(words.try_clone().context(|| "cannot copy a descriptor".to_owned())?)
            .stderr(words);
        let logs = CString::new(plan.logs.as_os_str().as_bytes())
            .context(|| "the lab's path has a zero byte in it".to_owned())?;
        let without = plan.without;
        let enter = move || -> io::Result<()> {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // SAFETY: the process has one thread and shares no table of descriptors with another.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
            // What is unmounted outside is unmounted here: a daemon must not hold the disk of another host.
            mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
            mount_bind(logs.as_c_str(), c"/var/log")?;
            // What is not in the bounding set is not in the sets of the program either.
            for capability in without {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it only makes system calls, with paths that are ready for them.
        unsafe { command.pre_exec(enter) };
        let child = command.spawn().context(|| format!("cannot start {}", path.display()))?;
        Ok(Daemon { child })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// What wait(2) says.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).context(|| "cannot ask the daemon to end".to_owned())?;
        let status = wait_for("the daemon ends", STOP_MAX, || {
            let ended = self.ended().context(|| "cannot wait for the daemon".to_owned())?;
            ended.ok_or_else(|| Failed("it runs".to_owned()))
        })?;
        expect(status.success(), || format!("the daemon ended with {}", ending(status)))
    }

    /// Kills it as a power cut would end it for the process, and waits until it is gone.
    pub fn kill_9(mut self) {
        self.kill_and_wait();
    }

    fn kill_and_wait(&mut self) {
        // Both fail only when it has ended and been waited for before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill_and_wait();
    }
}

/// How a process ended, in words.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .context(|| format!("cannot write {}", path.display()))
}
