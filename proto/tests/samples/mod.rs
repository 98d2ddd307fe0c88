//! One value of each kind that is ever encoded, with every field set to something of its own, so
//! that a field which moves or vanishes shows in the golden files.

use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::ban::{Ban, Cause, Origin};
use bannkreis_core::ban_list::{NodeEntry, Tombstone};
use bannkreis_core::change::{BanKey, OpResult, Outcome, Voided};
use bannkreis_core::command::{Command, ImportedBan, ImportedHistory, Op, UnbanSelection};
use bannkreis_core::event::{OutboxEntry, Override, OverrideKind, ServedOffence};
use bannkreis_core::history::{EndedBan, Ending, GivenCommand, HistoryEntry, PastBans};
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, Growth, JailName, PortRange, Ports, Protocol};
use bannkreis_core::judge::{NotSharedReason, Protection, Verdict};
use bannkreis_core::node_record::{NodeRecord, NodeRole};
use bannkreis_core::proposal::{EvidenceLine, Notice, Proposal, Report, ReportedFailure};
use bannkreis_core::quota::Quota;
use bannkreis_core::reach::Reach;
use bannkreis_core::record::{Head, Record};
use bannkreis_core::settings::Settings;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Timestamp, Until};
use bannkreis_core::voters_clocks::ClockRead;

const NODE: NodeId = NodeId(0x0123_4567_89ab_cdef);
const PEER: NodeId = NodeId(0x1111_2222_3333_4444);
const BASIS: Position = Position { generation: 2, index: 4_711 };
const NOW: Timestamp = Timestamp(1_790_000_000_123);

pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let alone = |op| Command { at: NOW, level: 1, ops: vec![op], signed_by: None, signature: Vec::new() };
    let signed = Command {
        at: NOW,
        level: 1,
        ops: vec![Op::Sweep, Op::RaiseLevel { level: 1 }],
        signed_by: Some(NODE),
        signature: vec![0xab; 64],
    };
    let unban = |selection| Op::Unban { operator: operator(), selection };
    vec![
        ("empty", Command { at: NOW, level: 1, ..Command::default() }),
        ("signed", signed),
        ("ban", alone(Op::Ban(proposal()))),
        (
            "operator_ban",
            alone(Op::OperatorBan {
                operator: operator(),
                target: subnet("2001:db8:5::/48"),
                jail: JailName::operator(),
                ban_time: BanTime::Forever,
                ports: Ports::whole_host(),
                force: true,
            }),
        ),
        (
            "unban_target",
            alone(unban(UnbanSelection::Target {
                target: subnet("192.0.2.0/24"),
                jail: Some(jail("kerio")),
            })),
        ),
        ("unban_all", alone(unban(UnbanSelection::All { jail: None }))),
        ("unban_by_node", alone(unban(UnbanSelection::ByNode { node: PEER, since: NOW }))),
        ("allow", alone(Op::Allow { operator: operator(), entry: allow_entry() })),
        ("disallow", alone(Op::Disallow { operator: operator(), subnet: subnet("192.0.2.7") })),
        ("import", alone(import())),
        ("trust", alone(Op::Trust { operator: operator(), node: PEER })),
        ("tick", alone(Op::Tick { readings: vec![(NODE, NOW), (PEER, Timestamp(1_790_000_000_456))] })),
        ("sweep", alone(Op::Sweep)),
        ("node_seen", alone(Op::NodeSeen(node_record()))),
        ("revoke", alone(Op::Revoke { operator: operator(), node: PEER, keeps_key: false })),
        ("revoke-gone", alone(Op::Revoke { operator: operator(), node: PEER, keeps_key: true })),
        ("token", alone(Op::Token { operator: operator(), hash: vec![7; 32], expires: NOW })),
        (
            "settings",
            alone(Op::Settings { operator: operator(), fields: Settings::at_birth([3; 16]).fields() }),
        ),
        ("raise_level", alone(Op::RaiseLevel { level: 2 })),
        (
            "forget",
            Command { level: 2, ..alone(Op::Forget { operator: operator(), target: subnet("192.0.2.7") }) },
        ),
    ]
}

pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let key = || BanKey { subnet: subnet("203.0.113.9"), jail: jail("kopano-webapp") };
    let tombstone = Tombstone { position: BASIS, at: NOW };
    let command_id = CommandId(42);
    vec![
        (
            "head",
            Record::Head(Head {
                position: BASIS,
                now: NOW,
                last_tick: NOW.minus_ms(20_000),
                level: 1,
                settings: Settings::at_birth([3; 16]),
                sweep_next: 16,
                tombstone_floor: tombstone,
            }),
        ),
        (
            "node",
            Record::Node(Box::new(NodeEntry {
                record: node_record(),
                pending: vec![subnet("198.51.100.1")],
                untrusted: true,
                revoked: true,
            })),
        ),
        ("allow", Record::Allow(allow_entry())),
        (
            "tombstone",
            Record::Tombstone {
                subnet: subnet("192.0.2.7"),
                voided: Voided { jail: Some(jail("kerio")), origin: None },
                tombstone,
            },
        ),
        (
            "tombstone_all_jails",
            Record::Tombstone { subnet: subnet("192.0.2.7"), voided: Voided::default(), tombstone },
        ),
        (
            "tombstone_of_one_origin",
            Record::Tombstone {
                subnet: subnet("192.0.2.7"),
                voided: Voided { jail: None, origin: Some(PEER) },
                tombstone,
            },
        ),
        (
            "quota",
            Record::Quota { node: PEER, quota: Quota { milli_tokens: 29_999_000, at: NOW, n_damped: 5 } },
        ),
        ("outcome_done", Record::Outcome { command_id, asked: 7, outcome: Outcome::Done { n_affected: 3 } }),
        (
            "outcome_refused",
            Record::Outcome {
                command_id,
                asked: 7,
                outcome: Outcome::Refused { why: "no node here".to_string() },
            },
        ),
        ("clock", Record::Clock { node: PEER, read: ClockRead { clock: NOW.minus_ms(60_000), at: NOW } }),
        ("token", Record::Token { hash: vec![7; 32], expires: NOW }),
        ("ban", Record::Ban { key: key(), ban: ban() }),
        ("past", Record::Past { key: key(), past: past() }),
    ]
}

pub(crate) fn results() -> Vec<(&'static str, Vec<OpResult>)> {
    let judged = |verdict| vec![OpResult::Judged(verdict)];
    let protected =
        [Protection::NeverBannable, Protection::ClusterAddress, Protection::AllowList, Protection::Lifted];
    let not_shared = [
        NotSharedReason::Quota,
        NotSharedReason::PrivateOffender,
        NotSharedReason::TooWide,
        NotSharedReason::OverTombstone,
        NotSharedReason::Untrusted,
        NotSharedReason::NotMember,
        NotSharedReason::TooOld,
        NotSharedReason::Full,
        NotSharedReason::LowTrust,
    ];
    let outcome = Outcome::Done { n_affected: 3 };
    vec![
        ("none", Vec::new()),
        ("covered", judged(Verdict::Covered)),
        ("open", judged(Verdict::Open)),
        ("protected", protected.map(|why| OpResult::Judged(Verdict::Protected(why))).to_vec()),
        ("not_shared", not_shared.map(|why| OpResult::Judged(Verdict::NotShared(why))).to_vec()),
        ("operator", vec![OpResult::Operator { command_id: CommandId(42), outcome }]),
        ("silent", vec![OpResult::Silent]),
    ]
}

pub(crate) fn notices() -> Vec<(&'static str, Notice)> {
    let notice = |remaining_ms| Notice {
        origin: NODE,
        basis: BASIS,
        jail: jail("kopano-webapp"),
        offender: subnet("203.0.113.9"),
        last_failure_age_ms: 12,
        remaining_ms,
        ports: Ports::tcp(&[80, 443]),
    };
    vec![("timed", notice(Some(600_000))), ("forever", notice(None))]
}

pub(crate) fn reports() -> Vec<(&'static str, Report)> {
    let report = Report {
        origin: NODE,
        basis: BASIS,
        jail: jail("kopano-webapp"),
        offender: subnet("2001:db8:1:2::/64"),
        failures: vec![
            ReportedFailure { event_id: 0xfeed_beef, age_ms: 50 },
            ReportedFailure { event_id: 1, age_ms: 0 },
        ],
    };
    vec![("report", report)]
}

pub(crate) fn outbox_entries() -> Vec<(&'static str, OutboxEntry)> {
    let entry = |local| OutboxEntry {
        key: BanKey { subnet: subnet("203.0.113.9"), jail: jail("kopano-webapp") },
        basis: BASIS,
        first_failure: NOW.minus_ms(61_000),
        last_failure: NOW.minus_ms(12),
        failures: 5,
        policy: growing(),
        ports: ports(),
        evidence: vec![(NOW.minus_ms(12), "authentication failure".to_string())],
        until: Until::at(NOW.plus_ms(600_000)),
        local,
        served: Vec::new(),
        contributors: vec![PEER],
    };
    let served = ServedOffence {
        first_failure: NOW.minus_ms(9_000_000),
        last_failure: NOW.minus_ms(8_000_000),
        failures: 3,
        line: "authentication failure".to_string(),
    };
    vec![
        ("open", entry(None)),
        ("local", entry(Some(NotSharedReason::PrivateOffender))),
        ("after_a_served_one", OutboxEntry { served: vec![served], ..entry(None) }),
    ]
}

pub(crate) fn overrides() -> Vec<(&'static str, (Subnet, Override))> {
    let decision = |kind| Override {
        kind,
        author: "root".to_string(),
        reason: "a customer called".to_string(),
        until: Until::at(NOW),
        estimated: false,
    };
    let guessed = Override { estimated: true, ..decision(OverrideKind::Release) };
    vec![
        ("guessed", (subnet("192.0.2.8"), guessed)),
        ("release", (subnet("192.0.2.7"), decision(OverrideKind::Release))),
        ("block", (subnet("2001:db8:1:2::/64"), decision(OverrideKind::Block))),
    ]
}

/// An entry of the history, and what the nodes in it are called.
pub(crate) type Told = (HistoryEntry, Vec<(NodeId, String)>);

pub(crate) fn histories() -> Vec<(&'static str, Told)> {
    let ended = |ending| {
        HistoryEntry::Ended(EndedBan {
            key: BanKey { subnet: subnet("192.0.2.7"), jail: jail("sshd") },
            since: Timestamp(NOW.0 - 5_000),
            end: NOW,
            count: 3,
            origins: vec![NODE, PEER],
            cause: Cause::new(BASIS, 9),
            ending,
        })
    };
    let import = Op::Import { operator: operator(), bans: vec![], allow: vec![], history: vec![] };
    let given = |outcome| {
        let (op, n_imported) = (import.clone(), [1, 2, 3]);
        HistoryEntry::Given(GivenCommand { at: NOW, op, n_imported, outcome })
    };
    let named = |entry| (entry, vec![(NODE, "kopano".to_string()), (PEER, "kerio".to_string())]);
    vec![
        ("expired", named(ended(Ending::Expired))),
        ("lifted", named(ended(Ending::Lifted(operator())))),
        ("allowed", named(ended(Ending::Allowed(operator())))),
        ("by_node", named(ended(Ending::ByNode(operator())))),
        ("own_address", named(ended(Ending::OwnAddress(PEER)))),
        ("late", named(ended(Ending::Late))),
        ("done", named(given(Outcome::Done { n_affected: 6 }))),
        ("refused", named(given(Outcome::Refused { why: "it is wide".to_string() }))),
    ]
}

fn proposal() -> Proposal {
    Proposal {
        origin: NODE,
        basis: BASIS,
        jail: jail("kopano-webapp"),
        offender: subnet("203.0.113.9"),
        first_failure_age_ms: 61_000,
        last_failure_age_ms: 12,
        failures: 5,
        contributors: vec![PEER],
        policy: growing(),
        ports: ports(),
        evidence: vec![EvidenceLine {
            age_ms: 12, text: "authentication failed für „root“".to_string()
        }],
    }
}

fn import() -> Op {
    Op::Import {
        operator: operator(),
        bans: vec![ImportedBan {
            subnet: subnet("203.0.113.9"),
            jail: jail("sshd"),
            since: NOW.minus_ms(60_000),
            until: Until::at(NOW.plus_ms(540_000)),
            count: 3,
            ports: Ports::tcp(&[22]),
            policy: BanPolicy::fixed(BanTime::Ms(600_000)),
            note: "taken over".to_string(),
        }],
        allow: vec![allow_entry()],
        history: vec![ImportedHistory {
            subnet: subnet("198.51.100.0/24"),
            jail: jail("sshd"),
            past: past(),
        }],
    }
}

fn ban() -> Ban {
    Ban {
        since: NOW,
        until: Until::at(NOW.plus_ms(600_000)),
        count: 2,
        damped_by: Some(PEER),
        origins: vec![
            Origin { node: NODE, until: Until::at(NOW.plus_ms(600_000)) },
            Origin { node: PEER, until: Until::FOREVER },
        ]
        .into(),
        ports: ports(),
        cause: Cause::new(BASIS, 1),
    }
}

fn past() -> PastBans {
    PastBans {
        count: 2,
        last_since: NOW.minus_ms(900_000),
        last_end: NOW.minus_ms(300_000),
        origin: Some(PEER),
    }
}

fn growing() -> BanPolicy {
    let growth = Growth {
        table_ms: vec![600_000, 1_200_000, 2_400_000],
        max_ms: Some(86_400_000),
        rnd_ms: 30_000,
        overall_jails: true,
    };
    BanPolicy { ban_time: BanTime::Ms(600_000), growth: Some(growth) }
}

fn node_record() -> NodeRecord {
    NodeRecord {
        node: NODE,
        name: "kopano".to_string(),
        address: "192.0.2.10:7420".to_string(),
        key_fingerprint: vec![9; 32],
        own: vec![subnet("192.0.2.10"), subnet("2001:db8::10")],
        gateways: vec![subnet("192.0.2.1")],
        resolvers: vec![subnet("192.0.2.53")],
        jails: vec![(jail("kopano-webapp"), ports()), (jail("sshd"), Ports::whole_host())],
        reaches: vec![(jail("sshd"), Reach::Host)],
        level_max: 1,
        role: NodeRole::Witness,
    }
}

fn allow_entry() -> AllowEntry {
    AllowEntry {
        subnet: subnet("192.0.2.0/24"),
        note: "the office".to_string(),
        author: "root".to_string(),
        node: NODE,
        until: Until::FOREVER,
    }
}

fn operator() -> Operator {
    Operator {
        command_id: CommandId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        node: NODE,
        author: "root".to_string(),
        reason: "a customer called".to_string(),
    }
}

fn ports() -> Ports {
    let range = |protocol, first, last| PortRange { protocol, first, last };
    Ports::from_ranges(vec![
        range(Protocol::TCP, 80, 80),
        range(Protocol::TCP, 443, 450),
        range(Protocol::UDP, 0, u16::MAX),
    ])
}

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

fn jail(name: &str) -> JailName {
    JailName::new(name).expect("a jail")
}
