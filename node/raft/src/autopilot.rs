//! Which voters a cluster should have: one look at its members gives one decision and its reason.
//!
//! ```text
//! a host came back under a new id  → its old record goes: the address answers as somebody else
//! a voter is dead for dead_after   → a learner that has caught up takes its place
//! enough learners have caught up   → voters grow 1 → 3 → 5
//! a witness leads                  → a full voter that has caught up leads
//! ```
//!
//! A witness gets a vote like any other node, but a full node gets it first: its host is worth more to the cluster.
//! A node whose vote an operator has taken away gets none here. The number of voters never shrinks here: a cluster
//! that loses its voters one by one must not end as a majority of one that nobody has asked for. Pure: time comes in
//! as ages. Not for carrying a decision out; that is `voters.rs`.

use bannkreis_core::ids::NodeId;
use std::collections::BTreeSet;

/// More voters than this are not made: each commit would wait for more disks.
pub const VOTERS_MAX: usize = 5;
/// Two dead voters are not replaced within this time, in ms: a network that breaks and heals must not
/// make the cluster exchange all its voters.
pub(crate) const REPLACE_INTERVAL_MS: u64 = 10 * 60 * 1_000;

/// One member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) node: NodeId,
    /// Its host's name, for the reason.
    pub(crate) name: String,
    /// `host:port`: a second member there means that the first is gone.
    pub(crate) address: String,
    pub(crate) is_voter: bool,
    /// It has answered within an election time; the leader itself always has.
    pub(crate) is_alive: bool,
    /// For how long it has not answered this leader, in ms.
    pub(crate) silent_ms: u64,
    /// This leader knows it for a few seconds only, and has not heard of it yet: it may be just coming.
    pub(crate) is_new: bool,
    /// It lacks next to nothing of the log.
    pub(crate) is_caught_up: bool,
    /// An operator has taken its vote away.
    pub(crate) is_demoted: bool,
    /// It votes and stores only.
    pub(crate) is_witness: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// These learners become voters.
    Grow(BTreeSet<u64>),
    /// The dead voter becomes a learner, and the learner a voter.
    Replace { dead: NodeId, by: NodeId },
    /// The learner is no member any more.
    Forget(NodeId),
}

impl Step {
    /// In one word, for people and programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Step::Wait => "wait",
            Step::Grow(_) => "grow",
            Step::Replace { .. } => "replace",
            Step::Forget(_) => "forget",
        }
    }
}

/// What is to be done, and why, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) step: Step,
    pub(crate) why: String,
}

/// Decides. `since_replaced_ms`: how long ago this leader last replaced a dead voter, if it has. `dead_after_ms`: see
/// [`Timing`](crate::options::Timing).
pub(crate) fn decide(members: &[Seen], since_replaced_ms: Option<u64>, dead_after_ms: u64) -> Decision {
    let voters: Vec<&Seen> = members.iter().filter(|member| member.is_voter).collect();
    let n_alive = voters.iter().filter(|voter| voter.is_alive).count();
    if n_alive * 2 <= voters.len() {
        return wait(format!("{n_alive} of {} voters answer: no majority, nothing is changed", voters.len()));
    }
    let may_vote = |member: &&Seen| !member.is_voter && !member.is_demoted && is_ready(member);
    let mut ready: Vec<&Seen> = members.iter().filter(may_vote).collect();
    ready.sort_by_key(|member| member.is_witness);
    if let Some(decision) = succeed(members, &ready) {
        return decision;
    }
    if let Some(decision) = replace(&voters, &ready, since_replaced_ms, dead_after_ms) {
        return decision;
    }
    grow(&voters, &ready)
}

/// Who should lead instead of `own`, which does, and why. `cannot`: what keeps it from leading, if anything.
pub(crate) fn better_leader<'a>(
    members: &'a [Seen],
    own: NodeId,
    cannot: Option<&str>,
) -> Option<(&'a Seen, String)> {
    let me = members.iter().find(|member| member.node == own)?;
    let could = |member: &&Seen| member.is_voter && member.node != own && is_ready(member);
    let full = members.iter().filter(could).find(|member| !member.is_witness);
    match cannot {
        Some(cannot) => {
            let heir = full.or_else(|| members.iter().find(could))?;
            Some((heir, format!("{} leads and {cannot}: {} is to lead", me.name, heir.name)))
        }
        None if me.is_witness => {
            let heir = full?;
            Some((heir, format!("{} is a witness and leads: {} is to lead", me.name, heir.name)))
        }
        None => None,
    }
}

fn wait(why: String) -> Decision {
    Decision { step: Step::Wait, why }
}

fn is_ready(member: &Seen) -> bool {
    member.is_alive && member.is_caught_up
}

/// A silent member whose address answers as another one: its host was set up anew. Nothing is waited for,
/// as the old id can not come back.
fn succeed(members: &[Seen], ready: &[&Seen]) -> Option<Decision> {
    let heir = |gone: &Seen| {
        members.iter().find(|other| {
            other.node != gone.node && other.address == gone.address && is_ready(other) && !gone.is_alive
        })
    };
    // The old one counts as alive for a moment longer than it was, and must not outlive the new one.
    members.iter().filter(|gone| !gone.is_new).find_map(|gone| {
        let heir = heir(gone)?;
        let why =
            format!("{} answers at {} as {} now: it was set up anew", gone.name, gone.address, heir.node);
        let step = match (gone.is_voter, heir.is_voter) {
            (false, _) => Step::Forget(gone.node),
            (true, false) => Step::Replace { dead: gone.node, by: heir.node },
            // The heir votes already: somebody else takes the old vote, or it stays until then.
            (true, true) => Step::Replace { dead: gone.node, by: ready.first()?.node },
        };
        Some(Decision { step, why })
    })
}

/// The voter that has been dead for the longest time, if any is.
fn replace(
    voters: &[&Seen],
    ready: &[&Seen],
    since_replaced_ms: Option<u64>,
    dead_after_ms: u64,
) -> Option<Decision> {
    let dead = voters.iter().filter(|voter| !voter.is_alive).max_by_key(|voter| voter.silent_ms)?;
    let silent = format!("voter {} has been silent for {} s", dead.name, dead.silent_ms / 1_000);
    if dead.silent_ms < dead_after_ms {
        return Some(wait(format!("{silent}; it is replaced after {} s", dead_after_ms / 1_000)));
    }
    let Some(by) = ready.first() else {
        return Some(wait(format!(
            "{silent}, and no other node that has caught up can take its place: let another host join"
        )));
    };
    if since_replaced_ms.is_some_and(|since_ms| since_ms < REPLACE_INTERVAL_MS) {
        return Some(wait(format!(
            "{silent}; another voter was replaced less than {} s ago",
            REPLACE_INTERVAL_MS / 1_000
        )));
    }
    let why = format!("{silent}; {} takes its place", by.name);
    Some(Decision { step: Step::Replace { dead: dead.node, by: by.node }, why })
}

/// As many learners as lead to the next odd number, or none: two voters are weaker than one.
fn grow(voters: &[&Seen], ready: &[&Seen]) -> Decision {
    let n_voters = voters.len();
    let target = if n_voters.is_multiple_of(2) { n_voters + 1 } else { n_voters + 2 };
    let n_missing = target - n_voters;
    if target > VOTERS_MAX {
        return wait(format!("all {n_voters} voters answer, and more are not made"));
    }
    if ready.len() < n_missing {
        let odd = match (n_voters, ready.len()) {
            (1, 1) => "; two voters would be weaker than one: both would have to answer, always".to_owned(),
            (n, 1) if !n.is_multiple_of(2) => {
                format!("; {} voters survive the loss of no more than {n} do", n + 1)
            }
            _ => String::new(),
        };
        return wait(format!(
            "all voters answer; for {target} instead of {n_voters}, {n_missing} more must have caught up, and {} {}{odd}",
            ready.len(),
            if ready.len() == 1 { "has" } else { "have" },
        ));
    }
    let grown = ready.iter().take(n_missing).map(|member| member.node.0).collect();
    Decision { step: Step::Grow(grown), why: format!("{n_missing} nodes have caught up: {target} voters") }
}

#[cfg(test)]
impl Seen {
    /// A voter with which all is well.
    pub(crate) fn voter(node: u64, name: &str) -> Seen {
        Seen {
            node: NodeId(node),
            name: name.to_owned(),
            address: format!("{name}:7420"),
            is_voter: true,
            is_alive: true,
            silent_ms: 0,
            is_new: false,
            is_caught_up: true,
            is_demoted: false,
            is_witness: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEAD_AFTER_MS: u64 = 10 * 60 * 1_000;

    fn seen(node: u64, is_voter: bool) -> Seen {
        Seen { is_voter, ..Seen::voter(node, &format!("mx{node}")) }
    }

    fn witness(node: u64, is_voter: bool) -> Seen {
        Seen { is_witness: true, ..seen(node, is_voter) }
    }

    fn dead(node: u64, silent_ms: u64) -> Seen {
        Seen { is_alive: false, is_caught_up: false, silent_ms, ..seen(node, true) }
    }

    fn at(member: Seen, address: &str) -> Seen {
        Seen { address: address.to_string(), ..member }
    }

    fn step(members: &[Seen]) -> Step {
        decide(members, None, DEAD_AFTER_MS).step
    }

    #[test]
    fn voters_grow_to_three_and_five_and_no_further() {
        for (n_voters, n_ready, grown) in [
            (1, 0, &[][..]),
            // The second node of a pair stays a learner until a third has caught up.
            (1, 1, &[]),
            (1, 2, &[2, 3]),
            (1, 4, &[2, 3]),
            (2, 1, &[3]),
            (3, 1, &[]),
            (3, 2, &[4, 5]),
            (4, 2, &[5]),
            (5, 3, &[]),
        ] {
            let members: Vec<Seen> =
                (1..=n_voters + n_ready).map(|node| seen(node, node <= n_voters)).collect();
            let expected =
                if grown.is_empty() { Step::Wait } else { Step::Grow(grown.iter().copied().collect()) };
            assert_eq!(step(&members), expected, "{n_voters} voters, {n_ready} learners");
        }
    }

    #[test]
    fn a_witness_votes_where_no_full_node_can() {
        let grown = |nodes: [u64; 2]| Step::Grow(BTreeSet::from(nodes));
        assert_eq!(step(&[seen(1, true), witness(2, false), seen(3, false)]), grown([2, 3]));
        assert_eq!(step(&[seen(1, true), witness(2, false), seen(3, false), seen(4, false)]), grown([3, 4]));
        let replaced = |by| Step::Replace { dead: NodeId(3), by: NodeId(by) };
        let [one, two, gone] = [seen(1, true), seen(2, true), dead(3, DEAD_AFTER_MS)];
        assert_eq!(
            step(&[one.clone(), two.clone(), gone.clone(), witness(4, false), seen(5, false)]),
            replaced(5)
        );
        assert_eq!(step(&[one, two, gone, witness(4, false)]), replaced(4));
    }

    #[test]
    fn a_witness_leads_only_for_lack_of_others() {
        let heir = |members: &[Seen], cannot| {
            better_leader(members, NodeId(1), cannot).map(|(heir, why)| {
                assert!(why.contains(&heir.name), "{why}");
                heir.node.0
            })
        };
        let late = Seen { is_caught_up: false, ..seen(2, true) };
        assert_eq!(heir(&[witness(1, true), witness(3, true), seen(2, true)], None), Some(2));
        assert_eq!(heir(&[witness(1, true), late, dead(3, 0), witness(4, true), seen(5, false)], None), None);
        assert_eq!(heir(&[seen(1, true), seen(2, true)], None), None);
        // One that can not lead prefers a full node, and takes a witness.
        assert_eq!(heir(&[seen(1, true), witness(3, true), seen(2, true)], Some("is late")), Some(2));
        assert_eq!(heir(&[seen(1, true), witness(3, true), dead(2, 0)], Some("is late")), Some(3));
    }

    #[test]
    fn a_dead_voter_is_replaced_when_it_has_been_dead_for_long_enough() {
        let with = |third: Seen, fourth: Seen| [seen(1, true), seen(2, true), third, fourth];
        let replaced = Step::Replace { dead: NodeId(3), by: NodeId(4) };
        assert_eq!(step(&with(dead(3, DEAD_AFTER_MS - 1), seen(4, false))), Step::Wait);
        let due = with(dead(3, DEAD_AFTER_MS), seen(4, false));
        assert_eq!(step(&due), replaced);
        assert_eq!(decide(&due, Some(REPLACE_INTERVAL_MS - 1), DEAD_AFTER_MS).step, Step::Wait);
        assert_eq!(decide(&due, Some(REPLACE_INTERVAL_MS), DEAD_AFTER_MS).step, replaced);
        let late = Seen { is_caught_up: false, ..seen(4, false) };
        let waiting = decide(&with(dead(3, DEAD_AFTER_MS), late), None, DEAD_AFTER_MS);
        assert_eq!(waiting.step, Step::Wait);
        assert!(
            waiting.why.contains("mx3") && waiting.why.contains("let another host join"),
            "{}",
            waiting.why
        );
    }

    #[test]
    fn a_host_that_was_set_up_anew_takes_over_its_own_record_at_once() {
        let others = [seen(1, true), seen(2, true)];
        let with = |more: [Seen; 2]| others.iter().cloned().chain(more).collect::<Vec<_>>();
        let heir = at(seen(4, false), "mx3:7420");
        assert_eq!(
            step(&with([dead(3, 3_000), heir.clone()])),
            Step::Replace { dead: NodeId(3), by: NodeId(4) }
        );
        let former = Seen { is_voter: false, ..dead(3, 3_000) };
        assert_eq!(step(&with([former, Seen { is_voter: true, ..heir.clone() }])), Step::Forget(NodeId(3)));
        // The new one is not heard yet, and the old one was heard a moment ago.
        let coming = Seen { is_alive: false, is_caught_up: false, is_new: true, ..heir.clone() };
        assert_eq!(step(&with([seen(3, true), coming])), Step::Wait);
        // As long as the old one answers, somebody has only written down a wrong address.
        assert_eq!(step(&with([seen(3, true), heir])), Step::Wait);
    }

    fn members() -> impl Strategy<Value = Vec<Seen>> {
        let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
        prop::collection::vec((flags, 0..2 * DEAD_AFTER_MS, 0u64..4), 1..9).prop_map(|members| {
            let seen = |(node, (flags, silent_ms, place))| {
                let (is_voter, is_alive, is_caught_up, is_demoted, is_witness) = flags;
                Seen {
                    node: NodeId(node),
                    name: String::new(),
                    address: format!("mx{place}:7420"),
                    is_voter,
                    is_alive,
                    is_new: !is_alive && silent_ms % 2 == 0,
                    silent_ms,
                    is_caught_up,
                    is_demoted,
                    is_witness,
                }
            };
            (1..).zip(members).map(seen).collect()
        })
    }

    proptest! {
        /// Whatever is decided, the voters do not become fewer, the new ones are alive and have caught up,
        /// and a strict majority of the old and of the new answers.
        #[test]
        fn no_decision_costs_the_majority(members in members(), since in prop::option::of(0..2 * REPLACE_INTERVAL_MS)) {
            let alive = |node: u64| members.iter().any(|member| member.node.0 == node && member.is_alive);
            let before: BTreeSet<u64> =
                members.iter().filter(|member| member.is_voter).map(|member| member.node.0).collect();
            let mut after = before.clone();
            let decision = decide(&members, since, DEAD_AFTER_MS);
            prop_assert!(!decision.why.is_empty());
            match decision.step {
                Step::Wait => {}
                Step::Grow(ref grown) => after.extend(grown),
                Step::Replace { dead, by } => {
                    prop_assert!(after.remove(&dead.0) && after.insert(by.0) && !alive(dead.0));
                }
                Step::Forget(gone) => prop_assert!(!before.contains(&gone.0) && !alive(gone.0)),
            }
            prop_assert!(after.len() >= before.len());
            for new in after.difference(&before) {
                prop_assert!(members.iter().any(|member| member.node.0 == *new && is_ready(member)));
            }
            if decision.step != Step::Wait {
                for voters in [&before, &after] {
                    let n_alive = voters.iter().filter(|voter| alive(**voter)).count();
                    prop_assert!(n_alive * 2 > voters.len());
                }
            }
            if after.len() > before.len() {
                prop_assert!(after.len() <= VOTERS_MAX && after.len() % 2 == 1);
            }
        }
    }
}
