//! The warden's outbox: what this node has asked the cluster and has no settled answer to, and what
//! it keeps for itself because the cluster does not take it.
//!
//! An entry is settled by what the ban list says, never by an RPC's answer, and only on a view that has
//! applied what the entry is based on. Until then it blocks here, for the whole ban time.

use super::Warden;
use crate::change::{BanKey, Lift};
use crate::event::{Effect, Notable, OutboxEntry};
use crate::ids::{NodeId, Position};
use crate::judge::{NotSharedReason, Verdict, wanted_until};
use crate::proposal::{Claim, EvidenceLine, Notice, Proposal};
use crate::subnet::Subnet;
use crate::time::{MINUTE_MS, Now, SECOND_MS, Timestamp, Until};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Entries at most. When full, one that is over goes first, then the one with the least time left.
pub const OUTBOX_MAX: usize = 100_000;
/// One effect carries at most this many proposals.
pub const PROPOSALS_PER_EFFECT_MAX: usize = 500;
/// At most this many proposals go out in one step; the rest is due at once.
const PROPOSALS_PER_STEP_MAX: usize = 5_000;
/// The first repetition of an unanswered proposal.
const RETRY_FIRST_MS: u64 = 2 * SECOND_MS;
/// Repetitions get rarer up to this.
const RETRY_LAST_MS: u64 = 30 * SECOND_MS;
/// A proposal that was answered with a failure is repeated so soon.
const RETRY_FAILED_MS: u64 = 300;
/// A damped ban is asked for again this long before it ends.
const DAMPED_LEAD_MS: u64 = MINUTE_MS;
/// Without a leader, peers are reminded of this node's blocks this often.
const RENEW_INTERVAL_MS: u64 = 20 * SECOND_MS;
/// They are reminded of at most this many.
const RENEW_MAX: usize = 1_000;

#[derive(Clone, Debug)]
struct Item {
    entry: OutboxEntry,
    due: Timestamp,
    retry_ms: u64,
    /// Its times are by an estimate of cluster time.
    estimated: bool,
    /// When it asks again for a ban that was cut short, or not taken, for quota.
    turn: Option<Timestamp>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    items: BTreeMap<BanKey, Item>,
    due: BTreeSet<(Timestamp, BanKey)>,
    /// When peers were last reminded.
    renewed_at: Timestamp,
    /// Nobody's turn is given out before this one.
    next_turn: Timestamp,
}

impl Outbox {
    pub(super) fn with(kept: Vec<OutboxEntry>) -> Outbox {
        let mut outbox = Outbox::default();
        for entry in kept {
            outbox.put(entry, Timestamp::ZERO, false);
        }
        outbox
    }

    pub(super) fn get(&self, key: &BanKey) -> Option<&OutboxEntry> {
        self.items.get(key).map(|item| &item.entry)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.items.values().map(|item| &item.entry)
    }

    /// The entries of exactly this subnet.
    pub(super) fn of_subnet(&self, subnet: Subnet) -> impl Iterator<Item = &OutboxEntry> {
        let first = BanKey { subnet, jail: crate::jail::JailName::lowest() };
        self.items
            .range(first..)
            .take_while(move |(key, _)| key.subnet == subnet)
            .map(|(_, item)| &item.entry)
    }

    /// Puts an entry in, due at `due`, dated by an estimate of cluster time or not; gives back the key of the
    /// one that had to go for it.
    pub(super) fn put(&mut self, entry: OutboxEntry, due: Timestamp, estimated: bool) -> Option<BanKey> {
        let key = entry.key.clone();
        self.take(&key);
        let pushed_out = if self.items.len() >= OUTBOX_MAX {
            let least =
                self.items.values().min_by_key(|item| item.entry.until).map(|item| item.entry.key.clone());
            if let Some(least) = &least {
                self.take(least);
            }
            least
        } else {
            None
        };
        if entry.local.is_none() {
            self.due.insert((due, key.clone()));
        }
        self.items.insert(key, Item { entry, due, retry_ms: RETRY_FIRST_MS, estimated, turn: None });
        pushed_out
    }

    /// Whether the turn has come of the entry of `key`, which had to wait for it.
    fn has_its_turn(&self, key: &BanKey, now: Timestamp) -> bool {
        self.items.get(key).and_then(|item| item.turn).is_some_and(|turn| turn <= now)
    }

    /// The entry of `key` asks again at its turn: at `earliest`, or `pace_ms` after the last turn that was given out, but
    /// not after its own end. One that has a turn keeps it.
    fn give_turn(&mut self, key: &BanKey, now: Timestamp, earliest: Timestamp, pace_ms: u64) {
        let Some(item) = self.items.get_mut(key) else { return };
        let turn = item.turn.filter(|turn| *turn > now).unwrap_or_else(|| {
            let turn = earliest.max(self.next_turn);
            if let Some(end) = item.entry.until.end().filter(|end| *end < turn) {
                return end.plus_ms(1).max(now.plus_ms(RETRY_FIRST_MS));
            }
            self.next_turn = turn.plus_ms(pace_ms);
            turn
        });
        item.turn = Some(turn);
        self.schedule(key, turn);
    }

    /// Whether the entry of `key` is dated by an estimate of cluster time.
    pub(super) fn is_estimated(&self, key: &BanKey) -> bool {
        self.items.get(key).is_some_and(|item| item.estimated)
    }

    /// What was dated by an estimate, which now says `estimated`, is dated by `now` in its place.
    pub(super) fn redate(&mut self, estimated: Timestamp, now: Timestamp) {
        let shifted = |at: Timestamp| at.plus_ms(now.ms_since(estimated)).minus_ms(estimated.ms_since(now));
        for item in self.items.values_mut().filter(|item| item.estimated) {
            item.entry.redate(shifted);
        }
    }

    /// From now on all dates are by the cluster's time: gives back the entries that were not, and makes
    /// everything due. What an earlier process had dated by an estimate is known by being in the future.
    pub(super) fn settle_dates(&mut self, now: Timestamp) -> Vec<OutboxEntry> {
        let mut redated = Vec::new();
        for item in self.items.values_mut() {
            let ahead_ms = item.entry.last_failure.ms_since(now);
            if core::mem::take(&mut item.estimated) || ahead_ms > 0 {
                item.entry.redate(|at| at.minus_ms(ahead_ms));
                redated.push(item.entry.clone());
            }
        }
        self.renewed_at = self.renewed_at.min(now);
        self.all_due(now);
        redated
    }

    /// Strikes out the oldest served offences of an entry, and makes what follows due.
    pub(super) fn strike_served(
        &mut self,
        key: &BanKey,
        n_settled: usize,
        due: Timestamp,
    ) -> Option<OutboxEntry> {
        let item = self.items.get_mut(key)?;
        item.entry.served.drain(..n_settled);
        item.retry_ms = RETRY_FIRST_MS;
        let entry = item.entry.clone();
        self.schedule(key, due);
        Some(entry)
    }

    fn take(&mut self, key: &BanKey) -> Option<OutboxEntry> {
        let item = self.items.remove(key)?;
        self.due.remove(&(item.due, key.clone()));
        Some(item.entry)
    }

    fn schedule(&mut self, key: &BanKey, due: Timestamp) {
        if let Some(item) = self.items.get_mut(key) {
            self.due.remove(&(item.due, key.clone()));
            item.due = due;
            if item.entry.local.is_none() || item.turn.is_some() {
                self.due.insert((due, key.clone()));
            }
        }
    }

    /// An answer came: a failure is repeated soon, a commit is worth what the view says.
    pub(super) fn answered(&mut self, key: &BanKey, now: Timestamp, is_committed: bool) {
        if !is_committed {
            self.schedule(key, now.plus_ms(RETRY_FAILED_MS));
        }
    }

    /// A leader is there: everything unanswered goes out again.
    pub(super) fn all_due(&mut self, now: Timestamp) {
        let keys: Vec<BanKey> = self.due.iter().map(|(_, key)| key.clone()).collect();
        for key in keys {
            self.schedule(&key, now);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= OUTBOX_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(super) fn renew_due(&self) -> Option<Timestamp> {
        (!self.due.is_empty()).then(|| self.renewed_at.plus_ms(RENEW_INTERVAL_MS))
    }

    /// Takes out what a lift covers, but for newer evidence: a restarted node gets to see old lifts again.
    pub(super) fn take_lifted(&mut self, lift: &Lift, own: NodeId) -> Vec<BanKey> {
        let covered: Vec<BanKey> = self
            .items
            .iter()
            .filter(|(key, item)| lift.covers(key.subnet, &key.jail, own) && item.entry.is_older_than(lift))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &covered {
            self.take(key);
        }
        covered
    }
}

impl OutboxEntry {
    /// Whether it is based on an earlier place in the log than the lift's. Places of different generations say
    /// nothing about each other: there the times decide.
    fn is_older_than(&self, lift: &Lift) -> bool {
        if self.basis.generation == lift.position.generation {
            self.basis < lift.position
        } else {
            self.last_failure <= lift.at
        }
    }

    /// Moves every time in it.
    pub fn redate(&mut self, shifted: impl Fn(Timestamp) -> Timestamp) {
        for offence in &mut self.served {
            offence.first_failure = shifted(offence.first_failure);
            offence.last_failure = shifted(offence.last_failure);
        }
        self.first_failure = shifted(self.first_failure);
        self.last_failure = shifted(self.last_failure);
        self.until = self.until.end().map_or(self.until, |end| Until::at(shifted(end)));
        self.evidence.iter_mut().for_each(|(at, _)| *at = shifted(*at));
    }
}

/// The notice that tells peers of `entry`.
pub(super) fn notice_of(entry: &OutboxEntry, origin: NodeId, basis: Position, now: Timestamp) -> Notice {
    Notice {
        origin,
        basis,
        jail: entry.key.jail.clone(),
        offender: entry.key.subnet,
        last_failure_age_ms: now.ms_since(entry.last_failure),
        remaining_ms: entry.until.remaining_ms(now),
        ports: entry.ports.clone(),
    }
}

fn proposal_of(entry: &OutboxEntry, origin: NodeId, now: Timestamp) -> Proposal {
    let (first_failure, last_failure, failures, lines) = entry.next_offence();
    Proposal {
        origin,
        basis: entry.basis,
        jail: entry.key.jail.clone(),
        offender: entry.key.subnet,
        first_failure_age_ms: now.ms_since(first_failure),
        last_failure_age_ms: now.ms_since(last_failure),
        failures,
        contributors: if entry.served.is_empty() { entry.contributors.clone() } else { Vec::new() },
        policy: entry.policy.clone(),
        ports: entry.ports.clone(),
        evidence: lines
            .into_iter()
            .map(|(at, text)| EvidenceLine { age_ms: now.ms_since(at), text })
            .collect(),
    }
}

impl Warden {
    /// Settles the entry of `key`, if there is one and the view allows a verdict.
    pub(super) fn settle(&mut self, now: Now, key: &BanKey, effects: &mut Vec<Effect>) {
        self.settle_served(now, key, effects);
        let Some(entry) = self.outbox.get(key) else { return };
        if now.estimated || self.view.position() < entry.basis {
            return;
        }
        let claim = self.claim_of(entry, entry.first_failure, entry.last_failure, now.cluster);
        let verdict = self.view.judge(&claim, now.cluster);
        if entry.is_of_low_trust() && !matches!(verdict, Verdict::Covered | Verdict::Protected(_)) {
            return;
        }
        match verdict {
            // Its turn comes when the cluster has heard of those before it.
            Verdict::Open | Verdict::Covered if !entry.served.is_empty() => {
                self.reopen(key, now.cluster, effects);
            }
            Verdict::Open => {
                self.reopen(key, now.cluster, effects);
                if !self.outbox.has_its_turn(key, now.cluster) {
                    self.await_turn(key, now.cluster);
                }
            }
            Verdict::NotShared(NotSharedReason::Quota) if self.is_damped(key, now.cluster) => {
                self.await_turn(key, now.cluster);
            }
            Verdict::Covered => {
                self.outbox.take(key);
                effects.push(Effect::StoreOutbox { key: key.clone(), entry: None });
                effects.push(Effect::Tell(Notable::Settled { key: key.clone() }));
                self.render(now.cluster, key.subnet, false, effects);
            }
            Verdict::Protected(why) => {
                self.outbox.take(key);
                effects.push(Effect::StoreOutbox { key: key.clone(), entry: None });
                effects.push(Effect::Tell(Notable::Protected { key: key.clone(), why }));
                self.render(now.cluster, key.subnet, false, effects);
            }
            Verdict::NotShared(why) => {
                self.keep_local(key, why, now.cluster, effects);
                if why == NotSharedReason::Quota {
                    self.outbox.give_turn(
                        key,
                        now.cluster,
                        now.cluster.plus_ms(RETRY_LAST_MS),
                        self.pace_ms(),
                    );
                }
            }
        }
    }

    pub(super) fn claim_of(
        &self,
        entry: &OutboxEntry,
        first: Timestamp,
        last: Timestamp,
        now: Timestamp,
    ) -> Claim {
        Claim {
            origin: self.node,
            basis: entry.basis,
            jail: entry.key.jail.clone(),
            offender: entry.key.subnet,
            last_failure: last,
            wanted_until: wanted_until(&self.view, &entry.key, first, last, &entry.policy, now),
            ports: entry.ports.clone(),
        }
    }

    /// What this node had to keep for itself (no member yet, a full bucket) would be taken now: ask again. Not what it
    /// blocked while it was not trusted: whoever trusts it again speaks of what comes.
    fn reopen(&mut self, key: &BanKey, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(item) = self.outbox.items.get_mut(key) else { return };
        if item.entry.local.take_if(|why| *why != NotSharedReason::Untrusted).is_some() {
            let entry = Some(Box::new(item.entry.clone()));
            self.outbox.schedule(key, now);
            effects.push(Effect::StoreOutbox { key: key.clone(), entry });
        }
    }

    /// Forgets blocks of this node's own whose time is over; nobody else will say so.
    pub(super) fn forget_ended_local(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let ended: Vec<BanKey> = self
            .outbox
            .entries()
            .filter(|entry| entry.local.is_some() && entry.until.is_over(now))
            .map(|entry| entry.key.clone())
            .collect();
        for key in ended {
            self.outbox.take(&key);
            self.render(now, key.subnet, false, effects);
            effects.push(Effect::StoreOutbox { key, entry: None });
        }
    }

    /// Whether the cluster has cut this ban short for this node's quota.
    fn is_damped(&self, key: &BanKey, now: Timestamp) -> bool {
        self.view.live(key, now).is_some_and(|ban| ban.damped_by == Some(self.node))
    }

    /// If the cluster has cut this ban short for quota: asks again near its end, and no sooner than the others that do
    /// so have had their turns. Together they take half of what the quota refills; the rest is for news.
    fn await_turn(&mut self, key: &BanKey, now: Timestamp) {
        if !self.is_damped(key, now) {
            return;
        }
        let Some(end) = self.view.live(key, now).and_then(|ban| ban.until.end()) else { return };
        let earliest = end.minus_ms(DAMPED_LEAD_MS).max(now.plus_ms(RETRY_LAST_MS));
        self.outbox.give_turn(key, now, earliest, self.pace_ms());
    }

    /// From one turn to the next.
    fn pace_ms(&self) -> u64 {
        2 * MINUTE_MS / u64::from(self.view.settings().quota_per_minute.max(1))
    }

    fn keep_local(&mut self, key: &BanKey, why: NotSharedReason, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(known) = self.outbox.get(key) else { return };
        if known.until.is_over(now) {
            self.outbox.take(key);
            effects.push(Effect::StoreOutbox { key: key.clone(), entry: None });
            return;
        }
        if known.local == Some(why) {
            return;
        }
        let entry = OutboxEntry { local: Some(why), ..known.clone() };
        self.outbox.put(entry.clone(), now, false);
        effects.push(Effect::StoreOutbox { key: key.clone(), entry: Some(Box::new(entry)) });
        effects.push(Effect::Tell(Notable::KeptLocal { key: key.clone(), why }));
    }

    /// Settles whatever the view has become able to settle.
    pub(super) fn settle_all(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let keys: Vec<BanKey> = self.outbox.items.keys().cloned().collect();
        for key in keys {
            self.settle(now, &key, effects);
        }
    }

    /// Sends what is due, unless the view has the answer already.
    pub(super) fn send_due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !self.leader_known || self.observe {
            return;
        }
        let due: Vec<BanKey> = self
            .outbox
            .due
            .iter()
            .take_while(|(at, _)| *at <= now.cluster)
            .map(|(_, key)| key.clone())
            .take(PROPOSALS_PER_STEP_MAX)
            .collect();
        let mut proposals = Vec::new();
        for key in due {
            self.settle(now, &key, effects);
            let basis = self.view.position();
            let Some(item) = self.outbox.items.get_mut(&key) else { continue };
            if item.due > now.cluster {
                continue;
            }
            if item.entry.local.is_some() {
                // Its turn has come, and there is no verdict yet.
                self.outbox.schedule(&key, now.cluster.plus_ms(RETRY_LAST_MS));
                continue;
            }
            // Only what the view was asked about may count as gathered after it.
            if !now.estimated {
                item.entry.basis = item.entry.basis.max(basis);
            }
            // By an estimate, what is dated by the cluster's time has no age: its turn comes when the time is known.
            if item.estimated || !now.estimated {
                item.turn = None;
                proposals.push(proposal_of(&item.entry, self.node, now.cluster));
            }
            let next = now.cluster.plus_ms(item.retry_ms);
            item.retry_ms = (item.retry_ms * 2).min(RETRY_LAST_MS);
            self.outbox.schedule(&key, next);
        }
        for batch in proposals.chunks(PROPOSALS_PER_EFFECT_MAX) {
            effects.push(Effect::Propose(batch.to_vec()));
        }
    }

    /// Without a leader, peers go on protecting each other by reminding.
    pub(super) fn renew_notices(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.leader_known || self.observe || self.outbox.renew_due().is_none_or(|due| due > now.cluster) {
            return;
        }
        self.outbox.renewed_at = now.cluster;
        let mut live: Vec<&OutboxEntry> = self
            .outbox
            .entries()
            .filter(|entry| entry.local.is_none() && !entry.until.is_over(now.cluster))
            .collect();
        live.sort_unstable_by_key(|entry| core::cmp::Reverse(entry.last_failure));
        let basis = self.view.position();
        let notices: Vec<Notice> = live
            .into_iter()
            .take(RENEW_MAX)
            .map(|entry| notice_of(entry, self.node, basis, now.cluster))
            .collect();
        if !notices.is_empty() {
            effects.push(Effect::Notify(notices));
        }
    }
}
