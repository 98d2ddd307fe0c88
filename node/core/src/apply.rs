//! `BanList::apply`: the only way the ban list changes.
//!
//! It reads the state and the command and nothing else, uses integers only, can not fail and can
//! not wait. A command that makes no sense yields a verdict or an outcome that says so, identically
//! on every node. What can not be decoded never gets here.

use crate::ban::{Ban, Cause, ORIGINS_MAX, Origin, Origins};
use crate::ban_list::{BanList, TOKENS_MAX};
use crate::change::{Applied, BanKey, Change, OpResult, Outcome, UnbanReason};
use crate::command::{Command, Op};
use crate::history::PastBans;
use crate::ids::{NodeId, Operator, Position};
use crate::judge::Verdict;
use crate::node_record::{NODE_ADDRESSES_MAX, NodeRecord};
use crate::op_digest;
use crate::proposal::{Claim, Proposal};
use crate::subnet::Subnet;
use crate::time::{MINUTE_MS, SECOND_MS, Timestamp, Until};
use crate::voters_clocks::{remember, time_by};
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Between two readings of the voters' clocks, commands move cluster time by at most this much.
pub const STAMP_LEAD_MAX_MS: u64 = MINUTE_MS;
/// Ticks closer together than this, in cluster time, have no effect.
pub const TICK_INTERVAL_MIN_MS: u64 = 20 * SECOND_MS;

/// Where in the log an operation stands, and when it counts as written.
pub(crate) struct Context {
    pub(crate) cause: Cause,
    /// The leader's own stamp. After an outage it may be ahead of cluster time, which follows only so
    /// fast: ages are subtracted from it first, and only then is the result no later than now.
    pub(crate) sent: Timestamp,
}

impl BanList {
    /// Executes `command`, which stands at `position`. Applying a command again changes nothing but
    /// the position.
    pub fn apply(&mut self, position: Position, command: &Command) -> Applied {
        self.position = position;
        let mut applied = Applied::default();
        for (n, op) in command.ops.iter().enumerate() {
            self.advance(command.at);
            let cause = Cause::new(position, u32::try_from(n).unwrap_or(u32::MAX));
            let context = Context { cause, sent: command.at };
            // An operator's command counts once: a retry gets the first answer, and another command with its id none.
            let result = match op.operator().zip(self.outcome_again(op)) {
                Some((operator, outcome)) => {
                    applied.retries.push(n);
                    OpResult::Operator { command_id: operator.command_id, outcome }
                }
                None => self.apply_op(op, &context, &mut applied.changes),
            };
            applied.results.push(result);
            applied.changes_end.push(applied.changes.len());
        }
        applied
    }

    /// An entry without a command (a leader's blank one, a membership change) was applied.
    pub fn skip(&mut self, position: Position) {
        self.position = position;
    }

    /// Cluster time follows the leaders' stamps, but only so far ahead of the voters' clocks.
    fn advance(&mut self, at: Timestamp) {
        self.now = self.now.max(at.min(self.last_tick.plus_ms(STAMP_LEAD_MAX_MS)));
    }

    fn apply_op(&mut self, op: &Op, context: &Context, changes: &mut Vec<Change>) -> OpResult {
        match op {
            Op::Ban(proposal) => OpResult::Judged(self.apply_proposal(proposal, context, changes)),
            Op::Tick { readings } => {
                self.apply_tick(readings);
                OpResult::Silent
            }
            Op::Sweep => {
                self.sweep(changes);
                OpResult::Silent
            }
            Op::NodeSeen(record) => {
                self.apply_node_seen(record, changes);
                OpResult::Silent
            }
            Op::RaiseLevel { level } => {
                if *level > self.level {
                    self.level = *level;
                    changes.push(Change::LevelRaised { level: *level });
                }
                OpResult::Silent
            }
            Op::OperatorBan { operator, .. }
            | Op::Unban { operator, .. }
            | Op::Allow { operator, .. }
            | Op::Disallow { operator, .. }
            | Op::Import { operator, .. }
            | Op::Trust { operator, .. }
            | Op::Revoke { operator, .. }
            | Op::Token { operator, .. }
            | Op::Settings { operator, .. }
            | Op::Forget { operator, .. } => self.apply_operators(op, operator, context, changes),
        }
    }

    /// An operator's command that was not given before.
    fn apply_operators(
        &mut self,
        op: &Op,
        operator: &Operator,
        context: &Context,
        changes: &mut Vec<Change>,
    ) -> OpResult {
        let command_id = operator.command_id;
        let outcome = match op {
            Op::OperatorBan { target, jail, ban_time, ports, force, .. } => {
                self.operator_ban(operator, (*target, jail), *ban_time, ports, *force, context, changes)
            }
            Op::Unban { selection, .. } => self.unban(selection, changes),
            Op::Allow { entry, .. } => self.allow(entry, changes),
            Op::Disallow { subnet, .. } => self.disallow(*subnet, changes),
            Op::Import { bans, allow, history, .. } => {
                self.import(operator.node, bans, allow, history, context, changes)
            }
            Op::Trust { node, .. } => self.trust(*node, changes),
            Op::Revoke { node, keeps_key, .. } => self.revoke(*node, *keeps_key, changes),
            Op::Token { hash, expires, .. } => self.token(hash, *expires),
            Op::Settings { fields, .. } => {
                fields.iter().for_each(|field| self.settings.set(*field));
                changes.push(Change::SettingsChanged);
                Outcome::Done { n_affected: u32::try_from(fields.len()).unwrap_or(u32::MAX) }
            }
            Op::Forget { target, .. } => self.forget(*target, changes),
            // Not an operator's.
            Op::Ban(_) | Op::Tick { .. } | Op::Sweep | Op::NodeSeen(_) | Op::RaiseLevel { .. } => {
                Outcome::Refused { why: "not an operator's command".to_string() }
            }
        };
        Arc::make_mut(&mut self.outcomes).remember(command_id, op_digest::of(op), outcome.clone());
        OpResult::Operator { command_id, outcome }
    }

    fn apply_proposal(
        &mut self,
        proposal: &Proposal,
        context: &Context,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let now = self.now;
        let claim = Claim::of_proposal(self, proposal, context.sent);
        let verdict = self.judge(&claim, now);
        if verdict != Verdict::Open {
            return verdict;
        }
        let first_failure = proposal.first_failure_at(context.sent, now);
        let key = self.shared_key(claim.offender, &claim.jail);
        if claim.wanted_until.is_over(now) {
            self.remember(&key, first_failure, &claim, changes);
        } else {
            self.hold(&key, first_failure, &claim, context.cause, changes);
        }
        verdict
    }

    /// The offence was over before it was committed: it counts for escalation and blocks nobody. It takes a token, as
    /// whatever makes a later ban longer.
    fn remember(&mut self, key: &BanKey, first_failure: Timestamp, claim: &Claim, changes: &mut Vec<Change>) {
        self.take_token(claim.origin);
        self.live_or_ended(key, changes);
        let end = claim.wanted_until.end().unwrap_or(self.now);
        let n_before = self.bans_before(key, first_failure);
        let served = PastBans {
            count: n_before.saturating_add(1),
            last_since: first_failure,
            last_end: end,
            origin: Some(claim.origin),
        };
        let count = self.add_past(key.clone(), served).count;
        let span = (first_failure, end);
        changes.push(Change::Remembered { key: key.clone(), origin: claim.origin, span, count });
    }

    /// Makes or extends the ban that `claim` asks for.
    fn hold(
        &mut self,
        key: &BanKey,
        first_failure: Timestamp,
        claim: &Claim,
        cause: Cause,
        changes: &mut Vec<Change>,
    ) {
        let now = self.now;
        let n_before = self.bans_before(key, first_failure);
        let held = self.live_or_ended(key, changes);
        let longer = held.as_ref().is_none_or(|ban| ban.until < claim.wanted_until);
        let is_full = !longer || self.take_token(claim.origin);
        let until = match (is_full, held.as_ref()) {
            (true, _) => claim.wanted_until,
            (false, _) => claim.wanted_until.min(Until::at(now.plus_ms(self.settings.damped_ms))),
        };
        let is_new = held.is_none();
        let ports = self.closed_by(held.as_ref(), &claim.ports);
        let mut ban = held.unwrap_or_else(|| Ban {
            since: now,
            until,
            count: n_before.saturating_add(1),
            damped_by: None,
            origins: Origins::new(),
            ports: ports.clone(),
            cause,
        });
        ban.ports = ports;
        ban.until = ban.until.max(until);
        hold_origin(&mut ban.origins, Origin { node: claim.origin, until });
        if longer {
            self.set_damped_by(&mut ban, (!is_full).then_some(claim.origin));
        }
        let (until, count) = (ban.until, ban.count);
        self.put_ban(key.clone(), ban);
        let (key, origin) = (key.clone(), claim.origin);
        changes.push(match (is_full, is_new) {
            (false, _) => Change::Damped { key, until, origin },
            (true, true) => Change::Banned { key, until, count, origin },
            (true, false) => Change::Extended { key, until, origin },
        });
    }

    fn take_token(&mut self, node: NodeId) -> bool {
        let mut quota = self.quota(node, self.now);
        let taken = quota.take(&self.settings, self.now);
        Arc::make_mut(&mut self.quotas).insert(node, quota);
        taken
    }

    /// Keeps the counts of damped bans right when a ban becomes damped, or stops being so.
    pub(crate) fn set_damped_by(&mut self, ban: &mut Ban, node: Option<NodeId>) {
        if ban.damped_by == node {
            return;
        }
        let now = self.now;
        if let Some(old) = ban.damped_by
            && let Some(quota) = Arc::make_mut(&mut self.quotas).get_mut(&old)
        {
            quota.n_damped = quota.n_damped.saturating_sub(1);
        }
        if let Some(new) = node {
            let mut quota = self.quota(new, now);
            quota.n_damped = quota.n_damped.saturating_add(1);
            Arc::make_mut(&mut self.quotas).insert(new, quota);
        }
        ban.damped_by = node;
    }

    /// The live ban with this key, to go on with. One that is over becomes history.
    pub(crate) fn live_or_ended(&mut self, key: &BanKey, changes: &mut Vec<Change>) -> Option<Ban> {
        let held = self.ban(key).cloned()?;
        if held.until.is_over(self.now) {
            self.end(key, UnbanReason::Expired, changes);
            return None;
        }
        Some(held)
    }

    /// Ends a ban: it becomes history.
    pub(crate) fn end(&mut self, key: &BanKey, reason: UnbanReason, changes: &mut Vec<Change>) {
        let Some(mut ban) = self.take_ban(key) else { return };
        self.set_damped_by(&mut ban, None);
        let last_end = ban.until.min(Until::at(self.now)).end().unwrap_or(self.now);
        self.add_past(key.clone(), ban.past(last_end));
        changes.push(Change::Unbanned { key: key.clone(), reason, ban: Box::new(ban), end: last_end });
    }

    /// The voters' clocks move time on, but never back.
    ///
    /// Stamps may lead the last tick by a minute. Where they do, the tick itself moves on by what has
    /// passed on the voters' clocks and no more, or a leader whose clock is wrong would gain a minute with
    /// every tick.
    fn apply_tick(&mut self, readings: &[(NodeId, Timestamp)]) {
        let Some(time) = time_by(readings, &self.voters_clocks, self.last_tick) else { return };
        let now = self.now.max(time);
        // By the time it brings, not by the one it finds: after an outage that one is long past.
        let is_early = now.ms_since(self.last_tick) < TICK_INTERVAL_MIN_MS;
        if self.last_tick == Timestamp::ZERO || !is_early {
            self.now = now;
            self.last_tick = time;
            remember(Arc::make_mut(&mut self.voters_clocks), readings, time);
        }
    }

    fn apply_node_seen(&mut self, record: &NodeRecord, changes: &mut Vec<Change>) {
        let mut record = record.clone();
        record.own.truncate(NODE_ADDRESSES_MAX);
        record.gateways.truncate(NODE_ADDRESSES_MAX);
        record.resolvers.truncate(NODE_ADDRESSES_MAX);
        let known = self.node(record.node).cloned().unwrap_or_default();
        // A revoked node's word protects nobody.
        if known.revoked {
            return;
        }
        let must_wait = |known: &[Subnet], subnet: Subnet| {
            !subnet.is_host() || (!known.contains(&subnet) && self.must_be_confirmed(subnet))
        };
        let mut pending = Vec::new();
        for (told, known) in [
            (&mut record.own, &known.record.own),
            (&mut record.gateways, &known.record.gateways),
            (&mut record.resolvers, &known.record.resolvers),
        ] {
            pending.extend(told.iter().copied().filter(|subnet| must_wait(known, *subnet)));
            told.retain(|subnet| !must_wait(known, *subnet));
        }
        let node = record.node;
        let entry = crate::ban_list::NodeEntry { record, pending, ..known };
        if self.node(node) == Some(&entry) {
            return;
        }
        let before: Vec<_> = self.node(node).map(|old| old.record.protected().collect()).unwrap_or_default();
        let added: Vec<_> = entry.record.protected().filter(|subnet| !before.contains(subnet)).collect();
        Arc::make_mut(&mut self.nodes).insert(node, entry);
        self.recount_cluster_addresses();
        changes.push(Change::NodeChanged { node });
        for subnet in added {
            self.lift_inside(subnet, None, UnbanReason::OwnAddress, changes);
        }
    }

    /// Whether a node that announces `subnet` has to wait for an operator: an address that is banned right now may be
    /// an attacker's, and one that stands for many addresses would let go whoever is in it. An operator says so by
    /// lifting the ban, or by allowing the address.
    #[must_use]
    pub fn must_be_confirmed(&self, subnet: Subnet) -> bool {
        let is_allowed = || {
            let mut entries = self.allow.holding(subnet);
            entries.any(|(_, entry)| !entry.until.is_over(self.now))
        };
        let is_banned = || self.bans_holding(subnet).any(|(_, ban)| !ban.until.is_over(self.now));
        !subnet.is_host() || (is_banned() && !is_allowed())
    }

    pub(crate) fn recount_cluster_addresses(&mut self) {
        let mut addresses = crate::subnet_map::SubnetMap::default();
        for subnet in
            self.nodes.values().filter(|node| !node.revoked).flat_map(|node| node.record.protected())
        {
            let n_nodes = addresses.get(subnet).copied().unwrap_or(0u32);
            addresses.insert(subnet, n_nodes + 1);
        }
        self.cluster_addresses = Arc::new(addresses);
    }

    fn token(&mut self, hash: &[u8], expires: Timestamp) -> Outcome {
        let tokens = Arc::make_mut(&mut self.tokens);
        if expires == Timestamp::ZERO {
            // One that is over and not swept away yet lets nobody in.
            let is_good = tokens.remove(hash).is_some_and(|end| end > self.now);
            return Outcome::Done { n_affected: u32::from(is_good) };
        }
        if tokens.len() >= TOKENS_MAX
            && let Some(first) = tokens.iter().min_by_key(|(_, end)| **end).map(|(hash, _)| hash.clone())
        {
            tokens.remove(&first);
        }
        tokens.insert(hash.to_vec(), expires);
        Outcome::Done { n_affected: 1 }
    }
}

/// Puts an origin among those of a ban; when there is no room, the ban holds it unnamed.
pub(crate) fn hold_origin(origins: &mut Origins, origin: Origin) {
    if let Some(known) = origins.iter_mut().find(|known| known.node == origin.node) {
        known.until = known.until.max(origin.until);
    } else if origins.len() < ORIGINS_MAX {
        origins.push(origin);
    } else if let Some(least) = origins.iter_mut().min_by_key(|known| known.until)
        && least.until < origin.until
    {
        *least = origin;
    }
}
