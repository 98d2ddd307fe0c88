//! Cluster time never runs backwards, and one wrong clock of three does not move it.

use crate::generated::{BEGIN, MEMBERS, command, history, list, position, proposal};
use bannkreis_core::apply::STAMP_LEAD_MAX_MS;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Op;
use bannkreis_core::jail::BanPolicy;
use bannkreis_core::settings::Settings;
use bannkreis_core::time::{BanTime, ClusterClock, SECOND_MS, Timestamp, Until};
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

    /// The voters' clocks are right; the leader's stamps are not, and it writes ticks as often as it likes.
    #[test]
    fn a_wrong_leader_is_a_minute_ahead_and_no_more(
        stamps in proptest::collection::vec((0u64..30_000, 0u64..4_000_000_000_000), 1..60),
    ) {
        let (mut list, mut index) = list();
        let mut truth = BEGIN;
        for (passed_ms, at) in stamps {
            truth = truth.plus_ms(passed_ms);
            index += 1;
            let readings = MEMBERS.iter().map(|node| (*node, truth)).collect();
            list.apply(position(index), &command(Timestamp(at), vec![Op::Sweep, Op::Tick { readings }]));
            prop_assert!(list.now() <= truth.plus_ms(STAMP_LEAD_MAX_MS), "{} at {truth}", list.now());
        }
    }

    /// All clocks are set back: time goes on by the leader's stamps, as fast as it passes.
    #[test]
    fn clocks_that_were_set_back_do_not_stop_time(back_s in 1u64..100_000) {
        let (mut list, mut index) = list();
        for n in 1..=10 {
            index += 1;
            let truth = BEGIN.plus_ms(n * 20 * SECOND_MS);
            let clock = truth.minus_ms(back_s * SECOND_MS);
            let readings = MEMBERS.iter().map(|node| (*node, clock)).collect();
            list.apply(position(index), &command(truth, vec![Op::Sweep, Op::Tick { readings }]));
            prop_assert_eq!(list.now(), truth);
        }
    }

    /// One of three voters is down, and of the other two one is wrong: far behind, or set back in between.
    /// Time passes by the right one, however long nobody read the clocks.
    #[test]
    fn one_wrong_clock_of_two_that_are_left_does_not_hold_time_back(
        behind_s in 2u64..100_000_000,
        set_back_s in proptest::collection::vec(0u64..100_000, 1..20),
        passed_s in 100u64..20_000,
        leads in any::<bool>(),
    ) {
        let (mut list, mut index) = list();
        let mut truth = BEGIN;
        let mut behind_ms = 0;
        for (n, set_back_s) in set_back_s.into_iter().enumerate() {
            // It is wrong while three are read, too. Set back, it shows less than before.
            behind_ms += SECOND_MS * if n == 0 { behind_s } else { (passed_s + 1 + set_back_s) * u64::from(n % 3 == 0) };
            truth = truth.plus_ms(passed_s * SECOND_MS);
            index += 1;
            let clocks = [truth, truth.minus_ms(behind_ms), truth];
            let n_up = if n == 0 { 3 } else { 2 };
            let readings = MEMBERS.into_iter().zip(clocks).take(n_up).collect();
            // A leader that only guesses what time it is leaves it where it is.
            let at = if leads { truth } else { list.now() };
            list.apply(position(index), &command(at, vec![Op::Tick { readings }]));
            prop_assert_eq!((list.now(), list.last_tick()), (truth, truth), "{} ms back", behind_ms);
        }
    }

    /// The third voter was cut off, so nobody has read its clock, and the second one is down when it comes back:
    /// what it shows is before all that the others ever agreed on. Time passes by the one that was read.
    #[test]
    fn a_wrong_clock_that_nobody_has_read_does_not_hold_time_back(
        behind_s in 1u64..100_000_000,
        outage_s in 20u64..20_000,
        passed_s in proptest::collection::vec(20u64..1_000, 1..10),
    ) {
        let mut list = BanList::new(Settings::at_birth([1; 16]));
        let readings = MEMBERS[..2].iter().map(|node| (*node, BEGIN)).collect();
        list.apply(position(1), &command(BEGIN, vec![Op::Tick { readings }]));
        let (mut truth, mut index) = (BEGIN, 1);
        let behind_ms = (outage_s + behind_s) * SECOND_MS;
        for passed_s in [&[outage_s], &passed_s[..]].concat() {
            truth = truth.plus_ms(passed_s * SECOND_MS);
            index += 1;
            let readings = vec![(MEMBERS[0], truth), (MEMBERS[2], truth.minus_ms(behind_ms))];
            let at = list.now();
            list.apply(position(index), &command(at, vec![Op::Tick { readings }]));
            prop_assert_eq!((list.now(), list.last_tick()), (truth, truth));
        }
    }

    /// A leader stamped an operation, and cluster time had gone on when it was applied: ages belong to the stamp.
    #[test]
    fn a_late_stamp_does_not_make_a_failure_young(
        mut proposal in proposal(0),
        ban_s in 1u64..200,
        late_s in 0u64..300,
    ) {
        let (mut list, index) = list();
        proposal.origin = MEMBERS[0];
        proposal.basis = position(index);
        proposal.policy = BanPolicy { ban_time: BanTime::Ms(ban_s * SECOND_MS), growth: None };
        let stamp = BEGIN.plus_ms(100 * SECOND_MS);
        let readings = MEMBERS.iter().map(|node| (*node, stamp.plus_ms(late_s * SECOND_MS))).collect();
        let key = BanKey { subnet: proposal.offender, jail: proposal.jail.clone() };
        let end = stamp.minus_ms(proposal.last_failure_age_ms).plus_ms(ban_s * SECOND_MS);
        list.apply(position(index + 1), &command(stamp, vec![Op::Tick { readings }, Op::Ban(proposal)]));
        if let Some(ban) = list.live(&key, list.now()) {
            prop_assert_eq!(ban.until, Until::at(end));
        } else {
            prop_assert!(end <= list.now());
        }
    }

    #[test]
    fn a_clock_that_is_ahead_waits_for_the_voters(ahead_ms in 2_000u64..60_000, fast_ppm in 0u64..50_000) {
        let mut clock = ClusterClock::new(BEGIN.plus_ms(ahead_ms), 0);
        for n in 1..=60 {
            let passed_ms = n * 20 * SECOND_MS;
            clock.compare(BEGIN.plus_ms(passed_ms), passed_ms + passed_ms * fast_ppm / 1_000_000);
        }
        let (passed_ms, end) = (1_200 * SECOND_MS, BEGIN.plus_ms(1_200 * SECOND_MS));
        let now = clock.now(passed_ms + passed_ms * fast_ppm / 1_000_000);
        // It goes slower by a tenth until it is less than a second ahead, and runs away again for 20 s.
        prop_assert!(now >= end && now < end.plus_ms(2_100), "{now} at {end}");
    }

    #[test]
    fn a_nodes_own_cluster_clock_never_runs_backwards(
        steps in proptest::collection::vec(
            (0u64..100_000, proptest::option::of(0u64..1_000_000), proptest::option::of(0u64..1_000_000)),
            1..40,
        ),
    ) {
        let mut clock = ClusterClock::new(Timestamp(500_000), 0);
        let (mut boottime_ms, mut before) = (0, clock.now(0));
        for (passed_ms, applied, median) in steps {
            boottime_ms += passed_ms;
            if let Some(median) = median {
                clock.compare(Timestamp(median), boottime_ms);
            }
            if let Some(applied) = applied {
                clock.observe(Timestamp(applied), boottime_ms);
                prop_assert!(clock.now(boottime_ms) >= Timestamp(applied));
            }
            prop_assert!(clock.now(boottime_ms) >= before);
            before = clock.now(boottime_ms);
        }
    }
}
