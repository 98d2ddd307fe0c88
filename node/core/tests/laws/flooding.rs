//! A node that goes mad, or whose logs somebody writes: what it may do within its quota and beyond, and that one command
//! undoes all of it.

use crate::generated::{BEGIN, MEMBERS, command, failure, jail, jail_name, list, position};
use crate::host::Host;
use bannkreis_core::ban_list::{BanList, TOMBSTONES_MAX};
use bannkreis_core::change::{BanKey, OpResult};
use bannkreis_core::command::{ImportedHistory, Op, UnbanSelection};
use bannkreis_core::event::{Effect, Event};
use bannkreis_core::history::PastBans;
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, Ports};
use bannkreis_core::judge::{NotSharedReason, Verdict};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::proposal::{Notice, Proposal};
use bannkreis_core::settings::Setting;
use bannkreis_core::shards::SHARD_GROUPS;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, DAY_MS, MINUTE_MS, SECOND_MS, Timestamp, Until};
use bannkreis_core::warden::{NOTICE_MS, NOTICES_PER_ORIGIN_MAX};
use std::net::Ipv4Addr;

const MAD: NodeId = NodeId(2);
const SANE: NodeId = NodeId(3);
const PER_SECOND: u32 = 1_000;
const SECONDS: u32 = 60;

/// The `n`-th of addresses that follow no order, each once.
fn offender(n: u32) -> Subnet {
    Subnet::host(Ipv4Addr::from(0x2000_0000 + (n.wrapping_mul(0x9e37_79b1) >> 4)).into())
}

fn of(n: u32) -> BanKey {
    BanKey { subnet: offender(n), jail: jail_name(0) }
}

fn asked(origin: NodeId, basis: Position, n: u32, age_ms: u64) -> Op {
    Op::Ban(Proposal {
        origin,
        basis,
        jail: jail_name(0),
        offender: offender(n),
        first_failure_age_ms: age_ms,
        last_failure_age_ms: age_ms,
        failures: 1,
        contributors: Vec::new(),
        policy: BanPolicy::fixed(BanTime::Ms(DAY_MS)),
        ports: Ports::tcp(&[22]),
        evidence: Vec::new(),
    })
}

fn order(n: u128, selection: UnbanSelection) -> Op {
    let (author, reason) = (String::new(), String::new());
    Op::Unban { operator: Operator { command_id: CommandId(n), node: SANE, author, reason }, selection }
}

struct Cluster {
    list: BanList,
    index: u64,
    at: Timestamp,
}

impl Cluster {
    /// Gives the results of these operations.
    fn apply(&mut self, ops: Vec<Op>) -> Vec<OpResult> {
        self.index += 1;
        let readings = MEMBERS.iter().map(|node| (*node, self.at)).collect();
        let ops = std::iter::once(Op::Tick { readings }).chain(ops).collect();
        let applied = self.list.apply(position(self.index), &command(self.at, ops));
        applied.results.into_iter().skip(1).collect()
    }

    /// How many bans these proposals may make or extend, and how many are over the quota.
    fn n_open(&mut self, ops: Vec<Op>) -> (usize, usize) {
        let results = self.apply(ops);
        let n = |wanted| results.iter().filter(|result| **result == OpResult::Judged(wanted)).count();
        (n(Verdict::Open), n(Verdict::NotShared(NotSharedReason::Quota)))
    }

    fn n_live(&self) -> usize {
        self.list.bans().filter(|(_, ban)| !ban.until.is_over(self.at)).count()
    }
}

/// A thousand bans a second for a minute, each hundredth of which another node asks for as well.
fn flooded() -> Cluster {
    let (list, index) = list();
    let mut cluster = Cluster { list, index, at: BEGIN };
    for second in 0..SECONDS {
        cluster.at = cluster.at.plus_ms(SECOND_MS);
        let basis = cluster.list.position();
        let some = second * PER_SECOND..(second + 1) * PER_SECOND;
        let mad = some.clone().map(|n| asked(MAD, basis, n, 0));
        let sane = some.step_by(100).map(|n| asked(SANE, basis, n, 0));
        cluster.apply(mad.chain(sane).collect());
    }
    cluster
}

#[test]
fn what_exceeds_the_burst_is_over_after_ten_minutes() {
    let cluster = flooded();
    let settings = *cluster.list.settings();
    let n_full = (settings.quota_burst + settings.quota_per_minute) as usize;
    let sane = |ban: &bannkreis_core::ban::Ban| ban.origins.iter().any(|origin| origin.node == SANE);
    let alone = || cluster.list.bans().filter(|(_, ban)| !sane(ban));
    let limit = Until::at(cluster.at.plus_ms(settings.damped_ms));
    let (damped, full): (Vec<_>, Vec<_>) = alone().partition(|(_, ban)| ban.damped_by == Some(MAD));
    assert!(full.len() <= n_full && full.len() > n_full - 1_000, "{} of {n_full}", full.len());
    assert!(damped.len() > 20_000 && damped.len() <= settings.damped_live_max as usize, "{}", damped.len());
    assert!(damped.iter().all(|(_, ban)| ban.until <= limit));
    assert_eq!(settings.damped_ms, 10 * MINUTE_MS);
    // What another node has seen as well costs nothing of that.
    assert_eq!(cluster.list.bans().filter(|(_, ban)| sane(ban)).count(), 600);
}

#[test]
fn of_bans_that_were_cut_short_so_many_hold_at_once() {
    let (list, index) = list();
    let mut cluster = Cluster { list, index, at: BEGIN };
    let (author, reason) = (String::new(), String::new());
    let operator = Operator { command_id: CommandId(1), node: SANE, author, reason };
    let fields = vec![Setting::QuotaBurst(100), Setting::QuotaPerMinute(0), Setting::DampedLiveMax(500)];
    cluster.apply(vec![Op::Settings { operator, fields }]);
    let basis = cluster.list.position();
    let refused = PER_SECOND as usize - 600;
    assert_eq!(cluster.n_open((0..PER_SECOND).map(|n| asked(MAD, basis, n, 0)).collect()), (600, refused));
    // When those are over there is room again, for as many.
    cluster.at = cluster.at.plus_ms(cluster.list.settings().damped_ms + SECOND_MS);
    cluster.apply(vec![Op::Sweep; SHARD_GROUPS / 64 + 1]);
    let again = (PER_SECOND..2 * PER_SECOND).map(|n| asked(MAD, basis, n, 0));
    assert_eq!(cluster.n_open(again.collect()), (500, PER_SECOND as usize - 500));
}

#[test]
fn one_command_undoes_all_of_it_and_it_stays_undone() {
    let mut cluster = flooded();
    let before = cluster.list.position();
    cluster.apply(vec![order(1, UnbanSelection::ByNode { node: MAD, since: Timestamp::ZERO })]);
    assert_eq!(cluster.n_live(), 600, "what the other node has seen itself stays");
    let of_mad = |list: &BanList| {
        list.bans().filter(|(_, ban)| ban.origins.iter().any(|origin| origin.node == MAD)).count()
    };
    assert_eq!(of_mad(&cluster.list), 0);
    let mut lifted = (0..PER_SECOND * SECONDS).map(of).filter(|key| cluster.list.ban(key).is_none());
    assert!(lifted.all(|key| cluster.list.past(&key).is_none()), "nobody has a past of it");
    // Its proposals come again, late, and with the newest basis; then it is trusted again.
    for second in 0..SECONDS {
        let some = second * PER_SECOND..(second + 1) * PER_SECOND;
        let newest = cluster.list.position();
        let late = some.clone().map(|n| asked(MAD, before, n, 2 * MINUTE_MS));
        let new = some.map(|n| asked(MAD, newest, n, 0));
        cluster.apply(late.chain(new).collect());
    }
    assert_eq!(cluster.n_live(), 600);
    let (author, reason) = (String::new(), String::new());
    let operator = Operator { command_id: CommandId(2), node: SANE, author, reason };
    cluster.apply(vec![Op::Trust { operator, node: MAD }]);
    for second in 0..SECONDS {
        let some = second * PER_SECOND..(second + 1) * PER_SECOND;
        cluster.apply(some.map(|n| asked(MAD, before, n, 2 * MINUTE_MS)).collect());
    }
    assert_eq!(cluster.n_live(), 600, "what was undone stays undone");
    let newest = cluster.list.position();
    cluster.apply(vec![asked(MAD, newest, PER_SECOND * SECONDS, 0)]);
    assert_eq!(cluster.n_live(), 601, "what comes is shared");
}

#[test]
fn who_has_no_token_left_makes_nothing_last_longer() {
    let mut cluster = flooded();
    let settings = *cluster.list.settings();
    let is_damped = |ban: &bannkreis_core::ban::Ban| ban.damped_by == Some(MAD);
    let damped = |list: &BanList| list.bans().filter(|(_, ban)| is_damped(ban)).count();
    let (n_damped, all) = (damped(&cluster.list), 0..PER_SECOND * SECONDS);
    let ends = |list: &BanList| list.bans().map(|(key, ban)| (key.clone(), ban.until)).collect::<Vec<_>>();
    let before = ends(&cluster.list);
    let basis = cluster.list.position();
    let again = |at: Timestamp| {
        let age_ms = move |n| at.ms_since(BEGIN.plus_ms(u64::from(n / PER_SECOND + 1) * SECOND_MS));
        all.clone().map(move |n| asked(MAD, basis, n, age_ms(n))).collect::<Vec<_>>()
    };
    let (_, n_over) = cluster.n_open(again(cluster.at));
    assert_eq!(n_over, n_damped, "the bucket is empty");
    assert_eq!(
        ends(&cluster.list),
        before,
        "what another node wants as well it may want as long, for that changes nothing"
    );
    // A minute later it has as many tokens as a minute gives.
    cluster.at = cluster.at.plus_ms(MINUTE_MS);
    let (n_open, _) = cluster.n_open(again(cluster.at));
    assert_eq!(n_open, settings.quota_per_minute as usize);
    assert_eq!(damped(&cluster.list), n_damped - n_open);
    // The rest is over in time.
    cluster.at = cluster.at.plus_ms(settings.damped_ms);
    cluster.apply(Vec::new());
    let mut left = cluster.list.bans().filter(|(_, ban)| is_damped(ban));
    assert!(left.all(|(_, ban)| ban.until.is_over(cluster.at)));
}

#[test]
fn what_was_cut_short_is_asked_for_again_in_turns() {
    const N_OFFENDERS: u32 = 6;
    let mut host = Host::of(jail(1, DAY_MS));
    let (author, reason) = (String::new(), String::new());
    let operator = Operator { command_id: CommandId(1), node: SANE, author, reason };
    let fields = vec![Setting::QuotaBurst(1), Setting::QuotaPerMinute(60)];
    host.apply(vec![Op::Settings { operator, fields }]);
    let asked_for = |effects: Vec<Effect>| -> Vec<Op> {
        let proposals = effects.into_iter().filter_map(|effect| match effect {
            Effect::Propose(proposals) => Some(proposals),
            _ => None,
        });
        proposals.flatten().map(Op::Ban).collect()
    };
    host.step(Event::CaughtUp);
    host.step(Event::Leader { known: true });
    let failures = (0..N_OFFENDERS).map(|n| failure(offender(n), BEGIN)).collect();
    let first = asked_for(host.step(Event::Failures(failures)));
    assert_eq!(first.len(), N_OFFENDERS as usize);
    host.apply(first);
    let n_damped = |host: &Host| host.list.bans().filter(|(_, ban)| ban.damped_by.is_some()).count();
    assert_eq!(n_damped(&host), N_OFFENDERS as usize - 1);
    // Nothing until a minute before they end. Then half of the sixty that a minute refills.
    let mut asked = Vec::new();
    let damped_s = host.list.settings().damped_ms / SECOND_MS;
    for second in 1..damped_s {
        host.at = BEGIN.plus_ms(second * SECOND_MS);
        let again = asked_for(host.step(Event::Timer));
        asked.extend(again.iter().map(|_| second));
        host.apply(again);
    }
    let turns: Vec<u64> = (0..u64::from(N_OFFENDERS) - 1).map(|n| damped_s - 60 + 2 * n).collect();
    assert_eq!(asked, turns);
    assert_eq!(n_damped(&host), 0);
    assert_eq!(host.warden.outbox().count(), 0);
}

#[test]
fn what_was_over_before_it_was_told_takes_tokens_too() {
    let (list, index) = list();
    let mut cluster = Cluster { list, index, at: BEGIN };
    let settings = *cluster.list.settings();
    let basis = cluster.list.position();
    let over = |n| match asked(MAD, basis, n, MINUTE_MS) {
        Op::Ban(proposal) => {
            Op::Ban(Proposal { policy: BanPolicy::fixed(BanTime::Ms(SECOND_MS)), ..proposal })
        }
        other => other,
    };
    let (n_open, n_over) = cluster.n_open((0..settings.quota_burst + 500).map(over).collect());
    assert_eq!((n_open, n_over), (settings.quota_burst as usize, 500));
    assert_eq!(cluster.list.pasts().count(), n_open);
    // Undone, it makes nobody's next ban longer; what another node has brought in as well still does.
    cluster.at = cluster.at.plus_ms(10 * MINUTE_MS);
    let (n_open, _) = cluster.n_open(vec![asked(SANE, cluster.list.position(), 3, 0)]);
    assert_eq!((n_open, cluster.list.ban(&of(3)).unwrap().count), (1, 2));
    cluster.at = cluster.at.plus_ms(2 * DAY_MS);
    cluster.apply(vec![Op::Sweep; SHARD_GROUPS]);
    cluster.apply(vec![order(1, UnbanSelection::ByNode { node: MAD, since: Timestamp::ZERO })]);
    let left: Vec<_> = cluster.list.pasts().map(|(key, past)| (key.clone(), past.count)).collect();
    assert_eq!(left, [(of(3), 2)]);
}

#[test]
fn what_is_known_of_a_ban_that_is_over_does_not_hang_on_when_it_is_swept_away() {
    let (list, index) = list();
    let mut cluster = Cluster { list, index, at: BEGIN };
    let basis = cluster.list.position();
    cluster.apply(vec![asked(SANE, basis, 3, 0)]);
    let (author, reason) = (String::new(), String::new());
    let operator = Operator { command_id: CommandId(1), node: SANE, author, reason };
    let past = PastBans { count: 7, last_since: BEGIN, last_end: BEGIN.plus_ms(1), origin: None };
    let history = vec![ImportedHistory { subnet: offender(3), jail: jail_name(0), past }];
    cluster.apply(vec![Op::Import { operator, bans: Vec::new(), allow: Vec::new(), history }]);
    cluster.at = cluster.at.plus_ms(2 * DAY_MS);
    cluster.apply(Vec::new());
    let before = cluster.list.past(&of(3));
    cluster.apply(vec![Op::Sweep; SHARD_GROUPS]);
    assert_eq!(cluster.list.ban(&of(3)), None);
    assert_eq!((before, before.map(|past| past.count)), (cluster.list.past(&of(3)), Some(7)));
}

#[test]
fn however_much_is_undone_the_evidence_of_others_counts() {
    let (list, index) = list();
    let mut cluster = Cluster { list, index, at: BEGIN };
    let operator = |n| {
        let (author, reason) = (String::new(), String::new());
        Operator { command_id: CommandId(n), node: SANE, author, reason }
    };
    let fields = vec![Setting::QuotaBurst(1_000_000)];
    cluster.apply(vec![Op::Settings { operator: operator(1), fields }]);
    let before = cluster.list.position();
    let n_bans = u32::try_from(TOMBSTONES_MAX).unwrap() + 10;
    for first in (0..n_bans).step_by(1_000) {
        let basis = cluster.list.position();
        cluster.apply((first..(first + 1_000).min(n_bans)).map(|n| asked(MAD, basis, n, 0)).collect());
    }
    assert_eq!(cluster.n_live(), n_bans as usize);
    cluster.at = cluster.at.plus_ms(MINUTE_MS);
    cluster.apply(vec![order(2, UnbanSelection::ByNode { node: MAD, since: Timestamp::ZERO })]);
    assert_eq!(cluster.n_live(), 0);
    // Cut off all the time, another node has seen one of them, and somebody else.
    let seen = vec![asked(SANE, before, 7, 2 * MINUTE_MS), asked(SANE, before, n_bans, 2 * MINUTE_MS)];
    assert_eq!(cluster.n_open(seen), (2, 0));
}

#[test]
fn who_is_undone_before_it_has_told_about_itself_is_not_trusted_either() {
    let (list, index) = list();
    let mut cluster = Cluster { list, index, at: BEGIN };
    let new = NodeId(9);
    cluster.apply(vec![order(1, UnbanSelection::ByNode { node: new, since: Timestamp::ZERO })]);
    cluster.apply(vec![Op::NodeSeen(NodeRecord { node: new, ..NodeRecord::default() })]);
    let basis = cluster.list.position();
    assert_eq!(cluster.n_open(vec![asked(new, basis, 1, 0)]), (0, 0));
    assert_eq!(cluster.n_live(), 0);
}

#[test]
fn of_many_origins_those_that_want_it_longest_are_known() {
    let (mut list, index) = list();
    let nodes = (1..=12).map(NodeId);
    let seen = nodes.clone().map(|node| Op::NodeSeen(NodeRecord { node, ..NodeRecord::default() }));
    list.apply(position(index + 1), &command(BEGIN, seen.collect()));
    let basis = list.position();
    let wanted = nodes.map(|node| match asked(node, basis, 1, 0) {
        Op::Ban(proposal) => {
            let ban_time = BanTime::Ms((20 - node.0 % 12) * MINUTE_MS);
            Op::Ban(Proposal { policy: BanPolicy::fixed(ban_time), ..proposal })
        }
        other => other,
    });
    list.apply(position(index + 2), &command(BEGIN, wanted.collect()));
    let key = of(1);
    let ban = list.ban(&key).unwrap();
    assert_eq!(ban.until, Until::at(BEGIN.plus_ms(20 * MINUTE_MS)));
    let of_the_last = ban.origins.iter().find(|origin| origin.node == NodeId(12));
    assert_eq!(of_the_last.map(|origin| origin.until), Some(ban.until), "{:?}", ban.origins);
    let selection = UnbanSelection::ByNode { node: NodeId(12), since: Timestamp::ZERO };
    list.apply(position(index + 3), &command(BEGIN, vec![order(3, selection)]));
    assert_eq!(list.ban(&key).unwrap().until, Until::at(BEGIN.plus_ms(19 * MINUTE_MS)));
}

#[test]
fn notices_alone_block_so_many_and_for_a_minute() {
    let mut host = Host::of(jail(3, DAY_MS));
    let settings = *host.list.settings();
    host.step(Event::CaughtUp);
    host.step(Event::Leader { known: true });
    let blocked = |host: &Host| host.warden.ruleset().elements.len();
    // A thousand a second for two minutes, each about somebody else, and no proposal follows.
    let mut longest = 0;
    for second in 0..2 * SECONDS {
        host.at = BEGIN.plus_ms(u64::from(second) * SECOND_MS);
        host.step(Event::Timer);
        for n in second * PER_SECOND..(second + 1) * PER_SECOND {
            host.step(Event::Noticed(noticed(MAD, host.list.position(), n)));
        }
        longest = longest.max(blocked(&host));
    }
    let n_tokens = (settings.quota_burst + settings.quota_per_minute) as usize;
    assert!(longest <= n_tokens.min(NOTICES_PER_ORIGIN_MAX), "{longest} at once");
    assert!(longest > n_tokens - 2_000, "only {longest}: what a peer may say it may say");
    // What another peer says meanwhile is heard.
    host.step(Event::Noticed(noticed(SANE, host.list.position(), 1_000_000)));
    assert!(host.warden.ruleset().elements.contains_key(&offender(1_000_000)));
    host.at = host.at.plus_ms(NOTICE_MS + SECOND_MS);
    host.step(Event::Timer);
    assert_eq!(blocked(&host), 0, "after a minute nothing of it is left");
    // However many an operator lets a node ask for, more than this block nowhere at once.
    let (author, reason) = (String::new(), String::new());
    let operator = Operator { command_id: CommandId(9), node: SANE, author, reason };
    let fields = vec![Setting::QuotaBurst(1_000_000), Setting::QuotaPerMinute(1_000_000)];
    host.apply(vec![Op::Settings { operator, fields }]);
    host.at = host.at.plus_ms(10 * MINUTE_MS);
    host.step(Event::Timer);
    let n_too_many = u32::try_from(NOTICES_PER_ORIGIN_MAX).expect("a number") + 1_000;
    for n in 200_000..200_000 + n_too_many {
        host.step(Event::Noticed(noticed(MAD, host.list.position(), n)));
    }
    assert_eq!(blocked(&host), NOTICES_PER_ORIGIN_MAX);
}

fn noticed(origin: NodeId, basis: Position, n: u32) -> Notice {
    Notice {
        origin,
        basis,
        jail: jail_name(0),
        offender: offender(n),
        last_failure_age_ms: 0,
        remaining_ms: Some(DAY_MS),
        ports: Ports::tcp(&[22]),
    }
}
