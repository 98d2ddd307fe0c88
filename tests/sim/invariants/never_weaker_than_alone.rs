//! **Never weaker than alone**: a host whose own log has enough lines about somebody drops them at once,
//! and for the jail's whole ban time, as a lone fail2ban would: whatever the cluster says or does not
//! say, through kills, restarts and partitions.

use super::{Duty, EARLY_MS};
use crate::world::World;
use bannkreis_core::event::OverrideKind;

pub(crate) const NAME: &str = "never weaker than alone";

impl World {
    /// Looks at everything that `node` has to drop now.
    pub(crate) fn check_duties(&mut self, node: usize) {
        for n in 0..self.oracle.duties.len() {
            let duty = &self.oracle.duties[n];
            if duty.node != node {
                continue;
            }
            // A wall clock that was wrong over a reboot may let things expire until a leader says better.
            if self.nodes[node].process.as_ref().is_some_and(|process| process.clock.is_guessed()) {
                self.oracle.duties[n].is_seen = false;
                continue;
            }
            if !self.is_due(duty) {
                continue;
            }
            let (address, port, subnet) = (duty.address, duty.port, duty.subnet);
            let is_sampled = self.now_ms.is_multiple_of(16);
            let kernel = &mut self.nodes[node].kernel;
            if (!is_sampled && kernel.closes(subnet, port)) || kernel.drops(address, port) {
                self.oracle.duties[n].is_seen = true;
                continue;
            }
            let duty = self.oracle.duties[n].clone();
            let invariant = match duty {
                _ if duty.has_verdict => super::no_verdict_but_protection_opens::NAME,
                _ if duty.acknowledged.is_some() => super::acknowledged_bans_survive::NAME,
                _ => NAME,
            };
            let held = self.nodes[node]
                .process
                .as_ref()
                .map(|process| process.warden.ruleset().elements.get(&subnet).cloned());
            let now = self.nodes[node].now(self.now_ms);
            self.fail(
                invariant,
                format!(
                    "node {node} lets {address} in at port {port}: {duty:?}; it wants {held:?} at {now:?}"
                ),
            );
            return;
        }
    }

    /// Whether the node must drop it at this very moment.
    fn is_due(&self, duty: &Duty) -> bool {
        let host = &self.nodes[duty.node];
        let early_ms = EARLY_MS + self.oracle.ahead_ms.max(self.plan.led_ms());
        let is_over = duty.until_ms.is_some_and(|until_ms| self.now_ms + early_ms >= until_ms);
        // Between a stranger's flush or a refused call and the repair, nobody can promise anything.
        let is_damaged = host.kernel.damaged || host.kernel.dirty;
        let is_released = self.override_of(duty.node, duty.subnet) == Some(OverrideKind::Release);
        if is_over || is_damaged || is_released || !host.powered {
            return false;
        }
        let Some(process) = &host.process else { return duty.is_seen };
        let knows = match duty.acknowledged {
            Some(index) => process.applied >= index,
            None => duty.origin == duty.node && host.is_ready(),
        };
        duty.is_seen || knows
    }
}
