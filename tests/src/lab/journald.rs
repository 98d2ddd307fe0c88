//! systemd's own journald, without systemd: it keeps its journal below a `/run` that only this test has.
//!
//! Not for reading the journal.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, mount};

use crate::failed::{Context, Result, expect};
use crate::lab::mounts;
use crate::lab::wait::wait_for;

const PROGRAM: &str = "/usr/lib/systemd/systemd-journald";
/// Runs a program whose output goes to the journal.
const WRITER: &str = "/usr/bin/systemd-cat";
/// That program: under another name, which is the entries' `_COMM`.
const SPEAKER: &str = "/bin/cat";
const SOCKET: &str = "/run/systemd/journal/stdout";

/// In memory, without a limit of lines, and nothing of the kernel's, whose auditing stays as it is.
const CONFIG: &str = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\nForwardToSyslog=no\nRuntimeMaxUse=200M\nAudit=\n";

const STARTED: Duration = Duration::from_secs(10);

/// Why there is no journal here, if so.
#[must_use]
pub fn is_missing() -> Option<String> {
    let missing = [PROGRAM, WRITER, "/usr/bin/journalctl"].into_iter().find(|path| !Path::new(path).exists());
    if let Some(path) = missing {
        return Some(format!("{path} is not there: apt-get install systemd"));
    }
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    (id.trim().len() != 32)
        .then(|| "/etc/machine-id has no id, without which journald does not start".to_owned())
}

/// A journald, until it is dropped.
pub struct Journald {
    child: Child,
    writers: PathBuf,
}

impl Journald {
    /// Starts one, and keeps what its writers need in `directory`.
    ///
    /// # Errors
    /// When the kernel refuses the mount, or it does not start.
    pub fn start(directory: &Path) -> Result<Journald> {
        mounts::keep_here()?;
        mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), c"size=300m,mode=755")
            .context(|| "cannot mount a /run of this test's".to_owned())?;
        let writers = directory.join("writers");
        let make = || {
            for made in ["/run/systemd/journal", "/run/log/journal", "/run/systemd/journald.conf.d"] {
                fs::create_dir_all(made)?;
            }
            fs::create_dir_all(&writers)?;
            fs::write("/run/systemd/journald.conf.d/test.conf", CONFIG)
        };
        make().context(|| "cannot make what journald needs".to_owned())?;
        Ok(Journald { child: spawn()?, writers })
    }

    /// Ends it, and starts it again with the same journal.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.end();
        // Left by the one that is gone: the next one makes its own.
        let _ = fs::remove_file(SOCKET);
        self.child = spawn()?;
        Ok(())
    }

    /// Writes lines to the journal as the program `name` would.
    ///
    /// # Errors
    /// When they can not be written.
    pub fn write(&self, name: &str, lines: &[String]) -> Result<()> {
        let program = self.writers.join(name);
        let write = || {
            if !program.exists() {
                fs::copy(SPEAKER, &program)?;
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            }
            let mut writer =
                Command::new(WRITER).args(["-t", name]).arg(&program).stdin(Stdio::piped()).spawn()?;
            if let Some(mut input) = writer.stdin.take() {
                lines.iter().try_for_each(|line| writeln!(input, "{line}"))?;
            }
            writer.wait()
        };
        let status = write().context(|| format!("cannot write to the journal as {name}"))?;
        expect(status.success(), || format!("{name} ended with {status}"))
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn() -> Result<Child> {
    let child =
        Command::new(PROGRAM).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.context(|| format!("cannot start {PROGRAM}"))?;
    wait_for("journald listens", STARTED, || {
        expect(Path::new(SOCKET).exists(), || format!("{SOCKET} is not there"))
    })?;
    Ok(child)
}
