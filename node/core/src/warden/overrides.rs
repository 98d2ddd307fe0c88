//! What an operator has decided for this host only: put in force at once, kept over a restart, and taken
//! back when its time is over.

use super::Warden;
use crate::event::{Effect, Override};
use crate::ruleset::FirewallDelta;
use crate::subnet::Subnet;
use crate::time::{Now, Timestamp, Until};
use alloc::vec::Vec;

/// A host has at most this many overrides: whoever takes an operator's word refuses more by name.
pub const OVERRIDES_MAX: usize = 10_000;

impl Warden {
    pub(super) fn on_override(
        &mut self,
        now: Now,
        subnet: Subnet,
        mut decision: Option<Override>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(decision) = &mut decision {
            decision.estimated = now.estimated;
        }
        match &decision {
            Some(decision) => self.overrides.insert(subnet, decision.clone()),
            None => self.overrides.remove(subnet),
        };
        self.ended_overrides.remove(&subnet);
        effects.push(Effect::StoreOverride { subnet, decision });
        self.refresh_protection(now.cluster, effects);
        // A release is an operator's word: it acts even on what this process does not know of.
        self.render(now.cluster, subnet, true, effects);
        self.render_inside(now.cluster, subnet, effects);
    }

    /// Forgets overrides that are over, and blocks again what they released. By an estimate they only end:
    /// they are kept until cluster time is known, for they may still hold.
    pub(super) fn end_overrides(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let is_over = |decision: &Override| decision.until.is_over(now.cluster);
        let is_known = |subnet: &Subnet| now.estimated && self.ended_overrides.contains(subnet);
        let ended: Vec<Subnet> = self
            .overrides
            .iter()
            .filter(|(subnet, held)| is_over(held) && !is_known(subnet))
            .map(|(subnet, _)| subnet)
            .collect();
        for subnet in ended {
            if now.estimated {
                self.ended_overrides.insert(subnet);
            } else {
                self.overrides.remove(subnet);
                effects.push(Effect::StoreOverride { subnet, decision: None });
            }
            let was_protected = self.ruleset.protected.contains(&subnet);
            self.refresh_protection(now.cluster, effects);
            // One that has ended while no process was there still stands in the kernel: what this process knows does not
            // say so.
            if !was_protected && !self.ruleset.protected.contains(&subnet) {
                effects.push(Effect::Firewall(FirewallDelta::Unprotect { subnet }));
            }
            self.render_inside(now.cluster, subnet, effects);
        }
    }

    /// What ends by an estimate, which now says `estimated`, ends by `now` in its place. `is_known`: from now on
    /// that is no estimate any more.
    pub(super) fn redate_overrides(
        &mut self,
        estimated: Timestamp,
        now: Timestamp,
        is_known: bool,
        effects: &mut Vec<Effect>,
    ) {
        for (subnet, decision) in self.overrides.iter_mut().filter(|(_, decision)| decision.estimated) {
            if let Some(end) = decision.until.end() {
                let end = end.plus_ms(now.ms_since(estimated)).minus_ms(estimated.ms_since(now));
                decision.until = Until::at(end);
            }
            decision.estimated = !is_known;
            effects.push(Effect::StoreOverride { subnet, decision: Some(decision.clone()) });
        }
    }

    /// When the next override ends that nobody has noticed yet.
    pub(super) fn next_override_end(&self) -> Option<Timestamp> {
        let unnoticed = self.overrides.iter().filter(|(subnet, _)| !self.ended_overrides.contains(subnet));
        unnoticed.filter_map(|(_, held)| held.until.end()).min()
    }
}
