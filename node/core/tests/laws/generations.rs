//! A new generation keeps every ban and every word of an operator, and believes nobody of the old one.

use crate::generated::{BEGIN, MEMBERS, applied, command, history, jail_name, list, offender_number};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::{ImportedBan, ImportedHistory, Op, UnbanSelection};
use bannkreis_core::generation::{NewGeneration, TimeShift};
use bannkreis_core::history::PastBans;
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, Ports};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::time::{BanTime, DAY_MS, SECOND_MS, Timestamp, Until};
use proptest::prelude::*;

const NEW: NodeId = NodeId(99);

fn recovered(now: Option<Timestamp>) -> NewGeneration {
    NewGeneration { generation: 7, node: NEW, formerly: vec![MEMBERS[0]], now }
}

proptest! {
    /// The same bans with the same time left, the same tombstones and settings, whatever the clock is set to.
    #[test]
    fn everything_but_the_nodes_goes_over(history in history(30), ahead_ms in prop::option::of(0..800 * DAY_MS)) {
        let (list, index, _) = applied(&history);
        let now = ahead_ms.map(|ahead_ms| Timestamp(BEGIN.0 - 400 * DAY_MS + ahead_ms));
        let new = list.in_generation(&recovered(now));
        prop_assert_eq!(new.position(), Position { generation: 7, index });
        prop_assert_eq!(new.now(), now.unwrap_or(list.now()));
        prop_assert_eq!((new.n_bans(), new.pasts().count()), (list.n_bans(), list.pasts().count()));
        for (key, ban) in list.bans() {
            let held = new.ban(key).unwrap();
            prop_assert_eq!(held.until.remaining_ms(new.now()), ban.until.remaining_ms(list.now()));
            prop_assert_eq!((held.count, &held.ports), (ban.count, &ban.ports));
            prop_assert!(held.origins.iter().all(|origin| origin.node != MEMBERS[0]));
        }
        prop_assert_eq!(new.settings(), list.settings());
        prop_assert_eq!(new.tombstones().count(), list.tombstones().count());
        prop_assert_eq!(new.allow_list().len(), list.allow_list().len());
        for (node, entry) in new.nodes() {
            prop_assert!(entry.revoked != (node == NEW), "only the new id counts: {node} {entry:?}");
            prop_assert!(node == NEW || entry.record.protected().next().is_none());
        }
        // Whoever reads it from a file has the same list.
        let mut copy = BanList::new(*new.settings());
        new.records().for_each(|record| copy.restore(record));
        prop_assert!(copy == new);
    }

    #[test]
    fn a_shift_there_and_back_changes_nothing(from in 1u64..u64::MAX / 4, to in 1u64..u64::MAX / 4, at in 0..u64::MAX / 4) {
        let there = TimeShift { from: Timestamp(from), to: Timestamp(to) };
        let back = TimeShift { from: there.to, to: there.from };
        let moved = there.of(Timestamp(at));
        // What would lie before the beginning is the beginning.
        prop_assert!(moved == Timestamp::ZERO || back.of(moved) == Timestamp(at));
        prop_assert_eq!(there.of_end(Until::FOREVER), Until::FOREVER);
    }
}

#[test]
fn an_address_of_a_node_that_was_given_up_can_be_banned() {
    let (mut list, index) = list();
    let address = offender_number(2);
    let record = NodeRecord {
        node: MEMBERS[1],
        own: vec![address],
        key_fingerprint: vec![1; 32],
        ..Default::default()
    };
    list.apply(crate::generated::position(index + 1), &command(BEGIN, vec![Op::NodeSeen(record)]));
    assert!(list.protection(address, list.now()).is_some());
    let new = list.in_generation(&recovered(None));
    assert!(new.protection(address, new.now()).is_none());
    // The same key may come back under another id.
    assert!(new.node(MEMBERS[1]).unwrap().record.key_fingerprint.is_empty());
}

/// What the old generation brings along is weighed against what the new one has lifted since.
#[test]
fn a_survivor_brings_back_nobody_who_was_let_go_meanwhile() {
    let (list, index) = list();
    let mut new = list.in_generation(&recovered(None));
    let place = |n| Position { generation: 7, index: index + n };
    let operator =
        |n| Operator { command_id: CommandId(n), node: NEW, author: String::new(), reason: String::new() };
    let (lifted, other) = (offender_number(0), offender_number(1));
    let at = BEGIN.plus_ms(10 * SECOND_MS);
    let unban =
        Op::Unban { operator: operator(1), selection: UnbanSelection::Target { target: lifted, jail: None } };
    let tick = |at| Op::Tick { readings: vec![(NEW, at)] };
    new.apply(place(1), &command(at, vec![tick(at), unban]));
    let later = at.plus_ms(30 * SECOND_MS);
    let ban = |subnet, since: Timestamp| ImportedBan {
        subnet,
        jail: jail_name(0),
        since,
        until: Until::at(BEGIN.plus_ms(DAY_MS)),
        count: 1,
        ports: Ports::whole_host(),
        policy: BanPolicy::fixed(BanTime::Ms(DAY_MS)),
        note: String::new(),
    };
    let past = PastBans { count: 3, last_since: BEGIN, last_end: BEGIN.plus_ms(1), origin: None };
    let history = vec![ImportedHistory { subnet: lifted, jail: jail_name(1), past }];
    let import = |n, bans, history| Op::Import { operator: operator(n), bans, allow: Vec::new(), history };
    let key = |subnet| BanKey { subnet, jail: jail_name(0) };
    let old = import(2, vec![ban(lifted, BEGIN), ban(other, BEGIN)], history);
    new.apply(place(2), &command(later, vec![tick(later), old]));
    assert!(new.ban(&key(lifted)).is_none() && new.ban(&key(other)).is_some());
    assert!(new.past(&BanKey { subnet: lifted, jail: jail_name(1) }).is_none());
    // Evidence that is newer than the unban counts.
    new.apply(place(3), &command(later, vec![import(3, vec![ban(lifted, later)], Vec::new())]));
    assert!(new.ban(&key(lifted)).is_some());
}

#[test]
fn a_node_that_goes_on_alone_closes_the_same_ports_as_before() {
    let (mut list, index) = list();
    let ban = |n: u8, node: NodeId| Op::OperatorBan {
        operator: Operator {
            command_id: CommandId(u128::from(n)),
            node,
            author: String::new(),
            reason: String::new(),
        },
        target: offender_number(n),
        jail: jail_name(0),
        ban_time: BanTime::Ms(600 * SECOND_MS),
        ports: Ports::tcp(&[443]),
        force: false,
    };
    let jails = vec![(jail_name(1), Ports::tcp(&[25, 587]))];
    let record = NodeRecord { node: MEMBERS[1], jails, ..NodeRecord::default() };
    let ops = vec![Op::NodeSeen(record), ban(0, MEMBERS[0]), ban(1, MEMBERS[1])];
    list.apply(Position { generation: 0, index: index + 1 }, &command(BEGIN, ops));
    let closed = |list: &BanList, n| {
        list.ban(&BanKey { subnet: offender_number(n), jail: jail_name(0) }).unwrap().ports.clone()
    };
    // Guarded: another node's ban closes what the node serves, its own one what it saw attacked.
    let taken = list.taken_by(MEMBERS[1]);
    assert_eq!(closed(&taken, 0), Ports::tcp(&[25, 443, 587]));
    assert_eq!(closed(&taken, 1), Ports::tcp(&[443]));
    // A node without jails closes the whole host.
    assert_eq!(closed(&list.taken_by(MEMBERS[2]), 0), Ports::whole_host());
}
