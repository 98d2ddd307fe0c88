//! A host that was rebooted with a wrong wall clock: what it reads before it knows the time is dated again, and
//! what was dated rightly is not.
//!
//! Not for overrides by an estimate: those are in `lifting.rs`.

use crate::generated::{BEGIN, asked, command, failure, jail, list, offender_number, position};
use bannkreis_core::event::{Configuration, Effect, Event};
use bannkreis_core::failure::Failure;
use bannkreis_core::ids::NodeId;
use bannkreis_core::ruleset::FirewallDelta;
use bannkreis_core::time::{DAY_MS, MINUTE_MS, Now, SECOND_MS, Timestamp, Until};
use bannkreis_core::warden::Warden;
use proptest::prelude::*;

const BAN_MS: u64 = 10 * MINUTE_MS;
/// The machine was down for so long.
const DOWN_MS: u64 = 10 * SECOND_MS;

/// The ages of the last failures that are asked about in `effects`, in ms.
fn ages(effects: &[Effect]) -> Vec<u64> {
    let proposals = effects.iter().filter_map(|effect| match effect {
        Effect::Propose(proposals) => Some(proposals),
        _ => None,
    });
    proposals.flatten().map(|proposal| proposal.last_failure_age_ms).collect()
}

proptest! {
    /// Two lines: one of just before the power cut, that was read and not stored, and one of after it.
    #[test]
    fn only_what_was_read_by_the_wrong_clock_is_dated_again(wrong_ms in -600_000i64..600_000) {
        let (list, _) = list();
        let mut warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
        let mut step = |now: Now, event: Event| {
            let mut effects = Vec::new();
            warden.step(now, event, &mut effects);
            effects
        };
        let ends = |offender: u8, effects: &[Effect]| {
            let mut stored = effects.iter().filter_map(|effect| match effect {
                Effect::StoreOutbox { key, entry: Some(entry) } if key.subnet == offender_number(offender) => Some(entry),
                _ => None,
            });
            stored.next_back().map(|entry| entry.until)
        };
        // The wall clock and the cluster's were the same until then; what has passed is asked of the wall clock.
        let truth = BEGIN.plus_ms(DOWN_MS);
        let wall = |truth: Timestamp| Timestamp(truth.0.saturating_add_signed(wrong_ms));
        let guess = |truth| Now { cluster: BEGIN.max(wall(truth)), wall: wall(truth), estimated: true, from_known: true };
        let before = Failure { replayed: true, ..failure(offender_number(0), BEGIN.min(wall(truth))) };
        let after = failure(offender_number(1), wall(truth));
        step(guess(truth), Event::Configured(Configuration { jails: vec![jail(1, BAN_MS)], ..Configuration::default() }));
        step(guess(truth), Event::CaughtUp);
        let mut effects = step(guess(truth), Event::Failures(vec![before, after]));
        // A leader is there. How old the first one is, nobody can say yet.
        effects.extend(step(guess(truth), Event::Leader { known: true }));
        prop_assert_eq!(ages(&effects), [0]);
        let known = Now::known(truth.plus_ms(SECOND_MS), wall(truth).plus_ms(SECOND_MS));
        let settling = step(known, Event::Timer);
        prop_assert_eq!(ages(&settling), [DOWN_MS + SECOND_MS, SECOND_MS]);
        effects.extend(settling);
        prop_assert_eq!(ends(0, &effects), Some(Until::at(BEGIN.plus_ms(BAN_MS))));
        prop_assert_eq!(ends(1, &effects), Some(Until::at(truth.plus_ms(BAN_MS))));
    }
}

/// A host whose wall clock stands at 1970 after a reboot: the log that it replays tells it step by step that five hours
/// have passed. Timeouts that went to the kernel before are five hours too long.
#[test]
fn timeouts_that_were_worked_out_by_a_wrong_estimate_are_worked_out_again() {
    for (step_ms, n_steps) in [(5 * 60 * MINUTE_MS, 1), (800, 20)] {
        let (mut list, index) = list();
        let ban = asked(&list, 2, DAY_MS);
        list.apply(position(index + 1), &command(BEGIN, vec![ban]));
        let mut warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
        let mut step = |now: Now, event: Event| {
            let mut effects = Vec::new();
            warden.step(now, event, &mut effects);
            effects
        };
        let wall = Timestamp(1_000);
        let guess = |cluster| Now { cluster, wall, estimated: true, from_known: true };
        let blocks = |effects: &[Effect]| {
            effects.iter().any(|effect| matches!(effect, Effect::Firewall(FirewallDelta::Block { .. })))
        };
        let configuration = Configuration { jails: vec![jail(1, BAN_MS)], ..Configuration::default() };
        assert!(blocks(&step(guess(BEGIN), Event::Configured(configuration))));
        let applied = || Event::Applied { view: list.view(), changes: Vec::new() };
        for n in 1..=n_steps {
            step(guess(BEGIN.plus_ms(n * step_ms)), applied());
        }
        // Before a leader is known already, for there may never be one again.
        let truth = BEGIN.plus_ms(n_steps * step_ms);
        let caught_up = step(guess(truth), Event::CaughtUp);
        assert!(
            caught_up.iter().any(|effect| matches!(effect, Effect::SettleFirewall { is_exact: false, .. })),
            "{n_steps} steps of {step_ms} ms: {caught_up:?}"
        );
        assert!(!blocks(&step(Now::known(truth, wall), applied())), "and once is enough");
        // What it hears after that is as good.
        step(guess(truth), applied());
        step(guess(truth.plus_ms(DAY_MS / 2)), applied());
        assert!(blocks(&step(Now::known(truth.plus_ms(DAY_MS / 2), wall), applied())));
    }
}
