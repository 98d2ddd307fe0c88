//! A map of few entries: a sorted list in one piece of memory, of exactly its size, that copies share. A node of a
//! B-tree has room for eleven entries, mostly unused when there are four in all.
//!
//! Not for many entries: putting one in, or taking one out, copies all others.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter::once;

/// See the module. An empty one has no memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SortedMap<K, V>(Option<Arc<[(K, V)]>>);

impl<K, V> Clone for SortedMap<K, V> {
    fn clone(&self) -> SortedMap<K, V> {
        SortedMap(self.0.clone())
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> SortedMap<K, V> {
        SortedMap(None)
    }
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    fn entries(&self) -> &[(K, V)] {
        self.0.as_deref().unwrap_or_default()
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.entries().binary_search_by(|(known, _)| known.cmp(key))
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.entries()[at].1)
    }

    /// Whether it has `key`.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Puts `value` in and gives back the one whose place it takes.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => self.value_mut(at).map(|known| core::mem::replace(known, value)),
            Err(at) => {
                self.put_in(at, key, value);
                None
            }
        }
    }

    /// Takes `key` out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        let (before, behind) = self.entries().split_at(at);
        let ((_, taken), behind) = behind.split_first()?;
        let taken = taken.clone();
        let is_last = before.is_empty() && behind.is_empty();
        self.0 = (!is_last).then(|| before.iter().chain(behind).cloned().collect());
        Some(taken)
    }

    fn value_mut(&mut self, at: usize) -> Option<&mut V> {
        self.0.as_mut().map(|entries| &mut Arc::make_mut(entries)[at].1)
    }

    fn put_in(&mut self, at: usize, key: K, value: V) {
        let (before, behind) = self.entries().split_at(at);
        let all = before.iter().cloned().chain(once((key, value))).chain(behind.iter().cloned());
        self.0 = Some(all.collect());
    }

    /// All entries but those that come `before`, in order.
    pub(crate) fn behind(&self, before: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
        let at = self.entries().partition_point(|(key, _)| before(key));
        self.entries()[at..].iter().map(|(key, value)| (key, value))
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries().iter().map(|(key, value)| (key, value))
    }

    /// Takes out all that do not `stay`.
    pub(crate) fn retain(&mut self, stays: impl Fn(&K, &V) -> bool) {
        let left: Vec<_> = self.entries().iter().filter(|(key, value)| stays(key, value)).cloned().collect();
        self.0 = (!left.is_empty()).then(|| left.into());
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
                    _ => {
                        let copy = ours.clone();
                        ours.insert(key, value);
                        prop_assert_eq!(copy.get(&key), theirs.get(&key), "a copy keeps what it had");
                        ours = copy;
                    }
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
