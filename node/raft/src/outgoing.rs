//! Proposals on their way to a leader elsewhere, many in one call: what comes while calls are under way waits, and goes
//! together in the next one.
//!
//! ```text
//! proposers ─▶ waiting ─▶ ≤ 4 calls under way, each ≤ 512 operations, ≤ 256 KiB ─▶ rpc Propose ─▶ results, to each its own
//! ```
//!
//! One that comes alone goes at once. Nobody waits behind a leader that is gone: those that were not sent yet are told to
//! look again. Not for finding the leader, nor for trying again (`forward.rs`).

use crate::network::Peers;
use crate::proposer::{ENTRY_BYTES_MAX, ProposeError, Proposed, REQUEST_OPS_MAX, REQUESTS_WAITING_MAX};
use bannkreis_core::ids::{NodeId, Position};
use bannkreis_proto::convert::decode_results;
use bannkreis_proto::v1;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// So many calls are under way: while the leader syncs what one has brought, it takes the next ones in. With more of them
/// each carries less.
const CALLS_MAX: usize = 4;
/// The leader's answer is waited for this long; it gives up a little earlier itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

type Outcome = Result<Proposed, ProposeError>;

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Outgoing {
    peers: Arc<Peers>,
    state: Arc<Mutex<State>>,
}

/// What is on its way to one leader, the last that was named.
#[derive(Default)]
struct State {
    leader: Option<Leader>,
    reign: Reign,
    /// Calls to `leader` under way; those of an earlier reign, its own or another's, are not counted.
    n_calls: usize,
    waiting: VecDeque<Waiting>,
}

/// How often another leader has been named: one that leads again does not have its earlier calls back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reign(u64);

/// The leader, and where it is reached.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) node: NodeId,
    pub(crate) address: String,
}

/// One proposer's operations, encoded, and who waits for what comes of them.
struct Waiting {
    ops: Bytes,
    n_ops: usize,
    answer: oneshot::Sender<Outcome>,
}

impl Outgoing {
    pub(crate) fn new(peers: Arc<Peers>) -> Outgoing {
        Outgoing { peers, state: Arc::default() }
    }

    /// Brings `n_ops` operations, which are `ops` encoded, to the leader.
    pub(crate) async fn propose(&self, leader: Leader, ops: Bytes, n_ops: usize) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let call = self.state().take_in(&leader, Waiting { ops, n_ops, answer })?;
        if let Some(reign) = call {
            tokio::spawn(self.clone().call_while_some_wait(leader, reign));
        }
        outcome.await.unwrap_or_else(|_| Err(unknown("this node was stopped meanwhile".to_string())))
    }

    async fn call_while_some_wait(self, leader: Leader, reign: Reign) {
        loop {
            let Some(together) = self.state().next(reign) else { return };
            if let Err(why) = self.call_for(&leader, together).await {
                self.state().send_away(reign, &why);
            }
        }
    }

    /// Errors: the leader cannot be reached, does not answer, or leads no longer, in the words of the error.
    async fn call_for(&self, leader: &Leader, together: Vec<Waiting>) -> Result<(), String> {
        let outcome = self.call(leader, joined(&together)).await;
        let failure = match &outcome {
            Err(ProposeError::NoLeader { why } | ProposeError::Unknown { why }) => Err(why.clone()),
            _ => Ok(()),
        };
        if matches!(outcome, Err(ProposeError::Refused { .. })) && together.len() > 1 {
            // One of them is refused for something that the others have nothing to do with.
            for one in together {
                let outcome = self.call(leader, one.ops.clone()).await;
                let _ = one.answer.send(outcome);
            }
        } else {
            share(outcome, together);
        }
        failure
    }

    async fn call(&self, leader: &Leader, ops: Bytes) -> Outcome {
        use v1::raft_propose_response::Outcome;
        let Leader { node, address } = leader;
        let mut client = self
            .peers
            .client(*node, address)
            .await
            .map_err(|error| ProposeError::NoLeader { why: error.to_string() })?;
        let request = self.peers.sender().sign(v1::RaftProposeRequest { ops }, Some(*node));
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.propose(request))
            .await
            .map_err(|_| unknown(format!("the leader {address} does not answer")))?
            .map_err(|status| unknown(format!("the leader {address} answers: {}", status.message())))?;
        match answer.into_inner().outcome {
            Some(Outcome::Proposed(proposed)) => Ok(Proposed {
                position: Position { generation: proposed.generation, index: proposed.index },
                results: decode_results(&proposed.results).map_err(|error| unknown(error.to_string()))?,
            }),
            Some(Outcome::NotLeader(not)) if not.why.is_empty() => {
                Err(ProposeError::NoLeader { why: format!("{address} leads no longer, or not yet") })
            }
            Some(Outcome::NotLeader(not)) => Err(ProposeError::NoLeader { why: not.why }),
            Some(Outcome::Refused(why)) => Err(ProposeError::Refused { why }),
            Some(Outcome::Busy(why)) => Err(ProposeError::Busy { why }),
            Some(Outcome::Unknown(why)) => Err(unknown(why)),
            None => Err(unknown(format!("the answer of {address} is of a newer release"))),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets one wait for the leader. If it gives a reign, a call more is under way in it from now on, which the caller
    /// makes.
    ///
    /// Errors: as many wait already as may.
    fn take_in(&mut self, leader: &Leader, one: Waiting) -> Result<Option<Reign>, ProposeError> {
        if self.leader.as_ref() != Some(leader) {
            self.waiting.drain(..).for_each(|one| one.look_again("another node leads since"));
            self.leader = Some(leader.clone());
            self.reign.0 += 1;
            self.n_calls = 0;
        }
        if self.waiting.len() >= REQUESTS_WAITING_MAX {
            let why = format!("{REQUESTS_WAITING_MAX} wait for the leader {} already", leader.address);
            return Err(ProposeError::Busy { why });
        }
        self.waiting.push_back(one);
        let may_call = self.n_calls < CALLS_MAX;
        self.n_calls += usize::from(may_call);
        Ok(may_call.then_some(self.reign))
    }

    /// Those that go to the leader together next. `None`, and one call less is under way, when nobody waits for it.
    fn next(&mut self, reign: Reign) -> Option<Vec<Waiting>> {
        if self.reign != reign {
            return None;
        }
        let together = self.take_together();
        if together.is_empty() {
            self.n_calls -= 1;
            return None;
        }
        Some(together)
    }

    /// The first that wait, as many as one call takes.
    fn take_together(&mut self) -> Vec<Waiting> {
        let (mut n_ops, mut n_bytes) = (0, 0);
        let fitting = self.waiting.iter().take_while(|one| {
            let is_first = n_ops == 0;
            n_ops += one.n_ops;
            n_bytes += one.ops.len();
            is_first || (n_ops <= REQUEST_OPS_MAX && n_bytes <= ENTRY_BYTES_MAX)
        });
        let n_fitting = fitting.count();
        self.waiting.drain(..n_fitting).collect()
    }

    /// Whoever waits behind a call that failed was not sent: they look for the leader again.
    fn send_away(&mut self, reign: Reign, why: &str) {
        if self.reign == reign {
            self.waiting.drain(..).for_each(|one| one.look_again(why));
        }
    }
}

impl Waiting {
    fn look_again(self, why: &str) {
        let _ = self.answer.send(Err(ProposeError::NoLeader { why: why.to_string() }));
    }
}

/// Their operations in one list. Encoded lists one after the other are one list (Protocol Buffers, "Last One Wins":
/// repeated fields are concatenated).
fn joined(together: &[Waiting]) -> Bytes {
    if let [one] = together {
        return one.ops.clone();
    }
    let mut all = BytesMut::with_capacity(together.iter().map(|one| one.ops.len()).sum());
    together.iter().for_each(|one| all.extend_from_slice(&one.ops));
    all.freeze()
}

/// Gives each what came of its own operations.
fn share(outcome: Outcome, together: Vec<Waiting>) {
    let n_ops: usize = together.iter().map(|one| one.n_ops).sum();
    let outcome = outcome.and_then(|proposed| match proposed.results.len() == n_ops {
        true => Ok(proposed),
        false => Err(unknown("the leader's answer has another number of results".to_string())),
    });
    match outcome {
        Ok(Proposed { position, results }) => {
            let mut results = results.into_iter();
            for one in together {
                let own = results.by_ref().take(one.n_ops).collect();
                let _ = one.answer.send(Ok(Proposed { position, results: own }));
            }
        }
        Err(error) => {
            for one in together {
                let _ = one.answer.send(Err(error.clone()));
            }
        }
    }
}

fn unknown(why: String) -> ProposeError {
    ProposeError::Unknown { why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::command::Op;
    use bannkreis_proto::convert::{decode_ops, encode_ops};

    fn waiting(ops: &[Op]) -> (Waiting, oneshot::Receiver<Outcome>) {
        let (answer, outcome) = oneshot::channel();
        (Waiting { ops: encode_ops(ops), n_ops: ops.len(), answer }, outcome)
    }

    fn leader(node: u64) -> Leader {
        Leader { node: NodeId(node), address: format!("mx{node}:7420") }
    }

    #[test]
    fn no_more_go_together_than_a_leader_takes() {
        let mut state = State::default();
        let level = |level| Op::RaiseLevel { level };
        let calls = [500, 12, 1, 600]
            .map(|n_ops| state.take_in(&leader(1), waiting(&vec![Op::Sweep; n_ops]).0).unwrap());
        let reign = state.reign;
        assert_eq!(calls, [Some(reign); 4]);
        let one_more = state.take_in(&leader(1), waiting(&[Op::Sweep]).0).unwrap();
        assert_eq!(one_more, None, "no more calls are under way than may be");
        let mut taken = || Some(state.next(reign)?.iter().map(|one| one.n_ops).collect::<Vec<_>>());
        assert_eq!([taken(), taken()], [Some(vec![500, 12]), Some(vec![1])]);
        assert_eq!(taken(), Some(vec![600]), "one that is too large is refused there");
        assert_eq!(taken(), Some(vec![1]));
        assert_eq!([taken(), taken(), taken(), taken()], [None, None, None, None]);
        assert_eq!(state.n_calls, 0);

        let (one, two) = (waiting(&[level(1), level(2)]), waiting(&[Op::Sweep]));
        assert_eq!(decode_ops(&joined(&[one.0, two.0])).unwrap(), [level(1), level(2), Op::Sweep]);
    }

    #[test]
    fn so_many_wait_and_one_more_is_told_so() {
        let mut state = State::default();
        for _ in 0..REQUESTS_WAITING_MAX {
            state.take_in(&leader(1), waiting(&[Op::Sweep]).0).unwrap();
        }
        let one_more = state.take_in(&leader(1), waiting(&[Op::Sweep]).0);
        assert!(matches!(one_more, Err(ProposeError::Busy { .. })), "{one_more:?}");
        let next_leader = state.take_in(&leader(2), waiting(&[Op::Sweep]).0).unwrap();
        assert!(next_leader.is_some(), "nobody waits for the next leader");
    }

    #[test]
    fn nobody_waits_behind_a_leader_that_is_gone() {
        let is_sent_away = |outcome: &mut oneshot::Receiver<Outcome>| {
            matches!(outcome.try_recv(), Ok(Err(ProposeError::NoLeader { .. })))
        };
        let (mut state, mut outcomes) = (State::default(), Vec::new());
        let mut take_in = |state: &mut State, node: u64| {
            let (one, outcome) = waiting(&[Op::Sweep]);
            outcomes.push(outcome);
            state.take_in(&leader(node), one).unwrap()
        };
        let first = take_in(&mut state, 1).unwrap();
        let under_way = state.next(first).unwrap();
        assert_eq!(take_in(&mut state, 1), Some(first));
        let second =
            take_in(&mut state, 2).expect("calls to an earlier leader hold none of the next one's up");
        assert_eq!(take_in(&mut state, 2), Some(second));
        assert!(state.next(first).is_none());
        state.send_away(first, "does not answer");
        assert_eq!((state.n_calls, state.waiting.len()), (2, 2));
        state.send_away(second, "does not answer");
        assert_eq!(outcomes.iter_mut().map(is_sent_away).collect::<Vec<_>>(), [false, true, true, true]);
        assert_eq!(under_way.len(), 1, "what was sent is not asked for twice");
    }

    #[test]
    fn one_that_leads_again_does_not_have_its_earlier_calls_back() {
        let mut state = State::default();
        let take_in = |state: &mut State, node: u64| {
            state.take_in(&leader(node), waiting(&[Op::Sweep]).0).unwrap().unwrap()
        };
        let first = take_in(&mut state, 1);
        assert!(state.next(first).is_some());
        take_in(&mut state, 2);
        let again = take_in(&mut state, 1);
        assert!(state.next(first).is_none(), "a call of the first reign ends in the third");
        state.send_away(first, "does not answer");
        assert_eq!((state.n_calls, state.waiting.len()), (1, 1));
        assert!(state.next(again).is_some() && state.next(again).is_none());
        assert_eq!(state.n_calls, 0);
    }

    #[test]
    fn each_gets_its_own_results() {
        use bannkreis_core::change::OpResult;
        use bannkreis_core::judge::Verdict;
        let (one, mut of_one) = waiting(&[Op::Sweep, Op::Sweep]);
        let (two, mut of_two) = waiting(&[Op::Sweep]);
        let position = Position { generation: 1, index: 7 };
        let results =
            vec![OpResult::Silent, OpResult::Judged(Verdict::Open), OpResult::Judged(Verdict::Covered)];
        share(Ok(Proposed { position, results: results.clone() }), vec![one, two]);
        assert_eq!(of_one.try_recv().unwrap().unwrap().results, results[..2]);
        assert_eq!(
            of_two.try_recv().unwrap().unwrap(),
            Proposed { position, results: results[2..].to_vec() }
        );

        let (one, mut of_one) = waiting(&[Op::Sweep, Op::Sweep]);
        share(Ok(Proposed { position, results: vec![OpResult::Silent] }), vec![one]);
        assert!(matches!(of_one.try_recv().unwrap(), Err(ProposeError::Unknown { .. })));
    }
}
