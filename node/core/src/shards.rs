//! The bans and the history of a ban list in small pieces, so that a copy of the list costs next to nothing, and
//! changing one of a million bans while somebody reads such a copy costs no more than a few of them.
//!
//! Groups of shards are shared between copies, and shards between groups; what is changed is copied first, if
//! anybody else holds it: a group, which is thirty-two pointers, and one shard, which with a million bans has
//! eight. Where a subnet belongs is a fixed hash of it. Not for what bans mean: that is `ban_list.rs`.

use crate::ban_list::Ban;
use crate::change::BanKey;
use crate::history::PastBans;
use crate::judge::fixed_hash;
use crate::sorted_map::SortedMap;
use crate::subnet::Subnet;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Groups of shards: what a copy of the list copies is a pointer to each.
pub const SHARD_GROUPS: usize = 4_096;
/// Shards in a group.
const SHARDS_PER_GROUP: usize = 32;

/// Bans and history of the subnets that hash here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) bans: SortedMap<BanKey, Ban>,
    pub(crate) past: SortedMap<BanKey, PastBans>,
}

type Group = [Arc<Shard>; SHARDS_PER_GROUP];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    groups: Vec<Arc<Group>>,
    /// What every group is until something is put into it.
    empty: Arc<Group>,
}

impl Shards {
    /// Nothing in any of them.
    pub(crate) fn empty() -> Shards {
        let shard: Arc<Shard> = Arc::default();
        let empty: Arc<Group> = Arc::new(core::array::from_fn(|_| shard.clone()));
        Shards { groups: (0..SHARD_GROUPS).map(|_| empty.clone()).collect(), empty }
    }

    /// Where `subnet` belongs: the group, and the shard in it.
    fn place(subnet: Subnet) -> (usize, usize) {
        let hash = fixed_hash(subnet, &[], 0);
        let part = |n: u64, of: usize| usize::try_from(n % of as u64).unwrap_or(0);
        (part(hash, SHARD_GROUPS), part(hash / SHARD_GROUPS as u64, SHARDS_PER_GROUP))
    }

    /// The shard of `subnet`.
    pub(crate) fn get(&self, subnet: Subnet) -> &Shard {
        let (group, shard) = Shards::place(subnet);
        &self.groups[group][shard]
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, subnet: Subnet) -> &mut Shard {
        let (group, shard) = Shards::place(subnet);
        Arc::make_mut(&mut Arc::make_mut(&mut self.groups[group])[shard])
    }

    /// All shards that something was ever put into.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.groups
            .iter()
            .filter(|group| !Arc::ptr_eq(group, &self.empty))
            .flat_map(|group| group.iter().map(|shard| &**shard))
    }

    /// The shards of one group.
    pub(crate) fn group(&self, group: usize) -> impl Iterator<Item = &Shard> {
        self.groups[group].iter().map(|shard| &**shard)
    }

    /// Takes history out of one group: what `is_gone`.
    pub(crate) fn drop_past(&mut self, group: usize, is_gone: impl Fn(&BanKey, &PastBans) -> bool) {
        let has_some = |shard: &Shard| shard.past.iter().any(|(key, past)| is_gone(key, past));
        // Only what changes is copied.
        if !self.group(group).any(has_some) {
            return;
        }
        for shard in Arc::make_mut(&mut self.groups[group]) {
            if has_some(shard) {
                Arc::make_mut(shard).past.retain(|key, past| !is_gone(key, past));
            }
        }
    }

    /// Takes history out of the shard of one subnet: what `is_gone`.
    pub(crate) fn drop_past_of(&mut self, subnet: Subnet, is_gone: impl Fn(&BanKey, &PastBans) -> bool) {
        if self.get(subnet).past.iter().any(|(key, past)| is_gone(key, past)) {
            self.get_mut(subnet).past.retain(|key, past| !is_gone(key, past));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::JailName;
    use crate::time::Timestamp;

    fn key(n: u32) -> BanKey {
        let [a, b, c, d] = n.to_be_bytes();
        let subnet = Subnet::host(core::net::IpAddr::from([a, b, c, d]));
        BanKey { subnet, jail: JailName::operator() }
    }

    fn put(shards: &mut Shards, n: u32) {
        *shards.get_mut(key(n).subnet).past.or_default(key(n)) =
            PastBans { count: n, last_since: Timestamp::ZERO, last_end: Timestamp::ZERO };
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
        let changed: Vec<u32> = (1..=2_000).filter(|n| *n != 7).chain([5_000]).collect();
        assert_eq!(counts(&shards), changed);
        for group in 0..SHARD_GROUPS {
            shards.drop_past(group, |_, past| past.count > 10);
        }
        assert_eq!(counts(&shards), [1, 2, 3, 4, 5, 6, 8, 9, 10]);
    }

    #[test]
    fn a_million_subnets_are_spread_evenly() {
        let mut sizes = alloc::vec![0_u32; SHARD_GROUPS * SHARDS_PER_GROUP];
        for n in 0..1_000_000 {
            let (group, shard) = Shards::place(key(0x0b00_0000 + n).subnet);
            sizes[group * SHARDS_PER_GROUP + shard] += 1;
        }
        let largest = sizes.iter().max().copied();
        // by chance alone it would be about 25.
        assert!(largest < Some(40), "{largest:?} of 8 on average");
    }
}
