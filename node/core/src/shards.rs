//! The bans and the history of a ban list in small pieces, so that a copy of the list costs next to nothing, and
//! changing one of a million bans while somebody reads such a copy costs no more than a few of them.
//!
//! Groups of shelves are shared between copies, shelves between groups, and shards, which with a million bans have
//! two each, between shelves. What is changed is copied first, if anybody else holds it: a group, which is eight
//! pointers, a shelf, which is sixteen shards' pointers, and the entries of one shard. Each pointer that is copied costs
//! a touch of what it points to: that is why there are few of them on a way down. Where a subnet belongs is a fixed
//! hash of it. Not for what bans mean: that is `ban_list.rs`.

use crate::ban::Ban;
use crate::change::BanKey;
use crate::history::PastBans;
use crate::judge::fixed_hash;
use crate::sorted_map::SortedMap;
use crate::subnet::Subnet;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Groups of shards: what a copy of the list copies is a pointer to each.
pub const SHARD_GROUPS: usize = 4_096;
/// Shelves in a group.
const SHELVES: usize = 8;
/// Shards on a shelf.
const SHARDS: usize = 16;

/// Bans and history of the subnets that hash here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) bans: SortedMap<BanKey, Ban>,
    pub(crate) past: SortedMap<BanKey, PastBans>,
}

type Shelf = [Shard; SHARDS];
type Group = [Arc<Shelf>; SHELVES];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    /// `None` until something is put into it: of a short list hardly anything is copied.
    groups: Vec<Option<Arc<Group>>>,
    /// What every group is until then.
    empty: Arc<Group>,
    /// How many entries of history there are in all shards.
    n_pasts: usize,
}

/// Where a subnet belongs.
#[derive(Clone, Copy)]
struct Place {
    group: usize,
    shelf: usize,
    shard: usize,
}

impl Place {
    fn of(subnet: Subnet) -> Place {
        let mut rest = fixed_hash(subnet, &[], 0);
        let mut part = |of: usize| {
            let part = usize::try_from(rest % of as u64).unwrap_or(0);
            rest /= of as u64;
            part
        };
        Place { group: part(SHARD_GROUPS), shelf: part(SHELVES), shard: part(SHARDS) }
    }
}

impl Shards {
    /// Nothing in any of them.
    pub(crate) fn empty() -> Shards {
        let shelf: Arc<Shelf> = Arc::default();
        let empty: Arc<Group> = Arc::new(core::array::from_fn(|_| shelf.clone()));
        Shards { groups: alloc::vec![None; SHARD_GROUPS], empty, n_pasts: 0 }
    }

    /// The shard of `subnet`.
    pub(crate) fn get(&self, subnet: Subnet) -> &Shard {
        let Place { group, shelf, shard } = Place::of(subnet);
        &self.groups[group].as_ref().unwrap_or(&self.empty)[shelf][shard]
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, subnet: Subnet) -> &mut Shard {
        let Place { group, shelf, shard } = Place::of(subnet);
        let group = Arc::make_mut(self.groups[group].get_or_insert_with(|| self.empty.clone()));
        &mut Arc::make_mut(&mut group[shelf])[shard]
    }

    /// All shards of groups that something was ever put into.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.groups.iter().flatten().flat_map(|group| group.iter().flat_map(|shelf| shelf.iter()))
    }

    /// The shards of one group, unless nothing was ever put into it.
    pub(crate) fn group(&self, group: usize) -> impl Iterator<Item = &Shard> {
        self.groups[group].iter().flat_map(|group| group.iter().flat_map(|shelf| shelf.iter()))
    }

    /// How many entries of history there are.
    pub(crate) fn n_pasts(&self) -> usize {
        self.n_pasts
    }

    /// Puts history in, in the place of what is known of the same key.
    pub(crate) fn insert_past(&mut self, key: BanKey, past: PastBans) {
        let is_new = self.get_mut(key.subnet).past.insert(key, past).is_none();
        self.n_pasts += usize::from(is_new);
    }

    /// Takes history out of one group: what `is_gone`.
    pub(crate) fn drop_past(&mut self, group: usize, is_gone: impl Fn(&BanKey, &PastBans) -> bool) {
        let has_some = |shard: &Shard| shard.past.iter().any(|(key, past)| is_gone(key, past));
        // Only what changes is copied.
        if !self.group(group).any(has_some) {
            return;
        }
        let Some(group) = &mut self.groups[group] else { return };
        for shelf in Arc::make_mut(group) {
            if !shelf.iter().any(has_some) {
                continue;
            }
            for shard in Arc::make_mut(shelf).iter_mut().filter(|shard| has_some(shard)) {
                self.n_pasts -= shard.past.retain(|key, past| !is_gone(key, past));
            }
        }
    }

    /// Takes history out of the shard of one subnet: what `is_gone`.
    pub(crate) fn drop_past_of(&mut self, subnet: Subnet, is_gone: impl Fn(&BanKey, &PastBans) -> bool) {
        if self.get(subnet).past.iter().any(|(key, past)| is_gone(key, past)) {
            self.n_pasts -= self.get_mut(subnet).past.retain(|key, past| !is_gone(key, past));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::JailName;

    fn key(n: u32) -> BanKey {
        let [a, b, c, d] = n.to_be_bytes();
        let subnet = Subnet::host(core::net::IpAddr::from([a, b, c, d]));
        BanKey { subnet, jail: JailName::operator() }
    }

    fn put(shards: &mut Shards, n: u32) {
        shards.insert_past(key(n), PastBans { count: n, ..PastBans::default() });
    }

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut shards = Shards::empty();
        assert_eq!(shards.iter().count(), 0);
        (1..=2_000).for_each(|n| put(&mut shards, n));
        let copy = shards.clone();
        put(&mut shards, 5_000);
        shards.drop_past_of(key(7).subnet, |key, _| *key == self::key(7));
        let counts = |shards: &Shards| {
            let mut counts: Vec<u32> =
                shards.iter().flat_map(|shard| shard.past.iter()).map(|(_, past)| past.count).collect();
            counts.sort_unstable();
            counts
        };
        assert_eq!(counts(&copy), (1..=2_000).collect::<Vec<u32>>());
        assert_eq!((copy.n_pasts(), shards.n_pasts()), (2_000, 2_000));
        let changed: Vec<u32> = (1..=2_000).filter(|n| *n != 7).chain([5_000]).collect();
        assert_eq!(counts(&shards), changed);
        for group in 0..SHARD_GROUPS {
            shards.drop_past(group, |_, past| past.count > 10);
        }
        assert_eq!(counts(&shards), [1, 2, 3, 4, 5, 6, 8, 9, 10]);
        put(&mut shards, 3);
        assert_eq!(shards.n_pasts(), 9);
    }

    #[test]
    fn a_million_subnets_are_spread_evenly() {
        let mut sizes = alloc::vec![0_u32; SHARD_GROUPS * SHELVES * SHARDS];
        for n in 0..1_000_000 {
            let Place { group, shelf, shard } = Place::of(key(0x0b00_0000 + n).subnet);
            sizes[(group * SHELVES + shelf) * SHARDS + shard] += 1;
        }
        let largest = sizes.iter().max().copied();
        // By chance alone it would be about 13.
        assert!(largest < Some(25), "{largest:?} of 2 on average");
    }
}
