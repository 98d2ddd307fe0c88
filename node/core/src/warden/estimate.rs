//! A node that starts without a leader estimates cluster time. It blocks by the estimate and lets things
//! expire by it, but settles nothing; and when the cluster's word comes, what was dated by the estimate is
//! dated again.
//!
//! Not for how the estimate is made: that is the clock's of whoever drives the warden.

use super::Warden;
use crate::event::Effect;
use crate::ruleset::FirewallDelta;
use crate::time::{Now, SECOND_MS};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Warden {
    /// An old entry of the log says that the estimate is behind: what was dated by it is dated again.
    pub(super) fn on_estimate_corrected(&mut self, now: Now, estimate: Now, effects: &mut Vec<Effect>) {
        let estimated_now = estimate.cluster.plus_ms(now.wall.ms_since(estimate.wall));
        if now.cluster.ms_since(estimated_now) > SECOND_MS {
            self.outbox.redate(estimated_now, now.cluster);
            self.redate_overrides(estimated_now, now.cluster, false, effects);
        }
    }

    /// Cluster time is known after all, and may be earlier or later than the estimate was: what was dated
    /// by the estimate is dated again, what was let expire by it may still hold, and every timeout in the
    /// firewall was worked out by it. After a short absence it is off by next to nothing, and then a million timeouts
    /// are not worked out again for that.
    pub(super) fn on_time_settled(&mut self, now: Now, estimate: Now, effects: &mut Vec<Effect>) {
        // Between two steps a wall clock, however wrong, runs about as fast as time passes.
        let estimated_now = estimate.cluster.plus_ms(now.wall.ms_since(estimate.wall));
        self.outbox.redate(estimated_now, now.cluster);
        for entry in self.outbox.settle_dates(now.cluster) {
            effects.push(Effect::StoreOutbox { key: entry.key.clone(), entry: Some(Box::new(entry)) });
        }
        self.redate_overrides(estimated_now, now.cluster, true, effects);
        self.ended_overrides.clear();
        self.notices.redate(estimated_now, now.cluster);
        self.tidied_at = self.tidied_at.min(now.cluster);
        self.refresh_protection(now.cluster, effects);
        let is_off_by_ms = now.cluster.ms_since(estimated_now).max(estimated_now.ms_since(now.cluster));
        if is_off_by_ms <= SECOND_MS {
            return;
        }
        self.render_all(now.cluster, effects);
        for (&subnet, element) in &self.ruleset.elements {
            let element = element.clone();
            effects.push(Effect::Firewall(FirewallDelta::Block { subnet, element, is_new: false }));
        }
    }
}
