//! One generation of our sets: what this process knows of them, and how they are made, filled and changed.
//!
//! Not for rules, nor for when one generation takes the place of another (`mod.rs`).

use super::names::{self, GenerationNumber};
use super::record::{Record, timeout_s};
use super::refusal::sort;
use super::rules;
use super::sets::{Member, Sets};
use crate::classes::Classes;
use crate::lease::lease_ms;
use crate::{CHAINS_MAX, FirewallError, in_transactions};
use bannkreis_core::ruleset::{Chain, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{SECOND_MS, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// One generation of sets.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: GenerationNumber,
    /// Each has a set for IPv4, one for IPv6, and a chain in both.
    pub(super) classes: Classes,
    pub(super) protected: BTreeSet<Subnet>,
    pub(super) record: Record,
    /// What an earlier process has left.
    pub(super) adopted: BTreeSet<Subnet>,
    pub(super) adopted_protection: bool,
}

impl Generation {
    pub(super) fn new(number: GenerationNumber) -> Generation {
        Generation {
            number,
            classes: Classes::default(),
            protected: BTreeSet::new(),
            record: Record::default(),
            adopted: BTreeSet::new(),
            adopted_protection: false,
        }
    }
}

/// What an earlier process has left and can be gone on with.
pub(super) fn adopt(
    sets: &mut Sets,
    saved: &BTreeMap<bool, String>,
) -> Result<Option<Generation>, FirewallError> {
    let Some(number) = saved.values().find_map(|saved| rules::marked(saved)) else { return Ok(None) };
    let sizes = sets.sizes().map_err(sort)?;
    let mut generation = Generation::new(number);
    for line in saved.values().flat_map(|saved| saved.lines()) {
        if let Some((class, chain)) = names::described(line) {
            generation.classes.adopt(class, chain);
        }
    }
    for v4 in [true, false] {
        let name = number.protected(v4);
        if !sizes.contains_key(&name) {
            return Ok(None);
        }
        let members = sets.members(&name).map_err(sort)?;
        generation.protected.extend(members.into_iter().map(|(subnet, _)| subnet));
        for (class, _) in generation.classes.iter() {
            let name = number.blocked(class, v4);
            if !sizes.contains_key(&name) {
                return Ok(None);
            }
            for (subnet, timeout) in sets.members(&name).map_err(sort)? {
                let end_ms = timeout.map_or(u64::MAX, |timeout| u64::from(timeout) * SECOND_MS);
                generation.record.put(subnet, class, end_ms, 0);
                generation.adopted.insert(subnet);
            }
        }
    }
    generation.adopted_protection = !generation.protected.is_empty();
    Ok(Some(generation))
}

/// Makes the sets of what passes.
pub(super) fn make_protection(
    sets: &mut Sets,
    number: GenerationNumber,
    room: u32,
) -> Result<(), FirewallError> {
    [true, false]
        .into_iter()
        .try_for_each(|v4| sets.create(&number.protected(v4), v4, false, room).map_err(sort))
}

/// Gives chains classes with sets of their own.
pub(super) fn add_classes<'c>(
    sets: &mut Sets,
    generation: &mut Generation,
    room: u32,
    new: &BTreeSet<&'c Chain>,
) -> Result<Vec<(u32, &'c Chain)>, FirewallError> {
    let mut numbered = Vec::new();
    for &chain in new {
        let Some(class) = generation.classes.add(chain) else {
            let doing = format!("making a chain for jail {} ({})", chain.jail, chain.ports);
            return Err(FirewallError::Full { doing, bound: CHAINS_MAX as u64 });
        };
        for v4 in [true, false] {
            sets.create(&generation.number.blocked(class, v4), v4, true, room).map_err(sort)?;
        }
        numbered.push((class, chain));
    }
    Ok(numbered)
}

/// Fills a generation that nobody asks yet.
pub(super) fn fill(
    sets: &mut Sets,
    fresh: &mut Generation,
    room: u32,
    now: Timestamp,
    now_ms: u64,
    wanted: &Ruleset,
) -> Result<(), FirewallError> {
    make_protection(sets, fresh.number, room)?;
    let live = wanted.elements.values().filter(|element| lease_ms(element.until, now).is_some());
    let chains: BTreeSet<&Chain> = live.map(|element| &element.chain).collect();
    add_classes(sets, fresh, room, &chains)?;
    in_transactions(wanted, |some| change(sets, fresh, now, now_ms, some))
}

/// Executes deltas whose chains have classes. What is blocked in another class than before is in both for a moment, and
/// in none never.
pub(super) fn change(
    sets: &mut Sets,
    generation: &mut Generation,
    now: Timestamp,
    now_ms: u64,
    deltas: &[FirewallDelta],
) -> Result<(), FirewallError> {
    let mut blocked: BTreeMap<Subnet, Option<(u32, u64)>> = BTreeMap::new();
    let mut protected: BTreeMap<Subnet, bool> = BTreeMap::new();
    for delta in deltas {
        match delta {
            FirewallDelta::Block { subnet, element, .. } => {
                let class = generation.classes.number_of(&element.chain);
                blocked.insert(*subnet, class.zip(lease_ms(element.until, now)));
            }
            FirewallDelta::Release { subnet } => drop(blocked.insert(*subnet, None)),
            FirewallDelta::Protect { subnet } => drop(protected.insert(*subnet, true)),
            FirewallDelta::Unprotect { subnet } => drop(protected.insert(*subnet, false)),
        }
    }
    let (pass, no_longer): (Vec<Subnet>, Vec<Subnet>) =
        protected.keys().copied().partition(|subnet| protected[subnet]);
    for (v4, some) in by_family(&pass) {
        let members: Vec<Member> =
            some.iter().flat_map(|subnet| halves(*subnet)).map(|half| (half, None)).collect();
        sets.add(&generation.number.protected(v4), &members).map_err(sort)?;
    }
    generation.protected.extend(&pass);
    let mut to_add: BTreeMap<(u32, bool), Vec<(Subnet, u64)>> = BTreeMap::new();
    let mut to_delete: BTreeMap<(u32, bool), Vec<Subnet>> = BTreeMap::new();
    let mut moved: BTreeSet<Subnet> = BTreeSet::new();
    for (&subnet, held) in &blocked {
        let class = held.map(|(class, _)| class);
        if let Some((class, lease_ms)) = *held {
            to_add.entry((class, subnet.is_v4())).or_default().push((subnet, lease_ms));
        }
        if let Some(before) = generation.record.get(subnet, 0).filter(|before| Some(before.class) != class) {
            to_delete.entry((before.class, subnet.is_v4())).or_default().push(subnet);
            moved.insert(subnet);
        }
    }
    for ((class, v4), some) in to_add {
        let member = |(subnet, lease_ms): &(Subnet, u64)| {
            let timeout = timeout_s(*lease_ms);
            halves(*subnet).map(move |half| (half, Some(timeout)))
        };
        let members: Vec<Member> = some.iter().flat_map(member).collect();
        sets.add(&generation.number.blocked(class, v4), &members).map_err(sort)?;
        for (subnet, lease_ms) in some {
            // What was in another class is deleted there below: until then the record says so.
            if !moved.contains(&subnet) {
                generation.record.put(subnet, class, now_ms + lease_ms, now_ms);
            }
        }
    }
    for ((class, v4), some) in to_delete {
        let halves: Vec<Subnet> = some.iter().flat_map(|subnet| halves(*subnet)).collect();
        sets.delete(&generation.number.blocked(class, v4), &halves).map_err(sort)?;
        for subnet in some {
            match blocked.get(&subnet).copied().flatten() {
                Some((class, lease_ms)) => generation.record.put(subnet, class, now_ms + lease_ms, now_ms),
                None => generation.record.remove(subnet),
            }
        }
    }
    for (v4, some) in by_family(&no_longer) {
        let halves: Vec<Subnet> = some.iter().flat_map(|subnet| halves(*subnet)).collect();
        sets.delete(&generation.number.protected(v4), &halves).map_err(sort)?;
    }
    for subnet in &no_longer {
        generation.protected.remove(subnet);
    }
    Ok(())
}

/// A set of networks has none of length zero: everybody is two halves.
pub(super) fn halves(subnet: Subnet) -> impl Iterator<Item = Subnet> {
    let parts = match (subnet.prefix_len(), subnet.is_v4()) {
        (0, true) => [Subnet::new([0, 0, 0, 0].into(), 1), Subnet::new([128, 0, 0, 0].into(), 1)],
        (0, false) => {
            let upper = std::net::Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 0);
            [Subnet::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 1), Subnet::new(upper.into(), 1)]
        }
        _ => [Some(subnet), None],
    };
    parts.into_iter().flatten()
}

pub(super) fn by_family(subnets: &[Subnet]) -> impl Iterator<Item = (bool, Vec<Subnet>)> {
    [true, false].into_iter().filter_map(|v4| {
        let some: Vec<Subnet> = subnets.iter().copied().filter(|subnet| subnet.is_v4() == v4).collect();
        (!some.is_empty()).then_some((v4, some))
    })
}
