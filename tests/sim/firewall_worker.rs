//! The worker between a node and its kernel: makes its calls, makes refused ones again, and looks for a
//! stranger's damage.
//!
//! Not for what the kernel holds (`kernel`) nor for what it should hold (the warden).

use crate::kernel::Wish;
use crate::world::{Happening, World};
use bannkreis_core::ruleset::FirewallDelta;

/// A stranger's damage is looked for this often.
const CHECK_INTERVAL_MS: u64 = 500;

impl World {
    pub(crate) fn apply_deltas(&mut self, node: usize, deltas: &[FirewallDelta]) {
        if deltas.is_empty() {
            return;
        }
        let now_ms = self.now_ms;
        let cluster = self.nodes[node].now(now_ms).cluster;
        let additive = self.is_additive(node);
        let wish = self.nodes[node].kernel.apply(now_ms, cluster, deltas, additive);
        self.grant(node, wish);
    }

    /// Whether the node has not caught up since its start.
    pub(crate) fn is_additive(&self, node: usize) -> bool {
        self.nodes[node].process.as_ref().is_some_and(|process| !process.warden.is_caught_up())
    }

    /// The worker makes the refused calls again.
    pub(crate) fn call_again(&mut self, node: usize, start: u32) {
        if self.nodes[node].start == start && self.nodes[node].process.is_some() {
            let additive = self.is_additive(node);
            let wish = self.nodes[node].kernel.try_waiting(self.now_ms, additive);
            self.grant(node, wish);
        }
    }

    pub(crate) fn grant(&mut self, node: usize, wish: Wish) {
        match wish {
            Wish::Nothing => {}
            Wish::Again { pause_ms } => {
                let start = self.nodes[node].start;
                self.plan_in(pause_ms, Happening::CallAgain { node, start });
            }
            Wish::Repaired => self.coverage.hit("firewall: repaired"),
            Wish::Repair { pause_ms } => {
                let start = self.nodes[node].start;
                self.plan_in(pause_ms, Happening::Repair { node, start });
            }
        }
    }

    /// The worker looks for a stranger's damage.
    pub(crate) fn check_firewall(&mut self, node: usize) {
        if self.nodes[node].process.is_none() {
            return;
        }
        let wish = self.nodes[node].kernel.check();
        self.grant(node, wish);
    }

    /// Asks for a look at the firewall when the worker's next one is due.
    pub(crate) fn plan_check(&mut self, node: usize) {
        let delay_ms = self.random.between(1, CHECK_INTERVAL_MS);
        self.plan_in(delay_ms, Happening::CheckFirewall { node });
    }
}
