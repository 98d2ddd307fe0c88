//! A daemon with one directory and one configuration, and what it costs when nothing happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bannkreis_benches::process;
use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::answers::Told;
use bannkreis_tests::lab::programs::program;
use bannkreis_tests::lab::wait::wait_for;
use serde_json::Value;

/// It starts within that.
const STARTED: Duration = Duration::from_secs(30);
/// Long enough for every timer of a node to have come around.
const IDLE: Duration = Duration::from_secs(10);

/// A daemon, until it is dropped.
pub(crate) struct Node {
    child: Child,
    directory: PathBuf,
}

impl Node {
    /// Starts one with these jails and further settings.
    pub(crate) fn start(directory: &Path, jails: &str, settings: &str) -> Result<Node> {
        let config = directory.join("bannkreis.toml");
        let at = directory.display();
        let text = format!(
            "name = \"one\"\nstate_dir = \"{at}/state\"\nrun_dir = \"{at}/run\"\nconfig_dir = \"{at}/fail2ban\"\n\
             listen = \"127.0.0.1:0\"\nbackend = \"none\"\n{settings}"
        );
        let make = || {
            fs::create_dir_all(directory.join("fail2ban"))?;
            fs::write(directory.join("fail2ban/jail.local"), jails)?;
            fs::write(&config, text)
        };
        make().context(|| "cannot write a configuration".to_owned())?;
        let child = Command::new(program("bannkreisd")?)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context(|| "cannot start bannkreisd".to_owned())?;
        let node = Node { child, directory: directory.to_owned() };
        wait_for("the daemon answers", STARTED, || node.n_lines("").map(drop))?;
        Ok(node)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// So many lines of the jail's logs were read.
    pub(crate) fn n_lines(&self, jail: &str) -> Result<u64> {
        let told = Told::ask(&self.directory.join("run/control.sock"), &["--output", "json", "status"])?;
        let status: Value =
            serde_json::from_str(&told.stdout).context(|| format!("no JSON: {}", told.stderr))?;
        let jails = status["jails"].as_array().cloned().unwrap_or_default();
        expect(!status["state"].is_null(), || told.stdout.clone())?;
        let of_jail = jails.iter().filter(|told| told["name"] == jail);
        let sources = of_jail.flat_map(|told| told["sources"].as_array().cloned().unwrap_or_default());
        Ok(sources.filter_map(|source| source["n_lines"].as_u64()).sum())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process costs that has nothing to do.
pub(crate) struct Idle {
    pub(crate) rss_bytes: u64,
    /// Of one processor.
    pub(crate) cpu_share: f64,
}

/// What a node costs that follows so many files in which nothing is written.
pub(crate) fn idle(n_files: usize) -> Result<Idle> {
    let directory = tempfile::tempdir().context(|| "cannot make a directory".to_owned())?;
    let logs = directory.path().join("logs");
    fs::create_dir(&logs).context(|| "cannot make a directory".to_owned())?;
    for n in 0..n_files.max(1) {
        fs::write(logs.join(format!("{n}.log")), "2026-11-22T05:30:08Z a line\n")
            .context(|| "cannot write a log".to_owned())?;
    }
    let jails = format!("[sshd]\nenabled = {}\nlogpath = {}/*.log\n", n_files > 0, logs.display());
    let node = Node::start(directory.path(), &jails, "")?;
    let gone = || "the daemon can not be looked at".to_owned();
    let before = process::cpu(node.pid()).context(gone)?;
    let began = Instant::now();
    std::thread::sleep(IDLE);
    let used = process::cpu(node.pid()).context(gone)?.saturating_sub(before);
    let cpu_share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    Ok(Idle { rss_bytes: process::rss_bytes(node.pid()).context(gone)?, cpu_share })
}
