//! Failures counted across hosts: an attacker who stays below maxretry on each of them, and what must not count.

use crate::generated::{BEGIN, command, failure, jail, jail_name, offender_number, position};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::event::{Configuration, Effect, Event};
use bannkreis_core::event_id::LineDigest;
use bannkreis_core::failure::Failure;
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{Jail, Scope};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::proposal::{Proposal, Report, ReportedFailure};
use bannkreis_core::settings::Settings;
use bannkreis_core::time::{MINUTE_MS, Now, SECOND_MS, Timestamp};
use bannkreis_core::warden::{REPORT_BATCH_MS, TOLD_PER_PEER_MAX, Warden};
use std::collections::BTreeSet;

const MAX_RETRY: u32 = 5;
const FIND_TIME_MS: u64 = 600 * SECOND_MS;
const BAN_MS: u64 = 60 * SECOND_MS;

/// Hosts that hear each other at once, and the ban list that they share.
struct Circle {
    list: BanList,
    index: u64,
    wardens: Vec<Warden>,
    at: Timestamp,
    /// What was told, to whoever has missed it.
    told: Vec<Report>,
    proposals: Vec<Proposal>,
}

impl Circle {
    fn new(n_hosts: u64) -> Circle {
        Circle::of(n_hosts, &jail_of(Scope::Cluster))
    }

    fn of(n_hosts: u64, jail: &Jail) -> Circle {
        let mut list = BanList::new(Settings::at_birth([1; 16]));
        let seen = (1..=n_hosts)
            .map(|node| Op::NodeSeen(NodeRecord { node: NodeId(node), ..NodeRecord::default() }));
        let tick = Op::Tick { readings: vec![(NodeId(1), BEGIN)] };
        list.apply(position(1), &command(BEGIN, std::iter::once(tick).chain(seen).collect()));
        let wardens = (1..=n_hosts)
            .map(|node| Warden::new(NodeId(node), list.view(), Vec::new(), Vec::new()))
            .collect();
        let mut circle =
            Circle { list, index: 1, wardens, at: BEGIN, told: Vec::new(), proposals: Vec::new() };
        for host in 0..circle.wardens.len() {
            let configuration = Configuration { jails: vec![jail.clone()], ..Configuration::default() };
            circle.step(host, Event::Configured(configuration));
            circle.step(host, Event::CaughtUp);
            circle.step(host, Event::Leader { known: true });
        }
        circle
    }

    /// One step, with what it tells handed on.
    fn step(&mut self, host: usize, event: Event) {
        let now = Now::known(self.at, self.at);
        let mut effects = Vec::new();
        self.wardens[host].step(now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Propose(proposals) => self.proposals.extend(proposals),
                Effect::Report { to, reports } => {
                    self.told.extend(reports.clone());
                    for other in (0..self.wardens.len()).filter(|other| *other != host) {
                        if to.is_none_or(|only| only == self.wardens[other].node()) {
                            self.step(other, Event::Reported(reports.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// A line about offender 0 in `host`'s log.
    fn fail(&mut self, host: usize, line: LineDigest) {
        let failure = Failure { line, ..failure(offender_number(0), self.at) };
        self.step(host, Event::Failures(vec![failure]));
    }

    /// Time passes, with the wardens' own timers.
    fn wait(&mut self, ms: u64) {
        let end = self.at.plus_ms(ms);
        while let Some((due, host)) = (0..self.wardens.len())
            .filter_map(|host| Some((self.wardens[host].next_timer()?.max(self.at), host)))
            .min()
            .filter(|(due, _)| *due <= end)
        {
            self.at = due;
            self.step(host, Event::Timer);
        }
        self.at = end;
    }

    /// The leader commits these, and all hosts apply them.
    fn commit(&mut self, ops: Vec<Op>) {
        self.index += 1;
        let readings = self.wardens.iter().map(|warden| (warden.node(), self.at)).collect();
        let ops = std::iter::once(Op::Tick { readings }).chain(ops).collect();
        let applied = self.list.apply(position(self.index), &command(self.at, ops));
        for host in 0..self.wardens.len() {
            let changes = applied.changes.clone();
            self.step(host, Event::Applied { view: self.list.view(), changes });
        }
    }

    fn commit_proposals(&mut self) {
        let proposals = std::mem::take(&mut self.proposals);
        self.commit(proposals.into_iter().map(Op::Ban).collect());
    }

    fn blocks(&self, host: usize) -> bool {
        self.wardens[host].ruleset().elements.contains_key(&offender_number(0))
    }

    /// What a peer says of offender 0: so many failures, a second apart, the last one now.
    fn report(&self, origin: u64, n_failures: u64) -> Report {
        let failures = (0..n_failures)
            .map(|n| ReportedFailure { event_id: origin * 1_000 + n, age_ms: n * SECOND_MS })
            .collect();
        Report {
            origin: NodeId(origin),
            basis: self.list.position(),
            jail: jail_name(0),
            offender: offender_number(0),
            failures,
        }
    }
}

fn jail_of(scope: Scope) -> Jail {
    Jail { scope, ..jail(MAX_RETRY, BAN_MS) }
}

fn unban() -> Op {
    let operator =
        Operator { command_id: CommandId(1), node: NodeId(1), author: "anna".into(), reason: String::new() };
    Op::Unban { operator, selection: UnbanSelection::Target { target: offender_number(0), jail: None } }
}

#[test]
fn one_try_on_each_of_ten_hosts_is_ten_tries() {
    let mut circle = Circle::new(10);
    for host in 0..10 {
        // In one second, with one text that names no host.
        circle.fail(host, LineDigest::default());
        circle.wait(REPORT_BATCH_MS);
        assert_eq!(circle.proposals.is_empty(), host + 1 < MAX_RETRY as usize, "host {host}");
    }
    let first = circle.proposals.first().unwrap();
    assert_eq!((first.origin, first.failures), (NodeId(5), MAX_RETRY), "the one that heard of all");
    assert_eq!(first.contributors, [1, 2, 3, 4].map(NodeId));
    assert_eq!(first.evidence.len(), 1, "its own line");
    assert_eq!(first.last_failure_age_ms, 0, "the deciding failure is the last one");
    circle.commit_proposals();
    assert!((0..10).all(|host| circle.blocks(host)));
    let bans = circle.list.bans_of(offender_number(0)).map(|(_, ban)| ban.count).collect::<Vec<u32>>();
    assert_eq!(bans, [1], "one offence, however many noticed it at once");
}

#[test]
fn nobody_is_banned_where_nothing_was_seen() {
    let mut circle = Circle::new(2);
    let report = circle.report(2, 100);
    circle.step(0, Event::Reported(vec![report]));
    assert!(circle.proposals.is_empty() && !circle.blocks(0));
    // The first line of its own decides.
    circle.fail(0, LineDigest::default());
    assert_eq!(circle.proposals.len(), 1);
    assert_eq!(circle.proposals[0].failures, MAX_RETRY, "of a hundred that a peer tells, so many count");
}

#[test]
fn a_line_in_two_logs_is_one_failure() {
    let mut circle = Circle::new(3);
    for n in 0..u64::from(MAX_RETRY) - 1 {
        let line = LineDigest { text: n, names_host: true };
        // Host 2 is the central log.
        circle.fail(0, line);
        circle.fail(2, line);
        circle.wait(SECOND_MS);
    }
    assert!(circle.proposals.is_empty(), "four tries, in two logs each");
    circle.fail(1, LineDigest { text: 99, names_host: true });
    circle.wait(SECOND_MS);
    assert!(!circle.proposals.is_empty(), "the fifth");
}

#[test]
fn the_same_line_twice_in_one_log_is_two_failures() {
    let mut circle = Circle::new(2);
    for _ in 0..MAX_RETRY - 1 {
        circle.fail(0, LineDigest { text: 1, names_host: true });
    }
    circle.fail(1, LineDigest { text: 2, names_host: true });
    circle.wait(REPORT_BATCH_MS);
    assert!(!circle.proposals.is_empty());
}

#[test]
fn a_slow_attack_is_no_attack() {
    let mut circle = Circle::new(4);
    for host in 0..4 {
        circle.fail(host, LineDigest::default());
        circle.wait(FIND_TIME_MS / 2);
        circle.fail(host, LineDigest::default());
        circle.wait(FIND_TIME_MS / 2);
    }
    assert!(circle.proposals.is_empty(), "never more than three within findtime");
}

#[test]
fn an_unban_clears_what_peers_told() {
    let mut circle = Circle::new(4);
    for host in 0..2 {
        circle.fail(host, LineDigest::default());
        circle.fail(host, LineDigest::default());
    }
    circle.wait(SECOND_MS);
    let late = circle.told.clone();
    circle.commit(vec![unban()]);
    // A delayed report brings nothing back.
    for report in late {
        circle.step(3, Event::Reported(vec![report]));
    }
    circle.wait(SECOND_MS);
    circle.fail(3, LineDigest::default());
    circle.fail(0, LineDigest::default());
    circle.wait(SECOND_MS);
    assert!(circle.proposals.is_empty());
    for _ in 0..3 {
        circle.fail(2, LineDigest::default());
    }
    circle.wait(SECOND_MS);
    assert!(!circle.proposals.is_empty(), "what comes after it counts");
}

#[test]
fn what_led_to_one_ban_counts_for_no_second_one() {
    let mut circle = Circle::new(3);
    for host in 0..2 {
        circle.fail(host, LineDigest::default());
        circle.fail(host, LineDigest::default());
    }
    circle.fail(2, LineDigest::default());
    circle.wait(REPORT_BATCH_MS);
    assert!(!circle.proposals.is_empty());
    circle.commit_proposals();
    circle.wait(BAN_MS + MINUTE_MS);
    circle.proposals.clear();
    assert!(!circle.blocks(2));
    // The others still have their lines, and tell them to whoever comes back.
    for host in 0..2 {
        circle.step(host, Event::PeerReached(NodeId(3)));
    }
    circle.fail(2, LineDigest::default());
    circle.wait(SECOND_MS);
    assert!(circle.proposals.is_empty());
}

#[test]
fn whoever_comes_back_is_told_what_counts() {
    let mut circle = Circle::new(2);
    let mut lonely = Circle::new(2);
    for _ in 0..MAX_RETRY - 1 {
        lonely.fail(0, LineDigest::default());
    }
    lonely.wait(SECOND_MS);
    let before = lonely.told.len();
    lonely.step(0, Event::PeerReached(NodeId(2)));
    let retold = lonely.told.split_off(before);
    assert_eq!(retold.iter().map(|report| report.failures.len()).sum::<usize>(), 4);
    circle.fail(1, LineDigest::default());
    // Told twice, counted once.
    circle.step(1, Event::Reported(retold.iter().map(three_of).collect()));
    circle.step(1, Event::Reported(retold.iter().map(three_of).collect()));
    assert!(circle.proposals.is_empty());
    circle.step(1, Event::Reported(retold));
    assert_eq!(circle.proposals.len(), 1);
}

fn three_of(report: &Report) -> Report {
    Report { failures: report.failures[..3].to_vec(), ..report.clone() }
}

#[test]
fn a_local_jail_tells_nothing_and_believes_nothing() {
    let mut circle = Circle::of(2, &jail_of(Scope::Local));
    circle.fail(0, LineDigest::default());
    circle.wait(SECOND_MS);
    assert!(circle.told.is_empty());
    let report = circle.report(2, 4);
    circle.step(0, Event::Reported(vec![report]));
    assert!(circle.proposals.is_empty());
}

#[test]
fn only_trusted_members_are_believed_and_only_about_whom_may_be_banned() {
    let mut circle = Circle::new(2);
    circle.fail(0, LineDigest::default());
    let stranger = circle.report(77, 4);
    let own = circle.report(1, 4);
    let wide = Report { offender: offender_number(0).widened_to(24), ..circle.report(2, 4) };
    circle.step(0, Event::Reported(vec![stranger, own, wide]));
    assert!(circle.proposals.is_empty());
    let selection = UnbanSelection::ByNode { node: NodeId(2), since: Timestamp::ZERO };
    let Op::Unban { operator, .. } = unban() else { unreachable!("it is one") };
    let before = circle.report(2, 4);
    circle.step(1, Event::Timer);
    circle.commit(vec![Op::Unban { operator, selection }]);
    let after = circle.report(2, 4);
    circle.step(0, Event::Reported(vec![before, after]));
    assert!(circle.proposals.is_empty(), "a node that nobody trusts");
}

#[test]
fn a_host_on_trial_tells_nothing_and_blocks_nothing() {
    let mut circle = Circle::new(2);
    let configuration =
        Configuration { jails: vec![jail_of(Scope::Cluster)], observe: true, ..Configuration::default() };
    circle.step(0, Event::Configured(configuration));
    circle.fail(0, LineDigest::default());
    circle.wait(SECOND_MS);
    let report = circle.report(2, 4);
    circle.step(0, Event::Reported(vec![report]));
    assert!(circle.told.is_empty() && circle.proposals.is_empty());
}

#[test]
fn one_peer_fills_no_memory() {
    let mut circle = Circle::new(2);
    let reports: Vec<Report> = (0..TOLD_PER_PEER_MAX + 1_000)
        .map(|n| {
            let [_, a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
            let offender = std::net::IpAddr::from([45, a, b, c]);
            let offender = bannkreis_core::subnet::Subnet::host(offender);
            let failures = vec![ReportedFailure { event_id: n as u64, age_ms: 0 }];
            Report { offender, failures, ..circle.report(2, 0) }
        })
        .collect();
    circle.step(0, Event::Reported(reports));
    let now = Now::known(circle.at, circle.at);
    let all = bannkreis_core::subnet::Subnet::all_v4();
    let remembered: BTreeSet<_> =
        circle.wardens[0].told_about(now, all).map(|(key, _)| key.offender).collect();
    assert_eq!(remembered.len(), TOLD_PER_PEER_MAX);
    circle.wait(FIND_TIME_MS + MINUTE_MS);
    let now = Now::known(circle.at, circle.at);
    assert_eq!(circle.wardens[0].told_about(now, all).count(), 0);
    assert_eq!(circle.wardens[0].next_timer(), None, "nothing is left to forget");
}
