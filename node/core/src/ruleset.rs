//! What this host's firewall should hold, and the changes that make it so.
//!
//! `diff(a, b)` applied to `a` is `b`: the law every backend and the warden are tested against, and
//! the way a damaged firewall is repaired. Not for how a kernel is told (`bannkreis-firewall`), nor
//! for why an element is there (`warden.rs`).

use crate::jail::{JailName, Ports};
use crate::subnet::Subnet;
use crate::time::Until;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Where an element jumps to: the chain that counts and drops for a jail and its port class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// The jail that holds the address; of several, the one that ends last.
    pub jail: JailName,
    /// What is closed: the union over all that hold the address.
    pub ports: Ports,
}

/// One key of the firewall's maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// What happens to packets from there.
    pub chain: Chain,
    /// Until when, in cluster time; the kernel gets it as a timeout.
    pub until: Until,
}

impl Element {
    /// This element over what the firewall holds already: it ends when the later of the two ends, and
    /// closes what either closes. For a node that has just started and does not know yet everything its
    /// earlier process knew: until it has caught up it adds and extends, and never takes away.
    #[must_use]
    pub fn joined(&self, held: &Element) -> Element {
        let ports = self.chain.ports.union(&held.chain.ports);
        let chain = Chain { jail: self.chain.jail.clone(), ports };
        Element { chain, until: self.until.max(held.until) }
    }
}

/// One change to the firewall. Applying one twice equals applying it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirewallDelta {
    /// Drop packets from `subnet` as `element` says, in place of whatever was there for exactly
    /// this subnet.
    Block {
        /// The key.
        subnet: Subnet,
        /// The value.
        element: Element,
        /// Nothing is there, as far as is known. A backend may first try what is cheap then; it must find out
        /// when it is not so.
        is_new: bool,
    },
    /// Hold nothing for exactly this subnet any more.
    Release {
        /// The key.
        subnet: Subnet,
    },
    /// Let packets from here pass, whatever blocks them.
    Protect {
        /// The protected addresses.
        subnet: Subnet,
    },
    /// No longer protect exactly this subnet.
    Unprotect {
        /// The formerly protected addresses.
        subnet: Subnet,
    },
}

/// What a firewall holds, or should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// What is blocked. Overlapping keys are independent: a packet is dropped if any says so.
    pub elements: BTreeMap<Subnet, Element>,
    /// What passes nevertheless.
    pub protected: BTreeSet<Subnet>,
}

impl Ruleset {
    /// Executes one change.
    pub fn apply(&mut self, delta: &FirewallDelta) {
        match delta {
            FirewallDelta::Block { subnet, element, .. } => {
                self.elements.insert(*subnet, element.clone());
            }
            FirewallDelta::Release { subnet } => {
                self.elements.remove(subnet);
            }
            FirewallDelta::Protect { subnet } => {
                self.protected.insert(*subnet);
            }
            FirewallDelta::Unprotect { subnet } => {
                self.protected.remove(subnet);
            }
        }
    }

    /// The changes that turn `self` into `wanted`: protection first, so that nothing is blocked in
    /// between that must not be.
    #[must_use]
    pub fn diff(&self, wanted: &Ruleset) -> Vec<FirewallDelta> {
        let mut deltas = Vec::new();
        for &subnet in wanted.protected.difference(&self.protected) {
            deltas.push(FirewallDelta::Protect { subnet });
        }
        for (&subnet, element) in &wanted.elements {
            let held = self.elements.get(&subnet);
            if held != Some(element) {
                let is_new = held.is_none();
                deltas.push(FirewallDelta::Block { subnet, element: element.clone(), is_new });
            }
        }
        for &subnet in self.elements.keys().filter(|key| !wanted.elements.contains_key(*key)) {
            deltas.push(FirewallDelta::Release { subnet });
        }
        for &subnet in self.protected.difference(&wanted.protected) {
            deltas.push(FirewallDelta::Unprotect { subnet });
        }
        deltas
    }
}
