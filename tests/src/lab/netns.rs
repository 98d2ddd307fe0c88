//! One network namespace: made, kept and left again with one value.
//!
//! It knows no addresses and no roles. A namespace has no name: it is reached through the file
//! descriptor that keeps it alive.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::failed::{Context, Result, expect};

/// A network namespace. It lives as long as this value, a socket in it or a process in it.
pub struct Netns {
    file: File,
}

impl Netns {
    /// A fresh one, with its loopback down and nothing else in it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create() -> Result<Netns> {
        let made = on_own_thread(|| {
            // SAFETY: unsharing the network changes nothing about descriptors or memory.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        });
        Ok(Netns { file: made.context(|| "cannot make a network namespace".to_owned())? })
    }

    /// Runs `work` inside, on a thread of its own. Sockets made there stay inside wherever they go.
    ///
    /// # Errors
    /// When the namespace cannot be entered, and what `work` says.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(|| {
            self.enter().context(|| "cannot enter a network namespace".to_owned())?;
            work()
        })
    }

    /// Moves the calling thread inside, for good.
    ///
    /// # Errors
    /// What setns(2) says.
    pub fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// A command that will run inside.
    ///
    /// # Panics
    /// Never in practice: it copies one file descriptor.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let file = self.file.try_clone().expect("a descriptor can be copied while there is room for one");
        let mut command = Command::new(program);
        // SAFETY: setns is a system call without any effect on this process's memory.
        unsafe {
            command.pre_exec(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(())
            });
        }
        command
    }

    /// Runs `ip` inside, with one command of it per line.
    ///
    /// # Errors
    /// When ip(8) is missing or does not like a line.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.ip_with(&[], lines)
    }

    /// The same with options before the batch, such as `-6`.
    ///
    /// # Errors
    /// When ip(8) is missing or does not like a line.
    pub fn ip_with(&self, options: &[&str], lines: &str) -> Result<()> {
        // iproute2 has no path for a batch but a file or its input.
        let batch = tempfile::NamedTempFile::new().context(|| "cannot write a batch for ip".to_owned())?;
        std::fs::write(batch.path(), lines).context(|| "cannot write a batch for ip".to_owned())?;
        let output = self
            .command("ip")
            .env("PATH", path_with_sbin())
            .args(options)
            .arg("-batch")
            .arg(batch.path())
            .output()
            .context(|| "cannot run ip (Debian package iproute2)".to_owned())?;
        expect(output.status.success(), || {
            format!("ip refuses: {}\n{lines}", String::from_utf8_lossy(&output.stderr).trim())
        })
    }

    /// A path under which other processes can reach the namespace while this process lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

/// The search path of an ordinary user often lacks the directories of administrators' programs.
fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned()))
}

/// A thread's namespace is its own, so whoever changes it needs a thread that ends afterwards.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
