//! **Tries on all hosts add up**: an attacker who stays below maxretry on each host, and reaches it over all of them,
//! is dropped on every one of them, while the hosts can hear each other.
//!
//! Asked when all faults have stopped: before that, whom a host has heard of is nobody's promise.

use crate::world::World;
use bannkreis_core::subnet::Subnet;
use std::net::IpAddr;

pub(crate) const NAME: &str = "tries on all hosts add up";

/// Nobody knows it before.
const NEWCOMER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(45, 99, 1, 1));
/// The jail that all hosts have.
const JAIL: usize = 0;

impl World {
    /// Somebody new tries his luck once on each host, in one moment, until there are enough tries.
    pub(crate) fn attack_all_hosts_once(&mut self) {
        let n_tries = usize::try_from(self.plan.jails[JAIL].max_retry).unwrap_or(0);
        let hosts = self.hosts_that_count();
        // Over its quota, a node's ban may stay its own.
        if self.broken.is_some() || hosts.len() < 2 || self.settings_are_tight() {
            return;
        }
        for n in 0..n_tries {
            self.write_line(hosts[n % hosts.len()], JAIL, NEWCOMER, true);
        }
    }

    /// All of them drop him now.
    pub(crate) fn judge_tries_added_up(&mut self) {
        let was_there = self.oracle.evidence.iter().any(|seen| seen.subnet == Subnet::host(NEWCOMER));
        if self.broken.is_some() || !was_there {
            return;
        }
        self.coverage.hit("told: blocked for tries on all hosts");
        for host in self.hosts_that_count() {
            let port = self.plan.jails[JAIL].ports(host)[0];
            let now_ms = self.now_ms;
            let kernel = &mut self.nodes[host].kernel;
            kernel.set_now(now_ms);
            if !kernel.drops(NEWCOMER, port) {
                self.fail(NAME, format!("node {host} lets {NEWCOMER} in at port {port}"));
                return;
            }
        }
    }

    /// Hosts that read the jail's lines and whom the others believe.
    fn hosts_that_count(&self) -> Vec<usize> {
        let Some(newest) = self.raft.history.last() else { return Vec::new() };
        let counts = |node: usize| {
            let host = &self.nodes[node];
            let is_trusted = newest.node(host.id).is_some_and(|known| !known.untrusted && !known.revoked);
            is_trusted && host.is_ready() && host.without != Some(JAIL)
        };
        self.plan.jails[JAIL].nodes.iter().copied().filter(|node| counts(*node)).collect()
    }

    fn settings_are_tight(&self) -> bool {
        self.plan.settings.quota_burst < 100
    }
}
