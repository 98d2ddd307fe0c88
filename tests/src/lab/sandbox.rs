//! Runs this very program a second time inside fresh namespaces, and waits for it.
//!
//! Everything that a lab makes (interfaces, rules, mounts) lies in namespaces that the second run
//! was born into, so the machine's own network and netfilter are out of reach, for root too, and all
//! of it vanishes with the process. Without root a user namespace makes the second run its root.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Signal, getgid, getuid, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::failed::{Context, Failed, Result};
use crate::lab::directory::LabDirectory;
use crate::lab::wait::wait_for;

/// In the environment of the second run: the directory it may fill. It is removed afterwards.
const INSIDE_VARIABLE: &str = "BANNKREIS_LAB_INSIDE";

/// Where labs keep their files, if not in the system's directory for temporary files. Sockets lie in
/// it, so its path must be short (unix(7): 107 bytes for the whole name).
const DIRECTORY_VARIABLE: &str = "BANNKREIS_LAB_DIR";

/// How long the last processes of a killed lab may still write into its directory.
const REMOVING_MAX: Duration = Duration::from_secs(2);

/// The directory of the lab, when this is the run inside.
#[must_use]
pub fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE_VARIABLE).map(PathBuf::from)
}

/// Whether the namespaces of this run belong to a user namespace of its own: it was started without root.
#[must_use]
pub fn is_of_own_user() -> bool {
    // user_namespaces(7): the first one maps every id to itself, one of a user's maps one id.
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().last() == Some("1"))
}

/// The second run. Killed with this process and with this value.
pub struct Sandbox {
    child: Child,
    directory: LabDirectory,
}

/// Why there is no second run.
pub enum CannotEnter {
    /// This machine allows no namespaces to this user: a reason to skip.
    NotAllowed(String),
    /// Something else went wrong.
    Broken(Failed),
}

impl Sandbox {
    /// Starts this program inside fresh namespaces, with these arguments.
    ///
    /// # Errors
    /// [`CannotEnter`] says which of the two kinds.
    pub fn start(arguments: &[OsString]) -> std::result::Result<Sandbox, CannotEnter> {
        Sandbox::start_in(None, arguments)
    }

    /// The same with its files in this directory, unless the environment names another.
    ///
    /// # Errors
    /// [`CannotEnter`] says which of the two kinds.
    pub fn start_in(
        parent: Option<&Path>,
        arguments: &[OsString],
    ) -> std::result::Result<Sandbox, CannotEnter> {
        let (program, directory) = prepare(parent).map_err(CannotEnter::Broken)?;
        let mut command = Command::new(program);
        command.args(arguments).env(INSIDE_VARIABLE, directory.path());
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        let (uid_map, gid_map) = (format!("0 {uid} 1"), format!("0 {gid} 1"));
        let is_root = uid == 0;
        let enter = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            let mut flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
            if !is_root {
                flags |= UnshareFlags::NEWUSER;
            }
            // SAFETY: the process has one thread and shares no table of descriptors with another.
            unsafe { unshare_unsafe(flags) }?;
            if !is_root {
                // user_namespaces(7): the group map of an ordinary user needs setgroups denied first.
                fs::write("/proc/self/setgroups", "deny")?;
                fs::write("/proc/self/uid_map", &uid_map)?;
                fs::write("/proc/self/gid_map", &gid_map)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it only makes system calls; the paths that `fs::write` copies
        // are short enough for its buffer on the stack.
        unsafe { command.pre_exec(enter) };
        match command.spawn() {
            Ok(child) => Ok(Sandbox { child, directory }),
            Err(error) if is_refusal(&error) => Err(CannotEnter::NotAllowed(format!(
                "no namespaces for this user ({error}): run as root, or allow user namespaces"
            ))),
            Err(error) => {
                Err(CannotEnter::Broken(Failed(format!("cannot start the run inside namespaces: {error}"))))
            }
        }
    }

    /// Waits for the second run to end.
    ///
    /// # Errors
    /// What wait(2) says.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// The status of the second run if it has ended.
    ///
    /// # Errors
    /// What wait(2) says.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Already gone in the ordinary case; its own children go with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // They may still be on their way out, and write. What stays is the system's to clean up.
        let _ = wait_for("the lab's directory is removed", REMOVING_MAX, || {
            let path = self.directory.path();
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Failed(format!("{}: {error}", path.display())))
                }
                _ => Ok(()),
            }
        });
    }
}

/// The kernel's ways to say that namespaces are not for this user.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied)
        || matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EUSERS | libc::EINVAL | libc::ENOSYS))
}

fn prepare(parent: Option<&Path>) -> Result<(PathBuf, LabDirectory)> {
    let program = std::env::current_exe().context(|| "cannot find this program's own file".to_owned())?;
    let parent = std::env::var_os(DIRECTORY_VARIABLE)
        .map(PathBuf::from)
        .or_else(|| parent.map(Path::to_owned))
        .unwrap_or_else(std::env::temp_dir);
    LabDirectory::remove_abandoned(&parent);
    Ok((program, LabDirectory::make(&parent)?))
}
