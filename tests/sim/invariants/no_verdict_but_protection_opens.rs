//! **No verdict but protection opens the origin's firewall**: a cluster that does not take a ban (quota,
//! private address, no trust, no member) leaves it to its origin, which keeps it for its whole time.
//!
//! The looking itself is in `never_weaker_than_alone.rs`: both are about what a node must drop.

use crate::world::World;
use bannkreis_core::change::BanKey;

pub(crate) const NAME: &str = "no verdict but protection opens the origin's firewall";

impl World {
    /// A node says what the cluster's verdict was.
    pub(crate) fn verdict_told(&mut self, node: usize, key: &BanKey) {
        let jail = self.jail_of(key);
        for duty in &mut self.oracle.duties {
            let is_its = duty.node == node && duty.origin == node && duty.jail == jail;
            duty.has_verdict |= is_its && duty.subnet == key.subnet;
        }
    }
}
