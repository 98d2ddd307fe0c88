//! The daemon as a process: what it makes for whose eyes, and which signals it takes how.
//!
//! Not for what it does with bans: that is shown with several of them, in `tests/e2e`.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon that blocks nobody, with its log in a file. It ends with the test.
struct Daemon {
    dir: TempDir,
    process: Child,
}

impl Daemon {
    fn start() -> Daemon {
        let dir = tempfile::tempdir().expect("temporary directory");
        // As an administrator might have made it, or an earlier release.
        fs::create_dir(dir.path().join("state")).expect("mkdir");
        fs::set_permissions(dir.path().join("state"), Permissions::from_mode(0o755)).expect("chmod");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let at = dir.path().display();
        let text = format!(
            "name = \"alone\"\nstate_dir = \"{at}/state\"\nrun_dir = \"{at}/run\"\nconfig_dir = \"{at}/fail2ban\"\n\
             listen = \"{port}\"\nbackend = \"none\"\n[log]\ntarget = \"{at}/log\"\n"
        );
        fs::write(dir.path().join("bannkreis.toml"), text).expect("write");
        let process = Command::new(env!("CARGO_BIN_EXE_bannkreisd"))
            .arg("--config")
            .arg(dir.path().join("bannkreis.toml"))
            .stdin(Stdio::null())
            .spawn()
            .expect("bannkreisd starts");
        let mut daemon = Daemon { dir, process };
        daemon.wait_for("log", "bannkreisd is ready");
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until the file holds the text.
    fn wait_for(&mut self, file: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let held = fs::read_to_string(self.path(file)).unwrap_or_default();
            if held.contains(text) {
                return;
            }
            let ended = self.process.try_wait().expect("its state can be asked");
            assert!(ended.is_none(), "the daemon has ended ({ended:?}); {file} holds:\n{held}");
            assert!(Instant::now() < deadline, "no `{text}` in {file}, which holds:\n{held}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it can be signalled");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything below `dir` that others than its owner may use, with its mode.
fn open_to_others(dir: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it can be listed") {
        let path = entry.expect("it can be read").path();
        // Files come and go while the daemon runs.
        let Ok(facts) = fs::symlink_metadata(&path) else { continue };
        let mode = facts.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            found.push((path.clone(), mode));
        }
        if facts.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

#[test]
fn what_it_keeps_is_its_users_alone() {
    let daemon = Daemon::start();
    assert_eq!(open_to_others(&daemon.path("state")), []);
    assert_eq!(open_to_others(&daemon.path("run")), []);
    let mode =
        |name: &str| fs::metadata(daemon.path(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("run"), mode("log")), (0o700, 0o700, 0o640));
}

#[test]
fn hangup_and_usr1_open_the_log_anew_and_end_nothing() {
    let mut daemon = Daemon::start();
    for (n, signal) in [Signal::HUP, Signal::USR1, Signal::HUP].into_iter().enumerate() {
        fs::rename(daemon.path("log"), daemon.path(&format!("log.{n}"))).expect("rename");
        daemon.signal(signal);
        daemon.wait_for("log", "was opened anew");
    }
    daemon.signal(Signal::TERM);
    let ended = daemon.process.wait().expect("it ends");
    assert!(ended.success(), "{ended:?}");
    let last = fs::read_to_string(daemon.path("log")).expect("read");
    assert!(last.contains("stopping"), "{last}");
}
