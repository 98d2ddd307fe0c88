//! What operators' commands do to the ban list: ban, unban, allow, import, trust, and the sweep that
//! frees what is over.
//!
//! Whatever lifts by will leaves a tombstone, so that evidence from before it never bans again;
//! what ends by time leaves none.

use crate::allow_list::{ALLOW_ENTRIES_MAX, AllowEntry};
use crate::apply::{Context, hold_origin};
use crate::ban_list::{Ban, BanList, Origin, TOMBSTONES_MAX, Tombstone};
use crate::change::{BanKey, Change, Lift, Outcome, UnbanReason};
use crate::command::{ImportedBan, ImportedHistory, UnbanSelection};
use crate::ids::{NodeId, Operator};
use crate::jail::{JailName, Ports};
use crate::subnet::Subnet;
use crate::time::{BanTime, Timestamp};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One sweep looks at this many of the ban list's shards.
const SWEEP_SHARDS: usize = 16;
/// One sweep ends at most this many bans; the rest waits for the next one.
const SWEEP_BANS_MAX: usize = 10_000;

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
        if let Some(protection) = self.protection(target, now) {
            return Outcome::Refused { why: format!("{target} {protection}") };
        }
        if target.prefix_len() < self.settings.widest_prefix(target) && !force {
            return Outcome::Refused { why: format!("{target} is very wide; --force if you mean it") };
        }
        let key = self.shared_key(target, jail);
        self.end_if_over(&key, changes);
        let until = ban_time.from(now);
        let held = self.ban(&key).cloned();
        let is_new = held.is_none();
        let mut ban = held.unwrap_or_else(|| Ban {
            since: now,
            until,
            count: self.bans_before(&key, now).saturating_add(1),
            damped_by: None,
            origins: Vec::new(),
            ports: ports.clone(),
            cause: context.cause,
        });
        let ports = ban.ports.union(ports);
        ban.ports = self.shared_ports(&ports);
        ban.until = ban.until.max(until);
        hold_origin(&mut ban.origins, Origin { node: operator.node, until });
        self.set_damped_by(&mut ban, None);
        let (until, count, origin) = (ban.until, ban.count, operator.node);
        self.put_ban(key.clone(), ban);
        changes.push(if is_new {
            Change::Banned { key, until, count, origin }
        } else {
            Change::Extended { key, until, origin }
        });
        Outcome::Done { n_affected: 1 }
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
        self.bury(target, jail.cloned(), changes);
        n_lifted
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
                self.end(&key, UnbanReason::ByNode, changes);
                self.bury(key.subnet, Some(key.jail), changes);
                continue;
            };
            ban.until = until;
            if ban.damped_by == Some(node) {
                self.set_damped_by(&mut ban, None);
            }
            self.put_ban(key.clone(), ban);
            changes.push(Change::Shortened { key, until });
        }
        if let Some(entry) = Arc::make_mut(&mut self.nodes).get_mut(&node) {
            entry.untrusted = true;
        }
        changes.push(Change::Distrusted { node });
        n_affected
    }

    fn bury(&mut self, target: Subnet, jail: Option<JailName>, changes: &mut Vec<Change>) {
        let tombstone = Tombstone { position: self.position, at: self.now };
        let tombstones = Arc::make_mut(&mut self.tombstones);
        let is_new = match tombstones.get_mut(target) {
            Some(by_jail) => by_jail.insert(jail.clone(), tombstone).is_none(),
            None => {
                tombstones.insert(target, [(jail.clone(), tombstone)].into_iter().collect());
                true
            }
        };
        self.n_tombstones += usize::from(is_new);
        if self.n_tombstones > TOMBSTONES_MAX {
            self.forget_oldest_tombstones();
        }
        changes.push(Change::Lifted(Lift { target, jail, position: self.position, at: self.now }));
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
        for (subnet, by_jail) in self.tombstones.iter() {
            let mut by_jail = by_jail.clone();
            by_jail.retain(|_, tombstone| {
                if keep(tombstone) {
                    return true;
                }
                floor.position = floor.position.max(tombstone.position);
                floor.at = floor.at.max(tombstone.at);
                false
            });
            self.n_tombstones += by_jail.len();
            if !by_jail.is_empty() {
                kept.insert(subnet, by_jail);
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

    pub(crate) fn trust(&mut self, node: NodeId, changes: &mut Vec<Change>) -> Outcome {
        let Some(entry) = Arc::make_mut(&mut self.nodes).get_mut(&node) else {
            return Outcome::Refused { why: format!("no node {node} in this cluster") };
        };
        let was_untrusted = core::mem::take(&mut entry.untrusted);
        changes.push(Change::Trusted { node });
        Outcome::Done { n_affected: u32::from(was_untrusted) }
    }

    pub(crate) fn revoke(&mut self, node: NodeId, changes: &mut Vec<Change>) -> Outcome {
        let Some(entry) = Arc::make_mut(&mut self.nodes).get_mut(&node) else {
            return Outcome::Refused { why: format!("no node {node} in this cluster") };
        };
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
            if matches!(self.allow(entry, changes), Outcome::Done { .. }) {
                n_affected = n_affected.saturating_add(1);
            }
        }
        for imported in history {
            let key = self.shared_key(imported.subnet, &imported.jail);
            let past = self.shard_mut(key.subnet).past.entry(key).or_default();
            past.count = past.count.max(imported.past.count);
            past.last_since = past.last_since.max(imported.past.last_since);
            past.last_end = past.last_end.max(imported.past.last_end);
        }
        for imported in bans {
            if imported.until.is_over(self.now) || self.protection(imported.subnet, self.now).is_some() {
                continue;
            }
            n_affected = n_affected.saturating_add(1);
            self.import_ban(node, imported, context, changes);
        }
        Outcome::Done { n_affected }
    }

    fn import_ban(
        &mut self,
        node: NodeId,
        imported: &ImportedBan,
        context: &Context,
        changes: &mut Vec<Change>,
    ) {
        let key = self.shared_key(imported.subnet, &imported.jail);
        self.end_if_over(&key, changes);
        let held = self.ban(&key).cloned();
        let is_new = held.is_none();
        let mut ban = held.unwrap_or_else(|| Ban {
            since: imported.since.min(self.now),
            until: imported.until,
            count: imported.count.max(1),
            damped_by: None,
            origins: Vec::new(),
            ports: imported.ports.clone(),
            cause: context.cause,
        });
        let ports = ban.ports.union(&imported.ports);
        ban.ports = self.shared_ports(&ports);
        ban.until = ban.until.max(imported.until);
        ban.count = ban.count.max(imported.count);
        hold_origin(&mut ban.origins, Origin { node, until: imported.until });
        self.set_damped_by(&mut ban, None);
        let (until, count) = (ban.until, ban.count);
        self.put_ban(key.clone(), ban);
        changes.push(if is_new {
            Change::Banned { key, until, count, origin: node }
        } else {
            Change::Extended { key, until, origin: node }
        });
    }

    /// Frees some of what is over: expired bans, old history, old tombstones, ended allow entries and
    /// tokens. Whether something is over is decided by time alone, so a late sweep changes nothing.
    pub(crate) fn sweep(&mut self, changes: &mut Vec<Change>) {
        let now = self.now;
        let history_from = now.minus_ms(self.settings.history_retention_ms);
        let mut n_ended = 0;
        for _ in 0..SWEEP_SHARDS {
            let shard = &self.shards[self.sweep_next];
            let over: Vec<BanKey> = shard
                .bans
                .iter()
                .filter(|(_, ban)| ban.until.is_over(now))
                .map(|(key, _)| key.clone())
                .take(SWEEP_BANS_MAX - n_ended)
                .collect();
            n_ended += over.len();
            for key in &over {
                self.end(key, UnbanReason::Expired, changes);
            }
            if self.shards[self.sweep_next].past.values().any(|past| past.last_end < history_from) {
                let shard = Arc::make_mut(&mut self.shards[self.sweep_next]);
                shard.past.retain(|_, past| past.last_end >= history_from);
            }
            if n_ended >= SWEEP_BANS_MAX {
                break;
            }
            self.sweep_next = (self.sweep_next + 1) % self.shards.len();
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
