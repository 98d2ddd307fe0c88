//! What an operator lifts is lifted for good, and nothing else is.

use crate::generated::{BEGIN, asked, command, failure, jail, jail_name, list, offender_number, position};
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::{ImportedBan, Op, UnbanSelection};
use bannkreis_core::event::{Configuration, Effect, Event, OutboxEntry, Override, OverrideKind};
use bannkreis_core::failure::{Failure, SourcePosition};
use bannkreis_core::history::PastBans;
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{BanPolicy, Ports};
use bannkreis_core::judge::NotSharedReason;
use bannkreis_core::time::{BanTime, DAY_MS, Now, SECOND_MS, Timestamp, Until};
use bannkreis_core::warden::Warden;

const BAN_MS: u64 = 60 * SECOND_MS;

fn operator(n: u128) -> Operator {
    Operator { command_id: CommandId(n), node: NodeId(3), author: String::new(), reason: String::new() }
}

fn key() -> BanKey {
    BanKey { subnet: offender_number(0), jail: jail_name(0) }
}

#[test]
fn undoing_one_node_leaves_what_another_saw_itself() {
    let (mut list, index) = list();
    let mut warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
    let now = Now::known(BEGIN, BEGIN);
    let jail = jail(1, BAN_MS);
    let failure = failure(offender_number(0), BEGIN);
    let mut effects = Vec::new();
    let configuration = Configuration { jails: vec![jail], ..Configuration::default() };
    for event in [Event::Configured(configuration), Event::CaughtUp, Event::Failures(vec![failure])] {
        warden.step(now, event, &mut effects);
    }
    let (own, theirs) = (asked(&list, 1, BAN_MS), asked(&list, 2, BAN_MS));
    let banned = list.apply(position(index + 1), &command(BEGIN, vec![theirs.clone()]));
    let selection = UnbanSelection::ByNode { node: NodeId(2), since: Timestamp::ZERO };
    let undo = Op::Unban { operator: operator(1), selection };
    let undone = list.apply(position(index + 2), &command(BEGIN, vec![undo]));
    let changes = banned.changes.into_iter().chain(undone.changes).collect();
    warden.step(now, Event::Applied { view: list.view(), changes }, &mut effects);
    assert_eq!(list.ban(&key()), None);
    assert_eq!(list.past(&key()), None, "a ban that should never have been makes no later one longer");
    // Node 1 has seen it itself: its block stays, its proposal is taken, late as it is.
    assert!(warden.ruleset().elements.contains_key(&offender_number(0)));
    assert_eq!(warden.outbox().count(), 1);
    list.apply(position(index + 3), &command(BEGIN, vec![own]));
    assert_eq!(list.ban(&key()).map(|ban| ban.count), Some(1));
    // Node 2's word from before stays void when it is trusted again.
    let trust = Op::Trust { operator: operator(2), node: NodeId(2) };
    list.apply(position(index + 4), &command(BEGIN, vec![trust, theirs]));
    let origins = list.ban(&key()).map(|ban| ban.origins.iter().map(|origin| origin.node).collect());
    assert_eq!(origins, Some(vec![NodeId(1)]));
}

#[test]
fn what_a_node_blocks_while_it_is_not_trusted_stays_its_own() {
    let (mut list, index) = list();
    let mut warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
    let mut step = |at: Timestamp, event: Event| {
        let mut effects = Vec::new();
        warden.step(Now::known(at, at), event, &mut effects);
        let local = warden.outbox().map(|entry| entry.local).collect::<Vec<_>>();
        let is_asked = effects.iter().any(|effect| matches!(effect, Effect::Propose { .. }));
        (local, is_asked)
    };
    let configuration = Configuration { jails: vec![jail(1, BAN_MS)], ..Configuration::default() };
    for event in [Event::Configured(configuration), Event::CaughtUp, Event::Leader { known: true }] {
        step(BEGIN, event);
    }
    let mut apply = |n: u64, op: Op| {
        let changes = list.apply(position(index + n), &command(BEGIN, vec![op])).changes;
        Event::Applied { view: list.view(), changes }
    };
    let selection = UnbanSelection::ByNode { node: NodeId(1), since: Timestamp::ZERO };
    step(BEGIN, apply(1, Op::Unban { operator: operator(1), selection }));
    let at = BEGIN.plus_ms(SECOND_MS);
    let meanwhile = step(at, Event::Failures(vec![failure(offender_number(0), at)]));
    assert_eq!(meanwhile, (vec![Some(NotSharedReason::Untrusted)], false));
    let trusted = step(at, apply(2, Op::Trust { operator: operator(2), node: NodeId(1) }));
    assert_eq!(trusted, (vec![Some(NotSharedReason::Untrusted)], false));
    // What comes is shared, whether it has blocked the offender before or not.
    let at = at.plus_ms(SECOND_MS);
    let again = step(at, Event::Failures(vec![failure(offender_number(0), at)]));
    assert_eq!(again, (vec![None], true));
}

#[test]
fn an_unban_that_is_heard_of_late_voids_only_what_came_before_it() {
    let (mut list, index) = list();
    let mut warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
    let jail = jail(3, BAN_MS);
    let mut effects = Vec::new();
    let mut fails_at = |warden: &mut Warden, s: u64| {
        let at = BEGIN.plus_ms(s * SECOND_MS);
        let failure = Failure { position: SourcePosition(s), ..failure(offender_number(0), at) };
        let now = Now::known(at, at);
        warden.step(now, Event::Failures(vec![failure]), &mut effects);
        warden.ruleset().elements.contains_key(&offender_number(0))
    };
    let begin = Now::known(BEGIN, BEGIN);
    let configuration = Configuration { jails: vec![jail], ..Configuration::default() };
    warden.step(begin, Event::Configured(configuration), &mut Vec::new());
    assert!(!fails_at(&mut warden, 1));
    let selection = UnbanSelection::Target { target: offender_number(0), jail: None };
    let unban = command(BEGIN.plus_ms(10 * SECOND_MS), vec![Op::Unban { operator: operator(1), selection }]);
    let changes = list.apply(position(index + 1), &unban).changes;
    assert!(!fails_at(&mut warden, 20));
    let late = BEGIN.plus_ms(21 * SECOND_MS);
    let now = Now::known(late, late);
    warden.step(now, Event::Applied { view: list.view(), changes }, &mut Vec::new());
    // The first failure does not count any more, and the second one does.
    assert!(!fails_at(&mut warden, 22));
    assert!(fails_at(&mut warden, 23));
}

#[test]
fn an_import_never_shortens_an_allow_entry() {
    let (mut list, index) = list();
    let entry = |until| AllowEntry {
        subnet: offender_number(0),
        note: String::new(),
        author: String::new(),
        node: NodeId(1),
        until,
    };
    let allow = |n, until| Op::Allow { operator: operator(n), entry: entry(until) };
    let import = |n, until| Op::Import {
        operator: operator(n),
        bans: Vec::new(),
        allow: vec![entry(until)],
        history: Vec::new(),
    };
    let (soon, late) = (Until::at(BEGIN.plus_ms(SECOND_MS)), Until::at(BEGIN.plus_ms(9 * SECOND_MS)));
    let until = |list: &BanList| list.allow_list().get(offender_number(0)).map(|entry| entry.until);
    list.apply(position(index + 1), &command(BEGIN, vec![allow(1, late), import(2, soon)]));
    assert_eq!(until(&list), Some(late));
    list.apply(position(index + 2), &command(BEGIN, vec![import(3, Until::FOREVER)]));
    assert_eq!(until(&list), Some(Until::FOREVER));
    // An operator's own word may.
    list.apply(position(index + 3), &command(BEGIN, vec![allow(4, soon)]));
    assert_eq!(until(&list), Some(soon));
}

#[test]
fn a_ban_that_ends_while_its_node_joins_counts_as_one_that_is_over() {
    let (mut list, index) = list();
    let since = BEGIN.minus_ms(BAN_MS);
    let ban = |n, end| ImportedBan {
        subnet: offender_number(n),
        jail: jail_name(0),
        since,
        until: Until::at(end),
        count: 3,
        ports: Ports::tcp(&[22]),
        policy: BanPolicy::fixed(BanTime::Ms(BAN_MS)),
        note: String::new(),
    };
    let import = Op::Import {
        operator: operator(1),
        bans: vec![ban(0, BEGIN.minus_ms(1)), ban(1, BEGIN.plus_ms(BAN_MS))],
        allow: Vec::new(),
        history: Vec::new(),
    };
    list.apply(position(index + 1), &command(BEGIN, vec![import]));
    assert_eq!(list.ban(&key()), None);
    let past = PastBans { count: 3, last_since: since, last_end: BEGIN.minus_ms(1), origin: Some(NodeId(3)) };
    assert_eq!(list.past(&key()), Some(past));
    assert_eq!(list.pasts().count(), 1, "what still holds is no past");
}

#[test]
fn whoever_is_let_go_has_no_past() {
    let (mut list, index) = list();
    let proposal = asked(&list, 1, BAN_MS);
    list.apply(position(index + 1), &command(BEGIN, vec![proposal]));
    assert_eq!(list.past(&key()).map(|past| past.count), Some(1));
    let selection = UnbanSelection::Target { target: offender_number(0), jail: None };
    let unban = Op::Unban { operator: operator(1), selection };
    list.apply(position(index + 2), &command(BEGIN, vec![unban]));
    assert_eq!(list.past(&key()), None);
    let proposal = asked(&list, 1, BAN_MS);
    list.apply(position(index + 3), &command(BEGIN, vec![proposal]));
    assert_eq!(list.past(&key()).map(|past| past.count), Some(1));
}

fn block_until(end: Timestamp) -> Override {
    Override {
        kind: OverrideKind::Block,
        author: String::new(),
        reason: String::new(),
        until: Until::at(end),
        estimated: false,
    }
}

#[test]
fn an_override_given_by_an_estimate_lasts_as_long_as_it_was_given_for_through_a_restart() {
    let (list, _) = list();
    let (subnet, an_hour_ms) = (offender_number(0), 60 * 60 * SECOND_MS);
    // The node booted with a clock of another year, behind or ahead; the cluster's word comes after a restart.
    for (wrong, right) in [(BEGIN, BEGIN.plus_ms(300 * DAY_MS)), (BEGIN.plus_ms(300 * DAY_MS), BEGIN)] {
        let guess = |ms| Now {
            cluster: wrong.plus_ms(ms),
            wall: wrong.plus_ms(ms),
            estimated: true,
            from_known: false,
        };
        let mut stored = None;
        let mut run = |times: [Now; 2], first: Event| {
            let held = stored.iter().cloned().collect();
            let mut warden = Warden::new(NodeId(1), list.view(), Vec::new(), held);
            let mut effects = Vec::new();
            warden.step(times[0], Event::Configured(Configuration::default()), &mut effects);
            warden.step(times[0], first, &mut effects);
            warden.step(times[1], Event::Timer, &mut effects);
            for effect in effects {
                if let Effect::StoreOverride { subnet, decision } = effect {
                    stored = decision.map(|decision| (subnet, decision));
                }
            }
            stored.clone().map(|(_, decision)| decision)
        };
        let decision = Some(block_until(wrong.plus_ms(an_hour_ms)));
        let kept = run([guess(0), guess(10)], Event::Override { subnet, decision }).unwrap();
        assert!(kept.estimated);
        let known = Now::known(right, wrong.plus_ms(20));
        let kept = run([guess(20), known], Event::Timer).unwrap();
        assert_eq!((kept.until, kept.estimated), (Until::at(right.plus_ms(an_hour_ms - 20)), false));
    }
}

#[test]
fn a_block_is_not_forgotten_by_an_estimate() {
    let (list, _) = list();
    let kept = |offender| OutboxEntry {
        key: BanKey { subnet: offender_number(offender), jail: jail_name(0) },
        basis: list.position(),
        first_failure: BEGIN,
        last_failure: BEGIN,
        failures: 1,
        policy: BanPolicy::fixed(BanTime::Ms(BAN_MS)),
        ports: Ports::tcp(&[22]),
        evidence: Vec::new(),
        until: Until::at(BEGIN.plus_ms(BAN_MS)),
        local: Some(NotSharedReason::Quota),
        served: Vec::new(),
        contributors: Vec::new(),
    };
    let decision = block_until(BEGIN.plus_ms(BAN_MS));
    let mut warden = Warden::new(NodeId(1), list.view(), vec![kept(0)], vec![(offender_number(1), decision)]);
    let mut effects = Vec::new();
    // After a reboot with a wall clock of another year, the node takes everything for over.
    let wrong = BEGIN.plus_ms(30 * DAY_MS);
    let guess = Now { cluster: wrong, wall: wrong, estimated: true, from_known: false };
    for event in [Event::Configured(Configuration::default()), Event::CaughtUp, Event::Timer, Event::Timer] {
        warden.step(guess, event, &mut effects);
    }
    assert!(warden.ruleset().elements.is_empty());
    assert!(warden.next_timer().is_none_or(|due| due > wrong), "due again at once");
    // The cluster's word comes: nothing was over.
    let known = Now::known(BEGIN.plus_ms(1), wrong);
    warden.step(known, Event::Timer, &mut effects);
    let held: Vec<_> = warden.ruleset().elements.keys().copied().collect();
    assert_eq!(held, [offender_number(0), offender_number(1)]);
    let forgotten = effects.iter().any(|effect| {
        matches!(
            effect,
            Effect::StoreOutbox { entry: None, .. } | Effect::StoreOverride { decision: None, .. }
        )
    });
    assert!(!forgotten);
}
