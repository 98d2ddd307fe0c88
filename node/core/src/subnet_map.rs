//! A map from subnets that can be asked which of its keys hold a given address or prefix.
//!
//! Few keys and many questions: the allow list, tombstones, protected addresses. A question costs
//! one lookup per prefix length in use, not one per key and not one per bit.

use crate::subnet::Subnet;
use alloc::collections::BTreeMap;

/// Values by subnet, with [`SubnetMap::holding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetMap<V> {
    entries: BTreeMap<Subnet, V>,
    /// How many keys there are of each (is IPv4, prefix length).
    lengths: BTreeMap<(bool, u8), usize>,
}

impl<V> Default for SubnetMap<V> {
    fn default() -> Self {
        SubnetMap { entries: BTreeMap::new(), lengths: BTreeMap::new() }
    }
}

impl<V> SubnetMap<V> {
    /// Puts `value` in, and gives back the one it replaces.
    pub fn insert(&mut self, subnet: Subnet, value: V) -> Option<V> {
        let old = self.entries.insert(subnet, value);
        if old.is_none() {
            *self.lengths.entry((subnet.is_v4(), subnet.prefix_len())).or_default() += 1;
        }
        old
    }

    /// Takes the value of exactly this subnet out.
    pub fn remove(&mut self, subnet: Subnet) -> Option<V> {
        let old = self.entries.remove(&subnet)?;
        let length = (subnet.is_v4(), subnet.prefix_len());
        if let Some(n_keys) = self.lengths.get_mut(&length) {
            *n_keys -= 1;
            if *n_keys == 0 {
                self.lengths.remove(&length);
            }
        }
        Some(old)
    }

    /// The value of exactly this subnet.
    #[must_use]
    pub fn get(&self, subnet: Subnet) -> Option<&V> {
        self.entries.get(&subnet)
    }

    /// The value of exactly this subnet, to change.
    pub fn get_mut(&mut self, subnet: Subnet) -> Option<&mut V> {
        self.entries.get_mut(&subnet)
    }

    /// All of them, to be changed in place.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Subnet, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (*key, value))
    }

    /// All entries whose subnet holds all of `inner`, the widest first.
    pub fn holding(&self, inner: Subnet) -> impl Iterator<Item = (Subnet, &V)> {
        self.lengths.range((inner.is_v4(), 0)..=(inner.is_v4(), inner.prefix_len())).filter_map(
            move |(&(_, length), _)| {
                let outer = inner.widened_to(length);
                self.entries.get(&outer).map(|value| (outer, value))
            },
        )
    }

    /// All entries whose subnet lies inside `outer`, `outer` itself included.
    pub fn inside(&self, outer: Subnet) -> impl Iterator<Item = (Subnet, &V)> {
        self.entries
            .range(outer..)
            .take_while(move |(key, _)| {
                key.is_v4() == outer.is_v4() && outer.contains(Subnet::host(key.address()))
            })
            .filter(move |(key, _)| outer.contains(**key))
            .map(|(key, value)| (*key, value))
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (Subnet, &V)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps the entries for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Subnet, &V) -> bool) {
        let gone: alloc::vec::Vec<Subnet> =
            self.entries.iter().filter(|(key, value)| !keep(**key, value)).map(|(key, _)| *key).collect();
        for subnet in gone {
            self.remove(subnet);
        }
    }
}
