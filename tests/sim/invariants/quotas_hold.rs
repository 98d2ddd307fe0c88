//! **Quotas hold**: over its quota a node's bans last no longer than bans are cut short to, on no node and in no way of
//! asking again. Of its longer ones there are no more than it has had tokens for.

use super::EARLY_MS;
use crate::clock::WORLD_BEGINS_MS;
use crate::plan::Order;
use crate::world::World;
use bannkreis_core::ban::Ban;
use bannkreis_core::time::MINUTE_MS;

pub(crate) const NAME: &str = "quotas hold";

impl World {
    /// Counts in what `bans` shows the long ones that only one node has asked for.
    pub(crate) fn check_quotas(&mut self) {
        let settings = self.plan.settings;
        // What another one had asked for as well may be left when that one is undone.
        let may_be_left = self.asks.iter().any(|ask| matches!(ask.order, Order::UnbanByNode { .. }));
        if settings.quota_burst >= 100 || may_be_left {
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
}
