//! An operator's word for one host: it counts before what the cluster says, and only for its time.

use crate::generated::{BEGIN, command, list, position};
use bannkreis_core::command::Op;
use bannkreis_core::event::{Configuration, Effect, Event, Override, OverrideKind};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::ruleset::Ruleset;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, HOUR_MS, Now, Timestamp, Until};
use bannkreis_core::warden::Warden;

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

fn at(hours: u64) -> Now {
    let cluster = BEGIN.plus_ms(hours * HOUR_MS);
    Now::known(cluster, cluster)
}

fn decision(kind: OverrideKind, until: Timestamp) -> Option<Override> {
    let (author, reason) = ("bob".into(), String::new());
    Some(Override { kind, author, reason, until: Until::at(until), estimated: false })
}

/// A host on which a /24 is banned for ever, and what its firewall holds.
struct Host {
    warden: Warden,
    firewall: Ruleset,
}

impl Host {
    fn new() -> Host {
        let (mut list, index) = list();
        let (author, reason) = (String::new(), String::new());
        let ban = Op::OperatorBan {
            operator: Operator { command_id: CommandId(1), node: NodeId(1), author, reason },
            target: subnet("192.0.2.0/24"),
            jail: JailName::operator(),
            ban_time: BanTime::Forever,
            ports: Ports::whole_host(),
            force: false,
        };
        list.apply(position(index + 1), &command(BEGIN, vec![ban]));
        let warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
        let mut host = Host { warden, firewall: Ruleset::default() };
        host.step(0, Event::Configured(Configuration::default()));
        host.step(0, Event::CaughtUp);
        host
    }

    fn step(&mut self, hours: u64, event: Event) {
        let mut effects = Vec::new();
        self.warden.step(at(hours), event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Firewall(delta) => self.firewall.apply(&delta),
                Effect::ReplaceFirewall(ruleset) => self.firewall = ruleset,
                Effect::SettleFirewall { ruleset, is_exact } => {
                    assert!(!is_exact || self.firewall == ruleset);
                    self.firewall = ruleset;
                }
                _ => {}
            }
        }
        assert_eq!(&self.firewall, self.warden.ruleset());
    }

    fn decide(&mut self, hours: u64, target: &str, decision: Option<Override>) {
        self.step(hours, Event::Override { subnet: subnet(target), decision });
    }

    /// Whether packets from there are dropped.
    fn drops(&self, address: &str) -> bool {
        let holding = |outer: &Subnet| outer.contains(subnet(address));
        !self.firewall.protected.iter().any(holding) && self.firewall.elements.keys().any(holding)
    }
}

#[test]
fn who_is_let_through_passes_inside_a_wider_ban_and_only_for_a_while() {
    let mut host = Host::new();
    assert!(host.drops("192.0.2.7") && host.drops("192.0.2.8"));
    host.decide(1, "192.0.2.7", decision(OverrideKind::Release, at(3).cluster));
    assert!(!host.drops("192.0.2.7") && host.drops("192.0.2.8"));
    host.step(2, Event::Timer);
    assert!(!host.drops("192.0.2.7"));
    host.step(4, Event::Timer);
    assert!(host.drops("192.0.2.7") && host.firewall.protected.is_empty());
}

#[test]
fn a_word_that_is_taken_back_or_replaced_leaves_nothing_behind() {
    let mut host = Host::new();
    host.decide(0, "192.0.2.7", decision(OverrideKind::Release, at(9).cluster));
    host.decide(1, "192.0.2.7", None);
    assert!(host.drops("192.0.2.7") && host.warden.overrides().is_empty());
    host.decide(1, "203.0.113.7", decision(OverrideKind::Release, at(9).cluster));
    host.decide(2, "203.0.113.7", decision(OverrideKind::Block, at(5).cluster));
    assert!(host.drops("203.0.113.7"));
    host.step(6, Event::Timer);
    assert!(!host.drops("203.0.113.7") && host.firewall.elements.len() == 1);
}

#[test]
fn a_word_that_ends_while_no_process_is_there_leaves_nothing_behind_either() {
    let mut host = Host::new();
    let someone = subnet("192.0.2.7");
    let kept = decision(OverrideKind::Release, at(1).cluster);
    host.step(0, Event::Override { subnet: someone, decision: kept.clone() });
    assert!(host.firewall.protected.contains(&someone));
    // The next process knows of it, and hears of no leader: it has not caught up, and what it holds stays.
    let kept = kept.into_iter().map(|decision| (someone, decision)).collect();
    host.warden = Warden::new(NodeId(1), host.warden.view().clone(), Vec::new(), kept);
    let mut events = vec![Event::Configured(Configuration::default())];
    while let Some(event) = events.pop() {
        let mut effects = Vec::new();
        host.warden.step(at(2), event, &mut effects);
        for effect in effects {
            if let Effect::Firewall(delta) = effect {
                host.firewall.apply(&delta);
            }
        }
        events.extend(host.warden.next_timer().filter(|due| *due <= at(2).cluster).map(|_| Event::Timer));
    }
    assert!(!host.firewall.protected.contains(&someone), "{:?}", host.firewall.protected);
}
