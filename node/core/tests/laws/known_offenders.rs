//! Whoever was banned before is banned sooner and longer, also on a node that nobody answers: each offence
//! counts, whether the cluster has heard of it or not.

use crate::generated::{failure, jail, jail_name, offender_number};
use crate::host::Host;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Op;
use bannkreis_core::event::{Effect, Event, SERVED_OFFENCES_MAX};
use bannkreis_core::failure::{Failure, SourcePosition};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{BanPolicy, Growth, Jail};
use bannkreis_core::proposal::Proposal;
use bannkreis_core::settings::Setting;
use bannkreis_core::time::{BanTime, SECOND_MS, Timestamp, Until};

const BAN_S: u64 = 60;

impl Host {
    fn new(max_retry: u32) -> Host {
        let table_ms = (0..20).map(|n| (BAN_S * SECOND_MS) << n).collect();
        let growth = Growth { table_ms, max_ms: Some(600 * SECOND_MS), rnd_ms: 0, overall_jails: false };
        let policy = BanPolicy { ban_time: BanTime::Ms(BAN_S * SECOND_MS), growth: Some(growth) };
        let mut host = Host::of(Jail { policy, ..jail(max_retry, BAN_S * SECOND_MS) });
        host.step(Event::CaughtUp);
        host
    }

    /// Lets failures happen, a second apart, until the host blocks; says after how many, and until when.
    fn fail_until_blocked(&mut self) -> (u32, Timestamp) {
        for n in 1.. {
            self.at = self.at.plus_ms(SECOND_MS);
            let failure = failure(offender_number(0), self.at);
            self.step(Event::Failures(vec![failure]));
            if let Some(element) = self.warden.ruleset().elements.get(&offender_number(0)) {
                return (n, element.until.end().expect("a ban with an end"));
            }
        }
        unreachable!("some count is enough")
    }

    /// Lets time pass, with the warden's own timers.
    fn wait_until(&mut self, end: Timestamp) {
        while let Some(due) = self.warden.next_timer().filter(|due| *due <= end) {
            self.at = self.at.max(due);
            self.step(Event::Timer);
        }
        self.at = end;
    }

    /// The leader commits what the warden proposes until it has nothing more to say.
    fn find_leader(&mut self) -> usize {
        self.step(Event::Leader { known: false });
        let mut proposals = proposed(self.step(Event::Leader { known: true }));
        let mut n_proposals = 0;
        while !proposals.is_empty() {
            n_proposals += proposals.len();
            proposals = proposed(self.apply(proposals.into_iter().map(Op::Ban).collect()));
        }
        n_proposals
    }

    fn count(&self) -> Option<u32> {
        let key = BanKey { subnet: offender_number(0), jail: jail_name(0) };
        self.list.past(&key).map(|past| past.count)
    }
}

fn proposed(effects: Vec<Effect>) -> Vec<Proposal> {
    let of = |effect| match effect {
        Effect::Propose(proposals) => proposals,
        _ => Vec::new(),
    };
    effects.into_iter().flat_map(of).collect()
}

#[test]
fn known_offenders_are_banned_sooner_and_longer() {
    let mut host = Host::new(5);
    host.find_leader();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (n_failures, until) = host.fail_until_blocked();
        seen.push((n_failures, until.ms_since(host.at) / SECOND_MS));
        host.find_leader();
        host.wait_until(until.plus_ms(SECOND_MS));
    }
    // Failures of weight 1, 2, 3 and 5 against a maxretry of five.
    assert_eq!(seen, [(5, 60), (3, 120), (2, 240), (1, 480)]);
    assert_eq!(host.count(), Some(4));
}

#[test]
fn whoever_goes_on_failing_behind_a_block_is_blocked_once() {
    let mut host = Host::new(1);
    let n_blocked = |host: &Host| host.warden.jails().map(|(_, counts)| counts.n_blocked).sum::<u64>();
    let (_, until) = host.fail_until_blocked();
    for _ in 0..3 {
        host.at = host.at.plus_ms(SECOND_MS);
        host.step(Event::Failures(vec![failure(offender_number(0), host.at)]));
    }
    assert_eq!((n_blocked(&host), host.warden.n_waiting(host.at)), (1, 1));
    // The same when it is the cluster's ban.
    host.find_leader();
    host.step(Event::Failures(vec![failure(offender_number(0), host.at)]));
    assert_eq!((n_blocked(&host), host.warden.n_waiting(host.at)), (1, 0));
    host.wait_until(until.plus_ms(60 * SECOND_MS));
    host.fail_until_blocked();
    assert_eq!(n_blocked(&host), 2);
}

#[test]
fn a_ban_that_was_cut_short_for_quota_waits_for_nobody() {
    let mut host = Host::new(1);
    let fields = vec![Setting::QuotaBurst(0), Setting::QuotaPerMinute(0), Setting::DampedMs(30 * SECOND_MS)];
    let operator =
        Operator { command_id: CommandId(1), node: NodeId(1), author: String::new(), reason: String::new() };
    host.apply(vec![Op::Settings { operator, fields }]);
    let (_, until) = host.fail_until_blocked();
    host.find_leader();
    let key = BanKey { subnet: offender_number(0), jail: jail_name(0) };
    let damped = host.list.live(&key, host.at).expect("a ban that was cut short");
    assert!(damped.damped_by == Some(NodeId(1)) && damped.until < Until::at(until));
    // It will be asked about again, and is answered all the same.
    assert_eq!((host.warden.outbox().count(), host.warden.n_waiting(host.at)), (1, 0));
}

#[test]
fn offences_that_nobody_answered_count_all_the_same() {
    let mut host = Host::new(5);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (n_failures, until) = host.fail_until_blocked();
        seen.push((n_failures, until.ms_since(host.at) / SECOND_MS));
        host.wait_until(until.plus_ms(SECOND_MS));
    }
    let (n_failures, until) = host.fail_until_blocked();
    seen.push((n_failures, until.ms_since(host.at) / SECOND_MS));
    assert_eq!(seen, [(5, 60), (3, 120), (2, 240), (1, 480)]);
    // The leader hears of one after the other, and of none twice.
    assert_eq!(host.find_leader(), 4);
    assert_eq!(host.count(), Some(4));
    let key = BanKey { subnet: offender_number(0), jail: jail_name(0) };
    assert_eq!(host.list.live(&key, host.at).map(|ban| ban.until), Some(Until::at(until)));
    assert_eq!(host.warden.outbox().count(), 0);
}

#[test]
fn an_entry_remembers_so_many_offences_and_no_more() {
    let mut host = Host::new(1);
    let n_offences = SERVED_OFFENCES_MAX + 5;
    for _ in 0..n_offences {
        let (_, until) = host.fail_until_blocked();
        host.wait_until(until.plus_ms(SECOND_MS));
    }
    let served = host.warden.outbox().map(|entry| entry.served.len()).max();
    assert_eq!(served, Some(SERVED_OFFENCES_MAX));
    assert_eq!(host.find_leader(), SERVED_OFFENCES_MAX + 1);
    assert_eq!(host.warden.outbox().count(), 0);
}

/// The wall clock was a year behind and is set right, and the lines are read again: they look a year old.
#[test]
fn lines_that_are_read_again_by_another_clock_do_not_end_a_block() {
    let mut host = Host::new(3);
    let (_, until) = host.fail_until_blocked();
    let failed_at = host.at;
    let jump_ms = 365 * 24 * 3_600 * SECOND_MS;
    for n in 0..3 {
        let failure = Failure {
            position: SourcePosition(n),
            replayed: true,
            ..failure(offender_number(0), failed_at.minus_ms(jump_ms + n))
        };
        host.step(Event::Failures(vec![failure]));
    }
    let element = host.warden.ruleset().elements.get(&offender_number(0));
    assert_eq!(element.map(|element| element.until), Some(Until::at(until)));
}
