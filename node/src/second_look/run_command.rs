//! Runs one command of the operator's configuration, with a time limit.
//!
//! The text is the operator's own and goes to `sh -c`; what comes from a log goes into the environment, never
//! into the text. Not for what is asked and why (`commands`).

use crate::notify::SOCKET_VARIABLE;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A command that is not done by then is killed, with everything it has started.
pub const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);
/// A value in the environment is cut here; the kernel's own limit is far above it.
pub(super) const VALUE_BYTES_MAX: usize = 4_096;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this exit code; `None` when a signal ended it.
    Exited(Option<i32>),
    /// It took longer than it may.
    TimedOut,
}

/// Runs `script` with these variables and waits for its end.
///
/// # Errors
/// When it can not be started or waited for.
pub(super) fn run(script: &str, variables: &[(&str, String)], time_max: Duration) -> io::Result<Ended> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own, so that its children end with it.
    command.process_group(0);
    // A word to the service manager would pass for the daemon's own.
    command.env_remove(SOCKET_VARIABLE);
    for (name, value) in variables {
        // A zero byte can not stand in the environment.
        command.env(name, cut(value).replace('\0', ""));
    }
    let mut child = command.spawn()?;
    let ended = wait(&mut child, time_max);
    if !matches!(ended, Ok(Some(_))) {
        // SAFETY: kill(2) takes any number; the group is the child's, which was not waited for yet.
        unsafe { libc::kill(-child.id().cast_signed(), libc::SIGKILL) };
        child.wait()?;
    }
    Ok(ended?.map_or(Ended::TimedOut, |status| Ended::Exited(status.code())))
}

/// Waits until the child ends; `None` when it does not in time.
fn wait(child: &mut Child, time_max: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + time_max;
    // SAFETY: pidfd_open(2) takes a process id and flags; the child was not waited for, so the id is its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left_ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        let n_ready = unsafe { libc::poll(&raw mut poll, 1, left_ms) };
        if n_ready > 0 {
            return child.wait().map(Some);
        }
        if n_ready == 0 && left.is_zero() {
            return Ok(None);
        }
        if n_ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// At most [`VALUE_BYTES_MAX`] bytes of a value, in whole characters.
fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(VALUE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn the_exit_code_is_told_and_values_are_no_text_of_the_shell() {
        assert_eq!(run("exit 3", &[], LONG).expect("sh"), Ended::Exited(Some(3)));
        let hostile = "$(exit 9)`exit 8`'; exit 7; \"\n\\".to_owned();
        let same = "test \"${X}\" = \"$(printf '%s' \"$X\")\" && test ${#X} -gt 20";
        assert_eq!(run(same, &[("X", hostile)], LONG).expect("sh"), Ended::Exited(Some(0)));
        assert_eq!(run("kill -9 $$", &[], LONG).expect("sh"), Ended::Exited(None));
        assert_eq!(
            run("test \"$X\" = ab", &[("X", "a\0b".into())], LONG).expect("sh"),
            Ended::Exited(Some(0))
        );
    }

    #[test]
    fn a_command_that_hangs_ends_with_its_children() {
        let started = Instant::now();
        let ended = run("sleep 600 & sleep 600; exit 0", &[], Duration::from_millis(50));
        assert_eq!(ended.expect("sh"), Ended::TimedOut);
        assert!(started.elapsed() < LONG);
    }
}
