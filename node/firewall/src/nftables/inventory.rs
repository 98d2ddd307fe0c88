//! What is in our table right now: names, rules and counters, never elements.
//!
//! Listing the elements of a hash map takes the kernel time that grows with the square of their
//! number (a minute for a million), so nobody here does it. Not for judging what is found
//! (`generation.rs`).

use super::kernel::{
    GETCHAIN, GETRULE, GETSET, NFT_SET_ANONYMOUS, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, NFTA_CHAIN_USERDATA,
    NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS, NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_RULE_CHAIN,
    NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE, NFTA_RULE_USERDATA, NFTA_SET_FLAGS, NFTA_SET_NAME,
    NFTA_SET_TABLE,
};
use super::names::{Description, GenerationNumber, TABLE, described};
use crate::netlink::message::{attribute, attributes, long_number, number, text};
use crate::netlink::socket::{Answer, Refusal, Socket};
use std::collections::{BTreeMap, BTreeSet};

/// Everything in our table but the elements.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// The chains by name, with what is written down about them.
    pub(crate) chains: BTreeMap<String, Option<Description>>,
    /// The names of maps and sets that have one.
    pub(crate) sets: BTreeSet<String>,
    /// The rules, in order, by the name of their chain.
    pub(crate) rules: BTreeMap<String, Vec<FoundRule>>,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct FoundRule {
    /// The generation it marks as the one in force.
    pub(crate) marker: Option<GenerationNumber>,
    /// What its counter says.
    pub(crate) packets: u64,
    /// What its counter says.
    pub(crate) bytes: u64,
}

impl Inventory {
    /// Looks. A table that is not there is empty.
    pub(crate) fn take(socket: &mut Socket) -> Result<Inventory, Refusal> {
        let mut inventory = Inventory::default();
        for answer in socket.ask(GETCHAIN, true, "listing chains", |_| {})? {
            if text(&answer, NFTA_CHAIN_TABLE) == Some(TABLE)
                && let Some(name) = text(&answer, NFTA_CHAIN_NAME)
            {
                let description = attribute(&answer, NFTA_CHAIN_USERDATA).and_then(described);
                inventory.chains.insert(name.to_owned(), description);
            }
        }
        let sets = socket.ask(GETSET, true, "listing maps", |a| a.text(NFTA_SET_TABLE, TABLE));
        for answer in empty_if_missing(sets)? {
            let anonymous = number(&answer, NFTA_SET_FLAGS).unwrap_or(0) & NFT_SET_ANONYMOUS != 0;
            if let Some(name) = text(&answer, NFTA_SET_NAME).filter(|_| !anonymous) {
                inventory.sets.insert(name.to_owned());
            }
        }
        let rules = socket.ask(GETRULE, true, "listing rules", |a| a.text(NFTA_RULE_TABLE, TABLE));
        for answer in empty_if_missing(rules)? {
            if text(&answer, NFTA_RULE_TABLE) == Some(TABLE)
                && let Some(chain) = text(&answer, NFTA_RULE_CHAIN)
            {
                inventory.rules.entry(chain.to_owned()).or_default().push(rule(&answer));
            }
        }
        Ok(inventory)
    }

    /// The rules of a chain.
    pub(crate) fn rules_of(&self, chain: &str) -> &[FoundRule] {
        self.rules.get(chain).map_or(&[], Vec::as_slice)
    }

    /// The highest generation that has left anything here.
    pub(crate) fn newest(&self) -> Option<GenerationNumber> {
        self.chains.keys().chain(&self.sets).filter_map(|name| GenerationNumber::of_name(name)).max()
    }
}

fn rule(answer: &[u8]) -> FoundRule {
    let mut found = FoundRule {
        marker: attribute(answer, NFTA_RULE_USERDATA).and_then(GenerationNumber::from_marker),
        packets: 0,
        bytes: 0,
    };
    for (_, expression) in attribute(answer, NFTA_RULE_EXPRESSIONS).into_iter().flat_map(attributes) {
        if text(expression, NFTA_EXPR_NAME) == Some("counter")
            && let Some(counter) = attribute(expression, NFTA_EXPR_DATA)
        {
            found.packets += long_number(counter, NFTA_COUNTER_PACKETS).unwrap_or(0);
            found.bytes += long_number(counter, NFTA_COUNTER_BYTES).unwrap_or(0);
        }
    }
    found
}

fn empty_if_missing(listing: Result<Vec<Answer>, Refusal>) -> Result<Vec<Answer>, Refusal> {
    match listing {
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(Vec::new()),
        listing => listing,
    }
}
