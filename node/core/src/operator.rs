//! What operators' commands do to the ban list: ban, unban, allow, import, trust, forget, and the sweep that
//! frees what is over.
//!
//! Whatever lifts by will leaves a tombstone, so that evidence from before it never bans again;
//! what ends by time leaves none.

use crate::allow_list::{ALLOW_ENTRIES_MAX, AllowEntry};
use crate::apply::{Context, hold_origin};
use crate::ban::{Ban, Origin, Origins};
use crate::ban_list::{BanList, NodeEntry, TOMBSTONES_MAX, Tombstone};
use crate::change::{BanKey, Change, Lift, Outcome, UnbanReason, Voided};
use crate::command::{ImportedBan, ImportedHistory, UnbanSelection};
use crate::history::PastBans;
use crate::ids::{NodeId, Operator};
use crate::jail::{JailName, Ports};
use crate::node_record::NodeRecord;
use crate::shards::SHARD_GROUPS;
use crate::subnet::Subnet;
use crate::time::{BanTime, Timestamp, Until};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One sweep looks at this many groups of the ban list's shards.
const SWEEP_GROUPS: usize = 64;
/// One sweep ends at most this many bans; the rest waits for the next one.
const SWEEP_BANS_MAX: usize = 10_000;

/// A ban that somebody wills, by command or by import.
struct Wanted<'a> {
    since: Timestamp,
    until: Until,
    /// At least the how-manieth it is.
    count: u32,
    ports: &'a Ports,
}

impl BanList {
    #[allow(clippy::too_many_arguments, reason = "the fields of one operation")]
    pub(crate) fn operator_ban(
        &mut self,
        operator: &Operator,
        (target, jail): (Subnet, &JailName),
        ban_time: BanTime,
        ports: &Ports,
        force: bool,
        context: &Context,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let now = self.now;
        let widest = self.settings.widest_prefix(target);
        if target.prefix_len() < widest && !force {
            return Outcome::Refused {
                why: format!("{target} is wider than /{widest}; --force if you mean it"),
            };
        }
        if let Some(protection) = self.protection(target, now) {
            return Outcome::Refused { why: format!("{target} {protection}") };
        }
        let key = self.shared_key(target, jail);
        let wanted = Wanted { since: now, until: ban_time.from(now), count: 0, ports };
        self.hold_by_will(key, &wanted, operator.node, context, changes);
        Outcome::Done { n_affected: 1 }
    }

    /// Makes or extends a ban that somebody wills: nothing gets shorter, and no quota is asked.
    fn hold_by_will(
        &mut self,
        key: BanKey,
        wanted: &Wanted<'_>,
        origin: NodeId,
        context: &Context,
        changes: &mut Vec<Change>,
    ) {
        let held = self.live_or_ended(&key, changes);
        let is_new = held.is_none();
        let ports = self.closed_by(held.as_ref(), wanted.ports);
        let mut ban = held.unwrap_or_else(|| Ban {
            since: wanted.since,
            until: wanted.until,
            count: self.bans_before(&key, wanted.since).saturating_add(1),
            damped_by: None,
            origins: Origins::new(),
            ports: ports.clone(),
            cause: context.cause,
        });
        ban.ports = ports;
        ban.until = ban.until.max(wanted.until);
        ban.count = ban.count.max(wanted.count);
        hold_origin(&mut ban.origins, Origin { node: origin, until: wanted.until });
        self.set_damped_by(&mut ban, None);
        let (until, count) = (ban.until, ban.count);
        self.put_ban(key.clone(), ban);
        changes.push(if is_new {
            Change::Banned { key, until, count, origin }
        } else {
            Change::Extended { key, until, origin }
        });
    }

    pub(crate) fn unban(&mut self, selection: &UnbanSelection, changes: &mut Vec<Change>) -> Outcome {
        let n_lifted = match selection {
            UnbanSelection::Target { target, jail } => {
                // A host of IPv6 is banned by its counting prefix, so it is let go by it too.
                let target = if target.is_host() { self.settings.counting_subnet(*target) } else { *target };
                self.lift_inside(target, jail.as_ref(), UnbanReason::Operator, changes)
            }
            UnbanSelection::All { jail } => [Subnet::all_v4(), Subnet::all_v6()]
                .into_iter()
                .map(|all| self.lift_inside(all, jail.as_ref(), UnbanReason::Operator, changes))
                .sum(),
            UnbanSelection::ByNode { node, since } => self.strike_out(*node, *since, changes),
        };
        Outcome::Done { n_affected: n_lifted }
    }

    /// Ends every ban inside `target`, leaves a tombstone, and says so to the wardens.
    pub(crate) fn lift_inside(
        &mut self,
        target: Subnet,
        jail: Option<&JailName>,
        reason: UnbanReason,
        changes: &mut Vec<Change>,
    ) -> u32 {
        let is_single = target.prefix_len() >= self.settings.counting_prefix(target)
            && !self.ban_lengths.keys().any(|&(v4, len)| v4 == target.is_v4() && len > target.prefix_len());
        let found = |key: &BanKey| target.contains(key.subnet) && jail.is_none_or(|only| *only == key.jail);
        let keys: Vec<BanKey> = if is_single {
            self.bans_of(target).map(|(key, _)| key).filter(|key| found(key)).cloned().collect()
        } else {
            self.bans().map(|(key, _)| key).filter(|key| found(key)).cloned().collect()
        };
        let now = self.now;
        let mut n_lifted = 0;
        for key in keys {
            let is_over = self.ban(&key).is_some_and(|ban| ban.until.is_over(now));
            self.end(&key, if is_over { UnbanReason::Expired } else { reason }, changes);
            n_lifted += u32::from(!is_over);
        }
        self.forget_past(target, jail, is_single);
        self.bury(target, Voided { jail: jail.cloned(), origin: None }, changes);
        n_lifted
    }

    /// Ends a ban that should never have been: it makes no later one longer.
    fn undo(&mut self, key: &BanKey, changes: &mut Vec<Change>) {
        let before = self.shard(key.subnet).past.get(key).copied();
        self.end(key, UnbanReason::ByNode, changes);
        match before {
            Some(before) => self.shards.insert_past(key.clone(), before),
            None => self.shards.drop_past_of(key.subnet, |other, _| other == key),
        }
    }

    /// Whoever is let go by will has no past: the next ban is a first one, as after fail2ban's `unban`.
    /// (For one counting unit, the past of hosts inside it stays; only operators ban those.)
    fn forget_past(&mut self, target: Subnet, jail: Option<&JailName>, is_single: bool) {
        let is_void = |key: &BanKey| target.contains(key.subnet) && jail.is_none_or(|only| *only == key.jail);
        if is_single {
            self.shards.drop_past_of(target, |key, _| is_void(key));
        } else {
            (0..SHARD_GROUPS).for_each(|group| self.shards.drop_past(group, |key, _| is_void(key)));
        }
    }

    /// Strikes a node out of every ban since `since`, and trusts it no longer.
    fn strike_out(&mut self, node: NodeId, since: Timestamp, changes: &mut Vec<Change>) -> u32 {
        let struck: Vec<BanKey> = self
            .bans()
            .filter(|(_, ban)| ban.since >= since && ban.origins.iter().any(|origin| origin.node == node))
            .map(|(key, _)| key.clone())
            .collect();
        let n_affected = u32::try_from(struck.len()).unwrap_or(u32::MAX);
        for key in struck {
            let Some(mut ban) = self.ban(&key).cloned() else { continue };
            ban.origins.retain(|origin| origin.node != node);
            let Some(until) = ban.origins.iter().map(|origin| origin.until).max() else {
                self.undo(&key, changes);
                continue;
            };
            ban.until = until;
            if ban.damped_by == Some(node) {
                self.set_damped_by(&mut ban, None);
            }
            self.put_ban(key.clone(), ban);
            changes.push(Change::Shortened { key, until });
        }
        // What it alone has brought in, and is over, makes no later ban longer.
        let is_its_own = |past: &PastBans| past.origin == Some(node) && past.last_since >= since;
        (0..SHARD_GROUPS).for_each(|group| self.shards.drop_past(group, |_, past| is_its_own(past)));
        // All of its evidence from before is void, whomever it is about: one tombstone for each of a hundred thousand bans
        // would push out all others. What other nodes have seen themselves, and have no answer to yet, is as true as
        // before.
        for everybody in [Subnet::all_v4(), Subnet::all_v6()] {
            self.bury(everybody, Voided { jail: None, origin: Some(node) }, changes);
        }
        // It may not have told about itself yet.
        let unknown =
            || NodeEntry { record: NodeRecord { node, ..NodeRecord::default() }, ..NodeEntry::default() };
        Arc::make_mut(&mut self.nodes).entry(node).or_insert_with(unknown).untrusted = true;
        changes.push(Change::Distrusted { node });
        n_affected
    }

    fn bury(&mut self, target: Subnet, voided: Voided, changes: &mut Vec<Change>) {
        let tombstone = Tombstone { position: self.position, at: self.now };
        self.put_tombstone(target, voided.clone(), tombstone);
        if self.n_tombstones > TOMBSTONES_MAX {
            self.forget_oldest_tombstones();
        }
        changes.push(Change::Lifted(Lift { target, voided, position: self.position, at: self.now }));
    }

    pub(crate) fn put_tombstone(&mut self, target: Subnet, voided: Voided, tombstone: Tombstone) {
        let tombstones = Arc::make_mut(&mut self.tombstones);
        let is_new = match tombstones.get_mut(target) {
            Some(by_voided) => by_voided.insert(voided, tombstone).is_none(),
            None => tombstones.insert(target, [(voided, tombstone)].into_iter().collect()).is_none(),
        };
        self.n_tombstones += usize::from(is_new);
    }

    /// Drops the older half of the tombstones and raises the floor to the youngest dropped one.
    fn forget_oldest_tombstones(&mut self) {
        let mut positions: Vec<_> = self.tombstones().map(|(_, _, tombstone)| tombstone.position).collect();
        positions.sort_unstable();
        let median = positions[positions.len() / 2];
        self.retain_tombstones(|tombstone| tombstone.position > median);
    }

    fn retain_tombstones(&mut self, keep: impl Fn(&Tombstone) -> bool) {
        let mut floor = self.tombstone_floor;
        let mut kept = crate::subnet_map::SubnetMap::default();
        self.n_tombstones = 0;
        for (subnet, by_voided) in self.tombstones.iter() {
            let mut by_voided = by_voided.clone();
            by_voided.retain(|_, tombstone| {
                if keep(tombstone) {
                    return true;
                }
                floor.position = floor.position.max(tombstone.position);
                floor.at = floor.at.max(tombstone.at);
                false
            });
            self.n_tombstones += by_voided.len();
            if !by_voided.is_empty() {
                kept.insert(subnet, by_voided);
            }
        }
        self.tombstones = Arc::new(kept);
        self.tombstone_floor = floor;
    }

    pub(crate) fn allow(&mut self, entry: &AllowEntry, changes: &mut Vec<Change>) -> Outcome {
        let is_new = self.allow.get(entry.subnet).is_none();
        if is_new && self.allow.len() >= ALLOW_ENTRIES_MAX {
            return Outcome::Refused { why: format!("the allow list is full ({ALLOW_ENTRIES_MAX} entries)") };
        }
        Arc::make_mut(&mut self.allow).insert(entry.subnet, entry.clone());
        changes.push(Change::Allowed(entry.clone()));
        let n_lifted = self.lift_inside(entry.subnet, None, UnbanReason::Allowed, changes);
        Outcome::Done { n_affected: n_lifted.saturating_add(1) }
    }

    pub(crate) fn disallow(&mut self, subnet: Subnet, changes: &mut Vec<Change>) -> Outcome {
        if Arc::make_mut(&mut self.allow).remove(subnet).is_none() {
            return Outcome::Refused { why: format!("{subnet} is not on the allow list") };
        }
        changes.push(Change::Disallowed { subnet });
        Outcome::Done { n_affected: 1 }
    }

    /// Forgets what is over. Whoever was let go stays let go: without the tombstones, evidence that is on its way would
    /// ban again.
    pub(crate) fn forget(&mut self, target: Subnet, changes: &mut Vec<Change>) -> Outcome {
        let target = if target.is_host() { self.settings.counting_subnet(target) } else { target };
        let now = self.now;
        if self.bans_inside(target).any(|(_, ban)| !ban.until.is_over(now)) {
            // The answer is remembered, and must not say of whom.
            let why = "of a ban that holds nothing is forgotten";
            return Outcome::Refused { why: why.to_owned() };
        }
        let over: Vec<BanKey> = self.bans_inside(target).map(|(key, _)| key.clone()).collect();
        for key in over {
            self.end(&key, UnbanReason::Expired, changes);
        }
        let n_past = self.pasts().filter(|(key, _)| target.contains(key.subnet)).count();
        self.forget_past(target, None, false);
        changes.push(Change::Forgotten { target });
        Outcome::Done { n_affected: u32::try_from(n_past).unwrap_or(u32::MAX) }
    }

    pub(crate) fn trust(&mut self, node: NodeId, changes: &mut Vec<Change>) -> Outcome {
        let Some(entry) = Arc::make_mut(&mut self.nodes).get_mut(&node) else {
            return Outcome::Refused { why: format!("no node {node} in this cluster") };
        };
        let was_untrusted = core::mem::take(&mut entry.untrusted);
        changes.push(Change::Trusted { node });
        Outcome::Done { n_affected: u32::from(was_untrusted) }
    }

    pub(crate) fn revoke(&mut self, node: NodeId, keeps_key: bool, changes: &mut Vec<Change>) -> Outcome {
        let Some(entry) = Arc::make_mut(&mut self.nodes).get_mut(&node) else {
            return Outcome::Refused { why: format!("no node {node} in this cluster") };
        };
        if keeps_key && !entry.revoked {
            // A key that stands in no record is nobody's.
            entry.record.key_fingerprint.clear();
        }
        entry.revoked = true;
        self.recount_cluster_addresses();
        changes.push(Change::NodeChanged { node });
        Outcome::Done { n_affected: 1 }
    }

    /// Takes over another ban list's bans, entries and history: nobody gets shorter, nothing
    /// protected is banned.
    pub(crate) fn import(
        &mut self,
        node: NodeId,
        bans: &[ImportedBan],
        allow: &[AllowEntry],
        history: &[ImportedHistory],
        context: &Context,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let mut n_affected = 0u32;
        for entry in allow {
            let held = self.allow.get(entry.subnet);
            let is_longer = held.is_none_or(|held| held.until < entry.until);
            if is_longer
                && !entry.until.is_over(self.now)
                && matches!(self.allow(entry, changes), Outcome::Done { .. })
            {
                n_affected = n_affected.saturating_add(1);
            }
        }
        // Whoever was let go here after the other list's word about them stays let go, without a past.
        let is_lifted = |list: &BanList, subnet: Subnet, jail: &JailName, since: Timestamp| {
            list.lifted_at(subnet, jail, node).is_some_and(|lifted| since <= lifted)
        };
        for imported in history {
            if is_lifted(self, imported.subnet, &imported.jail, imported.past.last_since) {
                continue;
            }
            // What another list says of bans that are over counts here as well.
            let key = self.shared_key(imported.subnet, &imported.jail);
            self.add_past(key, PastBans { origin: Some(node), ..imported.past });
        }
        for imported in bans {
            if is_lifted(self, imported.subnet, &imported.jail, imported.since) {
                continue;
            }
            // It has ended on the way.
            if let Some(last_end) = imported.until.end().filter(|_| imported.until.is_over(self.now)) {
                let past = PastBans {
                    count: imported.count,
                    last_since: imported.since,
                    last_end,
                    origin: Some(node),
                };
                let key = self.shared_key(imported.subnet, &imported.jail);
                self.add_past(key, past);
                continue;
            }
            if self.protection(imported.subnet, self.now).is_some() {
                continue;
            }
            n_affected = n_affected.saturating_add(1);
            let key = self.shared_key(imported.subnet, &imported.jail);
            let since = imported.since.min(self.now);
            let wanted =
                Wanted { since, until: imported.until, count: imported.count, ports: &imported.ports };
            self.hold_by_will(key, &wanted, node, context, changes);
        }
        Outcome::Done { n_affected }
    }

    /// Frees some of what is over: expired bans, old history, old tombstones, ended allow entries and
    /// tokens. Whether something is over is decided by time alone, so a late sweep changes nothing.
    pub(crate) fn sweep(&mut self, changes: &mut Vec<Change>) {
        let now = self.now;
        let history_from = now.minus_ms(self.settings.history_retention_ms);
        let mut n_ended = 0;
        for _ in 0..SWEEP_GROUPS {
            let group = self.sweep_next;
            let over: Vec<BanKey> = self
                .shards
                .group(group)
                .flat_map(|shard| shard.bans.iter())
                .filter(|(_, ban)| ban.until.is_over(now))
                .map(|(key, _)| key.clone())
                .take(SWEEP_BANS_MAX - n_ended)
                .collect();
            n_ended += over.len();
            for key in &over {
                self.end(key, UnbanReason::Expired, changes);
            }
            self.shards.drop_past(group, |_, past| past.last_end < history_from);
            if n_ended >= SWEEP_BANS_MAX {
                break;
            }
            self.sweep_next = (group + 1) % SHARD_GROUPS;
        }
        let tombstones_from = now.minus_ms(self.settings.tombstone_retention_ms);
        if self.tombstones().any(|(_, _, tombstone)| tombstone.at < tombstones_from) {
            self.retain_tombstones(|tombstone| tombstone.at >= tombstones_from);
        }
        let ended: Vec<Subnet> = self
            .allow
            .iter()
            .filter(|(_, entry)| entry.until.is_over(now))
            .map(|(subnet, _)| subnet)
            .collect();
        for subnet in ended {
            Arc::make_mut(&mut self.allow).remove(subnet);
            changes.push(Change::Disallowed { subnet });
        }
        if self.tokens.values().any(|end| *end < now) {
            Arc::make_mut(&mut self.tokens).retain(|_, end| *end >= now);
        }
    }
}
