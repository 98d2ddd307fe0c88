//! fail2ban's own classes as the other side of a comparison: found, asked, and our reading in their words.

pub(crate) mod ours;
pub(crate) mod trees;

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// fail2ban, unpacked somewhere.
pub(crate) struct Fail2ban {
    config: PathBuf,
    packages: PathBuf,
}

impl Fail2ban {
    /// Finds it by BANNKREIS_FAIL2BAN_DIR, the directory that `.ci/fail2ban-config` prints; or says that the
    /// test is skipped.
    pub(crate) fn find() -> Option<Fail2ban> {
        let Some(config) = std::env::var_os("BANNKREIS_FAIL2BAN_DIR").filter(|dir| !dir.is_empty()) else {
            say("SKIPPED: BANNKREIS_FAIL2BAN_DIR does not say where fail2ban is unpacked");
            return None;
        };
        let config = PathBuf::from(config);
        let packages = config.join("../../usr/lib/python3/dist-packages");
        let script =
            format!("import sys; sys.path.insert(0, {packages:?}); import fail2ban.client.jailsreader");
        let tried = Command::new("python3").args(["-c", &script]).output();
        if tried.is_ok_and(|output| output.status.success()) {
            return Some(Fail2ban { config, packages });
        }
        say(&format!("SKIPPED: python3 is missing, or can not import fail2ban from {}", packages.display()));
        None
    }

    /// Its configuration directory.
    pub(crate) fn config_dir(&self) -> &Path {
        &self.config
    }

    /// What it makes of each directory: see `jails.py`.
    pub(crate) fn read(&self, dirs: &[PathBuf]) -> Vec<Value> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fail2ban/jails.py");
        let mut python = Command::new("python3")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(script)
            .arg(&self.packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 started a moment ago");
        let asked: String = dirs.iter().map(|dir| format!("{}\n", dir.display())).collect();
        let mut stdin = python.stdin.take().expect("piped");
        // It answers while it is asked, so somebody must listen meanwhile.
        let asking = std::thread::spawn(move || stdin.write_all(asked.as_bytes()));
        let output = python.wait_with_output().expect("it ends by itself");
        asking.join().expect("no panic").expect("it reads to the end");
        assert!(output.status.success(), "jails.py failed");
        let answers = String::from_utf8(output.stdout).expect("JSON");
        answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// To the program's own output, which the scripts read even where passing tests are silent.
fn say(line: &str) {
    // What can not be written is read by nobody.
    let _ = writeln!(std::io::stdout(), "{line}");
}
