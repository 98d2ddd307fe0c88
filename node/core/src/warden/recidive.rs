//! Jails whose failures are bans: who is banned again and again, in whatever jail and on whatever host (fail2ban's
//! `recidive`, which reads them from its own log).
//!
//! Every node that has such a jail counts the bans of the cluster's list for itself, so nothing of it is told to peers.
//! Not for bans that were over before this process has caught up: the node knows them from its history.

use super::Warden;
use crate::change::BanKey;
use crate::event::Effect;
use crate::event_id::LineDigest;
use crate::failure::{Failure, SourceId, SourcePosition};
use crate::jail::JailName;
use crate::settings::Settings;
use crate::time::{Now, Timestamp};
use alloc::format;
use alloc::vec::Vec;

/// Where such failures come from: no log, so no place in one is kept for them.
const BANS: SourceId = SourceId(u32::MAX);

/// Of the bans that hold when a node has caught up, the newest so many count.
const HELD_COUNTED_MAX: usize = 10_000;

/// A ban as a failure in the jail `counting`, or nothing: for who is banned there already, who was banned by an
/// operator's word, and for whole networks. `at`: by this host's wall clock.
#[must_use]
pub fn failure_of_ban(
    settings: &Settings,
    counting: &JailName,
    key: &BanKey,
    at: Timestamp,
    replayed: bool,
) -> Option<Failure> {
    let is_network = key.subnet.prefix_len() < settings.counting_prefix(key.subnet);
    if is_network || key.jail == *counting || key.jail == JailName::operator() {
        return None;
    }
    Some(Failure {
        jail: counting.clone(),
        offender: key.subnet,
        at,
        evidence: format!("[{}] Ban {}", key.jail, key.subnet),
        line: LineDigest::default(),
        user: None,
        source: BANS,
        position: SourcePosition(0),
        replayed,
    })
}

impl Warden {
    /// A ban of the cluster's list has begun. (One that is cut short for quota comes out of a flood, and does not count.)
    pub(super) fn count_ban(&mut self, now: Now, key: &BanKey, effects: &mut Vec<Effect>) {
        if !self.caught_up || self.counting_bans.is_empty() {
            return;
        }
        let since = self.view.live(key, now.cluster).map_or(now.cluster, |ban| ban.since);
        self.count_bans_as_failures(now, &[(key.clone(), since)], false, effects);
    }

    /// This node has caught up: what holds counts as it would have while it began.
    pub(super) fn count_held_bans(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let windows = self.jails.values().filter(|jail| jail.counts_bans).map(|jail| jail.find_time_ms);
        let Some(window) = windows.max() else { return };
        let oldest = now.cluster.minus_ms(window);
        // Those that are over and not swept yet are in no history.
        let held = self.view.bans().filter(|(_, ban)| ban.since >= oldest);
        let mut held: Vec<(BanKey, Timestamp)> = held.map(|(key, ban)| (key.clone(), ban.since)).collect();
        held.sort_by(|(a, a_since), (b, b_since)| (a_since, a).cmp(&(b_since, b)));
        let n_too_many = held.len().saturating_sub(HELD_COUNTED_MAX);
        self.count_bans_as_failures(now, &held[n_too_many..], true, effects);
    }

    fn count_bans_as_failures(
        &mut self,
        now: Now,
        bans: &[(BanKey, Timestamp)],
        replayed: bool,
        effects: &mut Vec<Effect>,
    ) {
        for (key, since) in bans {
            let at = now.wall.minus_ms(now.cluster.ms_since(*since));
            let settings = self.view.settings();
            let counting = self.counting_bans.iter();
            let failures: Vec<Failure> =
                counting.filter_map(|jail| failure_of_ban(settings, jail, key, at, replayed)).collect();
            failures.iter().for_each(|failure| self.on_failure(now, failure, effects));
        }
    }
}
