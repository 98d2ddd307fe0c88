//! Who may send messages, how many, and what becomes of those that are refused: they are counted, and said once a minute.
//!
//! Not for sockets.

use bannkreis_core::subnet::Subnet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A sender may send so many datagrams a second. A stream is slowed down in its place.
const DATAGRAMS_PER_SECOND: u64 = 10_000;
/// And so many at once, after it was silent.
const DATAGRAMS_AT_ONCE: u64 = 20_000;
/// Of so many senders that send at once each has its own measure; the others share one.
const SENDERS_MAX: usize = 1_024;
/// How often it is said who is refused.
const SAY_EVERY_MS: u64 = 60_000;

/// What a sender may still send.
#[derive(Clone, Copy, Debug)]
struct Measure {
    left: u64,
    /// CLOCK_BOOTTIME in ms when `left` was worked out.
    at_ms: u64,
}

impl Measure {
    fn full(now_ms: u64) -> Measure {
        Measure { left: DATAGRAMS_AT_ONCE, at_ms: now_ms }
    }

    fn take(&mut self, now_ms: u64) -> bool {
        let refilled = now_ms.saturating_sub(self.at_ms).saturating_mul(DATAGRAMS_PER_SECOND) / 1_000;
        if refilled > 0 {
            *self = Measure { left: (self.left + refilled).min(DATAGRAMS_AT_ONCE), at_ms: now_ms };
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// The senders of this node.
#[derive(Debug)]
pub(super) struct Senders {
    from: Vec<Subnet>,
    measures: BTreeMap<IpAddr, Measure>,
    others: Measure,
    /// By reason: how many since it was said last, the last of them, and when that was.
    refused: BTreeMap<&'static str, (u64, IpAddr, Option<u64>)>,
}

impl Senders {
    /// Those of these networks, and this host by its loopback address.
    pub(super) fn new(from: Vec<Subnet>) -> Senders {
        let (measures, others) = (BTreeMap::new(), Measure::full(0));
        Senders { from, measures, others, refused: BTreeMap::new() }
    }

    /// Whether somebody may send at all.
    pub(super) fn may_send(&mut self, sender: IpAddr, now_ms: u64) -> bool {
        let sender = sender.to_canonical();
        let is_known =
            sender.is_loopback() || self.from.iter().any(|network| network.contains(sender.into()));
        if !is_known {
            self.refuse("they are in none of the networks of `syslog.from`", sender, now_ms);
        }
        is_known
    }

    /// Whether somebody may send one more datagram now.
    pub(super) fn may_send_datagram(&mut self, sender: IpAddr, now_ms: u64) -> bool {
        if !self.may_send(sender, now_ms) {
            return false;
        }
        if self.measures.len() >= SENDERS_MAX && !self.measures.contains_key(&sender) {
            let is_silent = |measure: &Measure| {
                now_ms.saturating_sub(measure.at_ms) * DATAGRAMS_PER_SECOND / 1_000 + measure.left
                    >= DATAGRAMS_AT_ONCE
            };
            self.measures.retain(|_, measure| !is_silent(measure));
        }
        let is_full = self.measures.len() >= SENDERS_MAX && !self.measures.contains_key(&sender);
        let measure = if is_full {
            &mut self.others
        } else {
            self.measures.entry(sender).or_insert_with(|| Measure::full(now_ms))
        };
        let may = measure.take(now_ms);
        if !may {
            self.refuse("one sender may send 10,000 a second by UDP; send them by TCP", sender, now_ms);
        }
        may
    }

    /// Counts what is refused, and says it from time to time.
    pub(super) fn refuse(&mut self, why: &'static str, sender: IpAddr, now_ms: u64) {
        let (n_refused, last, said_ms) = self.refused.entry(why).or_insert((0, sender, None));
        (*n_refused, *last) = (*n_refused + 1, sender);
        if said_ms.is_none_or(|said_ms| said_ms + SAY_EVERY_MS <= now_ms) {
            tracing::warn!(
                "syslog: {n_refused} messages or connections are refused, the last of {last}: {why}"
            );
            (*n_refused, *said_ms) = (0, Some(now_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_measured_by_itself() {
        let mut senders = Senders::new(vec!["192.0.2.0/24".parse().expect("a network")]);
        let [noisy, quiet, foreign, mapped]: [IpAddr; 4] =
            ["192.0.2.1", "192.0.2.2", "198.51.100.1", "::ffff:192.0.2.3"]
                .map(|text| text.parse().expect("address"));
        let mut taken = |sender, n_sent: u64, now_ms| {
            (0..n_sent).filter(|_| senders.may_send_datagram(sender, now_ms)).count() as u64
        };
        assert_eq!(taken(noisy, 50_000, 1_000), DATAGRAMS_AT_ONCE);
        assert_eq!(taken(noisy, 50_000, 1_500), DATAGRAMS_PER_SECOND / 2);
        assert_eq!(taken(quiet, 10, 1_500), 10);
        assert_eq!(taken(foreign, 10, 1_500), 0);
        assert_eq!(taken(mapped, 10, 1_500), 10);
        assert_eq!(taken("127.0.0.1".parse().expect("address"), 10, 1_500), 10);
    }

    #[test]
    fn more_senders_than_have_room_share_one_measure() {
        let mut senders = Senders::new(vec!["2001:db8::/32".parse().expect("a network")]);
        let n_taken = (0..200_000_u32)
            .filter(|n| {
                let sender = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, (n >> 16) as u16, *n as u16]);
                senders.may_send_datagram(sender, 1)
            })
            .count() as u64;
        assert!(senders.measures.len() <= SENDERS_MAX);
        assert_eq!(n_taken, SENDERS_MAX as u64 + DATAGRAMS_AT_ONCE);
    }
}
