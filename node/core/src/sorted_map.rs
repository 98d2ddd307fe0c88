//! A map of few entries: a sorted list in one piece of memory, of exactly its size, that copies share. A node of a
//! B-tree has room for eleven entries, mostly unused when there are two in all.
//!
//! Not for many entries: a change copies all others.

use alloc::vec::Vec;
use triomphe::ThinArc;

/// See the module. An empty one has no memory, and a copy is one pointer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SortedMap<K, V>(Option<ThinArc<(), (K, V)>>);

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
    /// Copies of so many entries, which are in order.
    fn of<'a>(n_entries: usize, entry: impl Fn(usize) -> &'a (K, V)) -> SortedMap<K, V>
    where
        K: 'a,
        V: 'a,
    {
        let entries = (0..n_entries).map(|at| entry(at).clone());
        SortedMap((n_entries > 0).then(|| ThinArc::from_header_and_iter((), entries)))
    }

    fn entries(&self) -> &[(K, V)] {
        self.0.as_ref().map_or(&[], |entries| &entries.slice)
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
        let entries = self.entries();
        let (at, replaced) = match self.find(&key) {
            Ok(at) => (at, Some(entries[at].1.clone())),
            Err(at) => (at, None),
        };
        let n_more = usize::from(replaced.is_none());
        let new = (key, value);
        *self = SortedMap::of(entries.len() + n_more, |n| match n {
            n if n < at => &entries[n],
            n if n == at => &new,
            n => &entries[n - n_more],
        });
        replaced
    }

    /// Takes `key` out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entries = self.entries();
        let at = self.find(key).ok()?;
        let taken = entries[at].1.clone();
        *self = SortedMap::of(entries.len() - 1, |n| &entries[n + usize::from(n >= at)]);
        Some(taken)
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

    /// Takes out all that do not `stay`; gives back how many.
    pub(crate) fn retain(&mut self, stays: impl Fn(&K, &V) -> bool) -> usize {
        let entries = self.entries();
        let left: Vec<_> = entries.iter().filter(|(key, value)| stays(key, value)).collect();
        let n_gone = entries.len() - left.len();
        *self = SortedMap::of(left.len(), |n| left[n]);
        n_gone
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
            let n_before = theirs.len();
            theirs.retain(|key, _| key % 2 == 0);
            prop_assert_eq!(ours.retain(|key, _| key % 2 == 0), n_before - theirs.len());
            prop_assert!(ours.iter().eq(theirs.iter()));
        }
    }
}
