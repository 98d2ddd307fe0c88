//! What the cluster does not take from a node although that may keep it: one law for each reason that has to do with whom
//! a ban is about, and how old what is said of them is.
//!
//! Not for who asks: quotas and trust are `flooding.rs`'s and `lifting.rs`'s.

use crate::generated::{BEGIN, command, jail_name, list, position};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::OpResult;
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{BanPolicy, Ports};
use bannkreis_core::judge::{NotSharedReason, Verdict, WIDE_OVER_TOMBSTONE_MS};
use bannkreis_core::proposal::Proposal;
use bannkreis_core::settings::{PrivateOffenders, Setting};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, DAY_MS, SECOND_MS, Timestamp};

struct Cluster {
    list: BanList,
    index: u64,
    at: Timestamp,
}

fn cluster() -> Cluster {
    let (list, index) = list();
    Cluster { list, index, at: BEGIN }
}

impl Cluster {
    fn wait(&mut self, ms: u64) {
        self.at = self.at.plus_ms(ms);
    }

    fn apply(&mut self, op: Op) -> OpResult {
        self.index += 1;
        let readings = crate::generated::MEMBERS.iter().map(|node| (*node, self.at)).collect();
        let ops = vec![Op::Tick { readings }, op];
        let applied = self.list.apply(position(self.index), &command(self.at, ops));
        applied.results.into_iter().next_back().expect("a result for every operation")
    }

    fn operator(&self) -> Operator {
        let (author, reason) = (String::new(), String::new());
        Operator { command_id: CommandId(u128::from(self.index) + 1), node: NodeId(3), author, reason }
    }

    /// What becomes of a ban for a day that a node asks for, for what happened `age_ms` ago.
    fn asked(&mut self, offender: &str, age_ms: u64) -> Verdict {
        let proposal = Proposal {
            origin: NodeId(1),
            basis: self.list.position(),
            jail: jail_name(0),
            offender: subnet(offender),
            first_failure_age_ms: age_ms,
            last_failure_age_ms: age_ms,
            failures: 3,
            contributors: Vec::new(),
            policy: BanPolicy::fixed(BanTime::Ms(DAY_MS)),
            ports: Ports::tcp(&[22]),
            evidence: Vec::new(),
        };
        match self.apply(Op::Ban(proposal)) {
            OpResult::Judged(verdict) => verdict,
            other => panic!("a proposal was answered with {other:?}"),
        }
    }

    fn set(&mut self, setting: Setting) {
        let operator = self.operator();
        self.apply(Op::Settings { operator, fields: vec![setting] });
    }
}

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

#[test]
fn what_is_wider_than_an_automatic_ban_may_be_stays_with_its_origin() {
    let mut cluster = cluster();
    for (wide, widest) in [("44.0.0.0/15", "45.1.0.0/16"), ("2a00::/31", "2a01::/32")] {
        assert_eq!(cluster.asked(wide, 0), Verdict::NotShared(NotSharedReason::TooWide), "{wide}");
        assert_eq!(cluster.list.bans_of(subnet(wide)).count(), 0);
        assert_eq!(cluster.asked(widest, 0), Verdict::Open, "{widest}");
    }
}

#[test]
fn a_network_is_not_shared_for_a_day_over_somebody_who_was_let_go() {
    let (network, inside, other) = ("45.0.0.0/24", "45.0.0.7", "45.0.1.0/24");
    let mut cluster = cluster();
    let selection = UnbanSelection::Target { target: subnet(inside), jail: None };
    let operator = cluster.operator();
    cluster.apply(Op::Unban { operator, selection });
    for _ in 0..2 {
        cluster.wait(WIDE_OVER_TOMBSTONE_MS / 2 - SECOND_MS);
        assert_eq!(cluster.asked(network, 0), Verdict::NotShared(NotSharedReason::OverTombstone));
    }
    assert_eq!(cluster.asked(other, 0), Verdict::Open, "nobody was let go there");
    assert_eq!(cluster.asked(inside, 0), Verdict::Open, "alone they are banned like anybody");
    cluster.wait(3 * SECOND_MS);
    assert_eq!(cluster.asked(network, 0), Verdict::Open, "a day is over");
}

#[test]
fn private_addresses_stay_with_their_origin_when_the_cluster_says_so() {
    let private = [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.255.255",
        "100.64.0.1",
        "fd00::/64",
        "2001:db8::/64",
        "192.0.2.1",
    ];
    let public = ["11.1.2.3", "172.32.0.1", "192.169.0.1", "100.128.0.1", "2a01::/64", "192.0.3.1"];
    let mut cluster = cluster();
    cluster.set(Setting::PrivateOffenders(PrivateOffenders::Origin));
    for offender in private {
        let verdict = cluster.asked(offender, 0);
        assert_eq!(verdict, Verdict::NotShared(NotSharedReason::PrivateOffender), "{offender}");
    }
    for offender in public {
        assert_eq!(cluster.asked(offender, 0), Verdict::Open, "{offender}");
    }
    cluster.set(Setting::PrivateOffenders(PrivateOffenders::Share));
    for offender in private {
        assert_eq!(cluster.asked(offender, 0), Verdict::Open, "{offender}");
    }
}

#[test]
fn what_is_older_than_the_history_is_not_taken() {
    let mut cluster = cluster();
    let oldest_ms = cluster.list.settings().history_retention_ms;
    assert_eq!(cluster.asked("45.0.0.1", oldest_ms + 1), Verdict::NotShared(NotSharedReason::TooOld));
    // A ban of a day that long ago holds nobody: it is remembered.
    assert_eq!(cluster.asked("45.0.0.1", oldest_ms), Verdict::Open);
    assert_eq!(cluster.list.bans_of(subnet("45.0.0.1")).count(), 0);
}
