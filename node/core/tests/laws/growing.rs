//! How long a ban that is not the first may be: `bantime.rndtime` adds less than itself and the same everywhere, and
//! `bantime.overalljails` decides whether offences in other jails count.
//!
//! Not for how the options become a table (`bannkreis_filter::growth`), and not for how often a failure of a known
//! offender weighs (`known_offenders`).

use crate::generated::{BEGIN, MEMBERS, command, jail_name, list, offender, offender_number, position};
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Op;
use bannkreis_core::jail::{BanPolicy, Growth, Ports};
use bannkreis_core::proposal::Proposal;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, SECOND_MS, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

const FIRST_MS: u64 = 60 * SECOND_MS;

prop_compose! {
    /// Tables that need not grow, a `maxtime` that may be shorter than all of them, any `rndtime`.
    fn growth()(
        table_ms in vec(0u64..400_000, 0..5),
        max_ms in option::of(0u64..300_000),
        rnd_ms in prop_oneof![Just(0), 1u64..3, 1u64..100_000, Just(u64::MAX)],
        overall_jails in any::<bool>(),
    ) -> Growth {
        Growth { table_ms, max_ms, rnd_ms, overall_jails }
    }
}

/// The ban times there may be after so many bans.
fn allowed(growth: &Growth, n_before: usize) -> RangeInclusive<u64> {
    if n_before == 0 {
        return FIRST_MS..=FIRST_MS;
    }
    let step = growth.table_ms.get(n_before).or(growth.table_ms.last()).copied().unwrap_or(FIRST_MS);
    let least = growth.max_ms.map_or(step, |max_ms| step.min(max_ms));
    least..=least.saturating_add(growth.rnd_ms.saturating_sub(1))
}

fn policy(growth: Growth) -> BanPolicy {
    BanPolicy { ban_time: BanTime::Ms(FIRST_MS), growth: Some(growth) }
}

fn ms(ban_time: BanTime) -> u64 {
    match ban_time {
        BanTime::Ms(ms) => ms,
        BanTime::Forever => panic!("no ban here is for ever"),
    }
}

/// Somebody fails for a second, which ends at `at`, and is proposed at once.
fn offence(offender: Subnet, jail: u8, policy: &BanPolicy, basis: u64) -> Op {
    Op::Ban(Proposal {
        origin: MEMBERS[0],
        basis: position(basis),
        jail: jail_name(jail),
        offender,
        first_failure_age_ms: SECOND_MS,
        last_failure_age_ms: 0,
        failures: 3,
        contributors: Vec::new(),
        policy: policy.clone(),
        ports: Ports::tcp(&[22]),
        evidence: Vec::new(),
    })
}

proptest! {
    /// `maxtime` bounds the table; what `rndtime` adds comes on top, as in fail2ban.
    #[test]
    fn rndtime_adds_less_than_itself(growth in growth(), offender in offender(), jail in 0u8..2, n in 0u32..100) {
        let allowed = allowed(&growth, usize::try_from(n).expect("a small number"));
        let ban_time = policy(growth).ban_time_for(offender, &jail_name(jail), n);
        prop_assert!(allowed.contains(&ms(ban_time)), "{ban_time:?} is not in {allowed:?}");
    }

    #[test]
    fn overalljails_counts_offences_in_all_jails_and_without_it_only_the_own_count(
        growth in growth(),
        offences in vec((0u8..3, 0u8..2, 2u64..120), 1..25),
    ) {
        let growth = Growth { rnd_ms: growth.rnd_ms.min(100_000), ..growth };
        let policy = policy(growth.clone());
        let (mut list, mut index) = list();
        let mut at = BEGIN;
        let mut n_bans: BTreeMap<(u8, u8), usize> = BTreeMap::new();
        for (number, jail, passed_s) in offences {
            at = at.plus_ms(passed_s * SECOND_MS);
            let key = BanKey { subnet: offender_number(number), jail: jail_name(jail) };
            let began = at.minus_ms(SECOND_MS);
            if list.past(&key).is_some_and(|past| past.last_end >= began) {
                // Not another offence; bans in the other jail may well be live.
                continue;
            }
            let in_jails = if growth.overall_jails { 0..=1 } else { jail..=jail };
            let n_before = in_jails.filter_map(|jail| n_bans.get(&(number, jail))).sum();
            let readings = MEMBERS.iter().map(|node| (*node, at)).collect();
            let ops = vec![Op::Tick { readings }, offence(key.subnet, jail, &policy, index)];
            index += 1;
            list.apply(position(index), &command(at, ops));
            *n_bans.entry((number, jail)).or_default() += 1;
            let allowed = allowed(&growth, n_before);
            let until = list.live(&key, at).map(|ban| ban.until);
            let lasts = until.map_or(0, |until| until.remaining_ms(at).expect("no ban here is for ever"));
            prop_assert!(allowed.contains(&lasts), "{lasts} is not in {allowed:?} after {n_before} bans");
        }
    }
}

/// fail2ban draws a number; here it is one for each offender, jail and count, so that nodes that have not heard of each
/// other yet ban for the same time.
#[test]
fn rndtime_spreads_the_ends_and_is_the_same_on_every_node() {
    let growth = Growth { table_ms: vec![FIRST_MS], max_ms: None, rnd_ms: 600_000, overall_jails: false };
    let extra = || {
        let of = |(number, jail, n)| {
            let ban_time = policy(growth.clone()).ban_time_for(offender_number(number), &jail_name(jail), n);
            ms(ban_time) - FIRST_MS
        };
        let all = (0..6).flat_map(|number| (0..2).map(move |jail| (number, jail)));
        all.flat_map(|(number, jail)| (1..11).map(move |n| (number, jail, n))).map(of).collect::<Vec<_>>()
    };
    let extra = (extra(), extra());
    assert_eq!(extra.0, extra.1);
    assert!(extra.0.iter().collect::<BTreeSet<_>>().len() > 110, "they differ: {:?}", extra.0);
    assert!(
        extra.0.iter().any(|ms| *ms < 100_000) && extra.0.iter().any(|ms| *ms > 500_000),
        "{:?}",
        extra.0
    );
    // It is replicated, so it must be the same in every release.
    assert_eq!(extra.0[..3], [80_652, 165_285, 537_074]);
}

/// The first ban of a jail has the plain time by its own count; with `overalljails` it is no first ban.
#[test]
fn a_first_ban_is_the_first_of_all_jails_only_with_overalljails() {
    for (overall_jails, seconds) in [(false, [60, 60]), (true, [60, 120])] {
        let growth = Growth { table_ms: vec![60_000, 120_000], max_ms: None, rnd_ms: 0, overall_jails };
        let (mut list, mut index) = list();
        let mut at: Timestamp = BEGIN;
        let lasted = [0, 1].map(|jail| {
            at = at.plus_ms(200 * SECOND_MS);
            let readings = MEMBERS.iter().map(|node| (*node, at)).collect();
            let ops = vec![
                Op::Tick { readings },
                offence(offender_number(0), jail, &policy(growth.clone()), index),
            ];
            index += 1;
            list.apply(position(index), &command(at, ops));
            let key = BanKey { subnet: offender_number(0), jail: jail_name(jail) };
            let until = list.live(&key, at).and_then(|ban| ban.until.end()).expect("it is banned");
            until.ms_since(at) / SECOND_MS
        });
        assert_eq!(lasted, seconds, "overalljails: {overall_jails}");
    }
}
