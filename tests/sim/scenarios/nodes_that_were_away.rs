//! A node comes back with less, or with more, than it should know.

use super::{HOUR_MS, LONG, SSH, tell};
use crate::plan::{Act, Order, RUNAWAY_PPM};
use bannkreis_core::time::{MINUTE_MS, SECOND_MS};

#[test]
fn an_origin_restarts_from_a_snapshot_with_unanswered_proposals() {
    tell(
        3,
        |plan| plan.snapshot_lag = 6,
        |story| {
            story.cut_off(0);
            story.attack(0, LONG, 0, 3);
            for n in 0..20 {
                story.order(1, Order::Ban { offender: 1, for_ms: (n + 1) * SECOND_MS });
                story.wait(SECOND_MS);
            }
            story.act(Act::Crash { node: 0, power: false, down_ms: 10 * SECOND_MS });
            story.wait(20 * SECOND_MS);
            assert_eq!(story.dropping(LONG, 0), [0]);
            story.reconnect();
            assert!(story.world.coverage.has("log: snapshot installed"));
            assert_eq!(story.ban(0, LONG).map(|ban| ban.count), Some(1));
            assert_eq!(story.dropping(LONG, 0), [0, 1, 2]);
        },
    );
}

#[test]
fn a_node_boots_alone_after_five_hours() {
    tell(
        3,
        |_| {},
        |story| {
            story.attack(0, LONG, 0, 3);
            story.settle();
            // The power goes everywhere. One host comes back after five hours, the others after ten.
            for (node, hours) in [(0, 5), (1, 10), (2, 10)] {
                story.act(Act::Crash { node, power: true, down_ms: hours * HOUR_MS });
            }
            story.wait(5 * HOUR_MS + MINUTE_MS);
            assert_eq!(story.dropping(LONG, 0), [0], "nearly three hours are left of eight");
            story.wait(3 * HOUR_MS);
            assert_eq!(story.dropping(LONG, 0), [] as [usize; 0], "nobody needs to say that it is over");
            story.wait(2 * HOUR_MS);
            story.settle();
            assert_eq!(story.ban(0, LONG), None);
        },
    );
}

#[test]
fn a_node_whose_clock_runs_fast_is_killed_long_after_it_had_anything_to_store() {
    tell(
        3,
        |plan| (plan.wrong_clock, plan.drifts_ppm[2]) = (Some(2), RUNAWAY_PPM),
        |story| {
            story.attack(0, LONG, 0, 3);
            story.wait(HOUR_MS);
            story.act(Act::Crash { node: 2, power: false, down_ms: 20 * SECOND_MS });
            story.wait(20 * SECOND_MS + 100);
            // A second a minute makes a minute an hour. What it has stored is a minute old.
            let (node, now_ms) = (&story.world.nodes[2], story.world.now_ms);
            let ahead_ms = node.now(now_ms).cluster.0.saturating_sub(now_ms);
            assert!(node.process.is_some() && ahead_ms < 5 * SECOND_MS, "{ahead_ms} ms ahead");
        },
    );
}

#[test]
fn a_node_is_rebooted_with_a_clock_that_is_a_minute_ahead_before_it_has_stored_a_block() {
    tell(
        3,
        |_| {},
        |story| {
            story.cut_off(0);
            story.act(Act::Attack { node: 0, jail: SSH, offender: 0, n_lines: 3, in_flight: true });
            story.wait(900);
            // Perhaps the block is on the disk, perhaps the lines are read again.
            story.act(Act::Crash { node: 0, power: true, down_ms: 5 * SECOND_MS });
            story.act(Act::Jump { node: 0, by_ms: 60_000 });
            story.wait(6 * SECOND_MS);
            story.reconnect();
            story.wait(40 * SECOND_MS);
            assert_eq!(story.dropping(SSH, 0), [0, 1, 2], "a minute and a bit of ninety seconds are over");
            story.wait(40 * SECOND_MS);
            assert_eq!(story.dropping(SSH, 0), [] as [usize; 0]);
        },
    );
}

#[test]
fn a_node_with_a_wiped_store_finds_a_full_kernel_table() {
    tell(
        3,
        |_| {},
        |story| {
            story.attack(0, LONG, 0, 3);
            story.attack(1, LONG, 1, 3);
            story.settle();
            story.act(Act::Crash { node: 2, power: false, down_ms: 30 * SECOND_MS });
            story.world.wipe(2);
            // While it is down, one of the two is let go.
            story.order(0, Order::Unban { offender: 1, jail: None });
            story.wait(20 * SECOND_MS);
            assert_eq!(story.dropping(LONG, 1), [2], "the kernel holds on to it");
            // It starts and catches up; at no moment does it open for what it has not heard of yet.
            for _ in 0..1_000 {
                story.wait(11);
                assert!(story.drops(2, LONG, 0), "open at {}", story.world.now_ms);
            }
            story.settle();
            assert_eq!(story.dropping(LONG, 0), [0, 1, 2]);
            assert_eq!(story.dropping(LONG, 1), [] as [usize; 0]);
        },
    );
}

#[test]
fn a_minority_goes_on_sharing() {
    tell(
        5,
        |_| {},
        |story| {
            // Two of five hear each other and nobody else.
            story.world.partition(0b11, false);
            story.wait(5 * SECOND_MS);
            story.attack(0, SSH, 0, 3);
            story.wait(SECOND_MS);
            assert_eq!(story.dropping(SSH, 0), [0, 1]);
            story.wait(80 * SECOND_MS);
            assert_eq!(story.dropping(SSH, 0), [0, 1], "as long as the ban would last");
        },
    );
}
