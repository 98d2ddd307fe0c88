//! **Bounded memory**: what is over leaves nothing behind, and nobody waits for a time that has passed.
//!
//! That a timer is never due again at the moment it fired is looked at in every step.

use crate::world::World;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Until;

pub(crate) const NAME: &str = "bounded memory";

impl World {
    /// Looks for leftovers when every ban with an end is over.
    pub(crate) fn check_memory(&mut self) {
        let lasting = |until: Until| until == Until::FOREVER;
        for node in 0..self.nodes.len() {
            let now = self.nodes[node].now(self.now_ms);
            let Some(process) = &self.nodes[node].process else { continue };
            let warden = &process.warden;
            let outbox: Vec<_> = warden.outbox().filter(|entry| !lasting(entry.until)).cloned().collect();
            let n_notices = warden.notices(now.cluster).count();
            let elements: Vec<_> =
                warden.ruleset().elements.iter().filter(|(_, element)| !lasting(element.until)).collect();
            let overrides: Vec<_> =
                warden.overrides().iter().filter(|(_, held)| !lasting(held.until)).collect();
            let leftover = if !outbox.is_empty() {
                format!("proposals {outbox:?}")
            } else if n_notices > 0 {
                format!("{n_notices} notices")
            } else if !elements.is_empty() {
                format!("elements {elements:?}")
            } else if !overrides.is_empty() {
                format!("overrides {overrides:?}")
            } else if !warden.tally().is_empty() {
                "failures".to_owned()
            } else if [Subnet::all_v4(), Subnet::all_v6()]
                .iter()
                .any(|all| warden.told_about(now, *all).next().is_some())
            {
                "failures of peers".to_owned()
            } else {
                continue;
            };
            return self.fail(NAME, format!("node {node} still holds {leftover} at {now:?}"));
        }
        let Some(newest) = self.raft.history.last() else { return };
        let n_left = newest.bans().filter(|(_, ban)| !lasting(ban.until)).count();
        if n_left > 0 {
            self.fail(NAME, format!("{n_left} bans that are over were never swept away"));
        }
    }
}
