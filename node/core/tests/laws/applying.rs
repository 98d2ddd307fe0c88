//! Applying twice is applying once; nothing is shortened but by will; nothing from before an unban comes
//! back; one offence escalates once.

use crate::generated::{
    BEGIN, MEMBERS, applied, command, history, list, offender_number, position, proposal,
};
use bannkreis_core::ban::Ban;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::{BanKey, Change, OpResult, Outcome};
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{BanPolicy, Growth, JailName, Ports};
use bannkreis_core::proposal::Proposal;
use bannkreis_core::record::Record;
use bannkreis_core::time::{BanTime, SECOND_MS};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Everything but how far the log was applied.
fn content(list: &BanList) -> Vec<Record> {
    list.records()
        .map(|record| match record {
            Record::Head(mut head) => {
                head.position = position(0);
                Record::Head(head)
            }
            other => other,
        })
        .collect()
}

fn bans(list: &BanList) -> BTreeMap<BanKey, Ban> {
    list.bans().map(|(key, ban)| (key.clone(), ban.clone())).collect()
}

proptest! {
    #[test]
    fn applying_a_command_again_changes_nothing(history in history(30)) {
        let (mut list, mut index) = list();
        let mut at = BEGIN;
        for (passed_ms, op) in history {
            at = at.plus_ms(passed_ms);
            let readings = MEMBERS.iter().map(|node| (*node, at)).collect();
            index += 1;
            list.apply(position(index), &command(at, vec![Op::Tick { readings }]));
            // A sweep frees some each time; what it frees changes no answer.
            if matches!(op, Op::Sweep) {
                continue;
            }
            let command = command(at, vec![op.clone()]);
            index += 1;
            let first = list.apply(position(index), &command);
            let once = content(&list);
            index += 1;
            let again = list.apply(position(index), &command);
            prop_assert_eq!(content(&list), once, "{:?}", op);
            if matches!(op, Op::Ban(_)) && !first.changes.is_empty() {
                // What was cut short for want of quota is asked again; nothing else is news.
                let is_news = again.changes.iter().any(|change| !matches!(change, Change::Damped { .. }));
                prop_assert!(!is_news, "{:?} then {:?}", first, again);
            }
        }
    }

    #[test]
    fn an_id_that_belongs_to_another_command_does_nothing(history in history(20), target in 0u8..4, other in 0u8..4) {
        let (mut list, index, at) = applied(&history);
        let operator = |node| Operator {
            command_id: CommandId(u128::MAX),
            node: NodeId(node),
            author: String::new(),
            reason: String::new(),
        };
        let unban = |node, n| {
            let selection = UnbanSelection::Target { target: offender_number(n), jail: None };
            command(at, vec![Op::Unban { operator: operator(node), selection }])
        };
        let first = list.apply(position(index + 1), &unban(1, target)).results;
        let before = content(&list);
        // A retry may go through another node.
        let again = list.apply(position(index + 2), &unban(2, other)).results;
        prop_assert_eq!(content(&list), before);
        match &again[..] {
            results if target == other => prop_assert_eq!(results, &first[..]),
            [OpResult::Operator { outcome: Outcome::Refused { why }, .. }] => {
                prop_assert!(why.contains("another command"), "{}", why);
            }
            others => prop_assert!(false, "{:?}", others),
        }
    }

    #[test]
    fn nothing_automatic_shortens_a_ban(history in history(20), proposal in proposal(30), passed_ms in 0u64..60_000) {
        let (mut list, index, at) = applied(&history);
        let before = bans(&list);
        list.apply(position(index + 1), &command(at.plus_ms(passed_ms), vec![Op::Ban(proposal)]));
        let now = list.now();
        for (key, ban) in before.into_iter().filter(|(_, ban)| !ban.until.is_over(now)) {
            let after = list.ban(&key).expect("a live ban stays");
            prop_assert!(after.until >= ban.until && after.ports.covers(&ban.ports));
            prop_assert!(ban.origins.iter().all(|origin| after
                .origins
                .iter()
                .any(|kept| kept.node == origin.node && kept.until >= origin.until)));
        }
    }

    #[test]
    fn evidence_older_than_an_unban_never_bans(
        history in history(20),
        mut proposal in proposal(0),
        late_ms in 0u64..200_000,
        sweeps in 0usize..70,
    ) {
        let (mut list, mut index, mut at) = applied(&history);
        proposal.basis = position(index);
        let operator =
            Operator { command_id: CommandId(u128::MAX), node: NodeId(1), author: String::new(), reason: String::new() };
        let selection = UnbanSelection::Target { target: proposal.offender, jail: None };
        index += 1;
        list.apply(position(index), &command(at, vec![Op::Unban { operator, selection }]));
        at = at.plus_ms(late_ms);
        let readings = MEMBERS.iter().map(|node| (*node, at)).collect();
        let mut ops = vec![Op::Tick { readings }];
        ops.extend((0..sweeps).map(|_| Op::Sweep));
        ops.push(Op::Ban(proposal.clone()));
        index += 1;
        list.apply(position(index), &command(at, ops));
        let key = BanKey { subnet: proposal.offender, jail: proposal.jail };
        prop_assert!(list.live(&key, list.now()).is_none());
    }

    /// Several hosts see the same offence; each proposes, again and again, with delays.
    #[test]
    fn one_offence_escalates_once(
        sends in proptest::collection::vec((0usize..3, 0u64..25_000), 1..20),
        seconds in proptest::collection::vec(0u64..8, 3),
    ) {
        let (mut list, mut index) = list();
        let table_ms = vec![60_000, 120_000, 240_000, 480_000];
        let growth = Growth { table_ms, max_ms: None, rnd_ms: 0, overall_jails: false };
        let policy = BanPolicy { ban_time: BanTime::Ms(60_000), growth: Some(growth) };
        let jail = JailName::new("ssh").expect("a valid name");
        let begin = BEGIN.plus_ms(10 * SECOND_MS);
        let mut at = begin.plus_ms(10 * SECOND_MS);
        for (node, passed_ms) in sends {
            at = at.plus_ms(passed_ms);
            let first = begin.plus_ms(seconds[node] * SECOND_MS);
            let readings = MEMBERS.iter().map(|node| (*node, at)).collect();
            let proposal = Proposal {
                origin: MEMBERS[node],
                basis: position(index),
                jail: jail.clone(),
                offender: offender_number(0),
                first_failure_age_ms: at.ms_since(first),
                last_failure_age_ms: at.ms_since(first.plus_ms(2 * SECOND_MS)),
                failures: 3,
                contributors: Vec::new(),
                policy: policy.clone(),
                ports: Ports::tcp(&[22]),
                evidence: Vec::new(),
            };
            index += 1;
            list.apply(position(index), &command(at, vec![Op::Tick { readings }, Op::Ban(proposal)]));
            let key = BanKey { subnet: offender_number(0), jail: jail.clone() };
            prop_assert_eq!(list.past(&key).map(|past| past.count), Some(1));
            let end = list.past(&key).map(|past| past.last_end).expect("it was banned, or is");
            prop_assert!(end <= begin.plus_ms(10 * SECOND_MS + 60_000));
        }
    }
}
