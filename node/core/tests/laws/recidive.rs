//! Jails that count bans: who is banned again and again on whatever host, and what is no offence of theirs.

use crate::generated::{jail, jail_name, offender_number};
use crate::host::Host;
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::event::Event;
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{BanPolicy, Jail, JailName, Ports, Scope};
use bannkreis_core::proposal::Proposal;
use bannkreis_core::time::{BanTime, HOUR_MS, MINUTE_MS, SECOND_MS};

fn counting() -> Jail {
    let name = JailName::new("recidive").expect("a valid name");
    let find_time_ms = HOUR_MS;
    Jail { name, counts_bans: true, scope: Scope::Local, find_time_ms, ..jail(3, 24 * HOUR_MS) }
}

/// A host with that jail alone, among others that ban.
fn host() -> Host {
    let mut host = Host::of(counting());
    host.wall_ahead_ms = 5 * SECOND_MS;
    host
}

impl Host {
    /// Node 2 bans for a minute; then it is over.
    fn ban(&mut self, jail: &JailName, n: u8) {
        self.at = self.at.plus_ms(2 * MINUTE_MS);
        self.apply(vec![Op::Ban(Proposal {
            origin: NodeId(2),
            basis: self.list.position(),
            jail: jail.clone(),
            offender: offender_number(n),
            first_failure_age_ms: 0,
            last_failure_age_ms: 0,
            failures: 1,
            contributors: Vec::new(),
            policy: BanPolicy::fixed(BanTime::Ms(MINUTE_MS)),
            ports: Ports::tcp(&[22]),
            evidence: Vec::new(),
        })]);
    }

    /// Another node's operator bans a whole network, in some jail.
    fn ban_network(&mut self, network: &str) {
        self.at = self.at.plus_ms(2 * MINUTE_MS);
        let (target, jail) = (network.parse().expect("a network"), jail_name(0));
        let (operator, ban_time, ports) = (self.operator(), BanTime::Ms(MINUTE_MS), Ports::whole_host());
        self.apply(vec![Op::OperatorBan { operator, target, jail, ban_time, ports, force: true }]);
    }

    /// Whether the jail blocks the offender here.
    fn is_blocking(&self, n: u8) -> bool {
        let mut entries = self.warden.outbox();
        entries.any(|entry| entry.key.jail == counting().name && entry.key.subnet == offender_number(n))
    }

    fn operator(&self) -> Operator {
        let (author, reason) = (String::new(), String::new());
        Operator {
            command_id: CommandId(u128::from(self.list.position().index)),
            node: NodeId(3),
            author,
            reason,
        }
    }
}

#[test]
fn whoever_is_banned_again_and_again_on_another_host_is_banned_by_it() {
    let mut host = host();
    host.step(Event::CaughtUp);
    host.ban(&jail_name(0), 0);
    host.ban(&jail_name(1), 0);
    host.ban(&jail_name(0), 1);
    assert!(!host.is_blocking(0));
    host.ban(&jail_name(0), 0);
    assert!(host.is_blocking(0) && !host.is_blocking(1));
    let evidence: Vec<String> =
        host.warden.outbox().flat_map(|entry| &entry.evidence).map(|(_, line)| line.clone()).collect();
    assert!(evidence.iter().any(|line| line == "[ssh] Ban 45.0.0.1"), "{evidence:?}");
    // Beyond findtime nothing adds up.
    host.ban(&jail_name(0), 1);
    host.at = host.at.plus_ms(2 * HOUR_MS);
    host.ban(&jail_name(0), 1);
    assert!(!host.is_blocking(1));
}

#[test]
fn what_an_operator_banned_or_undid_and_its_own_bans_do_not_count() {
    let mut host = host();
    host.step(Event::CaughtUp);
    for _ in 0..5 {
        host.at = host.at.plus_ms(2 * MINUTE_MS);
        let (target, jail) = (offender_number(0), JailName::operator());
        let (operator, ban_time, ports) = (host.operator(), BanTime::Ms(MINUTE_MS), Ports::whole_host());
        host.apply(vec![Op::OperatorBan { operator, target, jail, ban_time, ports, force: false }]);
        host.ban(&counting().name, 1);
    }
    assert!(!host.is_blocking(0) && !host.is_blocking(1));
    host.ban(&jail_name(0), 2);
    host.ban(&jail_name(0), 2);
    let selection = UnbanSelection::Target { target: offender_number(2), jail: None };
    let operator = host.operator();
    host.apply(vec![Op::Unban { operator, selection }]);
    host.ban(&jail_name(0), 2);
    assert!(!host.is_blocking(2), "who was let go begins anew");
}

#[test]
fn what_holds_when_a_node_has_caught_up_counts_once() {
    let mut host = host();
    host.ban(&jail_name(0), 0);
    host.ban(&jail_name(1), 0);
    // Neither while they are applied again nor twice.
    host.step(Event::CaughtUp);
    assert!(!host.is_blocking(0));
    host.step(Event::CaughtUp);
    assert!(!host.is_blocking(0));
    host.ban(&jail_name(0), 0);
    assert!(host.is_blocking(0));
}

#[test]
fn a_network_is_no_offender_who_comes_back() {
    let mut host = host();
    host.step(Event::CaughtUp);
    (0..5).for_each(|_| host.ban_network("45.0.0.0/24"));
    assert_eq!(host.warden.outbox().count(), 0);
    assert!(host.warden.tally().is_empty());
}
