//! Judge's answer is apply's effect: what is covered changes nothing, what is open changes something and
//! is covered (or damped, or over) afterwards, and what is protected or not shared bans nobody.

use crate::generated::{applied, command, history, position, proposal};
use bannkreis_core::change::{BanKey, Change, OpResult};
use bannkreis_core::command::Op;
use bannkreis_core::judge::Verdict;
use bannkreis_core::proposal::Claim;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_verdict_says_what_apply_does(history in history(30), proposal in proposal(30), passed_ms in 0u64..60_000) {
        let (mut list, index, at) = applied(&history);
        let at = at.plus_ms(passed_ms);
        // Time moves first, so that only the proposal is left to change anything.
        list.apply(position(index + 1), &command(at, vec![Op::Sweep]));
        let claim = Claim::of_proposal(&list, &proposal, at);
        let verdict = list.judge(&claim, list.now());
        let key = BanKey { subnet: proposal.offender, jail: proposal.jail.clone() };
        let before = list.clone();
        let applied = list.apply(position(index + 2), &command(at, vec![Op::Ban(proposal.clone())]));
        prop_assert_eq!(&applied.results, &vec![OpResult::Judged(verdict)]);
        let is_unchanged = applied.changes.is_empty() && list.bans().eq(before.bans()) && list.pasts().eq(before.pasts());
        prop_assert_eq!(is_unchanged, verdict != Verdict::Open, "{:?}: {:?}", verdict, applied.changes);
        if verdict == Verdict::Open {
            let again = list.judge(&Claim::of_proposal(&list, &proposal, at), list.now());
            let is_damped = applied.changes.iter().any(|change| matches!(change, Change::Damped { .. }));
            prop_assert!(again == Verdict::Covered || is_damped, "{:?} after {:?}", again, applied.changes);
        }
        if matches!(verdict, Verdict::Protected(_) | Verdict::NotShared(_)) {
            prop_assert_eq!(list.live(&key, list.now()), before.live(&key, before.now()));
        }
    }
}
