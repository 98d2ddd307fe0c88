//! What people can ask about later: every ban that ends is told once, with who ended it; every command once.

use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::ban::Cause;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::{BanKey, Outcome};
use bannkreis_core::command::{Command, LEVEL, Op, UnbanSelection};
use bannkreis_core::history::{EndedBan, Ending, HistoryEntry, HistoryKey, entries};
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::proposal::Proposal;
use bannkreis_core::settings::{Setting, Settings};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Timestamp, Until};

const START: Timestamp = Timestamp(1_000_000_000);
const KERIO: NodeId = NodeId(1);

struct Cluster {
    list: BanList,
    index: u64,
    told: Vec<(HistoryKey, HistoryEntry)>,
}

fn operator(n: u128, author: &str) -> Operator {
    Operator { command_id: CommandId(n), node: NodeId(2), author: author.into(), reason: "asked for".into() }
}

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn jail() -> JailName {
    JailName::new("sshd").unwrap()
}

fn ban(offender: &str, ban_time: BanTime) -> Op {
    Op::Ban(Proposal {
        origin: KERIO,
        basis: Position::default(),
        jail: jail(),
        offender: subnet(offender),
        first_failure_age_ms: 5_000,
        last_failure_age_ms: 4_000,
        failures: 3,
        contributors: Vec::new(),
        policy: BanPolicy::fixed(ban_time),
        ports: Ports::whole_host(),
        evidence: Vec::new(),
    })
}

impl Cluster {
    fn new() -> Cluster {
        let mut cluster =
            Cluster { list: BanList::new(Settings::at_birth([1; 16])), index: 0, told: Vec::new() };
        let seen = [KERIO, NodeId(2)]
            .map(|node| Op::NodeSeen(NodeRecord { node, level_max: LEVEL, ..NodeRecord::default() }));
        cluster.apply(0, [vec![Op::Tick { readings: vec![(KERIO, START)] }], seen.into()].concat());
        cluster
    }

    fn apply(&mut self, after_ms: u64, ops: Vec<Op>) {
        self.index += 1;
        let position = Position { generation: 1, index: self.index };
        let at = START.plus_ms(after_ms);
        let tick = Op::Tick { readings: vec![(KERIO, at)] };
        let command = Command { at, level: LEVEL, ops: [vec![tick], ops].concat(), ..Command::default() };
        let applied = self.list.apply(position, &command);
        assert_eq!(applied.changes_end.len(), command.ops.len());
        assert_eq!(applied.changes_end.last(), Some(&applied.changes.len()));
        self.told.extend(entries(position, self.list.now(), &command, &applied));
    }

    fn ended(&self) -> Vec<&EndedBan> {
        let ended = self.told.iter().filter_map(|(_, entry)| match entry {
            HistoryEntry::Ended(ended) => Some(ended),
            HistoryEntry::Given(_) => None,
        });
        ended.collect()
    }

    fn commands(&self) -> Vec<(&Op, &Outcome)> {
        let given = self.told.iter().filter_map(|(_, entry)| match entry {
            HistoryEntry::Given(given) => Some((&given.op, &given.outcome)),
            HistoryEntry::Ended(_) => None,
        });
        given.collect()
    }
}

#[test]
fn every_way_to_end_is_told_with_who_did_it() {
    let mut cluster = Cluster::new();
    let hour = BanTime::Ms(3_600_000);
    let bans = (1..=5).map(|n| ban(&format!("192.0.2.{n}"), if n == 1 { BanTime::Ms(60_000) } else { hour }));
    cluster.apply(10_000, bans.collect());
    let unban = |n, selection| Op::Unban { operator: operator(n, "anna"), selection };
    let target = |text| UnbanSelection::Target { target: subnet(text), jail: None };
    let entry = AllowEntry {
        subnet: subnet("192.0.2.3"),
        note: "the office".into(),
        author: "anna".into(),
        node: NodeId(2),
        until: Until::FOREVER,
    };
    cluster.apply(20_000, vec![unban(1, target("192.0.2.2"))]);
    cluster.apply(30_000, vec![Op::Allow { operator: operator(2, "anna"), entry }]);
    // An address that is banned waits for an operator when it is announced, so it is announced before.
    cluster.apply(40_000, vec![unban(3, UnbanSelection::ByNode { node: KERIO, since: START })]);
    cluster.apply(50_000, (0..64).map(|_| Op::Sweep).collect());

    let told: Vec<(String, &Ending)> =
        cluster.ended().iter().map(|ended| (ended.key.subnet.to_string(), &ended.ending)).collect();
    let anna = |n| operator(n, "anna");
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told.contains(&("192.0.2.2".into(), &Ending::Lifted(anna(1)))), "{told:?}");
    assert!(told.contains(&("192.0.2.3".into(), &Ending::Allowed(anna(2)))), "{told:?}");
    for struck_out in ["192.0.2.1", "192.0.2.4", "192.0.2.5"] {
        assert!(told.contains(&(struck_out.into(), &Ending::ByNode(anna(3)))), "{told:?}");
    }
    assert_eq!(cluster.commands().len(), 3);
}

#[test]
fn a_ban_whose_time_is_over_is_told_with_its_span_origin_and_evidence() {
    let mut cluster = Cluster::new();
    cluster.apply(10_000, vec![Op::Sweep, ban("192.0.2.1", BanTime::Ms(60_000))]);
    cluster.apply(100_000, (0..64).map(|_| Op::Sweep).collect());
    let [ended] = cluster.ended()[..] else { panic!("{:?}", cluster.told) };
    let (since, end) = (START.plus_ms(10_000), START.plus_ms(66_000));
    assert_eq!((ended.since, ended.end, &ended.ending), (since, end, &Ending::Expired));
    assert_eq!(ended.origins, [KERIO]);
    // The tick, the sweep, the ban.
    assert_eq!(ended.cause, Cause::new(Position { generation: 1, index: 2 }, 2));
    assert_eq!(cluster.told[0].0.at, end, "it stands where it ended");
}

#[test]
fn what_was_over_before_it_was_committed_is_told_too() {
    let mut cluster = Cluster::new();
    cluster.apply(10_000, vec![ban("192.0.2.1", BanTime::Ms(1_000))]);
    let [ended] = cluster.ended()[..] else { panic!("{:?}", cluster.told) };
    assert_eq!(ended.ending, Ending::Late);
    assert_eq!((ended.since, ended.end), (START.plus_ms(5_000), START.plus_ms(7_000)));
    assert_eq!(ended.cause, Cause::new(Position { generation: 1, index: 2 }, 1));
}

#[test]
fn a_command_is_told_once_with_its_outcome_and_without_keys() {
    let mut cluster = Cluster::new();
    let wide = Op::OperatorBan {
        operator: operator(7, "ben"),
        target: subnet("10.0.0.0/8"),
        jail: jail(),
        ban_time: BanTime::Ms(1_000),
        ports: Ports::whole_host(),
        force: false,
    };
    let fields = vec![Setting::EventKey([9; 16]), Setting::QuotaBurst(7)];
    let settings = Op::Settings { operator: operator(8, "ben"), fields };
    cluster.apply(10_000, vec![wide.clone(), settings]);
    cluster.apply(20_000, vec![wide.clone()]);
    let told = cluster.commands();
    assert_eq!(told.len(), 2, "a retry is the same command: {told:?}");
    assert!(matches!(told[0], (op, Outcome::Refused { why }) if *op == wide && why.contains("--force")));
    let Op::Settings { fields, .. } = told[1].0 else { panic!("{told:?}") };
    assert_eq!(*fields, [Setting::QuotaBurst(7)]);
}

#[test]
fn replaying_the_log_tells_the_same_under_the_same_keys() {
    let run = || {
        let mut cluster = Cluster::new();
        cluster.apply(10_000, (1..40).map(|n| ban(&format!("192.0.2.{n}"), BanTime::Ms(60_000))).collect());
        cluster.apply(100_000, (0..64).map(|_| Op::Sweep).collect());
        cluster.told
    };
    let told = run();
    let mut keys: Vec<HistoryKey> = told.iter().map(|(key, _)| *key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 39, "each has a key of its own");
    assert_eq!(told, run());
}

#[test]
fn what_is_over_is_forgotten_and_what_holds_is_not() {
    let mut cluster = Cluster::new();
    let forget = |n, target| Op::Forget { operator: operator(n, "anna"), target: subnet(target) };
    cluster.apply(
        10_000,
        vec![
            ban("192.0.2.1", BanTime::Ms(60_000)),
            ban("192.0.2.2", BanTime::Ms(60_000)),
            ban("192.0.2.3", BanTime::Forever),
        ],
    );
    cluster.apply(100_000, vec![forget(1, "192.0.2.1"), forget(2, "192.0.2.0/24")]);
    let outcomes: Vec<&Outcome> = cluster.commands().iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes[0], &Outcome::Done { n_affected: 1 });
    let Outcome::Refused { why } = outcomes[1] else { panic!("{outcomes:?}") };
    // It is remembered, and so it does not say whom.
    assert_eq!(why, "of a ban that holds nothing is forgotten");
    let key = |text| BanKey { subnet: subnet(text), jail: jail() };
    assert_eq!(cluster.list.past(&key("192.0.2.1")), None);
    assert!(cluster.list.past(&key("192.0.2.2")).is_some());
    assert!(cluster.list.ban(&key("192.0.2.3")).is_some());
    // Nobody is named where it is told that somebody was forgotten.
    for (op, _) in cluster.commands() {
        assert!(!format!("{op:?}").contains("192.0.2"), "{op:?}");
    }
}
