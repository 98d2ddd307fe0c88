//! The host's own iptables programs: rules go in and come out as text.
//!
//! Whichever iptables the host uses (the old one or the one that writes nftables), its administrator sees our rules with
//! it, and what we say means there what it means to them. Elements never go this way: no program is started for a ban.
//! Not for which rules there are (`rules.rs`).

use crate::FirewallError;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// Where these programs are, also for daemons whose PATH does not say so.
const PATHS: &str = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin";

/// A program waits so long for the lock that others may have.
const LOCK_SECONDS: &str = "5";

/// Exit code of both kinds when somebody else has the lock (xtables_error, RESOURCE_PROBLEM).
const RESOURCE_PROBLEM: i32 = 4;

/// Which of the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// Those that the host's administrator gets by the plain names.
    #[default]
    Hosts,
    /// Those that speak to the kernel's old tables.
    Legacy,
    /// Those that write nftables.
    Nft,
}

/// A network namespace, in which programs are started although the thread that wants them may be in another one.
#[derive(Debug)]
struct Namespace(File);

impl Namespace {
    /// This thread's.
    fn here() -> io::Result<Namespace> {
        File::open("/proc/thread-self/ns/net").map(Namespace)
    }

    fn id(&self) -> io::Result<(u64, u64)> {
        self.0.metadata().map(|facts| (facts.dev(), facts.ino()))
    }

    /// Has `command` run in it. A thread that is in it needs no right to enter it.
    fn holds(self: &Arc<Namespace>, command: &mut Command) -> io::Result<()> {
        if Namespace::here()?.id()? == self.id()? {
            return Ok(());
        }
        let namespace = self.clone();
        let enter = move || {
            // SAFETY: setns(2) takes a descriptor, which `namespace` keeps open, and changes the new process only.
            let entered = unsafe { libc::setns(namespace.0.as_raw_fd(), libc::CLONE_NEWNET) };
            if entered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec it makes one system call and takes no memory.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

/// The programs for one family of addresses.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    variant: Variant,
    v4: bool,
    namespace: Arc<Namespace>,
}

impl Program {
    /// For IPv4 and for IPv6, in this thread's network namespace.
    pub(crate) fn both(variant: Variant) -> Result<[Program; 2], FirewallError> {
        let namespace = Namespace::here().map_err(|error| FirewallError::Refused {
            doing: "looking for this thread's network namespace".to_owned(),
            said: error.to_string(),
        })?;
        let namespace = Arc::new(namespace);
        Ok([true, false].map(|v4| Program { variant, v4, namespace: namespace.clone() }))
    }

    /// Whether it is for IPv4.
    pub(crate) fn is_v4(&self) -> bool {
        self.v4
    }

    /// The rules of a table, one per line, with their counters if asked for.
    pub(crate) fn save(&self, table: &str, with_counters: bool) -> Result<String, FirewallError> {
        let counters = if with_counters { &["-c"][..] } else { &[] };
        let output = self.run(&self.name("save"), &[&["-t", table], counters].concat(), "")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Changes rules: everything that `text` says in one step, or nothing of it. What it does not name stays.
    pub(crate) fn restore(&self, text: &str) -> Result<(), FirewallError> {
        self.run(&self.name("restore"), &["--wait", LOCK_SECONDS, "--noflush"], text).map(drop)
    }

    fn name(&self, what: &str) -> String {
        let family = if self.v4 { "iptables" } else { "ip6tables" };
        match self.variant {
            Variant::Hosts => format!("{family}-{what}"),
            Variant::Legacy => format!("{family}-legacy-{what}"),
            Variant::Nft => format!("{family}-nft-{what}"),
        }
    }

    fn run(&self, name: &str, arguments: &[&str], input: &str) -> Result<Output, FirewallError> {
        let failed = |error: &io::Error| match error.kind() {
            io::ErrorKind::NotFound => FirewallError::Missing { program: name.to_owned() },
            _ => FirewallError::Refused { doing: format!("starting {name}"), said: error.to_string() },
        };
        // An empty part of it would be the directory that this process is in.
        let path = std::env::var("PATH").ok().filter(|path| !path.is_empty());
        let path = path.map_or(PATHS.to_owned(), |path| format!("{path}:{PATHS}"));
        let mut command = Command::new(name);
        command.args(arguments).env("PATH", path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = self.namespace.holds(&mut command).and_then(|()| command.spawn());
        let mut child = started.map_err(|error| failed(&error))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it has read everything says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| failed(&error))?;
        if output.status.success() {
            return Ok(output);
        }
        let doing = format!("running {name} {}", arguments.join(" "));
        let said: String = String::from_utf8_lossy(&output.stderr).trim().escape_debug().collect();
        Err(match output.status.code() {
            Some(RESOURCE_PROBLEM) if said.contains("lock") => FirewallError::Busy { doing, why: said },
            _ => FirewallError::Refused { doing, said },
        })
    }
}
