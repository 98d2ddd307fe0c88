//! What the laws are asked of: small worlds, so that things meet.

use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{Command, LEVEL, Op, UnbanSelection};
use bannkreis_core::event_id::LineDigest;
use bannkreis_core::failure::{Failure, SourceId, SourcePosition};
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, Growth, Jail, JailName, PortRange, Ports, Protocol, Scope};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::proposal::Proposal;
use bannkreis_core::reach::Reach;
use bannkreis_core::settings::{Setting, Settings};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, SECOND_MS, Timestamp, Until};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Cluster time when the lists here begin.
pub(crate) const BEGIN: Timestamp = Timestamp(1_700_000_000_000);
/// Nodes with these ids are members.
pub(crate) const MEMBERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

pub(crate) fn position(index: u64) -> Position {
    Position { generation: 0, index }
}

pub(crate) fn command(at: Timestamp, ops: Vec<Op>) -> Command {
    Command { at, level: LEVEL, ops, signed_by: None, signature: Vec::new() }
}

/// A list with three members at [`BEGIN`], and the index of its last entry.
pub(crate) fn list() -> (BanList, u64) {
    let mut list = BanList::new(Settings::at_birth([1; 16]));
    let readings = MEMBERS.iter().map(|node| (*node, BEGIN)).collect();
    list.apply(position(1), &command(BEGIN, vec![Op::Tick { readings }]));
    let seen = MEMBERS.iter().map(|node| Op::NodeSeen(NodeRecord { node: *node, ..NodeRecord::default() }));
    list.apply(position(2), &command(BEGIN, seen.collect()));
    (list, 2)
}

pub(crate) fn jail_name(n: u8) -> JailName {
    JailName::new(["ssh", "mail"][usize::from(n % 2)]).expect("a valid name")
}

/// A jail that bans for so long at the failure with this number.
pub(crate) fn jail(max_retry: u32, ban_ms: u64) -> Jail {
    Jail {
        name: jail_name(0),
        max_retry,
        find_time_ms: 600 * SECOND_MS,
        policy: BanPolicy::fixed(BanTime::Ms(ban_ms)),
        ports: Ports::tcp(&[22]),
        max_matches: 3,
        scope: Scope::Cluster,
        counts_bans: false,
        reach: None,
        ignore: Vec::new(),
    }
}

/// A failure in that jail; later ones stand further on in the log.
pub(crate) fn failure(offender: Subnet, at: Timestamp) -> Failure {
    Failure {
        jail: jail_name(0),
        offender,
        at,
        evidence: "line".into(),
        line: LineDigest::default(),
        user: None,
        source: SourceId(0),
        position: SourcePosition(at.0),
        replayed: false,
    }
}

/// `node` asks at `list`'s position for a ban of offender 0, for so long, because of a failure just now.
pub(crate) fn asked(list: &BanList, node: u64, ban_ms: u64) -> Op {
    Op::Ban(Proposal {
        origin: NodeId(node),
        basis: list.position(),
        jail: jail_name(0),
        offender: offender_number(0),
        first_failure_age_ms: 0,
        last_failure_age_ms: 0,
        failures: 1,
        contributors: Vec::new(),
        policy: BanPolicy::fixed(BanTime::Ms(ban_ms)),
        ports: Ports::tcp(&[22]),
        evidence: Vec::new(),
    })
}

/// Six hosts that share networks, of both families.
pub(crate) fn offender() -> impl Strategy<Value = Subnet> {
    (0u8..6).prop_map(offender_number)
}

pub(crate) fn offender_number(n: u8) -> Subnet {
    match n {
        0..4 => Subnet::host(IpAddr::V4(Ipv4Addr::new(45, 0, 0, n + 1))),
        _ => {
            let address = Ipv6Addr::new(0x2a01, 0, 0, u16::from(n), 0, 0, 0, 0);
            Subnet::new(IpAddr::V6(address), 64).expect("a prefix that fits")
        }
    }
}

/// Any subnet of a few networks, of all lengths: nested, equal and disjoint ones.
pub(crate) fn subnet() -> impl Strategy<Value = Subnet> {
    let v4 = (0u32..4, 0u8..=32).prop_map(|(bits, len)| {
        let address = Ipv4Addr::from((bits << 30) | (bits << 8) | bits);
        Subnet::new(IpAddr::V4(address), len).expect("a prefix that fits")
    });
    let v6 = (0u128..4, 0u8..=128).prop_map(|(bits, len)| {
        let address = Ipv6Addr::from((0x2a01 << 112) | (bits << 100) | (bits << 60) | bits);
        Subnet::new(IpAddr::V6(address), len).expect("a prefix that fits")
    });
    prop_oneof![v4, v6]
}

pub(crate) fn ports() -> impl Strategy<Value = Ports> {
    let range = (0u8..3, 0u16..40, 0u16..40).prop_map(|(protocol, first, last)| PortRange {
        protocol: [Protocol::TCP, Protocol::UDP, Protocol(47)][usize::from(protocol)],
        first,
        last,
    });
    prop_oneof![1 => Just(Ports::whole_host()), 6 => vec(range, 0..6).prop_map(Ports::from_ranges)]
}

pub(crate) fn policy() -> impl Strategy<Value = BanPolicy> {
    let growth = any::<bool>().prop_map(|overall_jails| Growth {
        table_ms: vec![30_000, 60_000, 120_000],
        max_ms: None,
        rnd_ms: 0,
        overall_jails,
    });
    prop_oneof![
        4 => (10u64..200).prop_map(|s| BanPolicy::fixed(BanTime::Ms(s * SECOND_MS))),
        1 => Just(BanPolicy::fixed(BanTime::Forever)),
        3 => growth.prop_map(|growth| BanPolicy { ban_time: BanTime::Ms(30_000), growth: Some(growth) }),
    ]
}

prop_compose! {
    /// A proposal based on an entry not after `index`. The fourth origin is no member.
    pub(crate) fn proposal(index: u64)(
        origin in 1u64..5,
        basis in 0..=index,
        jail in 0u8..2,
        offender in offender(),
        last_age_s in 0u64..100,
        lasted_s in 0u64..50,
        policy in policy(),
        ports in ports(),
    ) -> Proposal {
        Proposal {
            origin: NodeId(origin),
            basis: position(basis),
            jail: jail_name(jail),
            offender,
            first_failure_age_ms: (last_age_s + lasted_s) * SECOND_MS,
            last_failure_age_ms: last_age_s * SECOND_MS,
            failures: 3,
            contributors: Vec::new(),
            policy,
            ports,
            evidence: Vec::new(),
        }
    }
}

fn operator(id: u128) -> Operator {
    Operator { command_id: CommandId(id), node: NodeId(1), author: "alice".into(), reason: String::new() }
}

/// Any operation but a tick, with an operator's id that may repeat.
pub(crate) fn op(index: u64) -> impl Strategy<Value = Op> {
    let id = (0u128..1_000_000).prop_map(operator);
    prop_oneof![
        8 => proposal(index).prop_map(Op::Ban),
        2 => (id.clone(), offender(), 0u8..2, 5u64..100, ports()).prop_map(|(operator, target, jail, s, ports)| {
            Op::OperatorBan {
                operator,
                target,
                jail: jail_name(jail),
                ban_time: BanTime::Ms(s * SECOND_MS),
                ports,
                force: false,
            }
        }),
        3 => (id.clone(), offender(), proptest::option::of(0u8..2)).prop_map(|(operator, target, jail)| {
            let jail = jail.map(jail_name);
            Op::Unban { operator, selection: UnbanSelection::Target { target, jail } }
        }),
        1 => id.clone().prop_map(|operator| Op::Unban { operator, selection: UnbanSelection::All { jail: None } }),
        1 => (id.clone(), 1u64..4).prop_map(|(operator, node)| {
            let selection = UnbanSelection::ByNode { node: NodeId(node), since: Timestamp::ZERO };
            Op::Unban { operator, selection }
        }),
        1 => (id.clone(), 1u64..4).prop_map(|(operator, node)| Op::Trust { operator, node: NodeId(node) }),
        1 => (id.clone(), offender(), 5u64..100).prop_map(|(operator, subnet, s)| {
            let until = Until::at(BEGIN.plus_ms(s * SECOND_MS));
            let entry = AllowEntry { subnet, note: String::new(), author: "alice".into(), node: NodeId(1), until };
            Op::Allow { operator, entry }
        }),
        1 => (id.clone(), offender()).prop_map(|(operator, subnet)| Op::Disallow { operator, subnet }),
        1 => (id.clone(), offender()).prop_map(|(operator, target)| Op::Forget { operator, target }),
        1 => (id, 0u32..4).prop_map(|(operator, burst)| {
            let fields = vec![Setting::QuotaBurst(burst), Setting::QuotaPerMinute(1), Setting::DampedLiveMax(1)];
            Op::Settings { operator, fields }
        }),
        1 => (1u64..5, 0u8..6).prop_map(|(node, own)| {
            let own = vec![offender_number(own)];
            Op::NodeSeen(NodeRecord { node: NodeId(node), own, ..NodeRecord::default() })
        }),
        1 => (1u64..5, 0u8..2, 0usize..4).prop_map(|(node, jail, reach)| {
            let reach = [None, Some(Reach::Ports), Some(Reach::Guarded), Some(Reach::Host)][reach];
            let reaches = reach.map(|reach| (jail_name(jail), reach)).into_iter().collect();
            Op::NodeSeen(NodeRecord { node: NodeId(node), reaches, ..NodeRecord::default() })
        }),
        1 => Just(Op::Sweep),
    ]
}

/// A history: milliseconds between entries, and one operation each.
pub(crate) fn history(len: usize) -> impl Strategy<Value = Vec<(u64, Op)>> {
    vec((0u64..40_000, op(20)), 1..len)
}

/// Applies a history to a fresh list; every 20 s of time the clocks are read.
pub(crate) fn applied(history: &[(u64, Op)]) -> (BanList, u64, Timestamp) {
    let (mut list, mut index) = list();
    let mut at = BEGIN;
    for (passed_ms, op) in history {
        at = at.plus_ms(*passed_ms);
        index += 1;
        let readings = MEMBERS.iter().map(|node| (*node, at)).collect();
        list.apply(position(index), &command(at, vec![Op::Tick { readings }, op.clone()]));
    }
    (list, index, at)
}
