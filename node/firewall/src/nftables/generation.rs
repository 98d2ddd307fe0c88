//! One generation of our chains and maps, as far as this process must know it: which there are, not
//! what is in them.
//!
//! Not for making them (`layout.rs`, `transaction.rs`) and not for the elements, which the kernel
//! alone remembers.

use super::inventory::{FoundRule, Inventory};
use super::layout::n_class_rules;
use super::names::{BASE_CHAIN, GenerationNumber, Length};
use crate::classes::Classes;
use std::collections::{BTreeMap, BTreeSet};

/// What there is of one generation.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Its number.
    pub(crate) number: GenerationNumber,
    /// Its maps and sets have room for so many elements each.
    pub(crate) room: u32,
    /// Whether packets are asked by it; else it is still being filled.
    pub(crate) live: bool,
    /// The prefix lengths that have a map of blocked subnets.
    pub(crate) blocked: BTreeSet<Length>,
    /// Those of them that an earlier process has left.
    pub(crate) adopted: BTreeSet<Length>,
    /// It has left sets of protected subnets as well.
    pub(crate) adopted_protection: bool,
    /// The prefix lengths that have a set of protected subnets.
    pub(crate) protected: BTreeSet<Length>,
    /// The chains that elements jump to.
    pub(crate) classes: Classes,
}

impl Generation {
    /// One with nothing in it yet.
    pub(crate) fn new(number: GenerationNumber, room: u32) -> Generation {
        Generation {
            number,
            room,
            live: false,
            blocked: BTreeSet::new(),
            adopted: BTreeSet::new(),
            adopted_protection: false,
            protected: BTreeSet::new(),
            classes: Classes::default(),
        }
    }

    /// The one that is in force in the table, left there by an earlier process; `None` when there is
    /// none, or not one that we could have left.
    pub(crate) fn adopt(inventory: &Inventory, room: u32) -> Option<Generation> {
        let number = inventory.rules_of(BASE_CHAIN).iter().rev().find_map(|rule| rule.marker)?;
        let mut generation = Generation { live: true, ..Generation::new(number, room) };
        for name in &inventory.sets {
            generation.blocked.extend(number.length_in(name, "blocked_"));
            generation.protected.extend(number.length_in(name, "protected_"));
        }
        generation.adopted.clone_from(&generation.blocked);
        generation.adopted_protection = !generation.protected.is_empty();
        for (name, description) in &inventory.chains {
            if let Some(description) = description
                && GenerationNumber::of_name(name) == Some(number)
            {
                generation.classes.adopt(description.class, description.chain.clone());
            }
        }
        generation.stands(inventory).then_some(generation)
    }

    /// Whether everything that we know of is there, with as many rules as it should have.
    pub(crate) fn stands(&self, inventory: &Inventory) -> bool {
        let blocked = self.blocked.iter().map(|&length| self.number.blocked(length));
        let protected = self.protected.iter().map(|&length| self.number.protected(length));
        let mut sets = blocked.chain(protected).chain([self.number.classes()]);
        sets.all(|name| inventory.sets.contains(&name)) && self.rules_stand(inventory)
    }

    fn rules_stand(&self, inventory: &Inventory) -> bool {
        let base = inventory.rules_of(BASE_CHAIN);
        let is_ours = |rule: &FoundRule| rule.marker == Some(self.number);
        let Some(entrance) = base.iter().rposition(is_ours) else { return false };
        let protection = self.number.protection();
        base.len() - entrance - 1 == self.blocked.len()
            && inventory.chains.contains_key(&protection)
            && inventory.rules_of(&protection).len() == self.protected.len()
            && self.class_chains_stand(inventory)
    }

    fn class_chains_stand(&self, inventory: &Inventory) -> bool {
        let n_rules: BTreeMap<u32, usize> = self
            .class_chains(inventory)
            .map(|(class, name)| (class, inventory.rules_of(name).len()))
            .collect();
        self.classes.iter().all(|(class, chain)| match (n_rules.get(&class), chain) {
            (Some(&n), Some(chain)) => n == n_class_rules(chain),
            (Some(_), None) => true,
            (None, _) => false,
        })
    }

    /// The chains in `inventory` that are of this generation's classes: class and name.
    pub(crate) fn class_chains<'i>(&self, inventory: &'i Inventory) -> impl Iterator<Item = (u32, &'i str)> {
        let number = self.number;
        inventory.chains.iter().filter_map(move |(name, description)| {
            let class = description.as_ref()?.class;
            (GenerationNumber::of_name(name) == Some(number)).then_some((class, name.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_adopted_from_an_empty_table() {
        assert!(Generation::adopt(&Inventory::default(), 9).is_none());
    }
}
