//! What is too old goes, what is too much goes, and what led to a ban that holds stays.

use super::*;
use crate::evidence;
use crate::evidence::tests::applied_entry;
use crate::history;
use bannkreis_core::command::{Command, LEVEL, UnbanSelection};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::proposal::{EvidenceLine, Proposal};
use bannkreis_core::settings::Settings;
use bannkreis_core::time::{BanTime, DAY_MS, HOUR_MS};

const START: Timestamp = Timestamp(400 * DAY_MS);
const HERE: NodeId = NodeId(1);
const PLENTY: Bounds = BOUNDS;

struct Node {
    list: BanList,
    store: LocalStore,
    index: u64,
    generation: u32,
    _directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = LocalStore::open(directory.path()).unwrap();
        let list = BanList::new(Settings::at_birth([1; 16]));
        let mut node = Node { list, store, index: 0, generation: 1, _directory: directory };
        node.apply(
            START,
            vec![Op::NodeSeen(NodeRecord { node: HERE, level_max: LEVEL, ..NodeRecord::default() })],
        );
        node
    }

    fn apply(&mut self, at: Timestamp, ops: Vec<Op>) {
        self.index += 1;
        let position = Position { generation: self.generation, index: self.index };
        let ops = [vec![Op::Tick { readings: vec![(HERE, at)] }], ops].concat();
        let command = Command { at, level: LEVEL, ops, ..Command::default() };
        let applied = self.list.apply(position, &command);
        let entry = applied_entry(position, self.list.now(), command, applied);
        let mut batch = Batch::new();
        history::keep(&entry, &self.list, &mut batch).unwrap();
        evidence::keep(&entry, &mut batch).unwrap();
        self.store.commit(batch).unwrap();
    }

    fn ban(&mut self, at: Timestamp, offender: &str, ban_time: BanTime) {
        self.apply(at, vec![Node::proposed(offender, ban_time)]);
    }

    fn proposed(offender: &str, ban_time: BanTime) -> Op {
        Op::Ban(Proposal {
            origin: HERE,
            basis: Position::default(),
            jail: JailName::new("sshd").unwrap(),
            offender: offender.parse().unwrap(),
            first_failure_age_ms: 0,
            last_failure_age_ms: 0,
            failures: 3,
            contributors: Vec::new(),
            policy: BanPolicy::fixed(ban_time),
            ports: Ports::whole_host(),
            evidence: vec![EvidenceLine { age_ms: 0, text: format!("{offender} failed") }],
        })
    }

    fn unban(&mut self, at: Timestamp, offender: &str) {
        let operator = Operator {
            command_id: CommandId(u128::from(self.index)),
            node: HERE,
            author: "anna".into(),
            reason: String::new(),
        };
        let selection = UnbanSelection::Target { target: offender.parse().unwrap(), jail: None };
        self.apply(at, vec![Op::Unban { operator, selection }]);
    }

    fn sweep(&mut self, at: Timestamp) {
        self.apply(at, (0..64).map(|_| Op::Sweep).collect());
    }

    fn forget(&self, now: Timestamp, bounds: &Bounds) -> Forgotten {
        forget(&self.store, &self.list, now, bounds).unwrap()
    }

    /// Of whom there is evidence.
    fn evidence(&self) -> Vec<String> {
        let all = self.store.cold_from(first_of(0), usize::MAX).unwrap();
        let pieces = all.iter().flat_map(|(key, value)| Pieces::decode(*key, value).unwrap().pieces);
        let offenders = pieces.map(|piece| match piece.op().unwrap() {
            Op::Ban(proposal) => proposal.offender.to_string(),
            other => panic!("{other:?}"),
        });
        offenders.collect()
    }

    /// Whose bans are told.
    fn told(&self) -> Vec<String> {
        let all = self.store.history_after(None, usize::MAX).unwrap();
        let entries = all.iter().filter_map(|(_, value)| match history::decode(value).unwrap().0 {
            HistoryEntry::Ended(ended) => Some(ended.key.subnet.to_string()),
            HistoryEntry::Given(_) => None,
        });
        entries.collect()
    }
}

#[test]
fn what_is_older_than_the_retention_goes_and_evidence_of_what_is_told_or_holds_stays() {
    let mut node = Node::new();
    node.ban(START, "192.0.2.1", BanTime::Ms(HOUR_MS));
    node.ban(START, "192.0.2.2", BanTime::Ms(20 * DAY_MS));
    node.ban(START, "192.0.2.3", BanTime::Forever);
    node.sweep(START.plus_ms(DAY_MS));
    let now = START.plus_ms(25 * DAY_MS);
    node.sweep(now);
    let forgotten = node.forget(now, &PLENTY);
    assert_eq!((forgotten.n_history, forgotten.n_evidence), (0, 0), "all of it is younger than 30 days");
    assert_eq!(node.told(), ["192.0.2.1", "192.0.2.2"]);

    // The first ban ended 30 days ago. The second began then, but ended later.
    let now = START.plus_ms(30 * DAY_MS + 2 * HOUR_MS);
    let forgotten = node.forget(now, &PLENTY);
    assert_eq!((forgotten.n_history, forgotten.n_evidence), (1, 1));
    assert_eq!(node.told(), ["192.0.2.2"]);
    assert_eq!(node.evidence(), ["192.0.2.2", "192.0.2.3"]);

    let now = START.plus_ms(300 * DAY_MS);
    node.forget(now, &PLENTY);
    assert_eq!((node.told(), node.evidence()), (vec![], vec!["192.0.2.3".to_owned()]));
    node.unban(now, "192.0.2.3");
    node.forget(now.plus_ms(DAY_MS), &PLENTY);
    assert_eq!((node.told().len(), node.evidence().len()), (1, 1));
    let forgotten = node.forget(now.plus_ms(31 * DAY_MS), &PLENTY);
    assert_eq!((forgotten.n_history, forgotten.n_evidence), (2, 1), "the ban, the command, the line");
}

#[test]
fn what_is_too_much_goes_the_oldest_first_and_of_live_bans_last() {
    let mut node = Node::new();
    node.ban(START, "192.0.2.100", BanTime::Forever);
    for n in 1..=10u64 {
        let at = START.plus_ms(n * HOUR_MS);
        node.ban(at, &format!("192.0.2.{n}"), BanTime::Ms(60_000));
        node.sweep(at.plus_ms(120_000));
    }
    let now = START.plus_ms(DAY_MS);
    let (plenty, twelve) = (node.forget(now, &PLENTY), Bounds { evidence_records_max: 12, ..PLENTY });
    assert!(plenty.n_room > 1_000, "{plenty:?}");
    assert_eq!(node.forget(now, &twelve).n_room, 1, "there are eleven lines");
    let three = Bounds { history_records_max: 3, evidence_records_max: 4, ..PLENTY };
    let forgotten = node.forget(now, &three);
    assert_eq!(forgotten.n_room, 0);
    assert_eq!((forgotten.n_history, forgotten.n_evidence, forgotten.n_of_live_bans), (7, 7, 0));
    assert_eq!(node.told(), ["192.0.2.8", "192.0.2.9", "192.0.2.10"]);
    assert_eq!(node.evidence(), ["192.0.2.100", "192.0.2.8", "192.0.2.9", "192.0.2.10"]);

    let value_bytes = |node: &Node| {
        let all = node.store.history_after(None, usize::MAX).unwrap();
        all.iter().map(|(_, value)| value.len() + HISTORY_KEYS_BYTES).sum::<usize>()
    };
    let bytes = value_bytes(&node);
    let forgotten = node.forget(now, &Bounds { history_bytes_max: bytes - 1, ..PLENTY });
    assert_eq!(forgotten.n_history, 1);
    let none = Bounds { evidence_bytes_max: 0, ..PLENTY };
    let forgotten = node.forget(now, &none);
    assert_eq!((forgotten.n_evidence, forgotten.n_of_live_bans), (4, 1));
    assert!(node.evidence().is_empty());
}

/// The first generation's clock was a year ahead; that must not keep what the next one leaves.
#[test]
fn a_clock_that_was_wrong_in_another_generation_keeps_nothing() {
    let mut node = Node::new();
    node.ban(START.plus_ms(365 * DAY_MS), "192.0.2.1", BanTime::Ms(HOUR_MS));
    node.list = BanList::new(Settings::at_birth([1; 16]));
    node.generation = 2;
    node.apply(
        START,
        vec![Op::NodeSeen(NodeRecord { node: HERE, level_max: LEVEL, ..NodeRecord::default() })],
    );
    node.ban(START, "192.0.2.2", BanTime::Ms(HOUR_MS));
    let now = START.plus_ms(100 * DAY_MS);
    node.sweep(now);
    node.forget(now.plus_ms(40 * DAY_MS), &PLENTY);
    assert_eq!(node.evidence(), ["192.0.2.1"]);
}

#[test]
fn who_is_to_be_forgotten_is_and_what_comes_later_is_told_again() {
    let mut node = Node::new();
    for (n, offender) in ["192.0.2.1", "192.0.2.2", "192.0.3.1"].into_iter().enumerate() {
        node.ban(START.plus_ms(n as u64), offender, BanTime::Ms(HOUR_MS));
    }
    let over = START.plus_ms(2 * HOUR_MS);
    let operator =
        Operator { command_id: CommandId(77), node: HERE, author: "anna".into(), reason: "asked to".into() };
    let forget = Op::Forget { operator, target: "192.0.2.0/24".parse().unwrap() };
    node.apply(over, vec![forget.clone()]);
    let forget_index = node.index;
    assert_eq!(forget_asked(&node.store).unwrap(), 1);
    assert_eq!((node.told(), node.evidence()), (vec![], vec!["192.0.3.1".to_owned()]));
    assert_eq!(node.store.history_after(None, 10).unwrap().len(), 1, "that it was done is told");
    assert_eq!(forget_asked(&node.store).unwrap(), 0);

    node.ban(over.plus_ms(HOUR_MS), "192.0.2.1", BanTime::Ms(HOUR_MS));
    node.sweep(over.plus_ms(DAY_MS));
    // After a restart the log is applied again from the last snapshot on.
    let mut batch = Batch::new();
    let key = HistoryKey {
        at: over,
        position: Position { generation: 1, index: forget_index },
        op: u32::MAX,
        n: u32::MAX,
    };
    batch.put(Key::ToForget("192.0.2.0/24".parse().unwrap(), key), Vec::new()).unwrap();
    node.store.commit(batch).unwrap();
    assert_eq!(forget_asked(&node.store).unwrap(), 1);
    assert_eq!(
        (node.told(), node.evidence()),
        (
            vec!["192.0.3.1".to_owned(), "192.0.2.1".to_owned()],
            vec!["192.0.3.1".to_owned(), "192.0.2.1".to_owned()]
        )
    );
}

/// A flood's evidence stands in few records.
#[test]
fn of_what_stands_in_one_record_each_goes_in_its_time() {
    let mut node = Node::new();
    let times = [BanTime::Ms(HOUR_MS), BanTime::Forever, BanTime::Ms(40 * DAY_MS), BanTime::Ms(HOUR_MS)];
    let ops = (1..).zip(times).map(|(n, time)| Node::proposed(&format!("192.0.2.{n}"), time));
    node.apply(START, ops.collect());
    assert_eq!(node.store.cold_from(first_of(0), 10).unwrap().len(), 1);
    node.sweep(START.plus_ms(DAY_MS));
    let target = "192.0.2.1".parse().unwrap();
    let operator =
        Operator { command_id: CommandId(9), node: HERE, author: "anna".into(), reason: String::new() };
    node.apply(START.plus_ms(DAY_MS), vec![Op::Forget { operator, target }]);
    forget_asked(&node.store).unwrap();
    assert_eq!(node.evidence(), ["192.0.2.2", "192.0.2.3", "192.0.2.4"]);
    let now = START.plus_ms(32 * DAY_MS);
    node.sweep(now);
    let forgotten = node.forget(now, &PLENTY);
    assert_eq!((forgotten.n_evidence, forgotten.n_of_live_bans), (1, 0));
    assert_eq!(node.evidence(), ["192.0.2.2", "192.0.2.3"]);
    // The first operation of the entry is the leader's reading of the clock.
    let found = |op| {
        let cause = Cause::new(Position { generation: 1, index: 2 }, op);
        evidence::find(&node.store, cause).unwrap()
    };
    assert!(found(2).is_some_and(|record| record.at == START), "under the key of one that is gone");
    assert_eq!((found(1), found(4)), (None, None));

    assert_eq!(node.forget(now, &Bounds { evidence_records_max: 1, ..PLENTY }).n_of_live_bans, 1);
    assert_eq!(node.evidence(), ["192.0.2.3"]);
    assert_eq!(node.forget(now, &Bounds { evidence_bytes_max: 0, ..PLENTY }).n_of_live_bans, 1);
    assert!(node.store.cold_from(first_of(0), 10).unwrap().is_empty());
}

/// What a host has brought along stands in one piece.
#[test]
fn of_an_import_only_who_is_to_be_forgotten_goes() {
    use bannkreis_core::command::ImportedBan;
    let mut node = Node::new();
    let ban = |subnet: &str| ImportedBan {
        subnet: subnet.parse().unwrap(),
        jail: JailName::new("sshd").unwrap(),
        since: START,
        until: bannkreis_core::time::Until::at(START.plus_ms(HOUR_MS)),
        count: 1,
        ports: Ports::whole_host(),
        policy: BanPolicy::fixed(BanTime::Ms(HOUR_MS)),
        note: "brought along".into(),
    };
    let operator =
        |id| Operator { command_id: CommandId(id), node: HERE, author: "anna".into(), reason: String::new() };
    let bans = vec![ban("192.0.2.1"), ban("192.0.3.1")];
    let (allow, history) = (Vec::new(), Vec::new());
    node.apply(START, vec![Op::Import { operator: operator(70), bans, allow, history }]);
    let target = "192.0.2.1".parse().unwrap();
    node.apply(START.plus_ms(DAY_MS), vec![Op::Forget { operator: operator(71), target }]);
    forget_asked(&node.store).unwrap();
    let all = node.store.cold_from(first_of(0), 10).unwrap();
    let pieces = Pieces::decode(all[0].0, &all[0].1).unwrap().pieces;
    let Some(Op::Import { bans, .. }) = pieces[0].op() else { panic!("{all:?}") };
    assert_eq!(bans.iter().map(|ban| ban.subnet.to_string()).collect::<Vec<_>>(), ["192.0.3.1"]);
}

#[test]
fn the_next_look_is_when_there_may_be_too_many_records_or_bytes() {
    let last = Forgotten { n_room: 3 * PASS_RECORDS, room_bytes: 1_000_000, ..Forgotten::default() };
    let newly_kept = NewlyKept::default();
    let (each, bytes) = (usize::try_from(PASS_RECORDS).unwrap(), 300_000);
    newly_kept.add(1, 2_000_000);
    assert!(!newly_kept.may_be_too_much(&last), "a few are no reason to read all");
    newly_kept.clear();
    newly_kept.add(2 * each, bytes);
    assert!(!newly_kept.may_be_too_much(&last));
    newly_kept.add(each, bytes);
    assert!(newly_kept.may_be_too_much(&last), "too many");
    newly_kept.clear();
    newly_kept.add(each, 1_000_000);
    assert!(newly_kept.may_be_too_much(&last), "too large");
}
