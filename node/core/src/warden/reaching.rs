//! Which ports a ban closes on this host: the jail's where its logs have seen the attack, and what the reach says
//! elsewhere.
//!
//! Not for what reach means (`reach.rs`), nor for elements of the firewall (`render.rs`).

use super::Warden;
use crate::ban::Ban;
use crate::ban_list::BanList;
use crate::change::BanKey;
use crate::ids::NodeId;
use crate::jail::{JailName, Ports};
use crate::reach::Reach;
use alloc::vec::Vec;

impl Warden {
    /// What a ban closes here: on the host that saw the attack, and for a jail of this host's own, the
    /// jail's ports; elsewhere what the reach says.
    pub(super) fn reach_of_ban(&self, key: &BanKey, ban: &Ban) -> Ports {
        self.reach_as(self.node, &self.view, key, ban)
    }

    /// The same on a node that was called `own` when the ban was made on `list`.
    pub(super) fn reach_as(&self, own: NodeId, list: &BanList, key: &BanKey, ban: &Ban) -> Ports {
        if ban.origins.iter().any(|origin| origin.node == own) {
            let own = self.jails.get(&key.jail).map_or_else(Ports::none, |jail| jail.ports.clone());
            return ban.ports.union(&own);
        }
        self.reach_elsewhere(list.reach_of(&key.jail, &ban.origins), &key.jail, &ban.ports)
    }

    pub(super) fn reach_elsewhere(&self, reach: Reach, jail: &JailName, ports: &Ports) -> Ports {
        let own = self.jails.get(jail).map_or_else(Ports::none, |own| own.ports.clone());
        let ports = ports.union(&own);
        let guarded = Some(&self.guarded_ports).filter(|_| !self.jails.is_empty());
        reach.closes(ports, guarded)
    }

    /// Notes what nodes say of the reach of their jails, and says whether that is something else than before.
    pub(super) fn note_reaches(&mut self) -> bool {
        let saying = self.view.nodes().filter(|(_, entry)| !entry.record.reaches.is_empty());
        let reaches: Vec<_> = saying.map(|(node, entry)| (node, entry.record.reaches.clone())).collect();
        let are_other = reaches != self.reaches;
        self.reaches = reaches;
        are_other
    }
}
