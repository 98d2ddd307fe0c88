//! Counting failures until there are too many: fail2ban's own rule, per jail and offender.
//!
//! fail2ban's findtime is not a sliding window but an estimate of the rate: when the first counted
//! failure is older than findtime, the count is scaled down to what the same rate would give within
//! findtime, rounded half to even (fail2ban 1.0.2, `server/ticket.py`, `FailTicket.adjustTime`). The
//! order of the floating point operations is fail2ban's, so that both decide alike.
//!
//! Where ban times grow, somebody who was banned before is not given maxretry tries again: each of
//! their failures weighs more ([`weight_of_known`]; fail2ban 1.0.2, `server/observer.py`,
//! `failureFound`).
//!
//! Not for what a full count leads to: that is the warden's.

use crate::failure::{Failure, SourceId, SourcePosition};
use crate::jail::{Jail, JailName};
use crate::proposal::{EVIDENCE_LINES_MAX, evidence_text};
use crate::subnet::Subnet;
use crate::time::Timestamp;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use smallvec::SmallVec;

/// Offenders counted at once, over all jails; beyond it the one that failed longest ago goes.
pub const OFFENDERS_MAX: usize = 1_000_000;

/// So many of an offender's failures can be told to peers; the oldest goes first.
pub const COUNTED_EVENTS_MAX: usize = 64;

/// What is counted separately.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyKey {
    /// In which jail.
    pub jail: JailName,
    /// By whom.
    pub offender: Subnet,
}

/// Doubling the weight of a known offender's failures stops after so many bans, as in fail2ban.
const KNOWN_BANS_MAX: u32 = 20;

/// What one failure of somebody who was banned `n_bans` times in this jail counts for: 1, then 2, 3,
/// 5, 9 and so on, and never more than is needed for a ban.
#[must_use]
pub fn weight_of_known(n_bans: u32, max_retry: u32) -> u32 {
    match n_bans.min(KNOWN_BANS_MAX) {
        0 => 1,
        n_bans => ((1 << (n_bans - 1)) + 1).min(max_retry.max(1)),
    }
}

/// The failures of one offender in one jail, so far.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// fail2ban's `retry`: what is compared with maxretry. Scaled down for a slow rate, and weighed
    /// for a known offender.
    pub retry: u32,
    /// How many failures these were, each counted once.
    pub failures: u32,
    /// The first failure that still counts, in this host's time.
    pub first: Timestamp,
    /// The last failure, in this host's time.
    pub last: Timestamp,
    /// The latest lines with their times.
    pub evidence: Vec<(Timestamp, String)>,
    /// Where the oldest counted line of each source begins.
    oldest: SmallVec<[(SourceId, SourcePosition); 1]>,
    /// When each failure was that peers count too, and its id (`event_id.rs`).
    events: SmallVec<[(Timestamp, u64); 1]>,
}

/// All counts of this host.
#[derive(Debug)]
pub struct Tally {
    n_offenders_max: usize,
    counts: BTreeMap<TallyKey, Count>,
    by_last: BTreeSet<(Timestamp, TallyKey)>,
    oldest: BTreeMap<SourceId, BTreeSet<(SourcePosition, TallyKey)>>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally::bounded(OFFENDERS_MAX)
    }
}

impl Tally {
    /// One that remembers so many offenders at most; of more, those go first that failed longest ago.
    #[must_use]
    pub fn bounded(n_offenders_max: usize) -> Tally {
        Tally { n_offenders_max, counts: BTreeMap::new(), by_last: BTreeSet::new(), oldest: BTreeMap::new() }
    }

    /// Counts `failure` of `offender`, which weighs `weight` (at least 1) and by which id peers know it. When there
    /// are enough, the count is taken out and returned.
    pub fn add(
        &mut self,
        jail: &Jail,
        offender: Subnet,
        failure: &Failure,
        weight: u32,
        event: Option<u64>,
    ) -> Option<Count> {
        let key = TallyKey { jail: jail.name.clone(), offender };
        let at = failure.at;
        let mut count = match self.take(&key) {
            None => Count { first: at, last: at, ..Count::default() },
            Some(mut known) => {
                known.move_to(at, jail.find_time_ms);
                known
            }
        };
        count.retry = count.retry.saturating_add(weight.max(1));
        count.failures = count.failures.saturating_add(1);
        let kept = usize::try_from(jail.max_matches).unwrap_or(usize::MAX).clamp(1, EVIDENCE_LINES_MAX);
        if count.evidence.len() >= kept {
            count.evidence.remove(0);
        }
        // Most offenders fail once, and a million of them may be remembered.
        count.evidence.reserve_exact(1);
        count.evidence.push((at, evidence_text(&failure.evidence)));
        if count.events.len() >= COUNTED_EVENTS_MAX {
            count.events.remove(0);
        }
        count.events.extend(event.map(|event| (at, event)));
        if !count.oldest.iter().any(|(source, _)| *source == failure.source) {
            count.oldest.push((failure.source, failure.position));
        }
        if count.retry >= jail.max_retry.max(1) {
            return Some(count);
        }
        self.put(key, count);
        self.evict();
        None
    }

    /// What is counted of one offender in one jail.
    #[must_use]
    pub fn get(&self, key: &TallyKey) -> Option<&Count> {
        self.counts.get(key)
    }

    /// All counts, that of the latest failure first.
    pub fn latest(&self) -> impl Iterator<Item = (&TallyKey, &Count)> {
        self.by_last.iter().rev().filter_map(|(_, key)| Some((key, self.counts.get(key)?)))
    }

    /// The position in `source` that must be read again after a restart: the oldest line that still
    /// counts.
    #[must_use]
    pub fn oldest(&self, source: SourceId) -> Option<SourcePosition> {
        self.oldest.get(&source)?.first().map(|(position, _)| *position)
    }

    /// Forgets offenders whose last failure is a findtime ago, or, for a clock that was set back, so far
    /// ahead that it would count for ever.
    pub fn forget_old(&mut self, now: Timestamp, find_time_ms: impl Fn(&JailName) -> u64) {
        // Findtimes differ, so the order by last failure only bounds the search from one side.
        let old: Vec<TallyKey> = self
            .by_last
            .iter()
            .filter(|(last, key)| {
                let find_time_ms = find_time_ms(&key.jail);
                *last <= now.minus_ms(find_time_ms) || *last > now.plus_ms(find_time_ms)
            })
            .map(|(_, key)| key.clone())
            .collect();
        for key in old {
            self.take(&key);
        }
    }

    /// Forgets the void failures of everybody inside `target`, in one jail or in all; `is_void` is asked
    /// when they were, in this host's time. Of a count that began with void ones, only those remain whose
    /// lines are kept.
    pub fn forget_inside(
        &mut self,
        target: Subnet,
        jail: Option<&JailName>,
        is_void: impl Fn(Timestamp) -> bool,
    ) {
        let concerned: Vec<TallyKey> = self
            .counts
            .keys()
            .filter(|key| target.contains(key.offender) && jail.is_none_or(|only| *only == key.jail))
            .cloned()
            .collect();
        for key in concerned {
            let remaining = self.take(&key).and_then(|count| count.without(&is_void));
            if let Some(remaining) = remaining {
                self.put(key, remaining);
            }
        }
    }

    /// How many offenders `jail` is counting.
    #[must_use]
    pub fn n_offenders(&self, jail: &JailName) -> usize {
        let from = TallyKey { jail: jail.clone(), offender: Subnet::all_v4() };
        self.counts.range(from..).take_while(|(key, _)| key.jail == *jail).count()
    }

    /// All counts about `offender` or something inside it.
    pub fn about(&self, offender: Subnet) -> impl Iterator<Item = (&TallyKey, &Count)> {
        self.counts.iter().filter(move |(key, _)| offender.intersects(key.offender))
    }

    /// Whether nobody is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn put(&mut self, key: TallyKey, count: Count) {
        self.by_last.insert((count.last, key.clone()));
        for (source, position) in &count.oldest {
            self.oldest.entry(*source).or_default().insert((*position, key.clone()));
        }
        self.counts.insert(key, count);
    }

    /// Takes a count out.
    pub(crate) fn take(&mut self, key: &TallyKey) -> Option<Count> {
        let count = self.counts.remove(key)?;
        self.by_last.remove(&(count.last, key.clone()));
        for (source, position) in &count.oldest {
            if let Some(positions) = self.oldest.get_mut(source) {
                positions.remove(&(*position, key.clone()));
            }
        }
        Some(count)
    }

    fn evict(&mut self) {
        while self.counts.len() > self.n_offenders_max {
            let Some((_, key)) = self.by_last.first().cloned() else { return };
            self.take(&key);
        }
    }
}

impl Count {
    /// Its failures that peers count too: when each was, in this host's time, and its id; at most
    /// [`COUNTED_EVENTS_MAX`].
    #[must_use]
    pub fn events(&self) -> &[(Timestamp, u64)] {
        &self.events
    }

    /// What remains without the void failures.
    fn without(mut self, is_void: impl Fn(Timestamp) -> bool) -> Option<Count> {
        if !is_void(self.first) && !self.evidence.iter().any(|(at, _)| is_void(*at)) {
            return Some(self);
        }
        self.evidence.retain(|(at, _)| !is_void(*at));
        self.events.retain(|(at, _)| !is_void(*at));
        self.first = self.evidence.iter().map(|(at, _)| *at).min()?;
        self.last = self.evidence.iter().map(|(at, _)| *at).max()?;
        self.failures = u32::try_from(self.evidence.len()).unwrap_or(u32::MAX);
        self.retry = self.retry.min(self.failures);
        Some(self)
    }

    /// Moves the end of the count to `at`, scaling it down when it began more than findtime before.
    fn move_to(&mut self, at: Timestamp, find_time_ms: u64) {
        if at <= self.last {
            return;
        }
        if self.first < at.minus_ms(find_time_ms) {
            self.retry = scaled(self.retry, at.ms_since(self.first), find_time_ms);
            self.first = at.minus_ms(find_time_ms);
        }
        self.last = at;
    }
}

/// `round(retry / passed * findtime)` with fail2ban's order of operations, in seconds, half to
/// even.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and seconds are far below 2^53, and the result is positive and rounded"
)]
fn scaled(retry: u32, passed_ms: u64, find_time_ms: u64) -> u32 {
    let passed_s = passed_ms as f64 / 1_000.0;
    let find_time_s = find_time_ms as f64 / 1_000.0;
    let exact = f64::from(retry) / passed_s * find_time_s;
    let below = exact as u32;
    let fraction = exact - f64::from(below);
    let is_up = fraction > 0.5 || (fraction == 0.5 && below % 2 == 1);
    below + u32::from(is_up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_id::LineDigest;
    use crate::jail::{BanPolicy, Ports, Scope};
    use crate::time::BanTime;
    use alloc::string::ToString;

    fn jail(max_retry: u32, find_time_s: u64) -> Jail {
        Jail {
            name: JailName::new("test").expect("a valid name"),
            max_retry,
            find_time_ms: find_time_s * 1_000,
            policy: BanPolicy::fixed(BanTime::Ms(600_000)),
            ports: Ports::tcp(&[25]),
            max_matches: 5,
            scope: Scope::Cluster,
            counts_bans: false,
            reach: None,
            ignore: Vec::new(),
        }
    }

    fn failure(at_s: u64) -> Failure {
        Failure {
            jail: JailName::new("test").expect("a valid name"),
            offender: "192.0.2.1".parse().expect("an address"),
            at: Timestamp(at_s * 1_000),
            evidence: "line".to_string(),
            line: LineDigest::default(),
            user: None,
            source: SourceId(0),
            position: SourcePosition(at_s),
            replayed: false,
        }
    }

    /// Given failures at these seconds, expect a ban at each of those.
    fn check(max_retry: u32, find_time_s: u64, at_s: &[u64], banned_at_s: &[u64]) {
        let jail = jail(max_retry, find_time_s);
        let mut tally = Tally::default();
        let offender = "192.0.2.1".parse().expect("an address");
        let banned: Vec<u64> = at_s
            .iter()
            .copied()
            .filter(|&at| tally.add(&jail, offender, &failure(at), 1, None).is_some())
            .collect();
        assert_eq!(banned, banned_at_s, "maxretry {max_retry}, findtime {find_time_s}");
    }

    #[test]
    fn maxretry_failures_ban_and_the_count_starts_again() {
        check(3, 600, &[1, 2, 3, 4, 5, 6], &[3, 6]);
        check(1, 600, &[1, 2], &[1, 2]);
        check(0, 600, &[1], &[1]);
    }

    #[test]
    fn a_slow_rate_is_scaled_down_half_to_even() {
        // 1 failure in 20 s is half a failure per 10 s, rounded to 0: never more than one.
        check(2, 10, &[0, 20, 40, 60], &[]);
        // 1 in 15 s is 0.67 per 10 s, rounded to 1: the second one bans.
        check(2, 10, &[0, 15], &[15]);
        assert_eq!(scaled(3, 20_000, 10_000), 2, "1.5 rounds to the even 2");
        assert_eq!(scaled(5, 20_000, 10_000), 2, "2.5 rounds to the even 2");
    }

    #[test]
    fn failures_of_known_offenders_weigh_more_but_never_more_than_a_ban() {
        let weights = |max_retry| [0, 1, 2, 3, 4, 19, 20, 99].map(|n| weight_of_known(n, max_retry));
        assert_eq!(weights(5), [1, 2, 3, 5, 5, 5, 5, 5]);
        assert_eq!(weights(u32::MAX), [1, 2, 3, 5, 9, 262_145, 524_289, 524_289]);
        assert_eq!(weights(0), [1; 8]);
        // Twice banned: two failures of weight 3 reach five, and are told as two.
        let jail = jail(5, 600);
        let mut tally = Tally::default();
        let offender = "192.0.2.1".parse().expect("an address");
        assert!(tally.add(&jail, offender, &failure(1), weight_of_known(2, 5), None).is_none());
        let full = tally.add(&jail, offender, &failure(2), weight_of_known(2, 5), None).expect("enough");
        assert_eq!((full.retry, full.failures), (6, 2));
    }

    #[test]
    fn a_line_older_than_the_last_counts_without_moving_the_time() {
        check(3, 10, &[100, 95, 50], &[50]);
    }

    #[test]
    fn the_oldest_line_that_counts_holds_the_position() {
        let jail = jail(3, 600);
        let mut tally = Tally::default();
        let offender = "192.0.2.1".parse().expect("an address");
        tally.add(&jail, offender, &failure(7), 1, None);
        tally.add(&jail, offender, &failure(8), 1, None);
        assert_eq!(tally.oldest(SourceId(0)), Some(SourcePosition(7)));
        assert!(tally.add(&jail, offender, &failure(9), 1, None).is_some());
        assert_eq!(tally.oldest(SourceId(0)), None);
    }
}
