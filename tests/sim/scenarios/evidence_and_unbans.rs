//! An unban stays, whatever old evidence arrives after it, in whatever way.

use super::{HOUR_MS, LONG, SSH, WEB, tell};
use crate::network::Datagram;
use crate::plan::{Act, Order};
use crate::world::Happening;
use bannkreis_core::change::Outcome;
use bannkreis_core::command::Op;
use bannkreis_core::jail::Ports;
use bannkreis_core::proposal::{Notice, Proposal};
use bannkreis_core::time::{MINUTE_MS, SECOND_MS};

#[test]
fn an_unban_races_a_proposal_from_a_healed_minority() {
    tell(
        3,
        |_| {},
        |story| {
            story.cut_off(0);
            story.attack(0, LONG, 0, 3);
            assert_eq!(story.dropping(LONG, 0), [0], "it blocks alone");
            // Elsewhere the customer calls, and an operator lifts what there may be.
            story.order(1, Order::Unban { offender: 0, jail: None });
            story.settle();
            story.reconnect();
            assert_eq!(story.dropping(LONG, 0), [] as [usize; 0]);
            assert_eq!(story.ban(0, LONG), None);
        },
    );
}

#[test]
fn a_line_written_before_the_unban_is_read_after_it() {
    tell(
        3,
        |_| {},
        |story| {
            story.act(Act::Crash { node: 0, power: false, down_ms: MINUTE_MS });
            story.attack(0, SSH, 0, 3);
            story.wait(10 * SECOND_MS);
            story.order(1, Order::Unban { offender: 0, jail: None });
            story.wait(MINUTE_MS);
            story.settle();
            assert_eq!(story.dropping(SSH, 0), [] as [usize; 0]);
            // What comes afterwards counts.
            story.attack(0, SSH, 0, 3);
            story.settle();
            assert_eq!(story.dropping(SSH, 0), [0, 1, 2]);
        },
    );
}

#[test]
fn a_notice_arrives_late_after_an_unban() {
    tell(
        3,
        |_| {},
        |story| {
            let basis = story.newest().position();
            story.attack(0, SSH, 0, 3);
            story.settle();
            story.order(1, Order::Unban { offender: 0, jail: None });
            story.settle();
            let notice = Notice {
                origin: story.world.nodes[0].id,
                basis,
                jail: story.key(0, SSH).jail,
                offender: story.subnet(0),
                last_failure_age_ms: 0,
                remaining_ms: Some(90 * SECOND_MS),
                ports: Ports::tcp(&[22]),
            };
            for to in [1, 2] {
                let datagram = Datagram::Notices(vec![notice.clone()]);
                story.world.plan_in(1, Happening::Datagram { from: 0, to, datagram, number: u64::MAX });
            }
            story.wait(SECOND_MS);
            assert_eq!(story.dropping(SSH, 0), [] as [usize; 0]);
        },
    );
}

#[test]
fn an_unban_arrives_inside_a_snapshot() {
    tell(
        3,
        |plan| plan.snapshot_lag = 6,
        |story| {
            story.attack(2, SSH, 0, 2);
            story.cut_off(2);
            story.order(0, Order::Unban { offender: 0, jail: None });
            for n in 0..20 {
                story.order(0, Order::Ban { offender: 1, for_ms: (n + 1) * SECOND_MS });
                story.wait(SECOND_MS);
            }
            story.reconnect();
            assert!(story.world.coverage.has("log: snapshot installed"));
            // With the two from before the unban it would be three.
            story.attack(2, SSH, 0, 1);
            story.settle();
            assert_eq!(story.dropping(SSH, 0), [] as [usize; 0]);
        },
    );
}

#[test]
fn an_unban_is_retried_after_a_new_ban() {
    tell(
        3,
        |_| {},
        |story| {
            story.attack(0, LONG, 0, 3);
            story.settle();
            story.order(1, Order::Unban { offender: 0, jail: None });
            story.settle();
            assert_eq!(story.ban(0, LONG), None);
            story.attack(0, LONG, 0, 3);
            story.settle();
            assert!(story.ban(0, LONG).is_some());
            // The answer was lost on the way to the operator, and comes from the list's memory.
            let retried = story.world.asks[0].op.clone();
            story.propose(1, retried.clone());
            assert_eq!(story.n_committed(&retried), 2);
            assert_eq!(story.dropping(LONG, 0), [0, 1, 2], "the retry lifts nothing");
            let outcome = story.newest().outcome(story.world.asks[0].id).cloned();
            assert_eq!(outcome, Some(Outcome::Done { n_affected: 1 }));
        },
    );
}

#[test]
fn a_network_is_proposed_over_a_fresh_tombstone() {
    tell(
        3,
        |_| {},
        |story| {
            story.attack(0, LONG, 0, 3);
            story.settle();
            story.order(1, Order::Unban { offender: 0, jail: None });
            story.settle();
            let key = story.key(0, LONG);
            let network = key.subnet.widened_to(24);
            let proposal = Proposal {
                origin: story.world.nodes[0].id,
                basis: story.newest().position(),
                jail: key.jail,
                offender: network,
                first_failure_age_ms: 10,
                last_failure_age_ms: 10,
                failures: 30,
                contributors: Vec::new(),
                policy: story.world.plan.jails[LONG].policy.clone(),
                ports: Ports::tcp(&[22]),
                evidence: Vec::new(),
            };
            let op = Op::Ban(proposal);
            story.propose(0, op.clone());
            assert_eq!(story.n_committed(&op), 1);
            assert_eq!(story.newest().bans_of(network).count(), 0);
            assert_eq!(story.dropping(LONG, 0), [] as [usize; 0]);
        },
    );
}

#[test]
fn old_evidence_gets_no_younger_while_it_waits() {
    // Three hours late from a node that was cut off.
    tell(
        3,
        |_| {},
        |story| {
            story.cut_off(0);
            story.attack(0, SSH, 0, 3);
            story.attack(0, LONG, 1, 3);
            let since_ms = story.world.now_ms;
            story.wait(3 * HOUR_MS);
            story.reconnect();
            assert_eq!(story.ban(0, SSH), None, "its minute and a half is long over");
            assert_eq!(story.past(0, SSH).map(|past| past.count), Some(1), "it is remembered all the same");
            let until = story.ban(1, LONG).and_then(|ban| ban.until.end()).expect("a ban of eight hours");
            assert!(until.0 <= since_ms + 8 * HOUR_MS, "{until} is counted from the line on");
            assert_eq!(story.dropping(LONG, 1), [0, 1, 2]);
        },
    );
    // Three hours late because the leader could not commit it.
    tell(
        3,
        |_| {},
        |story| {
            story.world.hold_commits_until(story.world.now_ms + 3 * HOUR_MS);
            story.attack(1, WEB, 0, 4);
            story.wait(3 * HOUR_MS + MINUTE_MS);
            story.settle();
            assert_eq!(story.ban(0, WEB), None);
            assert_eq!(story.dropping(WEB, 0), [] as [usize; 0]);
            assert_eq!(story.past(0, WEB).map(|past| past.count), Some(1));
        },
    );
}
