//! The expressions of a rule, one function each.
//!
//! A rule is a list of expressions that load something of the packet into a register, compare it,
//! look it up, count, or decide; the first that does not match ends the rule. Not for which rules
//! there are (`layout.rs`).

#[allow(clippy::wildcard_imports, reason = "a list of nearly all names in it would be no help")]
use super::kernel::*;
use super::names::Length;
use crate::netlink::kernel::{NFPROTO_IPV4, NFPROTO_IPV6};
use crate::netlink::message::Attributes;

/// Writes the expressions of one rule.
pub(crate) struct Rule<'a, 'b> {
    list: &'a mut Attributes<'b>,
}

impl Rule<'_, '_> {
    /// Writes the attribute that holds a rule's expressions.
    pub(crate) fn write(attributes: &mut Attributes<'_>, fill: impl FnOnce(&mut Rule<'_, '_>)) {
        attributes.nest(NFTA_RULE_EXPRESSIONS, |list| fill(&mut Rule { list }));
    }

    /// Goes on for packets that arrive on loopback, whose index is 1 in every network namespace.
    pub(crate) fn came_by_loopback(&mut self) {
        self.meta(NFT_META_IIF);
        self.compare(NFT_CMP_EQ, &1_u32.to_ne_bytes());
    }

    /// Loads the source address, masked if there is a mask, into register 1; goes on for packets of this family only.
    pub(crate) fn source(&mut self, length: Length, mask: Option<&[u8]>) {
        let (family, offset) = if length.v4 { (NFPROTO_IPV4, 12) } else { (NFPROTO_IPV6, 8) };
        self.meta(NFT_META_NFPROTO);
        self.compare(NFT_CMP_EQ, &[family]);
        self.payload(NFT_PAYLOAD_NETWORK_HEADER, offset, length.address_bytes().into());
        if let Some(mask) = mask {
            self.expression("bitwise", |a| {
                a.number(NFTA_BITWISE_SREG, NFT_REG_1);
                a.number(NFTA_BITWISE_DREG, NFT_REG_1);
                a.number(NFTA_BITWISE_LEN, length.address_bytes().into());
                a.nest(NFTA_BITWISE_MASK, |a| a.bytes(NFTA_DATA_VALUE, mask));
                a.nest(NFTA_BITWISE_XOR, |a| a.bytes(NFTA_DATA_VALUE, &vec![0; mask.len()]));
            });
        }
    }

    /// Goes on for this transport protocol. The kernel has looked past IPv6 extension headers.
    pub(crate) fn protocol(&mut self, number: u8) {
        self.meta(NFT_META_L4PROTO);
        self.compare(NFT_CMP_EQ, &[number]);
    }

    /// Loads the destination port into register 1; goes on for packets that have one: not for later
    /// fragments.
    pub(crate) fn destination_port(&mut self) {
        self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
    }

    /// Goes on when register 1 compares so with `value`.
    pub(crate) fn compare(&mut self, operator: u32, value: &[u8]) {
        self.expression("cmp", |a| {
            a.number(NFTA_CMP_SREG, NFT_REG_1);
            a.number(NFTA_CMP_OP, operator);
            a.nest(NFTA_CMP_DATA, |a| a.bytes(NFTA_DATA_VALUE, value));
        });
    }

    /// Goes on when the set has the value of register 1. `id` finds a set without a name of its own.
    pub(crate) fn is_in(&mut self, set: &str, id: Option<u32>) {
        self.lookup(set, id, None);
    }

    /// Notes what the map has for register 1 as the packet's class; goes on when it has something.
    ///
    /// The note is the packet's priority, for a map's result can not directly be the key of another
    /// map: the kernel does not mind, but the nft program (1.0.6) aborts in `nft list ruleset`.
    pub(crate) fn note_class_from(&mut self, map: &str) {
        self.lookup(map, None, Some(NFT_REG_1));
        self.set_priority();
    }

    /// Does what the map says for the packet's class.
    pub(crate) fn verdict_from(&mut self, map: &str) {
        self.meta(NFT_META_PRIORITY);
        self.verdict_of(map);
    }

    /// Does what the map says for the value of register 1.
    pub(crate) fn verdict_of(&mut self, map: &str) {
        self.lookup(map, None, Some(NFT_REG_VERDICT));
    }

    /// Wipes out the note of the class: for packets that pass after all.
    pub(crate) fn forget_class(&mut self) {
        self.expression("immediate", |a| {
            a.number(NFTA_IMMEDIATE_DREG, NFT_REG_1);
            a.nest(NFTA_IMMEDIATE_DATA, |a| a.bytes(NFTA_DATA_VALUE, &[0; 4]));
        });
        self.set_priority();
    }

    /// Counts packets and bytes.
    pub(crate) fn counter(&mut self) {
        self.expression("counter", |a| {
            a.long_number(NFTA_COUNTER_BYTES, 0);
            a.long_number(NFTA_COUNTER_PACKETS, 0);
        });
    }

    /// Ends the packet's way through this hook, or jumps to a chain.
    pub(crate) fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |a| {
            a.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
            a.nest(NFTA_IMMEDIATE_DATA, |a| verdict(a, code, chain));
        });
    }

    fn set_priority(&mut self) {
        self.expression("meta", |a| {
            a.number(NFTA_META_KEY, NFT_META_PRIORITY);
            a.number(NFTA_META_SREG, NFT_REG_1);
        });
    }

    fn lookup(&mut self, set: &str, id: Option<u32>, to: Option<u32>) {
        self.expression("lookup", |a| {
            a.text(NFTA_LOOKUP_SET, set);
            if let Some(id) = id {
                a.number(NFTA_LOOKUP_SET_ID, id);
            }
            a.number(NFTA_LOOKUP_SREG, NFT_REG_1);
            if let Some(to) = to {
                a.number(NFTA_LOOKUP_DREG, to);
            }
        });
    }

    fn meta(&mut self, key: u32) {
        self.expression("meta", |a| {
            a.number(NFTA_META_DREG, NFT_REG_1);
            a.number(NFTA_META_KEY, key);
        });
    }

    fn payload(&mut self, base: u32, offset: u32, bytes: u32) {
        self.expression("payload", |a| {
            a.number(NFTA_PAYLOAD_DREG, NFT_REG_1);
            a.number(NFTA_PAYLOAD_BASE, base);
            a.number(NFTA_PAYLOAD_OFFSET, offset);
            a.number(NFTA_PAYLOAD_LEN, bytes);
        });
    }

    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.list.nest(NFTA_LIST_ELEM, |a| {
            a.text(NFTA_EXPR_NAME, name);
            a.nest(NFTA_EXPR_DATA, fill);
        });
    }
}

/// A verdict as a value: in a rule, or in a map.
pub(crate) fn verdict(attributes: &mut Attributes<'_>, code: i32, chain: Option<&str>) {
    attributes.nest(NFTA_DATA_VERDICT, |a| {
        a.bytes(NFTA_VERDICT_CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            a.text(NFTA_VERDICT_CHAIN, chain);
        }
    });
}
