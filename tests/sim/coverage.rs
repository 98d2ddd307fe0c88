//! How often each kind of fault and each interesting answer happened, over all seeds: a kind that never
//! happens proves nothing and fails the test.

use std::collections::BTreeMap;

/// What must have happened at least once in a run of a thousand seeds.
pub(crate) const MUST_HAPPEN: [&str; 59] = [
    "log: proposal lost",
    "log: proposal doubled",
    "log: proposal delayed",
    "log: answered unknown",
    "log: answer never came",
    "log: leader changed",
    "log: leaderless period",
    "log: old leader's entry committed later",
    "log: uncommitted entry lost",
    "log: quorum is slow",
    "log: node lags",
    "log: snapshot installed",
    "network: notice lost",
    "network: notice delayed",
    "network: notice doubled",
    "network: datagrams overtook each other",
    "network: report lost",
    "network: report delayed",
    "network: report doubled",
    "network: rogue notices",
    "network: one-way partition",
    "network: two-way partition",
    "disk: unsynced write lost",
    "disk: local store lost",
    "node: reloaded without a jail",
    "node: witness",
    "node: killed",
    "node: power lost",
    "node: restarted without a leader",
    "node: restarted on an older view",
    "node: lines read again",
    "clock: jump",
    "clock: far ahead",
    "clock: far behind",
    "clock: estimated",
    "clock: wild after a reboot",
    "clock: runs away",
    "firewall: call refused",
    "firewall: stopped half-way",
    "firewall: flushed by a stranger",
    "firewall: repaired",
    "operator: ban",
    "operator: unban",
    "operator: unban of a network",
    "operator: unban by node",
    "operator: trust",
    "operator: allow",
    "operator: disallow",
    "operator: override",
    "operator: retried",
    "told: blocked",
    "told: blocked with what peers told",
    "told: blocked for tries on all hosts",
    "told: settled",
    "told: kept local",
    "told: ignored",
    "told: notices dropped",
    "private: looked at",
    "clock: leader stamps wrongly",
];

/// The counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// `what` has happened.
    pub(crate) fn hit(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Whether `what` has happened.
    pub(crate) fn has(&self, what: &'static str) -> bool {
        self.0.contains_key(what)
    }

    /// Adds another world's counters.
    pub(crate) fn add(&mut self, other: &Coverage) {
        for (what, n) in &other.0 {
            *self.0.entry(what).or_default() += n;
        }
    }

    /// What should have happened and did not.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        MUST_HAPPEN.iter().copied().filter(|what| !self.0.contains_key(what)).collect()
    }

    /// One line per counter.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(what, n)| format!("{n:>10}  {what}"))
    }
}
