//! **Firewall converges**: soon after the last fault every kernel drops exactly whom the ban list, the
//! host's own unanswered proposals, its peers' word and its operator's overrides say.

use super::EARLY_MS;
use crate::plan::ignored_on;
use crate::world::World;
use bannkreis_core::event::{OutboxEntry, OverrideKind};
use bannkreis_core::judge::NotSharedReason;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Until;
use std::collections::BTreeSet;

pub(crate) const NAME: &str = "firewall converges";

impl World {
    /// Compares what each kernel drops with what clients can ask: `bans`, `why`, overrides.
    pub(crate) fn check_convergence(&mut self) {
        self.check_round_trip();
        let last = self.raft.last_index();
        for node in 0..self.nodes.len() {
            let now = self.nodes[node].now(self.now_ms);
            let host = &self.nodes[node];
            let Some(process) = &host.process else {
                return self.fail(NAME, format!("node {node} does not run"));
            };
            // With nothing that can end, nobody need know what time it is.
            let lacks_time = process.clock.is_estimated() && process.list.n_bans() > 0;
            if process.applied != last || !process.caught_up || lacks_time || host.kernel.damaged {
                let how = format!(
                    "node {node} is at {} of {last}, caught up: {}, time estimated: {}, damaged: {}",
                    process.applied,
                    process.caught_up,
                    process.clock.is_estimated(),
                    host.kernel.damaged
                );
                return self.fail(NAME, how);
            }
            let is_shut_out = |entry: &OutboxEntry| entry.local == Some(NotSharedReason::NotMember);
            if process.warden.outbox().any(is_shut_out) {
                return self.fail(
                    NAME,
                    format!("node {node} is a member, and keeps a ban to itself because it is none"),
                );
            }
            let view = process.warden.view().clone();
            let mut wanted: BTreeSet<Subnet> = BTreeSet::new();
            // What is wanted for so short a time that a node may have let it go: a block ends in the kernel
            // when the node's clock of that day said so, and a clock that was ahead then, and has been
            // slowed down since, still takes it for live.
            let mut lasting: BTreeSet<Subnet> = BTreeSet::new();
            let bans = view.bans().map(|(key, ban)| (key.subnet, ban.until));
            let provisional = process.warden.outbox().map(|entry| (entry.key.subnet, entry.until));
            let noticed = process.warden.notices(now.cluster);
            let noticed = noticed.map(|(key, _, until)| (key.subnet, Until::at(until)));
            for (subnet, until) in bans.chain(provisional).chain(noticed) {
                if !until.is_over(now.cluster) {
                    wanted.insert(subnet);
                }
                if !until.is_over(now.cluster.plus_ms(EARLY_MS + self.plan.led_ms())) {
                    lasting.insert(subnet);
                }
            }
            let overrides: Vec<(Subnet, OverrideKind)> = process
                .warden
                .overrides()
                .iter()
                .filter(|(_, decision)| !decision.until.is_over(now.cluster))
                .map(|(subnet, decision)| (subnet, decision.kind))
                .collect();
            for (subnet, kind) in overrides {
                match kind {
                    OverrideKind::Block => wanted.insert(subnet) | lasting.insert(subnet),
                    OverrideKind::Release => wanted.remove(&subnet),
                };
            }
            wanted.retain(|subnet| {
                view.protection(*subnet, now.cluster).is_none()
                    && ignored_on(node).is_none_or(|own| Subnet::host(own) != *subnet)
            });
            let held = self.nodes[node].kernel.ruleset();
            // What ends within a second may be either.
            let is_ending = |subnet: &Subnet| {
                held.elements.get(subnet).is_some_and(|element| {
                    element
                        .until
                        .remaining_ms(bannkreis_core::time::Timestamp(self.now_ms))
                        .is_some_and(|ms| ms < 1_000)
                })
            };
            let held_subnets: BTreeSet<Subnet> = held.elements.keys().copied().collect();
            let differing: Vec<Subnet> = wanted
                .symmetric_difference(&held_subnets)
                .copied()
                .filter(|subnet| !is_ending(subnet))
                .filter(|subnet| held_subnets.contains(subnet) || lasting.contains(subnet))
                .collect();
            if !differing.is_empty() {
                return self.fail(
                    NAME,
                    format!("node {node} differs about {differing:?}; it holds {held_subnets:?}"),
                );
            }
        }
    }
}
