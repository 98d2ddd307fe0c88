//! Cluster time never runs backwards, and one wrong clock of three does not move it.

use crate::generated::{BEGIN, MEMBERS, command, history, list, position};
use bannkreis_core::apply::STAMP_LEAD_MAX_MS;
use bannkreis_core::command::Op;
use bannkreis_core::time::{ClusterClock, SECOND_MS, Timestamp};
use proptest::prelude::*;

proptest! {
    #[test]
    fn time_never_runs_backwards(
        history in history(20),
        stamps in proptest::collection::vec(0u64..3_000_000_000_000, 20),
        readings in proptest::collection::vec(proptest::collection::vec(0u64..3_000_000_000_000, 0..4), 20),
    ) {
        let (mut list, mut index) = list();
        for (((_, op), at), readings) in history.iter().zip(&stamps).zip(&readings) {
            let before = list.now();
            index += 1;
            let readings = MEMBERS.iter().copied().zip(readings.iter().copied().map(Timestamp)).collect();
            list.apply(position(index), &command(Timestamp(*at), vec![op.clone(), Op::Tick { readings }]));
            prop_assert!(list.now() >= before);
        }
    }

    #[test]
    fn one_wrong_clock_of_three_neither_moves_nor_stops_time(
        wrong in proptest::collection::vec(0u64..4_000_000_000_000, 1..40),
        which in 0usize..3,
    ) {
        let (mut list, mut index) = list();
        let mut now = BEGIN;
        for wrong in wrong {
            now = now.plus_ms(20 * SECOND_MS);
            index += 1;
            let mut readings: Vec<_> = MEMBERS.iter().map(|node| (*node, now)).collect();
            readings[which].1 = Timestamp(wrong);
            list.apply(position(index), &command(now, vec![Op::Tick { readings }]));
            prop_assert_eq!(list.now(), now);
        }
    }

    #[test]
    fn a_wrong_stamp_moves_time_by_a_minute_at_most_between_two_ticks(
        stamps in proptest::collection::vec(0u64..4_000_000_000_000, 1..20),
    ) {
        let (mut list, mut index) = list();
        for at in stamps {
            index += 1;
            list.apply(position(index), &command(Timestamp(at), vec![Op::Sweep]));
            prop_assert!(list.now() <= list.last_tick().plus_ms(STAMP_LEAD_MAX_MS));
        }
        prop_assert_eq!(list.last_tick(), BEGIN);
    }

    #[test]
    fn a_nodes_own_cluster_clock_never_runs_backwards(
        steps in proptest::collection::vec((0u64..100_000, proptest::option::of(0u64..1_000_000)), 1..40),
    ) {
        let mut clock = ClusterClock::new(Timestamp(500_000), 0);
        let (mut boottime_ms, mut before) = (0, clock.now(0));
        for (passed_ms, applied) in steps {
            boottime_ms += passed_ms;
            if let Some(applied) = applied {
                clock.observe(Timestamp(applied), boottime_ms);
                prop_assert!(clock.now(boottime_ms) >= Timestamp(applied));
            }
            prop_assert!(clock.now(boottime_ms) >= before);
            before = clock.now(boottime_ms);
        }
    }
}
