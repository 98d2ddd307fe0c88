//! **Quotas hold**: over its quota a node's bans last no longer than bans are cut short to, on no node and in no way of
//! asking again. Of its longer ones there are no more than it has had tokens for. And on its word alone, before anything is
//! agreed on, its peers block no more than that.

use super::EARLY_MS;
use crate::clock::WORLD_BEGINS_MS;
use crate::plan::{Order, is_innocent};
use crate::world::World;
use bannkreis_core::ban::Ban;
use bannkreis_core::time::MINUTE_MS;
use std::collections::BTreeSet;

pub(crate) const NAME: &str = "quotas hold";

impl World {
    /// Counts in what `bans` shows the long ones that only one node has asked for.
    pub(crate) fn check_quotas(&mut self) {
        let settings = self.plan.settings;
        // What another one had asked for as well may be left when that one is undone.
        let may_be_left = self.asks.iter().any(|ask| matches!(ask.order, Order::UnbanByNode { .. }));
        if !self.plan.has_small_quotas() || may_be_left {
            return;
        }
        let Some(newest) = self.raft.history.last().cloned() else { return };
        let short_ms = settings.damped_ms + EARLY_MS;
        let is_long = |ban: &Ban| ban.until.end().is_none_or(|end| end.ms_since(ban.since) > short_ms);
        for (key, ban) in newest.bans() {
            if let ([origin], Some(_)) = (&ban.origins[..], self.jail_of(key))
                && is_long(ban)
            {
                let long = self.oracle.long_bans.entry(origin.node).or_default();
                long.insert((key.clone(), ban.since));
            }
        }
        let passed_ms = newest.now().0.max(self.now_ms) - WORLD_BEGINS_MS;
        let refilled = passed_ms * u64::from(settings.quota_per_minute) / MINUTE_MS;
        let n_tokens = usize::try_from(u64::from(settings.quota_burst) + refilled + 1).unwrap_or(usize::MAX);
        let over = self.oracle.long_bans.iter().find(|(_, long)| long.len() > n_tokens);
        if let Some((node, long)) = over {
            let how = format!("{} long bans of node {node} for {n_tokens} tokens: {long:?}", long.len());
            self.fail(NAME, how);
        }
    }

    /// Counts the innocent that a node blocks because of what it was told with stolen keys.
    pub(crate) fn check_noticed(&mut self, node: usize) {
        let settings = self.plan.settings;
        let told = self.oracle.rogue_since.keys().filter(|(to, _, _)| *to == node);
        let n_rogues = told.map(|(_, _, from)| from).collect::<BTreeSet<_>>().len();
        let host = &self.nodes[node];
        // What an earlier process was told may be in the kernel still.
        let has_just_started = host.died_at_ms + 3 * MINUTE_MS > self.now_ms;
        if !self.plan.has_small_quotas() || n_rogues == 0 || has_just_started {
            return;
        }
        // Without a leader, what is said again and again goes on blocking.
        let refilled = (self.now_ms - WORLD_BEGINS_MS) * u64::from(settings.quota_per_minute) / MINUTE_MS;
        let n_tokens = u64::from(settings.quota_burst) + refilled + 1;
        let n_max = n_rogues * usize::try_from(n_tokens).unwrap_or(usize::MAX);
        let blocked = self.nodes[node].kernel.ruleset().elements.into_keys();
        let n_blocked = blocked.filter(|subnet| is_innocent(*subnet)).count();
        if n_blocked > n_max {
            let how = format!(
                "node {node} blocks {n_blocked} innocent for {n_rogues} nodes with {n_tokens} tokens"
            );
            self.fail(NAME, how);
        }
    }
}
