//! Failures counted across hosts: what this node tells its peers about offenders below maxretry, and what it counts
//! of what they tell.
//!
//! A peer's failures are added to those of this host, never put in their place: nobody is banned here for them alone,
//! and nobody goes free because of them. So every ban has an origin with a line of its own, this host's maxretry,
//! findtime, ports and ban time. Nothing of it is agreed on, stored, or in the Raft log.
//!
//! Not for which lines are copies of each other: that is `event_id.rs`.

use super::failures::Full;
use super::{LocalProtection, Warden};
use crate::change::{BanKey, Lift};
use crate::event::Effect;
use crate::event_id::LineId;
use crate::failure::Failure;
use crate::ids::NodeId;
use crate::jail::{Jail, JailName, Scope};
use crate::proposal::{CONTRIBUTORS_MAX, Claim, REPORTED_FAILURES_MAX, Report, ReportedFailure};
use crate::subnet::Subnet;
use crate::tally::{Count, TallyKey};
use crate::time::{Now, Timestamp, Until};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Failures wait so long for others, so that many are told in one message.
pub const REPORT_BATCH_MS: u64 = 50;
/// Failures that wait to be told; the oldest goes first.
pub const REPORT_BATCH_MAX: usize = 10_000;
/// So many failures are told to a peer that comes (back); the latest, when there are more.
pub const RETOLD_MAX: usize = 50_000;
/// Failures of one peer that are remembered; the one that came first goes first.
pub const TOLD_PER_PEER_MAX: usize = 200_000;

/// A peer's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    event_id: u64,
    /// By this host's wall clock.
    at: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reports {
    told: BTreeMap<TallyKey, BTreeMap<NodeId, Vec<Told>>>,
    /// What each peer told, in the order in which it came, and when it came.
    arrivals: BTreeMap<NodeId, VecDeque<(Timestamp, TallyKey)>>,
    waiting: VecDeque<(TallyKey, Told)>,
    /// When what waits is told, in cluster time.
    due: Option<Timestamp>,
}

/// Peers' failures that count with those of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldCount {
    /// How many, each line once.
    pub n_failures: u32,
    /// Whose, at most [`CONTRIBUTORS_MAX`].
    pub contributors: Vec<NodeId>,
    /// The first of them, in this host's time.
    pub first: Timestamp,
    /// The last of them, in this host's time.
    pub last: Timestamp,
}

/// Whether `at` is a findtime ago at `now`, or so far ahead that a clock must have been set back since.
fn is_out(now: Timestamp, at: Timestamp, find_time_ms: u64) -> bool {
    at <= now.minus_ms(find_time_ms) || at > now.plus_ms(find_time_ms)
}

impl Reports {
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Puts a failure of this host where it waits to be told.
    fn wait(&mut self, key: TallyKey, failure: Told, now: Timestamp) {
        if self.waiting.len() >= REPORT_BATCH_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((key, failure));
        self.due.get_or_insert(now.plus_ms(REPORT_BATCH_MS));
    }

    /// Remembers what `origin` tells; one line is one failure however often it is told.
    fn hear(&mut self, now: Timestamp, key: &TallyKey, origin: NodeId, told: Told, kept_max: usize) {
        let of_origin = self.told.entry(key.clone()).or_default().entry(origin).or_default();
        if of_origin.iter().any(|known| known.event_id == told.event_id) {
            return;
        }
        if of_origin.len() >= kept_max {
            of_origin.remove(0);
        }
        of_origin.push(told);
        let arrivals = self.arrivals.entry(origin).or_default();
        arrivals.push_back((now, key.clone()));
        if arrivals.len() > TOLD_PER_PEER_MAX
            && let Some((_, oldest)) = arrivals.pop_front()
        {
            self.forget_first(&oldest, origin);
        }
    }

    fn forget_first(&mut self, key: &TallyKey, origin: NodeId) {
        let Some(by_origin) = self.told.get_mut(key) else { return };
        if let Some(of_origin) = by_origin.get_mut(&origin) {
            if !of_origin.is_empty() {
                of_origin.remove(0);
            }
            if of_origin.is_empty() {
                by_origin.remove(&origin);
            }
        }
        if by_origin.is_empty() {
            self.told.remove(key);
        }
    }

    /// Keeps what `stays`.
    fn retain(&mut self, mut stays: impl FnMut(&TallyKey, NodeId, &Told) -> bool) {
        self.told.retain(|key, by_origin| {
            by_origin.retain(|origin, of_origin| {
                of_origin.retain(|told| stays(key, *origin, told));
                !of_origin.is_empty()
            });
            !by_origin.is_empty()
        });
        let told = &self.told;
        self.arrivals.retain(|origin, arrivals| {
            arrivals.retain(|(_, key)| told.get(key).is_some_and(|by_origin| by_origin.contains_key(origin)));
            !arrivals.is_empty()
        });
    }

    /// Forgets what came a findtime ago, or, after a clock was set back, what would count for ever.
    pub(super) fn forget_old(&mut self, now: Timestamp, find_time_ms: impl Fn(&JailName) -> u64) {
        let told = &mut self.told;
        self.arrivals.retain(|origin, arrivals| {
            // What is told is older than its arrival. Findtimes differ, so some wait behind others.
            while let Some((_, key)) =
                arrivals.pop_front_if(|(heard_at, key)| is_out(now, *heard_at, find_time_ms(&key.jail)))
            {
                let Some(by_origin) = told.get_mut(&key) else { continue };
                if let Some(of_origin) = by_origin.get_mut(origin) {
                    let find_time_ms = find_time_ms(&key.jail);
                    of_origin.retain(|told| !is_out(now, told.at, find_time_ms));
                    if of_origin.is_empty() {
                        by_origin.remove(origin);
                    }
                }
                if by_origin.is_empty() {
                    told.remove(&key);
                }
            }
            !arrivals.is_empty()
        });
    }

    /// Forgets what a node told.
    pub(super) fn forget_origin(&mut self, node: NodeId) {
        self.retain(|_, origin, _| origin != node);
    }

    /// Forgets what led to a block.
    pub(super) fn forget(&mut self, key: &TallyKey) {
        self.told.remove(key);
    }

    /// Forgets what is void since somebody was let go; `is_void` is asked when it was, in this host's time.
    pub(super) fn lift(&mut self, lift: &Lift, own: NodeId, is_void: impl Fn(Timestamp) -> bool) {
        let stays = |key: &TallyKey, origin, told: &Told| {
            !(lift.covers(key.offender, &key.jail, origin) && is_void(told.at))
        };
        if !self.is_empty() {
            self.retain(stays);
        }
        self.waiting.retain(|(key, told)| stays(key, own, told));
    }
}

impl Warden {
    /// The id of this host's failure, when peers count it too.
    pub(super) fn event_of(&self, jail: &Jail, offender: Subnet, failure: &Failure) -> Option<u64> {
        if jail.scope == Scope::Local {
            return None;
        }
        let line = LineId::of(self.view.settings().event_key, failure, offender, self.node);
        let key = TallyKey { jail: jail.name.clone(), offender };
        let known = self.tally.get(&key).map_or(&[][..], Count::events);
        (0..=u32::MAX)
            .map(|ordinal| line.event(ordinal))
            .find(|id| known.iter().all(|(_, known)| known != id))
    }

    /// A failure of this host that did not ban: the peers count it too, and it counts with theirs. Gives the count
    /// back when it is full with them.
    pub(super) fn on_counted(
        &mut self,
        now: Now,
        key: TallyKey,
        (at, event_id): (Timestamp, u64),
    ) -> Option<(Count, ToldCount)> {
        let full = self.full_with_peers(now, &key);
        // What a node on trial sees is not for others.
        if full.is_none() && !self.observe {
            self.reports.wait(key, Told { event_id, at }, now.cluster);
        }
        full
    }

    pub(super) fn on_reported(&mut self, now: Now, report: &Report, effects: &mut Vec<Effect>) {
        if self.observe || !self.may_report(now, report) {
            return;
        }
        let Some(jail) = self.jails.get(&report.jail).filter(|jail| jail.scope == Scope::Cluster) else {
            return;
        };
        // With one try of its own a host may believe so many of each peer's.
        let kept_max = usize::try_from(jail.max_retry.saturating_sub(1)).unwrap_or(usize::MAX);
        if kept_max == 0 {
            return;
        }
        let find_time_ms = jail.find_time_ms;
        let key = TallyKey { jail: report.jail.clone(), offender: report.offender };
        for failure in report.failures.iter().filter(|failure| failure.age_ms < find_time_ms) {
            let told = Told { event_id: failure.event_id, at: now.wall.minus_ms(failure.age_ms) };
            self.reports.hear(now.wall, &key, report.origin, told, kept_max);
        }
        if let Some((count, told)) = self.full_with_peers(now, &key)
            && let Some(jail) = self.jails.get(&key.jail).cloned()
        {
            let full = Full { count, told, replayed: false };
            self.on_full(now, &jail, report.offender, full, effects);
        }
    }

    /// Whether what a peer says of this offender may count here at all.
    fn may_report(&self, now: Now, report: &Report) -> bool {
        let is_unit = self.view.settings().counting_subnet(report.offender) == report.offender;
        let is_trusted = self.view.node(report.origin).is_some_and(|node| !node.untrusted && !node.revoked);
        let is_local = |why| matches!(why, LocalProtection::Own | LocalProtection::Peer);
        let is_protected = self.view.protection(report.offender, now.cluster).is_some()
            || self.local_protection(report.offender).is_some_and(is_local);
        let claim = Claim {
            origin: report.origin,
            basis: report.basis,
            jail: report.jail.clone(),
            offender: report.offender,
            last_failure: now
                .cluster
                .minus_ms(report.failures.iter().map(|failure| failure.age_ms).min().unwrap_or_default()),
            wanted_until: Until::at(now.cluster),
            ports: crate::jail::Ports::none(),
        };
        report.origin != self.node && is_unit && is_trusted && !is_protected && !self.view.is_lifted(&claim)
    }

    /// Takes the count of `key` out when it is full with what peers told.
    fn full_with_peers(&mut self, now: Now, key: &TallyKey) -> Option<(Count, ToldCount)> {
        let (count, jail) = (self.tally.get(key)?, self.jails.get(&key.jail)?);
        let told = self.told(now, jail, key, count)?;
        if count.retry.saturating_add(told.n_failures) < jail.max_retry {
            return None;
        }
        self.reports.forget(key);
        Some((self.tally.take(key)?, told))
    }

    /// What peers told of `key` that counts with `own`; `None` when it is nothing.
    fn told(&self, now: Now, jail: &Jail, key: &TallyKey, own: &Count) -> Option<ToldCount> {
        let by_origin = self.reports.told.get(key)?;
        let ban = BanKey { subnet: key.offender, jail: key.jail.clone() };
        if self.view.live(&ban, now.cluster).is_some() {
            return None;
        }
        // What led to one ban counts for no second one.
        let served = self.view.past(&ban).map(|past| past.last_since);
        let served = served.max(self.outbox.get(&ban).map(|entry| entry.last_failure));
        let mut seen: BTreeSet<u64> = own.events().iter().map(|(_, id)| *id).collect();
        let mut told = ToldCount { first: Timestamp(u64::MAX), ..ToldCount::default() };
        for (origin, failures) in by_origin {
            let void = served.max(self.view.lifted_at(key.offender, &key.jail, *origin));
            let mut is_contributor = false;
            for failure in failures {
                let is_old = is_out(now.wall, failure.at, jail.find_time_ms);
                let is_void = void.is_some_and(|void| now.to_cluster(failure.at) <= void);
                if is_old || is_void || !seen.insert(failure.event_id) {
                    continue;
                }
                is_contributor = true;
                told.n_failures = told.n_failures.saturating_add(1);
                told.first = told.first.min(failure.at);
                told.last = told.last.max(failure.at);
            }
            if is_contributor && told.contributors.len() < CONTRIBUTORS_MAX {
                told.contributors.push(*origin);
            }
        }
        (told.n_failures > 0).then_some(told)
    }

    /// What peers told of everybody inside `target` and counts with what this host has counted, by jail.
    pub fn told_about(&self, now: Now, target: Subnet) -> impl Iterator<Item = (&TallyKey, ToldCount)> {
        let none = Count::default();
        self.reports.told.keys().filter(move |key| target.intersects(key.offender)).filter_map(move |key| {
            let jail = self.jails.get(&key.jail)?;
            Some((key, self.told(now, jail, key, self.tally.get(key).unwrap_or(&none))?))
        })
    }

    /// Tells the peers what has waited long enough.
    pub(super) fn tell_waiting(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.reports.due.is_none_or(|due| due > now.cluster) {
            return;
        }
        self.reports.due = None;
        let waiting = core::mem::take(&mut self.reports.waiting);
        let reports = self.reports_of(now, waiting);
        if !reports.is_empty() {
            effects.push(Effect::Report { to: None, reports });
        }
    }

    /// A peer has come (back): it is told what counts here.
    pub(super) fn on_peer_reached(&self, now: Now, peer: NodeId, effects: &mut Vec<Effect>) {
        if self.observe {
            return;
        }
        let mut failures = Vec::new();
        for (key, count) in self.tally.latest() {
            let Some(jail) = self.jails.get(&key.jail) else { continue };
            let counts = |at: Timestamp| at > now.wall.minus_ms(jail.find_time_ms);
            let live = count.events().iter().filter(|(at, _)| counts(*at));
            failures.extend(live.map(|(at, event_id)| (key.clone(), Told { event_id: *event_id, at: *at })));
            if failures.len() >= RETOLD_MAX {
                break;
            }
        }
        let reports = self.reports_of(now, failures);
        if !reports.is_empty() {
            effects.push(Effect::Report { to: Some(peer), reports });
        }
    }

    /// One report for each offender.
    fn reports_of(&self, now: Now, failures: impl IntoIterator<Item = (TallyKey, Told)>) -> Vec<Report> {
        let mut by_key: BTreeMap<TallyKey, Vec<ReportedFailure>> = BTreeMap::new();
        for (key, Told { event_id, at }) in failures {
            by_key.entry(key).or_default().push(ReportedFailure { event_id, age_ms: now.wall.ms_since(at) });
        }
        let mut reports = Vec::new();
        for (key, failures) in by_key {
            reports.extend(failures.chunks(REPORTED_FAILURES_MAX).map(|failures| Report {
                origin: self.node,
                basis: self.view.position(),
                jail: key.jail.clone(),
                offender: key.offender,
                failures: failures.to_vec(),
            }));
        }
        reports
    }
}
