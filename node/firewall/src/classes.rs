//! The chains in use, each with a number of its own: what elements carry, or sets are called by.
//!
//! Not for where they are made.

use crate::CHAINS_MAX;
use bannkreis_core::ruleset::Chain;
use std::collections::BTreeMap;

/// See the module. A number whose chain is not known is one that an earlier process gave out.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    by_chain: BTreeMap<Chain, u32>,
    by_number: BTreeMap<u32, Option<Chain>>,
}

impl Classes {
    /// The number of a chain.
    pub(crate) fn number_of(&self, chain: &Chain) -> Option<u32> {
        self.by_chain.get(chain).copied()
    }

    /// The chain with a number.
    pub(crate) fn chain_of(&self, number: u32) -> Option<&Chain> {
        self.by_number.get(&number)?.as_ref()
    }

    /// All of them, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Option<&Chain>)> {
        self.by_number.iter().map(|(number, chain)| (*number, chain.as_ref()))
    }

    /// Gives a chain a number; `None` when there are too many.
    pub(crate) fn add(&mut self, chain: &Chain) -> Option<u32> {
        if self.by_number.len() >= CHAINS_MAX {
            return None;
        }
        let number = self.by_number.keys().next_back().map_or(1, |last| last + 1);
        self.by_chain.insert(chain.clone(), number);
        self.by_number.insert(number, Some(chain.clone()));
        Some(number)
    }

    /// Takes over a number that is in use already.
    pub(crate) fn adopt(&mut self, number: u32, chain: Option<Chain>) {
        if let Some(chain) = &chain {
            self.by_chain.insert(chain.clone(), number);
        }
        self.by_number.insert(number, chain);
    }

    /// Takes back a number that could not be used.
    pub(crate) fn forget(&mut self, chain: &Chain) {
        if let Some(number) = self.by_chain.remove(chain) {
            self.by_number.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::jail::{JailName, Ports};

    fn chain(n: usize) -> Chain {
        Chain { jail: JailName::new(&format!("jail-{n}")).unwrap(), ports: Ports::whole_host() }
    }

    #[test]
    fn classes_are_numbered_taken_back_and_bounded() {
        let mut classes = Classes::default();
        assert_eq!(classes.add(&chain(0)), Some(1));
        assert_eq!(classes.add(&chain(1)), Some(2));
        classes.forget(&chain(1));
        assert_eq!(classes.number_of(&chain(1)), None);
        assert_eq!((classes.chain_of(2), classes.chain_of(1)), (None, Some(&chain(0))));
        classes.adopt(7, None);
        assert_eq!(classes.add(&chain(1)), Some(8));
        for n in 3..CHAINS_MAX {
            assert!(classes.add(&chain(n)).is_some());
        }
        assert_eq!(classes.add(&chain(CHAINS_MAX)), None);
    }
}
