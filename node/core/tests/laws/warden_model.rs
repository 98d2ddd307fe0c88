//! The warden's ruleset, kept up by small changes, always equals one computed from nothing: from its
//! view, its outbox, its peers' notices and its overrides, in the plainest way.

use crate::generated::{BEGIN, command, failure, jail_name, list, offender_number, op, position};
use bannkreis_core::command::Op;
use bannkreis_core::event::{Configuration, Effect, Event, Override, OverrideKind};
use bannkreis_core::failure::{Failure, SourcePosition};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::{BanPolicy, Jail, JailName, Ports, Scope};
use bannkreis_core::proposal::Notice;
use bannkreis_core::reach::Reach;
use bannkreis_core::ruleset::{FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Now, SECOND_MS, Timestamp, Until};
use bannkreis_core::warden::Warden;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Something that happens to a warden.
#[derive(Clone, Debug)]
enum Input {
    Fail { jail: u8, offender: u8 },
    Apply(Op),
    Install(Op),
    Notice { origin: u64, jail: u8, offender: u8, remaining_s: u64 },
    Override { offender: u8, wide: bool, decision: Option<(bool, u64)> },
    Leader(bool),
    Configure { n_jails: u8, observe: bool, ignored: u8 },
    Damage,
    Pass,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => (0u8..2, 0u8..6).prop_map(|(jail, offender)| Input::Fail { jail, offender }),
        6 => op(20).prop_map(Input::Apply),
        1 => op(20).prop_map(Input::Install),
        3 => (2u64..4, 0u8..2, 0u8..6, 0u64..90).prop_map(|(origin, jail, offender, remaining_s)| {
            Input::Notice { origin, jail, offender, remaining_s }
        }),
        2 => (0u8..6, any::<bool>(), proptest::option::weighted(0.7, (any::<bool>(), 5u64..100)))
            .prop_map(|(offender, wide, decision)| Input::Override { offender, wide, decision }),
        1 => any::<bool>().prop_map(Input::Leader),
        1 => (0u8..3, prop::bool::weighted(0.1), 0u8..9).prop_map(|(n_jails, observe, ignored)| {
            Input::Configure { n_jails, observe, ignored }
        }),
        1 => Just(Input::Damage),
        3 => Just(Input::Pass),
    ]
}

fn jail_ports(n: u8) -> Ports {
    Ports::tcp(&[[22, 25][usize::from(n % 2)]])
}

fn jail(n: u8, ignored: u8) -> Jail {
    Jail {
        name: jail_name(n),
        max_retry: 2,
        find_time_ms: 600_000,
        policy: BanPolicy::fixed(BanTime::Ms(if n == 0 { 30_000 } else { 80_000 })),
        ports: jail_ports(n),
        max_matches: 2,
        scope: Scope::Cluster,
        counts_bans: false,
        reach: None,
        ignore: (ignored < 6).then(|| offender_number(ignored)).into_iter().collect(),
    }
}

fn configuration(n_jails: u8, observe: bool, ignored: u8) -> Configuration {
    let jails = (0..n_jails).map(|n| jail(n, ignored)).collect();
    Configuration { jails, own: vec!["80.0.0.1".parse().expect("an address")], peers: Vec::new(), observe }
}

/// One source of an element.
struct Source {
    jail: JailName,
    ports: Ports,
    until: Until,
}

/// What holds exactly `subnet`, by the book.
fn sources(warden: &Warden, config: &Configuration, now: Timestamp, subnet: Subnet) -> Vec<Source> {
    let view = warden.view();
    let ignored = || config.jails.iter().flat_map(|jail| &jail.ignore).chain(&config.own);
    let is_released = warden.overrides().iter().any(|(outer, decision)| {
        decision.kind == OverrideKind::Release && outer.contains(subnet) && !decision.until.is_over(now)
    });
    let is_protected =
        ignored().any(|outer| outer.contains(subnet)) || view.protection(subnet, now).is_some();
    if config.observe || is_protected || is_released {
        return Vec::new();
    }
    let own_ports = |name: &JailName| {
        config
            .jails
            .iter()
            .find(|jail| jail.name == *name)
            .map_or_else(Ports::none, |jail| jail.ports.clone())
    };
    let said = |origin: NodeId, name: &JailName| {
        let record = view.node(origin).map(|entry| &entry.record.reaches);
        let of_jail = record.and_then(|reaches| reaches.iter().find(|(jail, _)| jail == name));
        of_jail.map_or(view.settings().reach, |(_, reach)| *reach)
    };
    let elsewhere = |origins: &[NodeId], name: &JailName, ports: &Ports| {
        let reaches: Vec<Reach> = origins.iter().map(|origin| said(*origin, name)).collect();
        let guarded = || config.jails.iter().fold(ports.clone(), |all, jail| all.union(&jail.ports));
        if reaches.contains(&Reach::Host) {
            Ports::whole_host()
        } else if reaches.contains(&Reach::Guarded) {
            if config.jails.is_empty() { Ports::whole_host() } else { guarded() }
        } else {
            ports.union(&own_ports(name))
        }
    };
    let mut sources = Vec::new();
    for (outer, decision) in warden.overrides().iter().filter(|(outer, _)| *outer == subnet) {
        if decision.kind == OverrideKind::Block && outer == subnet {
            let (jail, ports) = (JailName::operator(), Ports::whole_host());
            sources.push(Source { jail, ports, until: decision.until });
        }
    }
    for (key, ban) in view.bans().filter(|(key, _)| key.subnet == subnet) {
        let is_own = ban.origins.iter().any(|origin| origin.node == warden.node());
        let origins: Vec<NodeId> = ban.origins.iter().map(|origin| origin.node).collect();
        let ports = match is_own {
            true => ban.ports.union(&own_ports(&key.jail)),
            false => elsewhere(&origins, &key.jail, &ban.ports),
        };
        sources.push(Source { jail: key.jail.clone(), ports, until: ban.until });
    }
    for entry in warden.outbox().filter(|entry| entry.key.subnet == subnet) {
        let (jail, ports) = (entry.key.jail.clone(), entry.ports.clone());
        sources.push(Source { jail, ports, until: entry.until });
    }
    for (key, origin, until) in warden.notices(now).filter(|(key, _, _)| key.subnet == subnet) {
        let n = u8::from(key.jail == jail_name(1));
        let ports = elsewhere(&[origin], &key.jail, &jail_ports(n));
        sources.push(Source { jail: key.jail.clone(), ports, until: Until::at(until) });
    }
    sources.retain(|source| !source.until.is_over(now));
    sources
}

/// The warden's ruleset is what its sources say.
fn check(warden: &Warden, config: &Configuration, now: Timestamp) -> Result<(), TestCaseError> {
    let mut subnets: BTreeSet<Subnet> = (0..6).map(offender_number).collect();
    subnets.extend(warden.ruleset().elements.keys());
    subnets.extend(warden.overrides().iter().map(|(subnet, _)| subnet));
    // The end of an allow entry is noticed within five seconds.
    let is_unnoticed = |subnet: Subnet| {
        warden.view().allow_list().holding(subnet).any(|(_, entry)| {
            entry.until.is_over(now) && !entry.until.is_over(now.minus_ms(5 * SECOND_MS + 1))
        })
    };
    for subnet in subnets.into_iter().filter(|subnet| !is_unnoticed(*subnet)) {
        let sources = sources(warden, config, now, subnet);
        let held = warden.ruleset().elements.get(&subnet);
        prop_assert_eq!(held.is_some(), !sources.is_empty(), "{} at {}: {:?}", subnet, now, held);
        let Some(held) = held else { continue };
        let latest = sources.iter().map(|source| source.until).max();
        prop_assert_eq!(Some(held.until), latest, "{}", subnet);
        let ports = sources.iter().fold(Ports::none(), |all, source| all.union(&source.ports));
        prop_assert_eq!(&held.chain.ports, &ports, "{}", subnet);
        let is_last = |source: &Source| source.jail == held.chain.jail && Some(source.until) == latest;
        prop_assert!(sources.iter().any(is_last), "{} is {:?}", subnet, held);
    }
    Ok(())
}

/// Given these inputs so many ms apart, expect the ruleset of the book after each, and a firewall that
/// got only deltas to hold the same.
fn run(inputs: Vec<(u64, Input)>) -> Result<(), TestCaseError> {
    let (mut list, mut index) = list();
    let mut warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
    let mut config = configuration(2, false, 9);
    let mut firewall = Ruleset::default();
    let mut at = BEGIN;
    let first = [Event::Configured(config.clone()), Event::CaughtUp, Event::Leader { known: true }];
    let mut effects = Vec::new();
    let now = |at| Now::known(at, at);
    first.into_iter().for_each(|event| warden.step(now(at), event, &mut effects));
    for (n, (passed_ms, input)) in inputs.into_iter().enumerate() {
        let end = at.plus_ms(passed_ms);
        while let Some(due) = warden.next_timer().filter(|due| *due <= end) {
            at = at.max(due);
            warden.step(now(at), Event::Timer, &mut effects);
            prop_assert!(warden.next_timer().is_none_or(|next| next > at), "due again at once");
            check(&warden, &config, at)?;
        }
        at = end;
        let event = match input {
            Input::Fail { jail, offender } => Event::Failures(vec![Failure {
                jail: jail_name(jail),
                position: SourcePosition(n as u64),
                ..failure(offender_number(offender), at)
            }]),
            Input::Apply(op) => {
                index += 1;
                let readings = vec![(NodeId(1), at)];
                let applied = list.apply(position(index), &command(at, vec![Op::Tick { readings }, op]));
                Event::Applied { view: list.view(), changes: applied.changes }
            }
            Input::Install(op) => {
                index += 1;
                list.apply(position(index), &command(at, vec![op]));
                Event::Installed { view: list.view() }
            }
            Input::Notice { origin, jail, offender, remaining_s } => Event::Noticed(Notice {
                origin: NodeId(origin),
                basis: position(index),
                jail: jail_name(jail),
                offender: offender_number(offender),
                last_failure_age_ms: 10,
                remaining_ms: Some(remaining_s * SECOND_MS),
                ports: jail_ports(jail),
            }),
            Input::Override { offender, wide, decision } => {
                let subnet = offender_number(offender);
                let subnet = if wide { subnet.widened_to(24) } else { subnet };
                let decision = decision.map(|(release, s)| Override {
                    kind: if release { OverrideKind::Release } else { OverrideKind::Block },
                    author: "bob".into(),
                    reason: String::new(),
                    until: Until::at(at.plus_ms(s * SECOND_MS)),
                    estimated: false,
                });
                Event::Override { subnet, decision }
            }
            Input::Leader(known) => Event::Leader { known },
            Input::Configure { n_jails, observe, ignored } => {
                config = configuration(n_jails, observe, ignored);
                Event::Configured(config.clone())
            }
            Input::Damage => Event::FirewallDamaged,
            Input::Pass => Event::Timer,
        };
        warden.step(now(at), event, &mut effects);
        check(&warden, &config, at)?;
        for effect in effects.drain(..) {
            match effect {
                Effect::Firewall(delta) => firewall.apply(&delta),
                Effect::ReplaceFirewall(ruleset) => firewall = ruleset,
                Effect::SettleFirewall { ruleset, is_exact } => {
                    prop_assert!(!is_exact || firewall == ruleset, "something is missing or too much");
                    firewall = ruleset;
                }
                Effect::Propose(proposals) => prop_assert!(!proposals.is_empty()),
                _ => {}
            }
        }
        prop_assert_eq!(&firewall, warden.ruleset());
        let protected_and_held = |delta: &FirewallDelta| matches!(delta, FirewallDelta::Protect { .. });
        prop_assert!(!firewall.diff(warden.ruleset()).iter().any(protected_and_held));
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_ruleset_equals_one_computed_from_nothing(
        inputs in proptest::collection::vec((0u64..20_000, input()), 1..60),
    ) {
        run(inputs)?;
    }
}
