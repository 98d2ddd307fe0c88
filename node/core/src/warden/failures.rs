//! From a failure to a block: what counts and how much, and what is done when there are enough.
//!
//! Not for the arithmetic of counting: that is the tally's.

use super::Warden;
use crate::change::BanKey;
use crate::event::{Effect, IgnoredBecause, Notable, OutboxEntry};
use crate::failure::Failure;
use crate::jail::Jail;
use crate::judge::{Protection, wanted_after};
use crate::subnet::Subnet;
use crate::tally::{Count, TallyKey, weight_of_known};
use crate::time::{Now, Until};
use crate::warden::LocalProtection;
use crate::warden::outbox::notice_of;
use crate::warden::reports::ToldCount;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Failures that are enough for a block.
pub(super) struct Full {
    pub(super) count: Count,
    /// What peers told, as far as it was needed.
    pub(super) told: ToldCount,
    /// Its last line was there when the process started: the wall clock may have jumped since it was written.
    pub(super) replayed: bool,
}

impl Warden {
    pub(super) fn on_failure(&mut self, now: Now, failure: &Failure, effects: &mut Vec<Effect>) {
        let tell_ignored = |why, effects: &mut Vec<Effect>| {
            let (jail, offender) = (failure.jail.clone(), failure.offender);
            effects.push(Effect::Tell(Notable::Ignored { jail, offender, why }));
        };
        let Some(jail) = self.jails.get(&failure.jail) else {
            return tell_ignored(IgnoredBecause::NoSuchJail, effects);
        };
        let translated = failure.offender.translated_v4();
        let is_ignored = |ignored: &Subnet| {
            ignored.contains(failure.offender) || translated.is_some_and(|v4| ignored.contains(v4))
        };
        if jail.ignore.iter().any(is_ignored) {
            return tell_ignored(IgnoredBecause::IgnoreIp, effects);
        }
        match self.local_protection(failure.offender) {
            Some(LocalProtection::Own | LocalProtection::Peer) => {
                return tell_ignored(IgnoredBecause::OwnAddress, effects);
            }
            Some(LocalProtection::BroughtAlong) => {
                return tell_ignored(IgnoredBecause::Protected(Protection::AllowList), effects);
            }
            Some(LocalProtection::IgnoreIp) | None => {}
        }
        if let Some(protection) = self.view.protection(failure.offender, now.cluster) {
            return tell_ignored(IgnoredBecause::Protected(protection), effects);
        }
        let offender = self.view.settings().counting_subnet(failure.offender);
        let lifted_at = self.view.lifted_at(offender, &failure.jail, self.node);
        if lifted_at.is_some_and(|at| now.to_cluster(failure.at) <= at) {
            return tell_ignored(IgnoredBecause::BeforeUnban, effects);
        }
        self.counts.entry(jail.name.clone()).or_default().n_failures += 1;
        let (name, at) = (jail.name.clone(), failure.at);
        effects.push(Effect::Tell(Notable::Found { jail: name, offender, at }));
        if self.low_trust.sources.contains(&failure.source) {
            let jail = jail.clone();
            return self.on_low_trust(now, &jail, offender, failure, effects);
        }
        let weight = self.weight(now, jail, offender, failure);
        let event = self.event_of(jail, offender, failure);
        let key = TallyKey { jail: jail.name.clone(), offender };
        let full = match (self.tally.add(jail, offender, failure, weight, event), event) {
            (Some(count), _) => {
                self.reports.forget(&key);
                Some((count, ToldCount::default()))
            }
            (None, Some(event)) => self.on_counted(now, key, (failure.at, event)),
            (None, None) => None,
        };
        if let Some((count, told)) = full
            && let Some(jail) = self.jails.get(&failure.jail).cloned()
        {
            let full = Full { count, told, replayed: failure.replayed };
            self.on_full(now, &jail, offender, full, effects);
        }
    }

    /// What a failure counts for: where ban times grow, more for somebody who was banned here before.
    fn weight(&self, now: Now, jail: &Jail, offender: Subnet, failure: &Failure) -> u32 {
        if jail.policy.growth.is_none() {
            return 1;
        }
        let key = BanKey { subnet: offender, jail: jail.name.clone() };
        let past = self.view.past(&key).unwrap_or_default();
        let held = self.known(&key);
        let n_bans = held.map_or(past.count, |entry| {
            let is_held = self.view.live(&key, now.cluster).is_some();
            let n_unheard = if is_held { 0 } else { entry.n_offences() };
            self.view.bans_before(&key, entry.first_offence()).saturating_add(n_unheard).max(past.count)
        });
        // A line from before the last ban is one that led to it, read again.
        let banned_at = held.map_or(past.last_since, |entry| entry.last_failure.max(past.last_since));
        if now.to_cluster(failure.at) <= banned_at { 1 } else { weight_of_known(n_bans, jail.max_retry) }
    }

    /// An offender has reached maxretry, perhaps with what peers told: block here, tell the peers, ask the cluster, in
    /// this order.
    pub(super) fn on_full(
        &mut self,
        now: Now,
        jail: &Jail,
        offender: Subnet,
        full: Full,
        effects: &mut Vec<Effect>,
    ) {
        let Full { count, told, replayed } = full;
        let key = BanKey { subnet: offender, jail: jail.name.clone() };
        // Whoever goes on failing behind a block is blocked once.
        let is_blocked = self.known(&key).is_some_and(|entry| !entry.until.is_over(now.cluster));
        if !is_blocked && self.view.live(&key, now.cluster).is_none() {
            self.counts.entry(jail.name.clone()).or_default().n_blocked += 1;
        }
        if self.observe {
            return;
        }
        let (mut first, mut last) = (now.to_cluster(count.first), now.to_cluster(count.last));
        if told.n_failures > 0 {
            first = first.min(now.to_cluster(told.first));
            last = last.max(now.to_cluster(told.last));
        }
        let mut evidence = count.evidence.into_iter().map(|(at, line)| (now.to_cluster(at), line)).collect();
        let is_dated_rightly = replayed && told.n_failures == 0 && now.from_known;
        let mut estimated = now.estimated && !is_dated_rightly;
        let mut contributors = told.contributors;
        let served = match self.known(&key) {
            None => Vec::new(),
            // Nothing new: lines that were read again, perhaps by another clock. What is known already stands.
            Some(entry) if last <= entry.last_failure => {
                (first, last, evidence) = (entry.first_failure, entry.last_failure, entry.evidence.clone());
                estimated = self.outbox.is_estimated(&key);
                contributors.clone_from(&entry.contributors);
                entry.served.clone()
            }
            // The block was served, and the cluster does not know: the next one is longer all the same.
            Some(entry) if entry.until < Until::at(first) => entry.with_itself_served(),
            Some(entry) => {
                first = first.min(entry.first_failure);
                entry.served.clone()
            }
        };
        let n_served = u32::try_from(served.len()).unwrap_or(u32::MAX);
        let oldest = served.first().map_or(first, |offence| offence.first_failure);
        let until = wanted_after(&self.view, &key, (oldest, n_served), last, &jail.policy, now.cluster);
        let entry = OutboxEntry {
            key: key.clone(),
            basis: self.view.position(),
            first_failure: first,
            last_failure: last,
            failures: count.failures.saturating_add(told.n_failures),
            contributors,
            policy: jail.policy.clone(),
            ports: jail.ports.clone(),
            until,
            evidence,
            local: None,
            served,
        };
        self.tell_blocked(&entry, told.n_failures, effects);
        self.put_outbox(now, entry, estimated, effects);
    }

    /// `n_told`: how many of its failures peers told of.
    pub(super) fn tell_blocked(&self, entry: &OutboxEntry, n_told: u32, effects: &mut Vec<Effect>) {
        effects.push(Effect::Tell(Notable::Blocked {
            key: entry.key.clone(),
            until: entry.until,
            failures: entry.failures,
            n_told,
            evidence: entry.evidence.last().map(|(_, line)| line.clone()).unwrap_or_default(),
            is_of_low_trust: entry.is_of_low_trust(),
        }));
    }
    /// `estimated`: it is dated by an estimate of cluster time.
    pub(super) fn put_outbox(
        &mut self,
        now: Now,
        entry: OutboxEntry,
        estimated: bool,
        effects: &mut Vec<Effect>,
    ) {
        let key = entry.key.clone();
        if let Some(pushed_out) = self.outbox.put(entry.clone(), now.cluster, estimated) {
            effects.push(Effect::StoreOutbox { key: pushed_out.clone(), entry: None });
            let subnet = pushed_out.subnet;
            effects.push(Effect::Tell(Notable::OutboxFull { key: pushed_out }));
            self.render(now.cluster, subnet, false, effects);
        }
        self.render(now.cluster, key.subnet, false, effects);
        if !entry.until.is_over(now.cluster) && !entry.is_of_low_trust() {
            let notice = notice_of(&entry, self.node, self.view.position(), now.cluster);
            effects.push(Effect::Notify([notice].into()));
        }
        effects.push(Effect::StoreOutbox { key, entry: Some(Box::new(entry)) });
        self.send_due(now, effects);
    }
}
