//! What is kept of applied commands is found again: by address, jail and time, after a restart too.

use super::*;
use crate::control::HistoryWish;
use crate::evidence::tests::applied_entry;
use bannkreis_core::ban::Cause;
use bannkreis_core::change::{Applied, BanKey};
use bannkreis_core::command::{Command, LEVEL, UnbanSelection};
use bannkreis_core::history::{EndedBan, GivenCommand};
use bannkreis_core::ids::{CommandId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, Ports};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::proposal::{EvidenceLine, Proposal};
use bannkreis_core::settings::Settings;
use bannkreis_core::time::{BanTime, Timestamp};

const START: Timestamp = Timestamp(1_000_000_000);

fn store(directory: &std::path::Path) -> LocalStore {
    LocalStore::open(directory).expect("opens").0
}

fn ended(subnet: &str, jail: &str, end: u64) -> (HistoryKey, HistoryEntry) {
    let cause = Cause::new(Position { generation: 1, index: end }, 0);
    let key = BanKey { subnet: subnet.parse().unwrap(), jail: JailName::new(jail).unwrap() };
    let (since, end) = (Timestamp(end - 1), Timestamp(end));
    let origins = vec![NodeId(1)];
    let entry = EndedBan { key, since, end, count: 1, origins, cause, ending: Ending::Expired };
    (HistoryKey { at: end, position: cause.position(), op: 0, n: 0 }, HistoryEntry::Ended(entry))
}

fn wish(target: Option<&str>) -> HistoryWish {
    let target = target.map(|text| text.parse().unwrap());
    HistoryWish { target, jail: None, since: Timestamp::ZERO, n_max: 10 }
}

fn ends(found: &HistoryFound) -> Vec<u64> {
    let end = |fact: &HistoryFact| match &fact.entry {
        HistoryEntry::Ended(ended) => ended.end.0,
        HistoryEntry::Given(given) => given.at.0,
    };
    found.facts.iter().map(end).collect()
}

#[test]
fn what_is_about_somebody_is_found_by_address_by_what_is_around_and_inside() {
    let directory = tempfile::tempdir().unwrap();
    let local = store(directory.path());
    let all = [
        ("192.0.2.7", "sshd", 10),
        ("192.0.2.0/24", "operator", 20),
        ("192.0.2.0", "sshd", 30),
        ("192.0.0.0/16", "operator", 40),
        ("192.0.3.1", "sshd", 50),
        ("192.0.2.7", "mail", 60),
        ("2001:db8::/64", "sshd", 70),
        ("255.255.255.255", "sshd", 80),
    ];
    let (on_disk, waiting) = all.split_at(4);
    for (some, is_flushed) in [(on_disk, true), (waiting, false)] {
        let mut batch = Batch::new();
        for (subnet, jail, end) in some {
            let (key, entry) = ended(subnet, jail, *end);
            put(key, &entry, &[], &mut batch).unwrap();
        }
        local.commit(batch).unwrap();
        if is_flushed {
            local.flush().unwrap();
        }
    }
    let check = |local: &LocalStore| {
        for (target, expected) in [
            (Some("192.0.2.7"), vec![60, 40, 20, 10]),
            (Some("192.0.2.0/24"), vec![60, 40, 30, 20, 10]),
            (Some("192.0.0.0/16"), vec![60, 50, 40, 30, 20, 10]),
            (Some("2001:db8::1"), vec![70]),
            (Some("2001:db8::/32"), vec![70]),
            (Some("0.0.0.0/0"), vec![80, 60, 50, 40, 30, 20, 10]),
            (Some("10.0.0.1"), vec![]),
            (None, vec![80, 70, 60, 50, 40, 30, 20, 10]),
        ] {
            let found = find(local, &wish(target)).unwrap();
            assert_eq!((ends(&found), found.is_cut), (expected, false), "{target:?}");
        }
        let two = find(local, &HistoryWish { n_max: 2, ..wish(Some("192.0.2.7")) }).unwrap();
        assert_eq!((ends(&two), two.is_cut), (vec![60, 40], true));
        let two = find(local, &HistoryWish { n_max: 2, ..wish(None) }).unwrap();
        assert_eq!((ends(&two), two.is_cut), (vec![80, 70], true));
        for (target, expected) in [(Some("192.0.2.7"), vec![10]), (None, vec![80, 70, 50, 30, 10])] {
            let jail = Some(JailName::new("sshd").unwrap());
            assert_eq!(ends(&find(local, &HistoryWish { jail, ..wish(target) }).unwrap()), expected);
        }
        for (target, expected) in [(Some("192.0.2.7"), vec![60, 40]), (None, vec![80, 70, 60, 50, 40])] {
            let since = Timestamp(40);
            assert_eq!(ends(&find(local, &HistoryWish { since, ..wish(target) }).unwrap()), expected);
        }
    };
    check(&local);
    drop(local);
    let local = store(directory.path());
    check(&local);

    let mut batch = Batch::new();
    let (key, entry) = ended("192.0.2.7", "mail", 60);
    forget(key, &encode(&entry, &[]), &mut batch);
    local.commit(batch).unwrap();
    assert_eq!(ends(&find(&local, &wish(Some("192.0.2.7"))).unwrap()), [40, 20, 10]);
    assert_eq!(ends(&find(&local, &wish(None)).unwrap()), [80, 70, 50, 40, 30, 20, 10]);
}

/// More entries than are read at once, in both directions.
#[test]
fn long_histories_are_read_piece_by_piece() {
    let directory = tempfile::tempdir().unwrap();
    let local = store(directory.path());
    let mut batch = Batch::new();
    for n in 1..=3_500 {
        let (key, entry) = ended("192.0.2.7", if n == 1 { "rare" } else { "sshd" }, n);
        put(key, &entry, &[], &mut batch).unwrap();
    }
    local.commit(batch).unwrap();
    let rare = Some(JailName::new("rare").unwrap());
    for target in [Some("192.0.2.7"), None] {
        let found = find(&local, &HistoryWish { jail: rare.clone(), ..wish(target) }).unwrap();
        assert_eq!(ends(&found), [1], "{target:?}");
        let found = find(&local, &HistoryWish { n_max: 1_200, ..wish(target) }).unwrap();
        assert_eq!(ends(&found), (2_301..=3_500).rev().collect::<Vec<u64>>());
        assert!(found.is_cut);
    }
}

/// Applies commands as the node does, and keeps what is told of them.
struct Node {
    list: BanList,
    store: LocalStore,
}

impl Node {
    fn apply(&mut self, index: u64, after_ms: u64, ops: Vec<Op>) -> usize {
        let position = Position { generation: 1, index };
        let at = START.plus_ms(after_ms);
        let ops = [vec![Op::Tick { readings: vec![(NodeId(1), at)] }], ops].concat();
        let command = Command { at, level: LEVEL, ops, ..Command::default() };
        let applied: Applied = self.list.apply(position, &command);
        let entry = applied_entry(position, self.list.now(), command, applied);
        let mut batch = Batch::new();
        let n_kept = keep(&entry, &self.list, &mut batch).unwrap();
        evidence::keep(&entry, &mut batch).unwrap();
        self.store.commit(batch).unwrap();
        n_kept
    }
}

#[test]
fn an_ended_ban_is_found_with_its_evidence_and_its_names_and_twice_is_once() {
    let directory = tempfile::tempdir().unwrap();
    let list = BanList::new(Settings::at_birth([1; 16]));
    let mut node = Node { list, store: store(directory.path()) };
    let record = |node, name: &str| {
        Op::NodeSeen(NodeRecord { node, name: name.to_owned(), level_max: LEVEL, ..NodeRecord::default() })
    };
    node.apply(1, 0, vec![record(NodeId(1), "kerio"), record(NodeId(2), "kopano")]);
    let proposal = Proposal {
        origin: NodeId(1),
        basis: Position { generation: 1, index: 1 },
        jail: JailName::new("sshd").unwrap(),
        offender: "192.0.2.7".parse().unwrap(),
        first_failure_age_ms: 2_000,
        last_failure_age_ms: 1_000,
        failures: 3,
        contributors: vec![NodeId(2)],
        policy: BanPolicy::fixed(BanTime::Ms(3_600_000)),
        ports: Ports::whole_host(),
        evidence: vec![EvidenceLine { age_ms: 1_000, text: "Failed password".to_owned() }],
    };
    node.apply(2, 10_000, vec![Op::Ban(proposal.clone())]);
    let operator = Operator {
        command_id: CommandId(7),
        node: NodeId(2),
        author: "anna".to_owned(),
        reason: "a customer".to_owned(),
    };
    let selection = UnbanSelection::Target { target: proposal.offender, jail: None };
    let unban = Op::Unban { operator: operator.clone(), selection };
    assert_eq!(node.apply(3, 20_000, vec![unban]), 2, "the ban, and the command");

    let found = find(&node.store, &wish(Some("192.0.2.7"))).unwrap();
    let [command, over] = &found.facts[..] else { panic!("{found:?}") };
    assert!(matches!(&command.entry, HistoryEntry::Given(GivenCommand { op: Op::Unban { .. }, .. })));
    let HistoryEntry::Ended(ended) = &over.entry else { panic!("{over:?}") };
    assert_eq!(ended.ending, Ending::Lifted(operator));
    assert_eq!(over.names, [(NodeId(1), "kerio".to_owned()), (NodeId(2), "kopano".to_owned())]);
    assert_eq!(over.evidence.as_ref().map(|record| &record.op), Some(&Op::Ban(proposal)));
}

#[test]
fn texts_that_are_too_long_for_the_store_are_cut() {
    let long = "ä".repeat(500);
    let operator =
        Operator { command_id: CommandId(7), node: NodeId(2), author: long.clone(), reason: long.clone() };
    let entry = bannkreis_core::allow_list::AllowEntry {
        subnet: "192.0.2.0/24".parse().unwrap(),
        note: long.clone(),
        author: long.clone(),
        node: NodeId(2),
        until: bannkreis_core::time::Until::FOREVER,
    };
    let op = Op::Allow { operator, entry };
    let outcome = Outcome::Refused { why: "ü".repeat(2_000) };
    let given = HistoryEntry::Given(GivenCommand { at: START, op, n_imported: [0; 3], outcome });
    let key = HistoryKey { at: START, ..HistoryKey::default() };
    let directory = tempfile::tempdir().unwrap();
    let local = store(directory.path());
    let mut batch = Batch::new();
    put(key, &given, &[], &mut batch).unwrap();
    local.commit(batch).unwrap();
    let found = find(&local, &wish(Some("192.0.2.9"))).unwrap();
    let [HistoryFact { entry: HistoryEntry::Given(found), .. }] = &found.facts[..] else {
        panic!("{found:?}")
    };
    let by = found.op.operator().unwrap();
    assert_eq!((by.author.len(), by.reason.len()), (1_000, CUT_TEXT_BYTES_MAX));
    assert!(matches!(&found.outcome, Outcome::Refused { why } if why.len() == CUT_TEXT_BYTES_MAX));
}
