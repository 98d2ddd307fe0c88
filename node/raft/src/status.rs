//! What this node knows about its cluster, for people and for metrics; and who leads.
//!
//! openraft goes on naming a leader that is dead until another one is elected. So it counts here when
//! this node has last *heard* from the leader.

use crate::cluster_time::ClusterTime;
use crate::handle::Inner;
use bannkreis_core::ids::NodeId;
use openraft::{Instant as _, ServerState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What this node knows about its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// The current term.
    pub term: u64,
    /// Who leads: this node, or one it has just heard from.
    pub leader: Option<NodeId>,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Whether the membership that this node knows names it. A node that is joining is not named yet.
    pub is_member: bool,
    /// The last entry in this node's log.
    pub last_index: Option<u64>,
    /// The last entry that this node knows to be committed.
    pub committed: Option<u64>,
    /// The last entry that is applied here.
    pub applied: Option<u64>,
    /// The last entry that is in this node's newest snapshot.
    pub snapshot: Option<u64>,
    /// The voters.
    pub voters: Vec<MemberStatus>,
    /// The learners.
    pub learners: Vec<MemberStatus>,
    /// Since when there is no quorum as far as this node can tell, on the daemon's monotonic clock in
    /// ms; `None` when there is one.
    pub no_quorum_since_ms: Option<u64>,
    /// Why this node has stopped taking part, as a sentence: an entry it can not read, a broken disk.
    pub halted: Option<String>,
    /// What this leader has decided of itself, and why; empty on other nodes.
    pub decisions: Vec<Decided>,
}

/// What a leader does, or waits for, without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// `voters`, `leader` or `level`.
    pub about: String,
    /// In one word: `wait`, `grow`, `replace`, `forget`, `hand_over`, `raise`.
    pub step: String,
    /// Why, as a sentence.
    pub why: String,
}

impl Decided {
    pub(crate) fn new(about: &str, step: &str, why: String) -> Decided {
        Decided { about: about.to_owned(), step: step.to_owned(), why }
    }
}

/// What the leader, or the membership, knows about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which node.
    pub node: NodeId,
    /// Where peers reach it: `host:port`.
    pub address: String,
    /// Its host's name.
    pub name: String,
    /// How many entries its log is behind the leader's. Only the leader knows.
    pub lag: Option<u64>,
    /// When it last answered, in ms before now. Only the leader knows.
    pub heard_ms_ago: Option<u64>,
}

/// When this node has last heard from a leader.
pub(crate) struct Liveness {
    time: Arc<ClusterTime>,
    heard_ms: AtomicU64,
}

impl Liveness {
    /// Counts from now: at first it is not known for how long there has been no leader.
    pub(crate) fn new(time: Arc<ClusterTime>) -> Liveness {
        let heard_ms = AtomicU64::new(0);
        Liveness { time, heard_ms }
    }

    /// A leader's append was accepted.
    pub(crate) fn heard_leader(&self) {
        self.heard_ms.store(self.time.boottime_ms().max(1), Ordering::Relaxed);
    }

    /// When, on the monotonic clock; `None`: not since the start.
    fn heard_ms(&self) -> Option<u64> {
        Some(self.heard_ms.load(Ordering::Relaxed)).filter(|heard_ms| *heard_ms > 0)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    /// Who leads and where it is reached.
    pub(crate) fn leader(&self) -> Option<(NodeId, String)> {
        let metrics = self.metrics();
        let leader = metrics.current_leader?;
        if leader == self.identity.node.0 {
            let is_leader = metrics.state == ServerState::Leader;
            // One that applies nothing can answer nobody.
            let can_answer = is_leader && !self.halted.is_set();
            return can_answer.then(|| (self.identity.node, self.member.address.clone()));
        }
        let patience_ms = millis(self.timing.election_max());
        let heard_ms = self.liveness.heard_ms()?;
        if self.time.boottime_ms().saturating_sub(heard_ms) > patience_ms {
            return None;
        }
        let member = metrics.membership_config.get_node(&leader)?;
        Some((NodeId(leader), member.address.clone()))
    }

    /// Since when there is no quorum, if there is none.
    pub(crate) fn no_quorum_since_ms(&self) -> Option<u64> {
        let metrics = self.metrics();
        let own = self.identity.node.0;
        let mut voters = metrics.membership_config.voter_ids();
        let is_leader = metrics.state == ServerState::Leader;
        if is_leader && voters.all(|voter| voter == own) {
            return None;
        }
        let now_ms = self.time.boottime_ms();
        let acked_ms = metrics
            .last_quorum_acked
            .filter(|_| is_leader)
            .map(|acked| now_ms.saturating_sub(millis(acked.elapsed())));
        let last_ms = self.liveness.heard_ms().max(acked_ms).unwrap_or(self.started_ms);
        let has_quorum =
            last_ms > self.started_ms && now_ms.saturating_sub(last_ms) <= millis(self.timing.election_max());
        (!has_quorum).then_some(last_ms)
    }

    /// For how long no leader was heard of here, in ms.
    pub(crate) fn without_leader_ms(&self) -> u64 {
        let heard_ms = self.liveness.heard_ms().unwrap_or(self.started_ms);
        self.time.boottime_ms().saturating_sub(heard_ms)
    }

    /// What this leader has decided now.
    pub(crate) fn decided(&self, decisions: Vec<Decided>) {
        *self.decisions.lock().unwrap_or_else(PoisonError::into_inner) = decisions;
    }

    /// All of it.
    pub(crate) fn status(&self) -> RaftStatus {
        let metrics = self.metrics();
        let member = |(node, member): (&u64, &crate::types::Member)| {
            let matching = metrics.replication.as_ref().and_then(|nodes| nodes.get(node)).copied().flatten();
            let heard = metrics.heartbeat.as_ref().and_then(|nodes| nodes.get(node)).copied().flatten();
            let last_index = metrics.last_log_index.unwrap_or(0);
            MemberStatus {
                node: NodeId(*node),
                address: member.address.clone(),
                name: member.name.clone(),
                lag: matching.map(|log_id| last_index.saturating_sub(log_id.index)),
                heard_ms_ago: heard.map(|heard| millis(heard.elapsed())),
            }
        };
        let membership = metrics.membership_config.membership();
        let view = self.views.borrow().clone();
        let halted = self.halted.get().map(|halt| halt.sentence(&view, self.identity.node));
        let is_voter = |node: &u64| membership.voter_ids().any(|voter| voter == *node);
        RaftStatus {
            term: metrics.current_term,
            leader: self.leader().map(|(leader, _)| leader),
            is_leader: metrics.state == ServerState::Leader,
            is_member: membership.get_node(&self.identity.node.0).is_some(),
            last_index: metrics.last_log_index,
            committed: metrics.local_committed.max(metrics.cluster_committed).map(|log_id| log_id.index),
            applied: Some(view.position().index).filter(|index| *index > 0),
            snapshot: metrics.snapshot.map(|log_id| log_id.index),
            voters: membership.nodes().filter(|(node, _)| is_voter(node)).map(member).collect(),
            learners: membership.nodes().filter(|(node, _)| !is_voter(node)).map(member).collect(),
            no_quorum_since_ms: self.no_quorum_since_ms(),
            halted: self
                .failure()
                .or_else(|| metrics.running_state.as_ref().err().map(ToString::to_string))
                .or(halted),
            decisions: self.decisions.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
