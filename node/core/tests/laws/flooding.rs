//! A node that goes mad, or whose logs somebody writes: what it may do within its quota and beyond, and that one command
//! undoes all of it.

use crate::generated::{BEGIN, MEMBERS, command, jail_name, list, position};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, Ports};
use bannkreis_core::proposal::Proposal;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, DAY_MS, MINUTE_MS, SECOND_MS, Timestamp, Until};
use std::net::Ipv4Addr;

const MAD: NodeId = NodeId(2);
const SANE: NodeId = NodeId(3);
const PER_SECOND: u32 = 1_000;
const SECONDS: u32 = 60;

/// The `n`-th of addresses that follow no order, each once.
fn offender(n: u32) -> Subnet {
    Subnet::host(Ipv4Addr::from(0x2000_0000 + (n.wrapping_mul(0x9e37_79b1) >> 4)).into())
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
    fn apply(&mut self, ops: Vec<Op>) {
        self.index += 1;
        let readings = MEMBERS.iter().map(|node| (*node, self.at)).collect();
        let ops = std::iter::once(Op::Tick { readings }).chain(ops).collect();
        self.list.apply(position(self.index), &command(self.at, ops));
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
fn one_command_undoes_all_of_it_and_it_stays_undone() {
    let mut cluster = flooded();
    let before = cluster.list.position();
    cluster.apply(vec![order(1, UnbanSelection::ByNode { node: MAD, since: Timestamp::ZERO })]);
    assert_eq!(cluster.n_live(), 600, "what the other node has seen itself stays");
    let of_mad = |list: &BanList| {
        list.bans().filter(|(_, ban)| ban.origins.iter().any(|origin| origin.node == MAD)).count()
    };
    assert_eq!(of_mad(&cluster.list), 0);
    let key = |n| BanKey { subnet: offender(n), jail: jail_name(0) };
    let mut lifted = (0..PER_SECOND * SECONDS).map(key).filter(|key| cluster.list.ban(key).is_none());
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
