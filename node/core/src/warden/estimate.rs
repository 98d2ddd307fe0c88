//! A node that starts without a leader estimates cluster time. It blocks by the estimate and lets things
//! expire by it, but settles nothing; and when the cluster's word comes, what was dated by the estimate is
//! dated again.
//!
//! What a node that has just started does once it has caught up is here as well, for by then its estimate may have been
//! corrected. Not for how the estimate is made: that is the clock's of whoever drives the warden.

use super::Warden;
use crate::event::Effect;
use crate::ruleset::FirewallDelta;
use crate::time::{Now, SECOND_MS, Timestamp};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Cluster time as it is estimated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// The last step's time.
    last: Now,
    /// So far behind it was found to be since what is dated by it was dated.
    behind_ms: u64,
}

impl Estimate {
    /// What it says at `now`, if it has not been corrected since what is dated by it was dated.
    fn at(&self, now: Now) -> Timestamp {
        // Between two steps a wall clock, however wrong, runs about as fast as time passes.
        self.last.cluster.plus_ms(now.wall.ms_since(self.last.wall)).minus_ms(self.behind_ms)
    }
}

impl Warden {
    /// The node knows now all that an earlier process knew: the firewall holds what the warden says and nothing else.
    pub(super) fn on_caught_up(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.caught_up {
            return;
        }
        self.caught_up = true;
        let is_whole = !self.forget_brought_along(now.cluster) && !self.has_withheld;
        // There may never be a leader again who says what time it is.
        let is_exact = is_whole && !core::mem::take(&mut self.has_old_timeouts);
        if !is_whole {
            self.render_all(now.cluster, &mut Vec::new());
        }
        effects.push(Effect::SettleFirewall { ruleset: self.ruleset.clone(), is_exact });
        self.count_held_bans(now, effects);
    }

    /// Steps on by an estimate. Old entries of the log say that it is behind, each of them perhaps by very little: what
    /// was dated by it is dated again.
    pub(super) fn on_estimated(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let estimated_now = self.estimate.as_ref().map_or(now.cluster, |estimate| estimate.at(now));
        let behind_ms = now.cluster.ms_since(estimated_now);
        let is_behind = behind_ms > SECOND_MS;
        if is_behind {
            self.outbox.redate(estimated_now, now.cluster);
            self.redate_overrides(estimated_now, now.cluster, false, effects);
            self.has_old_timeouts = true;
        }
        self.estimate = Some(Estimate { last: now, behind_ms: if is_behind { 0 } else { behind_ms } });
    }

    /// Cluster time is known after all, and may be earlier or later than the estimate was: what was dated
    /// by the estimate is dated again, what was let expire by it may still hold, and every timeout in the
    /// firewall was worked out by it. After a short absence it is off by next to nothing, and then a million timeouts
    /// are not worked out again for that.
    pub(super) fn on_time_settled(&mut self, now: Now, estimate: Estimate, effects: &mut Vec<Effect>) {
        let estimated_now = estimate.at(now);
        self.outbox.redate(estimated_now, now.cluster);
        let redated = self.outbox.settle_dates(now.cluster);
        for entry in &redated {
            let entry = Box::new(entry.clone());
            effects.push(Effect::StoreOutbox { key: entry.key.clone(), entry: Some(entry) });
        }
        self.redate_overrides(estimated_now, now.cluster, true, effects);
        self.ended_overrides.clear();
        self.notices.redate(estimated_now, now.cluster);
        self.tidied_at = self.tidied_at.min(now.cluster);
        self.refresh_protection(now.cluster, effects);
        let is_off_by_ms = now.cluster.ms_since(estimated_now).max(estimated_now.ms_since(now.cluster));
        if is_off_by_ms <= SECOND_MS && !self.has_old_timeouts {
            // They may have come from an earlier process, whose estimate was another one.
            let subnets: Vec<_> = redated.iter().map(|entry| entry.key.subnet).collect();
            self.render_each(now.cluster, &subnets, effects);
            return;
        }
        self.has_old_timeouts = false;
        self.render_all(now.cluster, effects);
        for (&subnet, element) in &self.ruleset.elements {
            let element = element.clone();
            effects.push(Effect::Firewall(FirewallDelta::Block { subnet, element, is_new: false }));
        }
    }
}
