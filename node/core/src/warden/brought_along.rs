//! What a node had before it changed clusters: its bans block here and its allow entries protect, until the new
//! cluster has taken them over, however long that takes and however often the host is booted meanwhile.
//!
//! Not for taking them over: the node proposes that, and the ban list judges it. What the new cluster has lifted
//! since is not blocked here either, by the same rule.

use super::{LocalProtection, Warden};
use crate::ban::Ban;
use crate::ban_list::BanView;
use crate::change::BanKey;
use crate::event::Effect;
use crate::ids::NodeId;
use crate::jail::Ports;
use crate::subnet::Subnet;
use crate::time::{Now, Timestamp};
use alloc::vec::Vec;

/// See the module.
#[derive(Debug)]
pub(super) struct BroughtAlong {
    former: BanView,
    formerly: NodeId,
}

impl Warden {
    /// The bans that this node brings along and that block here until the cluster holds them.
    pub fn brought_along(&self, now: Timestamp) -> impl Iterator<Item = (&BanKey, &Ban)> {
        let bans = self.brought_along.iter().flat_map(|brought| brought.former.bans());
        bans.filter(move |(key, ban)| self.is_held_for_the_cluster(now, key, ban))
    }

    pub(super) fn on_brought_along(
        &mut self,
        now: Now,
        former: BanView,
        formerly: NodeId,
        effects: &mut Vec<Effect>,
    ) {
        if self.caught_up {
            return;
        }
        self.brought_along = Some(BroughtAlong { former, formerly });
        self.protect_brought_along(now.cluster);
        self.refresh_protection(now.cluster, effects);
        self.render_all(now.cluster, effects);
    }

    /// The cluster holds it now, or has refused it. Says whether there was any; then the whole ruleset has to be put in
    /// place.
    pub(super) fn forget_brought_along(&mut self, now: Timestamp) -> bool {
        let had_some = self.brought_along.take().is_some();
        if had_some {
            self.local_protected.retain(|_, why| *why != LocalProtection::BroughtAlong);
            self.refresh_protection(now, &mut Vec::new());
        }
        had_some
    }

    /// Has its allow entries protect here. What protects already keeps its own reason.
    pub(super) fn protect_brought_along(&mut self, now: Timestamp) {
        let Some(brought) = &self.brought_along else { return };
        let entries = brought.former.allow_list().iter();
        for (subnet, _) in entries.filter(|(_, entry)| !entry.until.is_over(now)) {
            if self.local_protected.get(subnet).is_none() {
                self.local_protected.insert(subnet, LocalProtection::BroughtAlong);
            }
        }
    }

    pub(super) fn brought_along_of(
        &self,
        now: Timestamp,
        subnet: Subnet,
    ) -> impl Iterator<Item = (&BanKey, &Ban)> {
        let bans = self.brought_along.iter().flat_map(move |brought| brought.former.bans_of(subnet));
        bans.filter(move |(key, ban)| self.is_held_for_the_cluster(now, key, ban))
    }

    pub(super) fn brought_along_subnets(&self) -> impl Iterator<Item = Subnet> {
        self.brought_along.iter().flat_map(|brought| brought.former.bans()).map(|(key, _)| key.subnet)
    }

    pub(super) fn brought_along_inside(&self, target: Subnet) -> Vec<Subnet> {
        let Some(brought) = &self.brought_along else { return Vec::new() };
        if target.is_host() {
            // Most are, and to look at all bans for each of them would take a while.
            return brought.former.bans_of(target).map(|(key, _)| key.subnet).collect();
        }
        brought.former.bans_inside(target).map(|(key, _)| key.subnet).collect()
    }

    pub(super) fn reach_of_brought(&self, key: &BanKey, ban: &Ban) -> Ports {
        match &self.brought_along {
            Some(brought) => self.reach_as(brought.formerly, &brought.former, key, ban),
            None => self.reach_as(self.node, &self.view, key, ban),
        }
    }

    fn is_held_for_the_cluster(&self, now: Timestamp, key: &BanKey, ban: &Ban) -> bool {
        let lifted_at = self.view.lifted_at(key.subnet, &key.jail, self.node);
        !ban.until.is_over(now) && lifted_at.is_none_or(|lifted_at| lifted_at < ban.since)
    }
}
