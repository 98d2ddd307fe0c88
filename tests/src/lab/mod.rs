//! A few hosts and an attacker, each a network namespace of its own, on one bridge.
//!
//! Real kernels' firewalls, real sockets, real daemons; no real network. In the order of suggested
//! reading: getting inside, the wires, the hosts with their daemons and disks, what they answer, the attacker
//! with its measurements, and waiting.

mod directory;
pub mod rsyslog;
pub mod sandbox;

pub mod netns;
pub mod wires;

pub mod daemon;
pub mod disk;
pub mod host;
pub mod journald;
pub mod listeners;
pub mod mounts;
pub mod programs;
pub mod strace;

pub mod answers;

pub mod attacker;
pub mod flood;
pub mod syn_probe;

pub mod wait;
pub mod whole_program;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::failed::{Context, Failed, Result, expect};
use attacker::Attacker;
use host::{Host, HostPlan};
use netns::Netns;
use wait::wait_for;
use wires::Wires;

/// How long a cluster may take to form, on a slow and busy machine.
const FORMING_MAX: Duration = Duration::from_secs(30);

/// From three nodes on, three vote.
const VOTERS_OF_THREE: usize = 3;

/// The hosts, the attacker and the wires between them. Dropping it kills what runs in it.
pub struct Lab {
    hosts: Vec<Host>,
    /// Where the hostile packets come from.
    pub attacker: Attacker,
    _switch: Netns,
}

impl Lab {
    /// Makes the hosts, in the order of their addresses; no daemon runs yet.
    ///
    /// # Errors
    /// When the kernel, ip(8) or the disk refuses something.
    pub fn build(directory: &Path, plans: Vec<HostPlan>) -> Result<Lab> {
        raise_limit_of_open_files()?;
        let wires = Wires::lay(plans.len())?;
        let mut hosts = Vec::new();
        for (plan, wire) in plans.into_iter().zip(wires.hosts) {
            hosts.push(Host::set_up(directory, plan, wire)?);
        }
        Ok(Lab { hosts, attacker: Attacker::new(wires.attacker), _switch: wires.switch })
    }

    /// The host of that name.
    ///
    /// # Panics
    /// When the lab was built without it.
    #[must_use]
    pub fn host(&self, name: &str) -> &Host {
        self.hosts
            .iter()
            .find(|host| host.name() == name)
            .unwrap_or_else(|| panic!("this lab was built without a host {name}"))
    }

    /// The host of that name, to start and stop its daemon.
    ///
    /// # Panics
    /// When the lab was built without it.
    pub fn host_mut(&mut self, name: &str) -> &mut Host {
        self.hosts
            .iter_mut()
            .find(|host| host.name() == name)
            .unwrap_or_else(|| panic!("this lab was built without a host {name}"))
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// All hosts, to start and stop their daemons.
    pub fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// The hosts whose daemon runs.
    pub fn running(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.is_running())
    }

    /// Starts every daemon, joins all to the first host's, and waits until each says that the cluster
    /// is whole. How long that took.
    ///
    /// # Errors
    /// When a daemon does not start, a join is refused, or it takes too long.
    pub fn form_cluster(&mut self) -> Result<Duration> {
        let began = Instant::now();
        for host in &mut self.hosts {
            host.start()?;
        }
        for host in &self.hosts[1..] {
            host.join(&self.hosts[0])?;
        }
        self.wait_whole()?;
        Ok(began.elapsed())
    }

    /// Waits until every host's daemon runs and sees every other one under one leader, and until so many
    /// of them vote as can: an even number of voters would survive no more failures than one less.
    ///
    /// # Errors
    /// When it takes too long: what was last seen.
    pub fn wait_whole(&self) -> Result<()> {
        let n_hosts = self.hosts.len();
        let n_voters_wanted = if n_hosts >= VOTERS_OF_THREE { VOTERS_OF_THREE } else { 1 };
        wait_for("the cluster is whole", FORMING_MAX, || {
            let mut leaders = Vec::new();
            for host in &self.hosts {
                let cluster = host.cluster_status()?;
                let reachable = cluster.nodes.iter().filter(|node| node.is_reachable);
                expect(reachable.clone().count() == n_hosts, || {
                    format!("{} sees {:?}", host.name(), cluster.nodes)
                })?;
                let n_voters = reachable.filter(|node| node.is_voter).count();
                expect(n_voters >= n_voters_wanted, || {
                    format!("{} sees {n_voters} voters of {n_voters_wanted}", host.name())
                })?;
                leaders
                    .push(cluster.leader.ok_or_else(|| Failed(format!("{} knows no leader", host.name())))?);
            }
            leaders.dedup();
            expect(leaders.len() == 1, || format!("there are several leaders: {}", leaders.join(", ")))
        })
    }

    /// The name of the host that leads, as the running ones agree.
    ///
    /// # Errors
    /// When they do not agree in time.
    pub fn leader(&self) -> Result<String> {
        wait_for("the running nodes agree on a leader", FORMING_MAX, || {
            let mut leaders = Vec::new();
            for host in self.running() {
                leaders.extend(host.cluster_status()?.leader);
            }
            let n_running = self.running().count();
            expect(leaders.len() == n_running, || "not every node knows a leader".to_owned())?;
            leaders.dedup();
            expect(leaders.len() == 1, || format!("they name {}", leaders.join(", ")))?;
            let leader = leaders.remove(0);
            expect(self.running().any(|host| host.name() == leader), || format!("{leader} is dead"))?;
            Ok(leader)
        })
    }

    /// Everything the daemons said, for the report of a failure.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.hosts.iter().map(Host::last_words).collect()
    }
}

/// A lab opens a socket per source address; the default of 1,024 files is for other programs.
fn raise_limit_of_open_files() -> Result<()> {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
        .context(|| "cannot raise the limit of open files".to_owned())
}
