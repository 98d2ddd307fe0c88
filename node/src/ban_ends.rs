//! When bans end on this host, told at that time: the cluster's list drops what is over only when it is swept.
//!
//! Only where somebody reads it: it remembers the end of each ban. Not for what the firewall holds (the warden's timers).

use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::{BanKey, Change, UnbanReason};
use bannkreis_core::event::Notable;
use bannkreis_core::time::{Timestamp, Until};
use bannkreis_core::warden::Warden;
use std::collections::{BTreeMap, BTreeSet};

/// The ends that are to come.
#[derive(Debug, Default)]
pub struct BanEnds {
    by_time: BTreeSet<(Timestamp, BanKey)>,
    /// What this host blocks and the cluster's list has not.
    local: BTreeMap<BanKey, Until>,
    /// All ends before then are told.
    passed: Timestamp,
}

impl BanEnds {
    /// Those of everything that holds now.
    pub fn begin(&mut self, warden: &Warden, now: Timestamp) {
        *self = BanEnds { passed: now, ..BanEnds::default() };
        for (key, ban) in warden.view().bans().filter(|(_, ban)| !ban.until.is_over(now)) {
            self.expect(key, ban.until);
        }
        for entry in warden.outbox().filter(|entry| warden.view().ban(&entry.key).is_none()) {
            self.block(&entry.key, entry.until);
        }
    }

    /// When the next one ends.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(end, _)| end.plus_ms(1))
    }

    /// Takes note of what this host's warden did. Gives the ban that ended with it.
    pub fn note(&mut self, notable: &Notable) -> Option<BanKey> {
        match notable {
            Notable::Blocked { key, until, .. } => {
                self.block(key, *until);
                None
            }
            Notable::Protected { key, .. } | Notable::OutboxFull { key } => {
                self.local.remove(key).map(|_| key.clone())
            }
            // From now on it is the cluster's.
            Notable::Settled { key } => {
                self.local.remove(key);
                None
            }
            _ => None,
        }
    }

    /// Takes note of a change of the ban list. Gives the bans that ended with it and are not told yet.
    pub fn note_change(&mut self, change: &Change, warden: &Warden) -> Vec<BanKey> {
        match change {
            Change::Banned { key, until, .. }
            | Change::Damped { key, until, .. }
            | Change::Extended { key, until, .. }
            | Change::Shortened { key, until } => {
                self.local.remove(key);
                self.expect(key, *until);
                Vec::new()
            }
            Change::Unbanned { key, reason: UnbanReason::Expired, ban, .. }
                if ban.until.is_over(self.passed) =>
            {
                self.local.remove(key);
                Vec::new()
            }
            Change::Unbanned { key, ban, .. } => {
                self.local.remove(key);
                if let Some(end) = ban.until.end() {
                    self.by_time.remove(&(end, key.clone()));
                }
                vec![key.clone()]
            }
            Change::Lifted(lift) => {
                let kept: BTreeSet<&BanKey> = warden.outbox().map(|entry| &entry.key).collect();
                let is_over =
                    |key: &&BanKey| lift.covers(key.subnet, &key.jail, warden.node()) && !kept.contains(key);
                let over: Vec<BanKey> = self.local.keys().filter(is_over).cloned().collect();
                for key in &over {
                    self.local.remove(key);
                }
                over
            }
            _ => Vec::new(),
        }
    }

    /// What has ended by itself since this was asked last.
    pub fn over(&mut self, view: &BanView, now: Timestamp) -> Vec<BanKey> {
        let mut over = Vec::new();
        while self.by_time.first().is_some_and(|(end, _)| *end < now) {
            let Some((end, key)) = self.by_time.pop_first() else { break };
            let until = view.ban(&key).map(|ban| ban.until).or_else(|| self.local.get(&key).copied());
            // Any other is an end that it had before, or was told when it was lifted.
            if until.and_then(Until::end) == Some(end) {
                self.local.remove(&key);
                over.push(key);
            }
        }
        self.passed = self.passed.max(now);
        over
    }

    fn block(&mut self, key: &BanKey, until: Until) {
        self.local.insert(key.clone(), until);
        self.expect(key, until);
    }

    fn expect(&mut self, key: &BanKey, until: Until) {
        if let Some(end) = until.end() {
            self.by_time.insert((end, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::ban_list::BanList;
    use bannkreis_core::change::{Lift, Voided};
    use bannkreis_core::ids::{NodeId, Position};
    use bannkreis_core::jail::JailName;
    use bannkreis_core::judge::Protection;
    use bannkreis_core::settings::Settings;

    fn key(last: u8) -> BanKey {
        let jail = JailName::new("sshd").expect("a name");
        BanKey { subnet: format!("192.0.2.{last}").parse().expect("an address"), jail }
    }

    fn blocked(last: u8, until: Until) -> Notable {
        let (evidence, is_of_low_trust) = (String::new(), false);
        Notable::Blocked { key: key(last), until, failures: 5, n_told: 0, evidence, is_of_low_trust }
    }

    #[test]
    fn each_block_of_this_host_ends_once() {
        let view = BanList::new(Settings::at_birth([0; 16])).view();
        let warden = Warden::new(NodeId(1), view.clone(), Vec::new(), Vec::new());
        let mut ends = BanEnds::default();
        let end = Until::at(Timestamp(1_000));
        for last in 1..=3 {
            assert_eq!(ends.note(&blocked(last, end)), None);
        }
        assert_eq!(ends.note(&blocked(4, Until::FOREVER)), None);
        assert_eq!(ends.next(), Some(Timestamp(1_001)));
        let released = Notable::Protected { key: key(2), why: Protection::AllowList };
        assert_eq!(ends.note(&released), Some(key(2)));
        let lift = Lift {
            target: key(3).subnet,
            voided: Voided::default(),
            position: Position::default(),
            at: Timestamp(500),
        };
        assert_eq!(ends.note_change(&Change::Lifted(lift), &warden), [key(3)]);
        // The last millisecond belongs to it.
        assert!(ends.over(&view, Timestamp(1_000)).is_empty());
        assert_eq!(ends.over(&view, Timestamp(1_001)), [key(1)]);
        assert_eq!((ends.over(&view, Timestamp(9_999)), ends.next()), (Vec::new(), None));
    }
}
