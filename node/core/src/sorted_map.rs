//! A map of few entries: a sorted list. A node of a B-tree has room for eleven entries, mostly unused when there are
//! fifteen in all; here next to nothing is.
//!
//! Not for many entries: putting one in moves all that come after it.

use alloc::vec::Vec;

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SortedMap<K, V>(Vec<(K, V)>);

impl<K: Clone, V: Clone> Clone for SortedMap<K, V> {
    /// With the room that this one has: a copy is made because something is to be put in.
    fn clone(&self) -> SortedMap<K, V> {
        let mut entries = Vec::with_capacity(self.0.capacity());
        entries.extend_from_slice(&self.0);
        SortedMap(entries)
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> SortedMap<K, V> {
        SortedMap(Vec::new())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// Whether it has `key`.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Puts `value` in and gives back the one whose place it takes.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => Some(core::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.make_room();
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// The value of `key`, put in first if it is not there.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => {
                self.make_room();
                self.0.insert(at, (key, V::default()));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Takes `key` out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// All entries but those that come `before`, in order.
    pub(crate) fn behind(&self, before: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
        let at = self.0.partition_point(|(key, _)| before(key));
        self.0[at..].iter().map(|(key, value)| (key, value))
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Takes out all that do not `stay`.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(key, value)| stays(key, value));
    }

    /// Room for a few more and not for twice as many.
    fn make_room(&mut self) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(1 + self.0.len() / 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SortedMap;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_map_of_the_standard_library(steps in proptest::collection::vec((0u8..4, 0u8..20, any::<u8>()), 0..100)) {
            let (mut ours, mut theirs) = (SortedMap::default(), BTreeMap::new());
            for (what, key, value) in steps {
                match what {
                    0 | 1 => prop_assert_eq!(ours.insert(key, value), theirs.insert(key, value)),
                    2 => prop_assert_eq!(ours.remove(&key), theirs.remove(&key)),
                    _ => prop_assert_eq!(ours.or_default(key), theirs.entry(key).or_default()),
                }
                prop_assert_eq!(ours.get(&key), theirs.get(&key));
                prop_assert_eq!(ours.contains_key(&key), theirs.contains_key(&key));
                prop_assert!(ours.iter().eq(theirs.iter()));
                let behind: Vec<_> = ours.behind(|known| *known < key).collect();
                prop_assert_eq!(behind, theirs.range(key..).collect::<Vec<_>>());
            }
            ours.retain(|key, _| key % 2 == 0);
            theirs.retain(|key, _| key % 2 == 0);
            prop_assert!(ours.iter().eq(theirs.iter()));
        }
    }
}
