//! From deltas to one transaction.
//!
//! Within a transaction only the last word about a key counts, since nobody sees what is in
//! between. Making an element anew is deleting it, whatever it was, and adding it: that changes the
//! timeout and the chain on every kernel, while a plain addition of what is there changes nothing
//! before Linux 6.12 and never changes the chain. Deleting what is not there costs the kernel as much as
//! adding it, so what is said to be new is added in such a way that the kernel refuses it if it is not.

use super::generation::Generation;
use super::kernel::{NFTA_DATA_VALUE, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_TIMEOUT};
use super::layout::{self, Elements};
use super::names::Length;
use crate::lease::lease_ms;
use crate::netlink::message::{Attributes, Batch};
use crate::{CHAINS_MAX, ELEMENTS_PER_TRANSACTION_MAX, FirewallError};
use bannkreis_core::ruleset::{Chain, FirewallDelta};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A transaction makes at most so many new chains, and the next one goes on: with 64 ranges of four
/// protocols each, these are some 200 KiB, which fits into a send buffer of the usual size.
const NEW_CHAINS_PER_TRANSACTION_MAX: usize = 16;

/// What one transaction changes.
pub(crate) struct Plan<'d> {
    /// What is held for these subnets afterwards.
    blocked: BTreeMap<Subnet, Planned<'d>>,
    /// Whether these are protected afterwards.
    protected: BTreeMap<Subnet, bool>,
    /// Chains that do not exist yet.
    new_chains: BTreeSet<&'d Chain>,
    /// How many deltas it takes care of.
    pub(crate) n_deltas: usize,
}

/// What becomes of one subnet.
struct Planned<'d> {
    /// Chain and timeout, or nothing.
    held: Option<(&'d Chain, u64)>,
    /// Nothing is there before, and something is afterwards, as far as is known.
    is_new: bool,
}

impl<'d> Plan<'d> {
    /// For as many of the first deltas as one transaction may have.
    pub(crate) fn of(deltas: &'d [FirewallDelta], now: Timestamp, generation: &Generation) -> Plan<'d> {
        let mut plan = Plan {
            blocked: BTreeMap::new(),
            protected: BTreeMap::new(),
            new_chains: BTreeSet::new(),
            n_deltas: 0,
        };
        for delta in deltas.iter().take(ELEMENTS_PER_TRANSACTION_MAX) {
            match delta {
                FirewallDelta::Block { subnet, element, is_new } => {
                    let lease = lease_ms(element.until, now);
                    if lease.is_some() && generation.classes.number_of(&element.chain).is_none() {
                        plan.new_chains.insert(&element.chain);
                        if plan.new_chains.len() > NEW_CHAINS_PER_TRANSACTION_MAX {
                            plan.new_chains.remove(&element.chain);
                            break;
                        }
                    }
                    let held = lease.map(|lease_ms| (&element.chain, lease_ms));
                    // What was said about it first is what was there before.
                    let was_new = plan.blocked.get(subnet).is_none_or(|planned| planned.is_new);
                    let is_new = *is_new && was_new && held.is_some();
                    plan.blocked.insert(*subnet, Planned { held, is_new });
                }
                FirewallDelta::Release { subnet } => {
                    plan.blocked.insert(*subnet, Planned { held: None, is_new: false });
                }
                FirewallDelta::Protect { subnet } => {
                    plan.protected.insert(*subnet, true);
                }
                FirewallDelta::Unprotect { subnet } => {
                    plan.protected.insert(*subnet, false);
                }
            }
            plan.n_deltas += 1;
        }
        plan
    }

    /// Whether it relies on something not being there.
    pub(crate) fn relies_on_new(&self) -> bool {
        self.blocked.values().any(|planned| planned.is_new)
    }

    /// Relies on nothing any more.
    pub(crate) fn doubt(&mut self) {
        self.blocked.values_mut().for_each(|planned| planned.is_new = false);
    }

    /// The subnets whose elements have to go, or to be made anew, as far as there can be any.
    pub(crate) fn to_delete(&self, generation: &Generation) -> Vec<Subnet> {
        let maybe_there =
            |subnet: &Subnet| generation.live && generation.blocked.contains(&Length::of(*subnet));
        let old = self.blocked.iter().filter(|(_, planned)| !planned.is_new);
        old.map(|(subnet, _)| *subnet).filter(maybe_there).collect()
    }

    /// Writes the transaction and notes in `generation` what it makes; [`Made::undo`] takes that
    /// back if it fails. `deletion` says how elements are deleted that may not be there.
    pub(crate) fn write(
        &self,
        generation: &mut Generation,
        batch: &mut Batch,
        deletion: &Deletion,
    ) -> Result<Made<'d>, FirewallError> {
        let to_delete = self.to_delete(generation);
        let mut made = Made::default();
        for &chain in &self.new_chains {
            let Some(class) = generation.classes.add(chain) else {
                made.undo(generation);
                let doing = format!("making a chain for jail {} ({})", chain.jail, chain.ports);
                return Err(FirewallError::Full { doing, bound: CHAINS_MAX as u64 });
            };
            made.chains.push(chain);
            layout::class(batch, generation.number, class, chain);
        }
        self.write_lengths(generation, batch, &mut made);
        self.write_blocked(generation, batch, deletion, to_delete);
        self.write_protected(generation, batch);
        Ok(made)
    }

    fn write_lengths(&self, generation: &mut Generation, batch: &mut Batch, made: &mut Made<'d>) {
        for (&subnet, planned) in &self.blocked {
            let length = Length::of(subnet);
            if planned.held.is_some() && generation.blocked.insert(length) {
                made.blocked.push(length);
                generation.divide(self.blocked.keys().copied().filter(|&other| Length::of(other) == length));
                generation.write_maps(batch, length);
                if generation.live {
                    generation.write_rule(batch, length);
                }
            }
        }
        for (&subnet, &protected) in &self.protected {
            let length = Length::of(subnet);
            if protected && generation.protected.insert(length) {
                made.protected.push(length);
                layout::protected_set(batch, generation.number, length, generation.sizes.room);
            }
        }
    }

    fn write_blocked(
        &self,
        generation: &Generation,
        batch: &mut Batch,
        deletion: &Deletion,
        to_delete: Vec<Subnet>,
    ) {
        let (change, to_delete) = match deletion {
            Deletion::Destroy => (Elements::Destroy, to_delete),
            Deletion::Present(present) => (Elements::Delete, present.clone()),
        };
        for (map, subnets) in grouped(to_delete, |&subnet| generation.map_of(subnet)) {
            layout::elements(batch, change, &generation.number.blocked(map), &subnets, |a, s| key(a, *s));
        }
        for change in [Elements::Add, Elements::AddNew] {
            let are_new = matches!(change, Elements::AddNew);
            let some = self.blocked.iter().filter(|(_, planned)| planned.is_new == are_new);
            let held = some.filter_map(|(&subnet, planned)| {
                let (chain, lease_ms) = planned.held?;
                Some((subnet, generation.classes.number_of(chain)?, lease_ms))
            });
            for (map, elements) in grouped(held, |&(subnet, ..)| generation.map_of(subnet)) {
                let map = generation.number.blocked(map);
                layout::elements(batch, change, &map, &elements, |a, &(subnet, class, lease_ms)| {
                    key(a, subnet);
                    a.nest(NFTA_SET_ELEM_DATA, |a| a.bytes(NFTA_DATA_VALUE, &class.to_ne_bytes()));
                    a.long_number(NFTA_SET_ELEM_TIMEOUT, lease_ms);
                });
            }
        }
    }

    fn write_protected(&self, generation: &Generation, batch: &mut Batch) {
        let known = |subnet: &Subnet| generation.protected.contains(&Length::of(*subnet));
        let all = self.protected.keys().copied().filter(known);
        // Adding what is there is no error for elements without data, so that this comes first and
        // every deletion finds something.
        for (length, subnets) in grouped(all, |&subnet| Length::of(subnet)) {
            layout::elements(batch, Elements::Add, &generation.number.protected(length), &subnets, |a, s| {
                key(a, *s);
            });
        }
        let gone = self.protected.iter().filter(|(_, protected)| !**protected).map(|(&subnet, _)| subnet);
        for (length, subnets) in grouped(gone.filter(known), |&subnet| Length::of(subnet)) {
            layout::elements(
                batch,
                Elements::Delete,
                &generation.number.protected(length),
                &subnets,
                |a, s| {
                    key(a, *s);
                },
            );
        }
    }
}

/// How elements are deleted that may not be there, which is an error for a plain deletion.
pub(crate) enum Deletion {
    /// The kernel does not mind (Linux 6.3).
    Destroy,
    /// These were there a moment ago.
    Present(Vec<Subnet>),
}

/// What a transaction makes besides elements.
#[derive(Default)]
pub(crate) struct Made<'d> {
    chains: Vec<&'d Chain>,
    blocked: Vec<Length>,
    protected: Vec<Length>,
}

impl Made<'_> {
    /// Takes it back: the transaction failed.
    pub(crate) fn undo(self, generation: &mut Generation) {
        for chain in self.chains {
            generation.classes.forget(chain);
        }
        for length in self.blocked {
            generation.blocked.remove(&length);
        }
        for length in self.protected {
            generation.protected.remove(&length);
        }
    }
}

/// The key of an element: the subnet's first address.
pub(crate) fn key(attributes: &mut Attributes<'_>, subnet: Subnet) {
    attributes.nest(NFTA_SET_ELEM_KEY, |a| a.bytes(NFTA_DATA_VALUE, &subnet.octets()));
}

/// The items by where they belong.
fn grouped<T, G: Ord>(items: impl IntoIterator<Item = T>, group: impl Fn(&T) -> G) -> BTreeMap<G, Vec<T>> {
    let mut groups: BTreeMap<G, Vec<T>> = BTreeMap::new();
    for item in items {
        groups.entry(group(&item)).or_default().push(item);
    }
    groups
}
