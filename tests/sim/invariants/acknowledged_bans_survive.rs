//! **Acknowledged bans survive**: once a node says that the cluster bans somebody, or an operator's ban
//! is answered, every node that has applied it drops them until its end, through every crash that
//! leaves the kernel standing, and again after every one that does not.
//!
//! The looking itself is in `never_weaker_than_alone.rs`: both are about what a node must drop.

use super::Duty;
use crate::world::World;
use bannkreis_core::change::BanKey;

pub(crate) const NAME: &str = "acknowledged bans survive";

impl World {
    /// A node says that the cluster bans what its own log gave the reason for.
    pub(crate) fn acknowledged(&mut self, node: usize, key: &BanKey) {
        let jail = self.jail_of(key);
        let index = self.nodes[node].applied();
        let behind_ms = self.raft.behind_ms_at(index);
        let Some(own) = self.oracle.duties.iter_mut().find(|duty| {
            duty.node == node
                && duty.origin == node
                && duty.jail == jail
                && duty.subnet == key.subnet
                && duty.acknowledged.is_none()
        }) else {
            return;
        };
        own.acknowledged = Some(index);
        own.until_ms = own.until_ms.map(|until_ms| until_ms.saturating_sub(behind_ms));
        let own = own.clone();
        for peer in (0..self.nodes.len()).filter(|&peer| peer != node) {
            if !self.is_never_blocked(peer, own.address) {
                self.oracle.duties.push(Duty { node: peer, is_seen: false, ..own.clone() });
            }
        }
    }
}
