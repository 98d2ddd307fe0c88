//! One generation of our chains and maps, as far as this process must know it: which there are, not
//! what is in them.
//!
//! Not for making them (`layout.rs`, `transaction.rs`) and not for the elements, which the kernel
//! alone remembers.

use super::inventory::{FoundRule, Inventory};
use super::layout::{self, n_class_rules};
use super::names::{BASE_CHAIN, BlockedMap, GenerationNumber, Length, SHARDS, ShardBits};
use crate::ELEMENTS_MAX;
use crate::classes::Classes;
use crate::netlink::message::Batch;
use bannkreis_core::subnet::Subnet;
use std::collections::{BTreeMap, BTreeSet};

/// How large things may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// A map or set has room for so many elements.
    pub room: u32,
    /// Of more subnets than this, of one prefix length, that come at once, as in
    /// [`Firewall::replace`](crate::Firewall::replace), several maps are made.
    pub undivided_max: usize,
}

impl Default for Sizes {
    /// Room for [`ELEMENTS_MAX`]. Programs that list the elements of all sets, as nft does for nearly everything, take a
    /// second for 100,000 in one map, and many times as long for more (`make bench`, firewall).
    fn default() -> Sizes {
        Sizes { room: ELEMENTS_MAX, undivided_max: 100_000 }
    }
}

/// What there is of one generation.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Its number.
    pub(crate) number: GenerationNumber,
    /// How large its maps and sets may become.
    pub(crate) sizes: Sizes,
    /// Whether packets are asked by it; else it is still being filled.
    pub(crate) live: bool,
    /// The prefix lengths that have a map of blocked subnets, or several.
    pub(crate) blocked: BTreeSet<Length>,
    /// Those of them, or that will be of them, that have one for each shard.
    pub(crate) divided: BTreeSet<Length>,
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
    pub(crate) fn new(number: GenerationNumber, sizes: Sizes) -> Generation {
        Generation {
            number,
            sizes,
            live: false,
            blocked: BTreeSet::new(),
            divided: BTreeSet::new(),
            adopted: BTreeSet::new(),
            adopted_protection: false,
            protected: BTreeSet::new(),
            classes: Classes::default(),
        }
    }

    /// Chooses how many maps each prefix length of these gets, before it has any: so many subnets are about to come.
    pub(crate) fn divide(&mut self, subnets: impl Iterator<Item = Subnet>) {
        let mut n_subnets: BTreeMap<Length, usize> = BTreeMap::new();
        subnets.for_each(|subnet| *n_subnets.entry(Length::of(subnet)).or_default() += 1);
        let large = n_subnets.into_iter().filter(|(_, n)| *n > self.sizes.undivided_max);
        self.divided.extend(large.map(|(length, _)| length).filter(|length| length.shard_bits().is_some()));
    }

    /// The map in which a subnet is, if it is blocked.
    pub(crate) fn map_of(&self, subnet: Subnet) -> BlockedMap {
        let length = Length::of(subnet);
        BlockedMap { length, shard: self.bits_of(length).map(|bits| bits.of(&subnet.octets())) }
    }

    /// The maps of a prefix length.
    pub(crate) fn maps_of(&self, length: Length) -> impl Iterator<Item = BlockedMap> {
        let is_divided = self.divided.contains(&length);
        let shards = (0..SHARDS).filter(move |_| is_divided).map(Some);
        let whole = (!is_divided).then_some(None);
        whole.into_iter().chain(shards).map(move |shard| BlockedMap { length, shard })
    }

    /// Makes the map of a prefix length, or its maps and what leads to them.
    pub(crate) fn write_maps(&self, batch: &mut Batch, length: Length) {
        for map in self.maps_of(length) {
            layout::blocked_map(batch, self.number, map, self.sizes.room);
        }
        if let Some(bits) = self.bits_of(length) {
            layout::shards(batch, self.number, length, bits);
        }
    }

    /// Has packets asked by them.
    pub(crate) fn write_rule(&self, batch: &mut Batch, length: Length) {
        match self.bits_of(length) {
            None => layout::blocked_rule(batch, self.number, length),
            Some(bits) => layout::shards_rule(batch, self.number, length, bits),
        }
    }

    /// What chooses its shards, if it has any.
    fn bits_of(&self, length: Length) -> Option<ShardBits> {
        length.shard_bits().filter(|_| self.divided.contains(&length))
    }

    /// The one that is in force in the table, left there by an earlier process; `None` when there is
    /// none, or not one that we could have left.
    pub(crate) fn adopt(inventory: &Inventory, sizes: Sizes) -> Option<Generation> {
        let number = inventory.rules_of(BASE_CHAIN).iter().rev().find_map(|rule| rule.marker)?;
        let mut generation = Generation { live: true, ..Generation::new(number, sizes) };
        for name in &inventory.sets {
            if let Some(map) = number.map_in(name, "blocked_") {
                generation.blocked.insert(map.length);
                generation.divided.extend(map.shard.map(|_| map.length));
            }
            generation.protected.extend(number.map_in(name, "protected_").map(|set| set.length));
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
        let maps = self.blocked.iter().flat_map(|&length| self.maps_of(length));
        let blocked = maps.map(|map| self.number.blocked(map));
        let protected = self.protected.iter().map(|&length| self.number.protected(length));
        let shards = self.divided.intersection(&self.blocked).map(|&length| self.number.shards(length));
        let mut sets = blocked.chain(protected).chain(shards).chain([self.number.classes()]);
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
            && self.shards_stand(inventory)
            && self.class_chains_stand(inventory)
    }

    fn shards_stand(&self, inventory: &Inventory) -> bool {
        let shards = self.divided.intersection(&self.blocked).flat_map(|&length| self.maps_of(length));
        shards.map(|map| self.number.shard(map)).all(|chain| inventory.rules_of(&chain).len() == 1)
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
        assert!(Generation::adopt(&Inventory::default(), Sizes::default()).is_none());
    }
}
