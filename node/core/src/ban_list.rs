//! The replicated ban list: its state and everything that may be asked of it.
//!
//! It is changed by committed commands only (`apply.rs`), is identical on every node at the same
//! position, and never learns the time but from commands. Cloning it is cheap (the shards are
//! shared and copied on write), so whoever wants to read for a while takes a [`BanView`].

use crate::allow_list::AllowEntry;
use crate::ban::Ban;
use crate::change::{BanKey, Outcome, Voided};
use crate::command::Op;
use crate::history::PastBans;
use crate::ids::{CommandId, NodeId, Position};
use crate::jail::{JailName, Ports};
use crate::node_record::NodeRecord;
use crate::op_digest;
use crate::outcomes::Outcomes;
use crate::proposal::Claim;
use crate::quota::Quota;
use crate::settings::Settings;
use crate::shards::{Shard, Shards};
use crate::sorted_map::SortedMap;
use crate::subnet::Subnet;
use crate::subnet_map::SubnetMap;
use crate::time::Timestamp;
use crate::voters_clocks::ClockRead;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Live bans at most; a claim beyond it is `NotShared(Full)`.
pub const BANS_MAX: usize = 4_000_000;
/// Of so many bans that are over, each of another offender or jail, something is remembered at most; what comes then is
/// forgotten, until others are old.
pub const PASTS_MAX: usize = 4_000_000;
/// Tombstones at most; beyond it the oldest go and raise the floor.
pub const TOMBSTONES_MAX: usize = 100_000;
/// Join tokens at most; the one that ends first goes.
pub const TOKENS_MAX: usize = 1_024;

/// A ban list to read from, for as long as one likes.
pub type BanView = Arc<BanList>;

/// What the cluster holds about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEntry {
    /// What the node says about itself.
    pub record: NodeRecord,
    /// Addresses it announced while they were banned: an operator must confirm them.
    pub pending: Vec<Subnet>,
    /// Its bans were undone: nothing of it is shared until an operator trusts it again.
    pub untrusted: bool,
    /// It was revoked.
    pub revoked: bool,
}

/// Somebody was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Where in the log.
    pub position: Position,
    /// When, in cluster time.
    pub at: Timestamp,
}

/// The replicated ban list.
#[derive(Clone, Debug)]
pub struct BanList {
    pub(crate) shards: Shards,
    pub(crate) n_bans: usize,
    /// How many live bans there are of each (is IPv4, prefix length): which lengths to look up.
    pub(crate) ban_lengths: BTreeMap<(bool, u8), usize>,
    pub(crate) sweep_next: usize,
    pub(crate) names: Arc<Names>,
    pub(crate) settings: Settings,
    pub(crate) nodes: Arc<BTreeMap<NodeId, NodeEntry>>,
    pub(crate) cluster_addresses: Arc<SubnetMap<u32>>,
    pub(crate) allow: Arc<SubnetMap<AllowEntry>>,
    /// By subnet, then by which evidence is void.
    pub(crate) tombstones: Arc<SubnetMap<BTreeMap<Voided, Tombstone>>>,
    pub(crate) n_tombstones: usize,
    pub(crate) tombstone_floor: Tombstone,
    pub(crate) quotas: Arc<BTreeMap<NodeId, Quota>>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) tokens: Arc<BTreeMap<Vec<u8>, Timestamp>>,
    pub(crate) now: Timestamp,
    pub(crate) last_tick: Timestamp,
    pub(crate) voters_clocks: Arc<BTreeMap<NodeId, ClockRead>>,
    pub(crate) level: u32,
    pub(crate) position: Position,
}

/// Jail names and port sets that bans share, so that a million bans do not hold a million copies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    jails: BTreeSet<JailName>,
    ports: BTreeSet<Ports>,
}

/// So many different names and port sets are shared; further ones are held once per ban.
const NAMES_MAX: usize = 4_096;

impl Names {
    fn shared<T: Ord + Clone>(set: &mut BTreeSet<T>, value: &T) -> T {
        if let Some(known) = set.get(value) {
            return known.clone();
        }
        if set.len() < NAMES_MAX {
            set.insert(value.clone());
        }
        value.clone()
    }
}

/// Equal lists give equal records; which names they happen to share does not matter.
impl PartialEq for BanList {
    fn eq(&self, other: &BanList) -> bool {
        self.records().eq(other.records())
    }
}

impl BanList {
    /// The empty ban list of a new cluster. `settings` are also its first entry's content.
    #[must_use]
    pub fn new(settings: Settings) -> BanList {
        let tombstone_floor = Tombstone { position: Position::default(), at: Timestamp::ZERO };
        BanList {
            shards: Shards::empty(),
            n_bans: 0,
            ban_lengths: BTreeMap::new(),
            sweep_next: 0,
            names: Arc::default(),
            settings,
            nodes: Arc::default(),
            cluster_addresses: Arc::default(),
            allow: Arc::default(),
            tombstones: Arc::default(),
            n_tombstones: 0,
            tombstone_floor,
            quotas: Arc::default(),
            outcomes: Arc::default(),
            tokens: Arc::default(),
            now: Timestamp::ZERO,
            last_tick: Timestamp::ZERO,
            voters_clocks: Arc::default(),
            level: crate::command::LEVEL_FIRST,
            position: Position::default(),
        }
    }

    /// This state, to read from while commands go on being applied.
    #[must_use]
    pub fn view(&self) -> BanView {
        Arc::new(self.clone())
    }

    /// How far it has applied the log.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Cluster time at that position.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When the voters' clocks were last read, in cluster time: what they said together. Cluster time may be
    /// ahead of it, never behind it.
    #[must_use]
    pub fn last_tick(&self) -> Timestamp {
        self.last_tick
    }

    /// The level of operations that counts.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Replicated settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The live ban with this key, at `now`.
    #[must_use]
    pub fn live(&self, key: &BanKey, now: Timestamp) -> Option<&Ban> {
        self.shard(key.subnet).bans.get(key).filter(|ban| !ban.until.is_over(now))
    }

    /// The ban with this key, live or not yet swept away.
    #[must_use]
    pub fn ban(&self, key: &BanKey) -> Option<&Ban> {
        self.shard(key.subnet).bans.get(key)
    }

    /// What is known of ended bans with this key, one that is over but not swept away included.
    #[must_use]
    pub fn past(&self, key: &BanKey) -> Option<PastBans> {
        let shard = self.shard(key.subnet);
        let ended = shard.bans.get(key).and_then(|ban| Some(ban.past(ban.until.end()?)));
        let past = shard.past.get(key).copied();
        // As when it is swept away.
        ended.map(|ended| past.unwrap_or_default().and(ended)).or(past)
    }

    /// How many bans came before an offence that began at `first_failure`: the last one is not
    /// counted when the offence began before it ended, for then it is the same episode.
    pub(crate) fn bans_before(&self, key: &BanKey, first_failure: Timestamp) -> u32 {
        match self.past(key) {
            None => 0,
            Some(past) if first_failure > past.last_end => past.count,
            Some(past) => past.count.saturating_sub(1),
        }
    }

    /// Earlier bans of the same offender in other jails.
    pub(crate) fn bans_in_other_jails(&self, key: &BanKey) -> u32 {
        let shard = self.shard(key.subnet);
        let live = of_subnet(&shard.bans, key.subnet).filter(|(other, _)| other.jail != key.jail);
        let past = of_subnet(&shard.past, key.subnet)
            .filter(|(other, _)| other.jail != key.jail && !shard.bans.contains_key(*other));
        live.map(|(_, ban)| ban.count).chain(past.map(|(_, past)| past.count)).fold(0, u32::saturating_add)
    }

    /// All bans of exactly this subnet, in all jails, over ones included.
    pub fn bans_of(&self, subnet: Subnet) -> impl Iterator<Item = (&BanKey, &Ban)> {
        of_subnet(&self.shard(subnet).bans, subnet)
    }

    /// All bans of this subnet and of wider ones around it.
    pub fn bans_holding(&self, subnet: Subnet) -> impl Iterator<Item = (&BanKey, &Ban)> {
        self.ban_lengths
            .range((subnet.is_v4(), 0)..=(subnet.is_v4(), subnet.prefix_len()))
            .flat_map(move |(&(_, length), _)| self.bans_of(subnet.widened_to(length)))
    }

    /// All bans inside `target`. Looks at every shard unless the target is one counting unit.
    pub fn bans_inside(&self, target: Subnet) -> impl Iterator<Item = (&BanKey, &Ban)> {
        self.bans().filter(move |(key, _)| target.contains(key.subnet))
    }

    /// All bans, over ones included, in no order that means anything.
    pub fn bans(&self) -> impl Iterator<Item = (&BanKey, &Ban)> {
        self.shards.iter().flat_map(|shard| shard.bans.iter())
    }

    /// All that is remembered of ended bans.
    pub fn pasts(&self) -> impl Iterator<Item = (&BanKey, &PastBans)> {
        self.shards.iter().flat_map(|shard| shard.past.iter())
    }

    /// How many bans it holds, over ones included.
    #[must_use]
    pub fn n_bans(&self) -> usize {
        self.n_bans
    }

    /// What is known about a node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeEntry> {
        self.nodes.get(&node)
    }

    /// All known nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeEntry)> {
        self.nodes.iter().map(|(node, entry)| (*node, entry))
    }

    /// Addresses of nodes, their routers and name servers.
    #[must_use]
    pub fn cluster_addresses(&self) -> &SubnetMap<u32> {
        &self.cluster_addresses
    }

    /// The allow list; entries that are over may still be in it.
    #[must_use]
    pub fn allow_list(&self) -> &SubnetMap<AllowEntry> {
        &self.allow
    }

    /// The join tokens: SHA-256 and end.
    #[must_use]
    pub fn tokens(&self) -> &BTreeMap<Vec<u8>, Timestamp> {
        &self.tokens
    }

    /// A node's quota; a rested one when it has not used any.
    #[must_use]
    pub fn quota(&self, node: NodeId, now: Timestamp) -> Quota {
        self.quotas.get(&node).copied().unwrap_or_else(|| Quota::full(&self.settings, now))
    }

    /// What came of an operator's command, if it is remembered.
    #[must_use]
    pub fn outcome(&self, command: CommandId) -> Option<&Outcome> {
        self.outcomes.get(command).map(|(_, outcome)| outcome)
    }

    /// What comes of an operator's command that was given before: the first outcome, if it is a retry; a refusal, if
    /// its id belongs to another command. `None`: it was not given yet, or it is no operator's.
    #[must_use]
    pub fn outcome_again(&self, op: &Op) -> Option<Outcome> {
        let (asked, outcome) = self.outcomes.get(op.operator()?.command_id)?;
        if asked == op_digest::of(op) {
            return Some(outcome.clone());
        }
        let why = "this id belongs to another command, and nothing was done: a new command needs a new id, and \
                   gets one when none is given";
        Some(Outcome::Refused { why: why.to_string() })
    }

    /// Whether `claim` is about somebody who was let go after its evidence was gathered.
    ///
    /// Positions of one generation are compared; across a recovery, or when the claim is older than
    /// the tombstones that are kept, the times must do.
    #[must_use]
    pub fn is_lifted(&self, claim: &Claim) -> bool {
        let floor = &self.tombstone_floor;
        let below_floor = claim.basis < floor.position;
        if below_floor && claim.last_failure <= floor.at {
            return true;
        }
        let by_position = claim.basis.generation == self.position.generation && !below_floor;
        self.tombstones_over(claim.offender, &claim.jail, claim.origin).any(|tombstone| {
            if by_position && tombstone.position.generation == claim.basis.generation {
                tombstone.position > claim.basis
            } else {
                claim.last_failure <= tombstone.at
            }
        })
    }

    /// When somebody around `offender` was last let go, so that what `origin` holds against them in this
    /// jail from before is void.
    #[must_use]
    pub fn lifted_at(&self, offender: Subnet, jail: &JailName, origin: NodeId) -> Option<Timestamp> {
        self.tombstones_over(offender, jail, origin).map(|tombstone| tombstone.at).max()
    }

    fn tombstones_over(
        &self,
        offender: Subnet,
        jail: &JailName,
        origin: NodeId,
    ) -> impl Iterator<Item = &Tombstone> {
        self.tombstones
            .holding(offender)
            .flat_map(|(_, by_voided)| by_voided.iter())
            .filter(move |(voided, _)| voided.covers(jail, origin))
            .map(|(_, tombstone)| tombstone)
    }

    /// Tombstones of subnets inside `target`.
    pub(crate) fn tombstones_inside(&self, target: Subnet) -> impl Iterator<Item = &Tombstone> {
        self.tombstones.inside(target).flat_map(|(_, by_voided)| by_voided.values())
    }

    /// All tombstones, with whom and which evidence they are about: what a node that installed a snapshot
    /// replays.
    pub fn tombstones(&self) -> impl Iterator<Item = (Subnet, &Voided, &Tombstone)> {
        self.tombstones.iter().flat_map(|(subnet, by_voided)| {
            by_voided.iter().map(move |(voided, tombstone)| (subnet, voided, tombstone))
        })
    }

    /// Below this there may have been tombstones that are gone.
    #[must_use]
    pub fn tombstone_floor(&self) -> Tombstone {
        self.tombstone_floor
    }

    /// Adds to what is known of the ended bans of `key`, and gives back what is known now. When there is no room, it is
    /// not remembered.
    pub(crate) fn add_past(&mut self, key: BanKey, more: PastBans) -> PastBans {
        let known = self.shard(key.subnet).past.get(&key).copied();
        let past = known.unwrap_or_default().and(more);
        if known.is_some() || self.shards.n_pasts() < PASTS_MAX {
            self.shards.insert_past(key, past);
        }
        past
    }

    pub(crate) fn shard(&self, subnet: Subnet) -> &Shard {
        self.shards.get(subnet)
    }

    pub(crate) fn shard_mut(&mut self, subnet: Subnet) -> &mut Shard {
        self.shards.get_mut(subnet)
    }

    /// The key with its jail's name shared.
    pub(crate) fn shared_key(&mut self, subnet: Subnet, jail: &JailName) -> BanKey {
        if let Some(known) = self.names.jails.get(jail) {
            return BanKey { subnet, jail: known.clone() };
        }
        BanKey { subnet, jail: Names::shared(&mut Arc::make_mut(&mut self.names).jails, jail) }
    }

    /// What a ban closes with these ports, and with those that it has closed before.
    pub(crate) fn closed_by(&mut self, held: Option<&Ban>, ports: &Ports) -> Ports {
        match held {
            Some(ban) => self.shared_ports(&ban.ports.union(ports)),
            None => self.shared_ports(ports),
        }
    }

    /// The ports, shared.
    pub(crate) fn shared_ports(&mut self, ports: &Ports) -> Ports {
        if let Some(known) = self.names.ports.get(ports) {
            return known.clone();
        }
        Names::shared(&mut Arc::make_mut(&mut self.names).ports, ports)
    }

    pub(crate) fn put_ban(&mut self, key: BanKey, ban: Ban) {
        let length = (key.subnet.is_v4(), key.subnet.prefix_len());
        if self.shard_mut(key.subnet).bans.insert(key, ban).is_none() {
            self.n_bans += 1;
            *self.ban_lengths.entry(length).or_default() += 1;
        }
    }

    pub(crate) fn take_ban(&mut self, key: &BanKey) -> Option<Ban> {
        let ban = self.shard_mut(key.subnet).bans.remove(key)?;
        self.n_bans -= 1;
        let length = (key.subnet.is_v4(), key.subnet.prefix_len());
        if let Some(n_keys) = self.ban_lengths.get_mut(&length) {
            *n_keys -= 1;
            if *n_keys == 0 {
                self.ban_lengths.remove(&length);
            }
        }
        Some(ban)
    }
}

/// The entries of exactly this subnet.
fn of_subnet<V: Clone>(map: &SortedMap<BanKey, V>, subnet: Subnet) -> impl Iterator<Item = (&BanKey, &V)> {
    map.behind(move |key| key.subnet < subnet).take_while(move |(key, _)| key.subnet == subnet)
}
