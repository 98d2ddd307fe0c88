//! Sources of low trust: what anybody may have sent blocks for an hour at most, here only, and is counted with nothing else.

use crate::generated::{failure, jail, offender_number};
use crate::host::Host;
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::event::{Effect, Event, Notable};
use bannkreis_core::failure::{Failure, SourceId};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::BanPolicy;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Until};
use bannkreis_core::warden::{LOW_TRUST_BLOCKS_MAX, Warden};
use std::net::{IpAddr, Ipv4Addr};

const SPOOFED: SourceId = SourceId(9);

fn host(max_retry: u32) -> Host {
    let mut host = Host::of(jail(max_retry, DAY_MS));
    host.step(Event::CaughtUp);
    host.step(Event::Leader { known: true });
    host.step(Event::LowTrust { source: SPOOFED });
    host
}

impl Host {
    fn hear(&mut self, offender: Subnet, is_spoofed: bool) -> Vec<Effect> {
        self.at = self.at.plus_ms(SECOND_MS);
        let known = failure(offender, self.at);
        let failure = if is_spoofed { Failure { source: SPOOFED, ..known } } else { known };
        self.step(Event::Failures(vec![failure]))
    }

    fn blocks_until(&self, offender: Subnet) -> Option<Until> {
        self.warden.ruleset().elements.get(&offender).map(|element| element.until)
    }
}

/// Whether anybody else hears of it.
fn leaves(effects: &[Effect]) -> bool {
    let leaves =
        |effect: &Effect| matches!(effect, Effect::Propose(_) | Effect::Notify(_) | Effect::Report { .. });
    effects.iter().any(leaves)
}

#[test]
fn it_blocks_here_for_an_hour_and_nobody_else_hears_of_it() {
    let (mut host, offender) = (host(3), offender_number(0));
    for _ in 0..2 {
        assert!(!leaves(&host.hear(offender, true)));
    }
    assert_eq!(host.blocks_until(offender), None);
    assert!(!leaves(&host.hear(offender, true)));
    let end = host.at.plus_ms(HOUR_MS);
    assert_eq!(host.blocks_until(offender), Some(Until::at(end)));
    // Neither later, nor by news of the cluster, nor again while it holds.
    for _ in 0..5 {
        host.at = host.at.plus_ms(MINUTE_MS);
        assert!(!leaves(&host.step(Event::Timer)));
        assert!(!leaves(&host.apply(Vec::new())));
        assert!(!leaves(&host.hear(offender, true)));
    }
    assert_eq!(host.blocks_until(offender), Some(Until::at(end)));
    host.at = end.plus_ms(10 * SECOND_MS);
    host.step(Event::Timer);
    assert_eq!((host.blocks_until(offender), host.warden.outbox().count()), (None, 0));
}

#[test]
fn it_is_counted_with_nothing_else_and_what_is_known_better_takes_its_place() {
    let (mut host, offender) = (host(3), offender_number(0));
    for is_spoofed in [true, false, true, false] {
        host.hear(offender, is_spoofed);
    }
    assert_eq!(host.blocks_until(offender), None, "two and two are not four");
    host.hear(offender, true);
    assert!(host.blocks_until(offender).is_some());
    let effects = host.hear(offender, false);
    assert!(leaves(&effects), "the third of this host's own is enough for the cluster");
    assert_eq!(host.blocks_until(offender), Some(Until::at(host.at.plus_ms(DAY_MS))));
    let entry = host.warden.outbox().next().expect("it waits");
    assert!(entry.local.is_none() && entry.failures == 3 && entry.served.is_empty());
    // What is invented afterwards changes nothing.
    for _ in 0..6 {
        host.hear(offender, true);
    }
    assert!(host.warden.outbox().all(|entry| entry.local.is_none()));
}

#[test]
fn the_cluster_takes_nothing_of_it_and_an_operator_lifts_it() {
    let (mut host, offender) = (host(1), offender_number(0));
    host.hear(offender, true);
    assert!(host.blocks_until(offender).is_some());
    let kept: Vec<_> = host.warden.outbox().cloned().collect();
    let mut again = Warden::new(NodeId(1), host.list.view(), kept, Vec::new());
    assert_eq!(again.n_waiting(host.at), 0, "over a restart as well");
    again.step(bannkreis_core::time::Now::known(host.at, host.at), Event::Timer, &mut Vec::new());
    let operator =
        Operator { command_id: CommandId(77), node: NodeId(3), author: String::new(), reason: String::new() };
    let selection = UnbanSelection::Target { target: offender, jail: None };
    host.apply(vec![Op::Unban { operator, selection }]);
    assert_eq!((host.blocks_until(offender), host.warden.outbox().count()), (None, 0));
}

#[test]
fn a_flood_of_invented_addresses_pushes_nothing_out() {
    let mut host = host(1);
    let known = Subnet::host(IpAddr::V4(Ipv4Addr::new(45, 1, 1, 1)));
    host.hear(known, false);
    let n_invented = u32::try_from(LOW_TRUST_BLOCKS_MAX).expect("few") + 50;
    let mut n_told = 0;
    for n in 0..n_invented {
        let invented = Subnet::host(IpAddr::V4(Ipv4Addr::from(0x2e00_0000 + n)));
        let at = host.at;
        let effects = host.step(Event::Failures(vec![Failure { source: SPOOFED, ..failure(invented, at) }]));
        n_told += effects.iter().filter(|effect| **effect == Effect::Tell(Notable::LowTrustFull)).count();
    }
    assert_eq!((host.warden.outbox().count(), n_told), (LOW_TRUST_BLOCKS_MAX + 1, 1));
    assert!(host.blocks_until(known).is_some());
}

#[test]
fn a_shorter_ban_stays_as_short_as_it_is() {
    let mut jail = jail(1, 0);
    jail.policy = BanPolicy::fixed(BanTime::Ms(MINUTE_MS));
    let mut host = Host::of(jail);
    host.step(Event::LowTrust { source: SPOOFED });
    host.hear(offender_number(1), true);
    assert_eq!(host.blocks_until(offender_number(1)), Some(Until::at(host.at.plus_ms(MINUTE_MS))));
}
