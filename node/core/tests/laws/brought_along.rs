//! A node that changes clusters holds what it had until the new cluster does, and not what that has lifted.

use crate::generated::{BEGIN, command, failure, jail, jail_name, list, offender_number, position};
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::event::{Configuration, Effect, Event};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::Ports;
use bannkreis_core::ruleset::FirewallDelta;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, MINUTE_MS, Now, SECOND_MS, Until};
use bannkreis_core::warden::Warden;

/// Who the node was, and who it is.
const FORMERLY: NodeId = NodeId(2);
const NODE: NodeId = NodeId(9);

fn operator(n: u128) -> Operator {
    Operator { command_id: CommandId(n), node: FORMERLY, author: String::new(), reason: String::new() }
}

fn ban(n: u8) -> Op {
    Op::OperatorBan {
        operator: operator(u128::from(n) + 100),
        target: offender_number(n),
        jail: jail_name(0),
        ban_time: BanTime::Ms(60 * MINUTE_MS),
        ports: Ports::tcp(&[22]),
        force: false,
    }
}

/// Bans of the offenders 0 and 1, and an allow entry for 2.
fn former() -> BanList {
    let (mut former, index) = list();
    let entry = AllowEntry {
        subnet: offender_number(2),
        note: String::new(),
        author: String::new(),
        node: FORMERLY,
        until: Until::FOREVER,
    };
    let ops = vec![ban(0), ban(1), Op::Allow { operator: operator(1), entry }];
    former.apply(position(index + 1), &command(BEGIN, ops));
    former
}

struct Joining {
    warden: Warden,
    cluster: BanList,
    index: u64,
}

impl Joining {
    fn new() -> Joining {
        let (cluster, index) = list();
        let warden = Warden::new(NODE, BanList::new(*cluster.settings()).view(), Vec::new(), Vec::new());
        let mut joining = Joining { warden, cluster, index };
        joining.step(Event::Configured(Configuration {
            jails: vec![jail(1, 60 * MINUTE_MS)],
            ..Configuration::default()
        }));
        joining
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = Now::known(BEGIN.plus_ms(SECOND_MS), BEGIN);
        self.warden.step(now, event, &mut effects);
        effects
    }

    fn bring_along(&mut self) -> Vec<Effect> {
        self.step(Event::BroughtAlong { former: former().view(), formerly: FORMERLY })
    }

    fn applied(&mut self, op: Op) -> Vec<Effect> {
        self.index += 1;
        let applied = self.cluster.apply(position(self.index), &command(BEGIN.plus_ms(SECOND_MS), vec![op]));
        self.step(Event::Applied { view: self.cluster.view(), changes: applied.changes })
    }

    fn blocks(&self) -> Vec<Subnet> {
        self.warden.ruleset().elements.keys().copied().collect()
    }
}

fn unban(target: Subnet) -> Op {
    let id = 200 + u128::from(target.prefix_len());
    Op::Unban { operator: operator(id), selection: UnbanSelection::Target { target, jail: None } }
}

#[test]
fn what_a_node_brings_along_is_in_its_firewall_before_the_cluster_has_said_a_word() {
    let mut joining = Joining::new();
    let effects = joining.bring_along();
    let blocked =
        effects.iter().filter(|effect| matches!(effect, Effect::Firewall(FirewallDelta::Block { .. })));
    assert_eq!(blocked.count(), 2);
    assert_eq!(joining.blocks(), [offender_number(0), offender_number(1)]);
    // The cluster's list takes the place of the empty one, and holds none of it.
    let view = joining.cluster.view();
    joining.step(Event::Installed { view });
    assert_eq!(joining.blocks(), [offender_number(0), offender_number(1)]);
    // Taken over by the cluster, or refused by it: from here on its list alone counts.
    joining.applied(ban(0));
    joining.step(Event::CaughtUp);
    assert_eq!(joining.blocks(), [offender_number(0)]);
}

#[test]
fn what_the_cluster_lifts_meanwhile_is_not_held_on_to() {
    let mut joining = Joining::new();
    joining.bring_along();
    joining.applied(unban(offender_number(0)));
    assert_eq!(joining.blocks(), [offender_number(1)]);
    // Lifted by a network around it.
    joining.applied(unban(offender_number(1).widened_to(24)));
    assert_eq!(joining.blocks(), []);
    // It was lifted before the node was there: the snapshot says so.
    let mut late = Joining::new();
    let mut list = late.cluster.clone();
    list.apply(position(late.index + 1), &command(BEGIN.plus_ms(SECOND_MS), vec![unban(offender_number(1))]));
    late.bring_along();
    late.step(Event::Installed { view: list.view() });
    assert_eq!(late.blocks(), [offender_number(0)]);
}

#[test]
fn its_allow_entries_protect_until_the_cluster_has_them() {
    let mut joining = Joining::new();
    joining.bring_along();
    joining.applied(ban(2));
    let failure = failure(offender_number(2), BEGIN);
    let effects = joining.step(Event::Failures(vec![failure]));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Notify(_))), "{effects:?}");
    assert!(!joining.blocks().contains(&offender_number(2)));
    // The configuration is read again.
    joining.step(Event::Configured(Configuration {
        jails: vec![jail(1, 60 * MINUTE_MS)],
        ..Configuration::default()
    }));
    assert!(joining.warden.ruleset().protected.contains(&offender_number(2)));
    joining.step(Event::CaughtUp);
    assert_eq!(joining.blocks(), [offender_number(2)]);
    assert!(!joining.warden.ruleset().protected.contains(&offender_number(2)));
}
