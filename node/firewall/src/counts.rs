//! What chains have dropped, over all rulesets that a firewall has had: a chain that is made anew counts from nothing, and
//! people are told a number that never goes down.
//!
//! Not for reading counters out of a kernel.

use crate::{CHAINS_MAX, ChainCounter};
use bannkreis_core::ruleset::Chain;
use std::collections::BTreeMap;

/// Packets and bytes.
pub(crate) type Count = (u64, u64);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Counted by chains of earlier rulesets.
    carried: BTreeMap<Chain, Count>,
    /// Counted by the living ruleset's chains when they were last read.
    seen: BTreeMap<Chain, Count>,
}

impl Counts {
    /// A chain was read. What a stranger deletes keeps what was seen of it.
    pub(crate) fn see(&mut self, chain: &Chain, count: Count) {
        let known = self.seen.entry(chain.clone()).or_default();
        *known = (*known).max(count);
    }

    /// The chains that were read are about to go, or have gone. When there are too many, those that are not used any more
    /// are forgotten.
    pub(crate) fn carry(&mut self, is_used: impl Fn(&Chain) -> bool) {
        for (chain, count) in std::mem::take(&mut self.seen) {
            add(self.carried.entry(chain).or_default(), count);
        }
        if self.carried.len() > CHAINS_MAX {
            self.carried.retain(|chain, _| is_used(chain));
        }
    }

    /// All of it, by chain.
    pub(crate) fn totals(&self) -> Vec<ChainCounter> {
        let mut sums = self.carried.clone();
        for (chain, count) in &self.seen {
            add(sums.entry(chain.clone()).or_default(), *count);
        }
        let counter = |(chain, (packets, bytes))| ChainCounter { chain, packets, bytes };
        sums.into_iter().map(counter).collect()
    }
}

/// Adds packets to packets and bytes to bytes.
pub(crate) fn add(sum: &mut Count, count: Count) {
    *sum = (sum.0 + count.0, sum.1 + count.1);
}
