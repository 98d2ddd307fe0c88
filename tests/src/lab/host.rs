//! One host of the lab: its namespace, its files, its services, its daemon, and the operator's tool
//! talking to that daemon.
//!
//! The files of a host outlive its daemon: starting again finds what was left, as after a crash.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Seek, SeekFrom, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CapabilitySet;

use crate::failed::{Context, Failed, Result, expect};
use crate::lab::answers::{Ban, ClusterStatus, Told, Why, committed};
use crate::lab::daemon::{Daemon, DaemonPlan, ending};
use crate::lab::listeners::Listeners;
use crate::lab::netns::Netns;
use crate::lab::wait::wait_for;
use crate::lab::wires::Wire;
use crate::seeds::Tree;

/// Where nodes meet.
const CLUSTER_PORT: u16 = 7420;

/// How long a daemon may take until it answers its operator.
const START_MAX: Duration = Duration::from_secs(20);

/// How much of a daemon's last words a failure shows.
const LAST_WORDS_LINES: usize = 60;

/// What a host is to be.
pub struct HostPlan {
    /// Its name, also its node's.
    pub name: &'static str,
    /// What it finds in its configuration directory, and the logs it watches.
    pub tree: Tree,
    /// More lines of the daemon's configuration, for example a `[raft]` table.
    pub settings: String,
    /// More environment of the daemon.
    pub environment: Vec<(String, String)>,
}

/// A host.
pub struct Host {
    plan: HostPlan,
    wire: Wire,
    directory: PathBuf,
    listeners: Listeners,
    daemon: Option<Daemon>,
}

impl Host {
    /// Writes the host's files and opens its services.
    ///
    /// # Errors
    /// When the disk or the kernel refuses.
    pub fn set_up(lab: &Path, plan: HostPlan, wire: Wire) -> Result<Host> {
        let directory = lab.join(plan.name);
        for name in ["state", "run", "log", "fail2ban"] {
            fs::create_dir_all(directory.join(name))
                .context(|| format!("cannot make a directory in {}", directory.display()))?;
        }
        plan.tree.write(&directory.join("fail2ban"), &directory.join("log"))?;
        let listeners = Listeners::open(&wire.netns)?;
        let host = Host { plan, wire, directory, listeners, daemon: None };
        host.write_config()?;
        Ok(host)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.plan.name
    }

    /// Its addresses, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        self.wire.addresses()
    }

    /// Its port of the family that `like` has.
    #[must_use]
    pub fn port(&self, port: u16, like: IpAddr) -> SocketAddr {
        let [v4, v6] = self.addresses();
        SocketAddr::new(if like.is_ipv4() { v4 } else { v6 }, port)
    }

    /// `host:port` at which its node meets others.
    #[must_use]
    pub fn cluster_address(&self) -> String {
        SocketAddr::new(self.wire.v4.into(), CLUSTER_PORT).to_string()
    }

    /// Its network.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.wire.netns
    }

    /// Its services.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// A file of this host: `config.toml`, `words`, `run/…`, `state/…`, `log/…`, `fail2ban/…`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The process id of the daemon, while one was started and not killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// Whether a daemon was started and not killed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.daemon.is_some()
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in time.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts the daemon and does not wait for anything.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let daemon = self.spawn_without(CapabilitySet::empty())?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// A daemon that this host does not look after, which may not do certain things: for those that are
    /// meant to end by themselves.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_without(&self, without: CapabilitySet) -> Result<Daemon> {
        Daemon::spawn(&DaemonPlan {
            netns: &self.wire.netns,
            config: &self.file("config.toml"),
            logs: &self.file("log"),
            words: &self.file("words"),
            environment: &self.plan.environment,
            without,
        })
    }

    /// Waits until the daemon answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in time.
    pub fn wait_ready(&mut self) -> Result<()> {
        let name = self.plan.name;
        let mut ended = None;
        let answer = wait_for(&format!("the daemon of {name} answers"), START_MAX, || {
            if let Some(daemon) = &mut self.daemon
                && let Ok(Some(status)) = daemon.ended()
            {
                ended = Some(status);
                return Ok(());
            }
            self.cli(&["status"])?.expect_success().map(drop)
        });
        match ended {
            Some(status) => Err(Failed(format!("the daemon of {name} ended with {}", ending(status)))),
            None => answer,
        }
    }

    /// Stops the daemon in order, if one runs.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), Daemon::stop)
    }

    /// Waits until the daemon ends by itself, and says how.
    ///
    /// # Errors
    /// When none runs, or it does not end in time.
    pub fn wait_end(&mut self, at_most: Duration) -> Result<String> {
        let name = self.plan.name;
        let daemon = self.daemon.as_mut().ok_or_else(|| Failed(format!("no daemon of {name} runs")))?;
        let status = wait_for(&format!("the daemon of {name} ends by itself"), at_most, || {
            let ended = daemon.ended().context(|| "it can not be looked at".to_owned())?;
            ended.ok_or_else(|| Failed("it runs".to_owned()))
        })?;
        self.daemon = None;
        Ok(ending(status))
    }

    /// Kills the daemon with SIGKILL, if one runs.
    pub fn kill_9(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill_9();
        }
    }

    /// Kills a program that the daemon has started, by the name that the kernel has of it, with SIGKILL.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_child(&self, name: &str) -> Result<()> {
        let daemon = self.pid().ok_or_else(|| Failed(format!("{} does not run", self.name())))?;
        let processes =
            fs::read_dir("/proc").context(|| "cannot list the processes of this machine".to_owned())?;
        let child = processes.flatten().find_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            // One that has ended meanwhile is not it.
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let has = |fact: &str| status.lines().any(|line| line == fact);
            (has(&format!("Name:\t{name}")) && has(&format!("PPid:\t{daemon}"))).then_some(pid)
        });
        let child = child.ok_or_else(|| Failed(format!("{} has started no {name}", self.name())))?;
        kill_process(child, Signal::KILL).context(|| format!("cannot kill {name}"))
    }

    /// Waits until these addresses are banned, in the eyes of this node. Says who is.
    ///
    /// # Errors
    /// When that does not come in time, with those that are missing.
    pub fn wait_banned(&self, expected: &[IpAddr], at_most: Duration) -> Result<BTreeSet<String>> {
        wait_for(&format!("{} lists who is to be banned", self.name()), at_most, || {
            let listed = committed(&self.bans()?);
            let missing: Vec<&IpAddr> =
                expected.iter().filter(|address| !listed.contains(&address.to_string())).collect();
            expect(missing.is_empty(), || format!("{missing:?} are not banned: {listed:?}"))?;
            Ok(listed)
        })
    }

    /// Asks the daemon with the operator's tool.
    ///
    /// # Errors
    /// When the tool cannot be run or does not end. What it says is in the answer, also when it is bad.
    pub fn cli(&self, arguments: &[&str]) -> Result<Told> {
        Told::ask(&self.file("run/control.sock"), arguments)
    }

    /// A join token of this node's cluster.
    ///
    /// # Errors
    /// When none is made.
    pub fn token(&self) -> Result<String> {
        let told = self.cli(&["--output", "json", "token", "create"])?;
        told.text_at("/token")
    }

    /// Joins the cluster of `other`, with a token from there.
    ///
    /// # Errors
    /// When no token is made, or the join is refused.
    pub fn join(&self, other: &Host) -> Result<()> {
        let token = other.token()?;
        self.cli(&["cluster", "join", &other.cluster_address(), "--token", &token])?
            .expect_success()
            .map(drop)
    }

    /// The cluster as this node sees it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn cluster_status(&self) -> Result<ClusterStatus> {
        ClusterStatus::read(&self.cli(&["--output", "json", "cluster", "status"])?)
    }

    /// What is banned or blocked, as this node sees it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn bans(&self) -> Result<Vec<Ban>> {
        Ban::read_all(&self.cli(&["--output", "json", "bans"])?)
    }

    /// What this node knows about an address.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn why(&self, address: IpAddr) -> Result<Why> {
        Why::read(&self.cli(&["--output", "json", "why", &address.to_string()])?)
    }

    /// Adds lines to a file under this host's /var/log, in one write, as a service would. Says when the
    /// write began.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn append_log(&self, name: &str, lines: &[String]) -> Result<Instant> {
        let path = self.file("log").join(name);
        let text = lines.iter().fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        });
        let write = || {
            let mut file = fs::OpenOptions::new().append(true).open(&path)?;
            let began = Instant::now();
            file.write_all(text.as_bytes())?;
            Ok::<Instant, std::io::Error>(began)
        };
        write().context(|| format!("cannot write to {}", path.display()))
    }

    /// Writes the daemon's configuration again, with other lines after the usual ones.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn change_settings(&mut self, settings: &str) -> Result<()> {
        settings.clone_into(&mut self.plan.settings);
        self.write_config()
    }

    /// Gives the daemon other environment variables from its next start on.
    pub fn change_environment(&mut self, environment: &[(&'static str, String)]) {
        self.plan.environment =
            environment.iter().map(|(name, value)| ((*name).into(), value.into())).collect();
    }

    /// The end of what the daemon said, with the host's name before it.
    #[must_use]
    pub fn last_words(&self) -> String {
        let words = self.words_since(0).unwrap_or_default();
        let lines: Vec<&str> = words.lines().collect();
        let mut text = format!("---- {} said:\n", self.plan.name);
        for line in &lines[lines.len().saturating_sub(LAST_WORDS_LINES)..] {
            // Writing to a String never fails.
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// How many bytes the daemons of this host have said.
    #[must_use]
    pub fn n_words_bytes(&self) -> u64 {
        fs::metadata(self.file("words")).map_or(0, |metadata| metadata.len())
    }

    /// What the daemons of this host said after the first `from_bytes` bytes.
    ///
    /// # Errors
    /// When nothing was ever said.
    pub fn words_since(&self, from_bytes: u64) -> Result<String> {
        let read = || {
            let mut file = fs::File::open(self.file("words"))?;
            file.seek(SeekFrom::Start(from_bytes))?;
            std::io::read_to_string(file)
        };
        read().context(|| format!("cannot read what {} said", self.plan.name))
    }

    fn write_config(&self) -> Result<()> {
        let text = format!(
            "name = \"{name}\"\nstate_dir = \"{state}\"\nrun_dir = \"{run}\"\nconfig_dir = \"{tree}\"\n\
             listen = \"{cluster}\"\nadvertise = \"{cluster}\"\n{settings}",
            name = self.plan.name,
            state = self.file("state").display(),
            run = self.file("run").display(),
            tree = self.file("fail2ban").display(),
            cluster = self.cluster_address(),
            settings = self.plan.settings,
        );
        let path = self.file("config.toml");
        fs::write(&path, text).context(|| format!("cannot write {}", path.display()))?;
        expect(path.is_file(), || format!("{} is gone", path.display()))
    }
}
