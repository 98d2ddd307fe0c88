//! The table: its chains, maps, sets and rules, as messages in a transaction.
//!
//! ```text
//! table inet bannkreis {                                  # owner, persist where the kernel has them
//!   map blocked_v4_32_g1 { type ipv4_addr : classid; flags timeout }  # one per prefix length in use
//!   map blocked_v6_64_g1 { type ipv6_addr : classid; flags timeout }  # address → number of its class
//!   map classes_g1 { type classid : verdict }                         # number → chain of the class
//!   set protected_v4_32_g1 { type ipv4_addr }
//!
//!   chain prerouting { type filter hook prerouting priority -300; policy accept
//!     iif lo accept                                       # carries the marker of the generation
//!     meta priority set ip saddr map @blocked_v4_32_g1 meta priority vmap @classes_g1
//!     meta priority set ip6 saddr & ffff:ffff:ffff:ffff:: map @blocked_v6_64_g1 meta priority vmap …
//!   }
//!   chain sshd_1_5e6a_g1 {                                # one per (jail, ports)
//!     jump protection_g1                                  # accepts what is protected
//!     tcp dport 22 counter drop
//!     meta priority set none                              # and back to the next rule of prerouting
//!   }
//!   chain protection_g1 { ip saddr @protected_v4_32_g1 meta priority set none accept }
//! }
//! ```
//!
//! Where a prefix length has more subnets than one map should have (`generation.rs`), four bits of the address choose one
//! of 16, by a chain each:
//!
//! ```text
//!   map shards_v4_32_g2 { type ipv4_addr : verdict; elements = { 0.0.0.0 : jump shard_v4_32_0_g2, … } }
//!   chain prerouting { …; ip saddr & 0.0.0.15 vmap @shards_v4_32_g2 }
//!   chain shard_v4_32_0_g2 { meta priority set ip saddr map @blocked_v4_32_0_g2 meta priority vmap … }
//! ```
//!
//! An address that is in no map costs one lookup for each prefix length and nothing else: the rule
//! ends there. Why the elements carry a number and not the verdict itself: the kernel walks through
//! a whole verdict map, looking for loops, whenever a jump is added to it; a map of numbers takes a
//! new element in the same time however many it has. The number is handed on in the packet's
//! priority, which says nothing yet before routing: a packet from a blocked address that passes
//! after all has priority 0 afterwards, all others keep theirs. Why protection says `accept`: it
//! ends our chain at once, whatever other prefix lengths would say, and other tables still see the
//! packet. `docs/decisions/0004-firewall-layout.md` has the figures.
//!
//! What does not apply: later fragments of a packet have no ports, so a chain that closes only some
//! ports lets them pass; without the first fragment, which it drops, they never become a packet.
//! Where conntrack defragments (priority -400) there are no fragments left here.

#[allow(clippy::wildcard_imports, reason = "a list of nearly all names in it would be no help")]
use super::kernel::*;
use super::names::{
    BASE_CHAIN, BlockedMap, GenerationNumber, Length, SHARDS, ShardBits, TABLE, comment, describe,
};
use super::rule::{Rule, verdict};
use crate::CHAINS_MAX;
use crate::netlink::kernel::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use crate::netlink::message::{Attributes, Batch};
use bannkreis_core::jail::PortRange;
use bannkreis_core::ruleset::Chain;

/// Before conntrack (-200), which so never sees what is dropped, and before DNAT (-100), after which
/// a container's traffic would have other ports.
const PRIORITY: i32 = -300;

/// More elements than this do not fit into one message, whose list may have at most 64 KiB.
const ELEMENTS_PER_MESSAGE_MAX: usize = 500;

const NEW: u16 = NLM_F_CREATE;

/// The table itself. With these flags it is made or adopted.
pub(crate) fn table(batch: &mut Batch, flags: u32) {
    batch.push(NEWTABLE, NEW, "making our table", |a| {
        a.text(NFTA_TABLE_NAME, TABLE);
        a.number(NFTA_TABLE_FLAGS, flags);
        let about = "kept by bannkreisd; to open everything, stop it and: nft delete table inet bannkreis";
        a.bytes(NFTA_TABLE_USERDATA, &comment(about));
    });
}

/// The base chain. One that is there stays as it is.
pub(crate) fn base_chain(batch: &mut Batch) {
    batch.push(NEWCHAIN, NEW, "making the base chain", |a| {
        a.text(NFTA_CHAIN_TABLE, TABLE);
        a.text(NFTA_CHAIN_NAME, BASE_CHAIN);
        a.nest(NFTA_CHAIN_HOOK, |a| {
            a.number(NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
            a.bytes(NFTA_HOOK_PRIORITY, &PRIORITY.to_be_bytes());
        });
        a.bytes(NFTA_CHAIN_POLICY, &NF_ACCEPT.to_be_bytes());
        a.text(NFTA_CHAIN_TYPE, "filter");
    });
}

/// What every generation has: the chain of protection and the map of classes.
pub(crate) fn foundation(batch: &mut Batch, generation: GenerationNumber) {
    chain(batch, &generation.protection(), None, "making the chain of protection");
    let id = batch.unused_set_id();
    batch.push(NEWSET, NEW, "making the map of classes", |a| {
        a.text(NFTA_SET_TABLE, TABLE);
        a.text(NFTA_SET_NAME, &generation.classes());
        a.number(NFTA_SET_FLAGS, NFT_SET_MAP);
        a.number(NFTA_SET_KEY_TYPE, TYPE_CLASSID);
        a.number(NFTA_SET_KEY_LEN, 4);
        a.number(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
        a.number(NFTA_SET_ID, id);
        a.nest(NFTA_SET_DESC, |a| a.number(NFTA_SET_DESC_SIZE, bound_of_classes()));
        a.bytes(NFTA_SET_USERDATA, &in_this_machines_order(NFTNL_UDATA_SET_KEYBYTEORDER));
    });
}

/// The first rule of the base chain: traffic between local programs is nobody's attack.
pub(crate) fn entrance(batch: &mut Batch, generation: GenerationNumber) {
    batch.push(NEWRULE, NEW | NLM_F_APPEND, "adding the loopback rule", |a| {
        a.text(NFTA_RULE_TABLE, TABLE);
        a.text(NFTA_RULE_CHAIN, BASE_CHAIN);
        Rule::write(a, |rule| {
            rule.came_by_loopback();
            rule.verdict(NF_ACCEPT, None);
        });
        a.bytes(NFTA_RULE_USERDATA, &generation.marker());
    });
}

/// Empties a chain.
pub(crate) fn without_rules(batch: &mut Batch, chain: &str) {
    batch.push(DELRULE, 0, "emptying a chain", |a| {
        a.text(NFTA_RULE_TABLE, TABLE);
        a.text(NFTA_RULE_CHAIN, chain);
    });
}

/// A map of blocked subnets, and the chain that asks it if it is a shard.
pub(crate) fn blocked_map(batch: &mut Batch, generation: GenerationNumber, map: BlockedMap, room: u32) {
    let id = batch.unused_set_id();
    batch.push(NEWSET, NEW, "making a map of blocked subnets", |a| {
        address_set(a, &generation.blocked(map), map.length, NFT_SET_MAP | NFT_SET_TIMEOUT, room, id);
        a.number(NFTA_SET_DATA_TYPE, TYPE_CLASSID);
        a.number(NFTA_SET_DATA_LEN, 4);
        a.bytes(NFTA_SET_USERDATA, &in_this_machines_order(NFTNL_UDATA_SET_DATABYTEORDER));
    });
    if map.shard.is_some() {
        let name = generation.shard(map);
        chain(batch, &name, None, "making the chain of a shard");
        ask_rule(batch, generation, &name, map);
    }
}

/// The map from the four bits that choose a shard to its chain.
pub(crate) fn shards(batch: &mut Batch, generation: GenerationNumber, length: Length, bits: ShardBits) {
    let id = batch.unused_set_id();
    let name = generation.shards(length);
    batch.push(NEWSET, NEW, "making the map of shards", |a| {
        address_set(a, &name, length, NFT_SET_MAP, SHARDS.into(), id);
        a.number(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
    });
    let all: Vec<u8> = (0..SHARDS).collect();
    elements(batch, Elements::Add, &name, &all, |a, &shard| {
        let key = bits.key(shard, length.address_bytes());
        a.nest(NFTA_SET_ELEM_KEY, |a| a.bytes(NFTA_DATA_VALUE, &key));
        let chain = generation.shard(BlockedMap { length, shard: Some(shard) });
        a.nest(NFTA_SET_ELEM_DATA, |a| verdict(a, NFT_JUMP, Some(&chain)));
    });
}

/// The rule of the base chain that asks a prefix length's only map.
pub(crate) fn blocked_rule(batch: &mut Batch, generation: GenerationNumber, length: Length) {
    ask_rule(batch, generation, BASE_CHAIN, BlockedMap { length, shard: None });
}

/// The rule of the base chain that asks one of its shards.
pub(crate) fn shards_rule(batch: &mut Batch, generation: GenerationNumber, length: Length, bits: ShardBits) {
    rule(batch, BASE_CHAIN, "adding a rule for shards", |rule| {
        rule.source(length, Some(&bits.key(SHARDS - 1, length.address_bytes())));
        rule.verdict_of(&generation.shards(length));
    });
}

fn ask_rule(batch: &mut Batch, generation: GenerationNumber, chain: &str, map: BlockedMap) {
    rule(batch, chain, "adding a rule for blocked subnets", |rule| {
        rule.source(map.length, map.length.mask().as_deref());
        rule.note_class_from(&generation.blocked(map));
        rule.verdict_from(&generation.classes());
    });
}

/// The set of protected subnets of one length, and the rule that asks it. The flag makes it a hash
/// table that grows as needed; its elements have no timeout.
pub(crate) fn protected_set(batch: &mut Batch, generation: GenerationNumber, length: Length, room: u32) {
    let id = batch.unused_set_id();
    batch.push(NEWSET, NEW, "making a set of protected subnets", |a| {
        address_set(a, &generation.protected(length), length, NFT_SET_TIMEOUT, room, id);
    });
    rule(batch, &generation.protection(), "adding a rule for protected subnets", |rule| {
        rule.source(length, length.mask().as_deref());
        rule.is_in(&generation.protected(length), None);
        rule.forget_class();
        rule.verdict(NF_ACCEPT, None);
    });
}

/// The chain of a class, its rules, and its entry in the map of classes.
pub(crate) fn class(batch: &mut Batch, generation: GenerationNumber, class: u32, about: &Chain) {
    let name = generation.class(about, class);
    chain(batch, &name, Some(&describe(class, about)), "making the chain of a jail");
    rule(batch, &name, "adding the protection to a jail's chain", |rule| {
        rule.verdict(NFT_JUMP, Some(&generation.protection()));
    });
    match about.ports.ranges() {
        None => rule(batch, &name, "adding a jail's drop", |rule| {
            rule.counter();
            rule.verdict(NF_DROP, None);
        }),
        Some(ranges) => {
            for of_one_protocol in ranges.chunk_by(|a, b| a.protocol == b.protocol) {
                port_rule(batch, &name, of_one_protocol);
            }
            rule(batch, &name, "ending a jail's chain", |rule| {
                rule.forget_class();
            });
        }
    }
    batch.push(NEWSETELEM, NEW, "adding a jail's class", |a| {
        a.text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
        a.text(NFTA_SET_ELEM_LIST_SET, &generation.classes());
        a.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
            a.nest(NFTA_LIST_ELEM, |a| {
                a.nest(NFTA_SET_ELEM_KEY, |a| a.bytes(NFTA_DATA_VALUE, &class.to_ne_bytes()));
                a.nest(NFTA_SET_ELEM_DATA, |a| verdict(a, NFT_JUMP, Some(&name)));
            });
        });
    });
}

/// How many rules the chain of a class has.
pub(crate) fn n_class_rules(about: &Chain) -> usize {
    let n_protocols = |ranges: &[PortRange]| ranges.chunk_by(|a, b| a.protocol == b.protocol).count();
    1 + about.ports.ranges().map_or(1, |ranges| n_protocols(ranges) + 1)
}

/// What becomes of elements.
#[derive(Clone, Copy)]
pub(crate) enum Elements {
    /// They are added. What is there already is no error if it is the same, and stays as it is.
    Add,
    /// They are added. What is there already is an error (EEXIST, or EBUSY if it has other data).
    AddNew,
    /// They are deleted. What is not there is an error (ENOENT).
    Delete,
    /// They are deleted, if they are there (Linux 6.3).
    Destroy,
}

/// Changes elements of one map or set, in as many messages as it takes.
pub(crate) fn elements<E>(
    batch: &mut Batch,
    change: Elements,
    set: &str,
    elements: &[E],
    write: impl Fn(&mut Attributes<'_>, &E),
) {
    let (kind, flags, doing) = match change {
        Elements::Add => (NEWSETELEM, NEW, "adding elements"),
        Elements::AddNew => (NEWSETELEM, NEW | NLM_F_EXCL, "adding elements"),
        Elements::Delete => (DELSETELEM, 0, "deleting elements"),
        Elements::Destroy => (DESTROYSETELEM, 0, "deleting elements"),
    };
    for some in elements.chunks(ELEMENTS_PER_MESSAGE_MAX) {
        batch.push(kind, flags, doing, |a| {
            a.text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
            a.text(NFTA_SET_ELEM_LIST_SET, set);
            a.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
                for element in some {
                    a.nest(NFTA_LIST_ELEM, |a| write(a, element));
                }
            });
        });
    }
}

/// Empties a map or set.
pub(crate) fn without_elements(batch: &mut Batch, set: &str) {
    batch.push(DELSETELEM, 0, "emptying an old map", |a| {
        a.text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
        a.text(NFTA_SET_ELEM_LIST_SET, set);
    });
}

/// Deletes a map or set, and what is in it.
pub(crate) fn without_set(batch: &mut Batch, set: &str) {
    batch.push(DELSET, 0, "deleting an old map", |a| {
        a.text(NFTA_SET_TABLE, TABLE);
        a.text(NFTA_SET_NAME, set);
    });
}

/// Deletes a chain.
pub(crate) fn without_chain(batch: &mut Batch, chain: &str) {
    batch.push(DELCHAIN, 0, "deleting an old chain", |a| {
        a.text(NFTA_CHAIN_TABLE, TABLE);
        a.text(NFTA_CHAIN_NAME, chain);
    });
}

/// Drops what goes to these ports, of one protocol.
fn port_rule(batch: &mut Batch, chain: &str, ranges: &[PortRange]) {
    let protocol = ranges[0].protocol;
    let all = !protocol.has_ports() || (ranges[0].first, ranges[0].last) == (0, u16::MAX);
    let set = (!all && ranges.len() > 1).then(|| port_set(batch, ranges));
    rule(batch, chain, "adding a jail's drop", |rule| {
        rule.protocol(protocol.0);
        match (all, set) {
            (true, _) => {}
            (false, Some(id)) => {
                rule.destination_port();
                rule.is_in(ANONYMOUS, Some(id));
            }
            (false, None) if ranges[0].first == ranges[0].last => {
                rule.destination_port();
                rule.compare(NFT_CMP_EQ, &ranges[0].first.to_be_bytes());
            }
            (false, None) => {
                rule.destination_port();
                rule.compare(NFT_CMP_GTE, &ranges[0].first.to_be_bytes());
                rule.compare(NFT_CMP_LTE, &ranges[0].last.to_be_bytes());
            }
        }
        rule.counter();
        rule.verdict(NF_DROP, None);
    });
}

/// The kernel puts a number in place of `%d`.
const ANONYMOUS: &str = "__set%d";

/// An anonymous set of port ranges, which lives and dies with the rule that asks it; the number by
/// which that rule names it. (Interval sets are slow to change; this one never does.)
fn port_set(batch: &mut Batch, ranges: &[PortRange]) -> u32 {
    let id = batch.unused_set_id();
    batch.push(NEWSET, NEW, "making a set of ports", |a| {
        a.text(NFTA_SET_TABLE, TABLE);
        a.text(NFTA_SET_NAME, ANONYMOUS);
        a.number(NFTA_SET_FLAGS, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | NFT_SET_INTERVAL);
        a.number(NFTA_SET_KEY_TYPE, TYPE_INET_SERVICE);
        a.number(NFTA_SET_KEY_LEN, 2);
        a.number(NFTA_SET_ID, id);
    });
    let end = |a: &mut Attributes<'_>, port: u16, flags: u32| {
        a.nest(NFTA_LIST_ELEM, |a| {
            a.nest(NFTA_SET_ELEM_KEY, |a| a.bytes(NFTA_DATA_VALUE, &port.to_be_bytes()));
            if flags != 0 {
                a.number(NFTA_SET_ELEM_FLAGS, flags);
            }
        });
    };
    batch.push(NEWSETELEM, NEW, "adding ports", |a| {
        a.text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
        a.text(NFTA_SET_ELEM_LIST_SET, ANONYMOUS);
        a.number(NFTA_SET_ELEM_LIST_SET_ID, id);
        a.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
            for range in ranges {
                end(a, range.first, 0);
                if let Some(after) = range.last.checked_add(1) {
                    end(a, after, NFT_SET_ELEM_INTERVAL_END);
                }
            }
        });
    });
    id
}

fn address_set(a: &mut Attributes<'_>, name: &str, length: Length, flags: u32, room: u32, id: u32) {
    a.text(NFTA_SET_TABLE, TABLE);
    a.text(NFTA_SET_NAME, name);
    a.number(NFTA_SET_FLAGS, flags);
    a.number(NFTA_SET_KEY_TYPE, if length.v4 { TYPE_IPV4_ADDR } else { TYPE_IPV6_ADDR });
    a.number(NFTA_SET_KEY_LEN, length.address_bytes().into());
    a.number(NFTA_SET_ID, id);
    a.nest(NFTA_SET_DESC, |a| a.number(NFTA_SET_DESC_SIZE, room));
}

fn chain(batch: &mut Batch, name: &str, userdata: Option<&[u8]>, doing: &'static str) {
    batch.push(NEWCHAIN, NEW, doing, |a| {
        a.text(NFTA_CHAIN_TABLE, TABLE);
        a.text(NFTA_CHAIN_NAME, name);
        if let Some(userdata) = userdata {
            a.bytes(NFTA_CHAIN_USERDATA, userdata);
        }
    });
}

fn rule(batch: &mut Batch, chain: &str, doing: &'static str, fill: impl FnOnce(&mut Rule<'_, '_>)) {
    batch.push(NEWRULE, NEW | NLM_F_APPEND, doing, |a| {
        a.text(NFTA_RULE_TABLE, TABLE);
        a.text(NFTA_RULE_CHAIN, chain);
        Rule::write(a, fill);
    });
}

/// Tells the nft program how to print class numbers, which the kernel compares as bytes.
fn in_this_machines_order(what: u8) -> Vec<u8> {
    [&[what, 4], BYTEORDER_HOST_ENDIAN.to_ne_bytes().as_slice()].concat()
}

fn bound_of_classes() -> u32 {
    u32::try_from(CHAINS_MAX).expect("a constant of some thousand")
}
