//! What each peer last said of itself: how far it has applied the log, what its firewall holds, what time
//! it has. Nothing here is agreed on or durable.

use bannkreis_core::ids::{NodeId, Position};
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1;
use bannkreis_raft::Decided;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a node tells its peers about itself.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A peer that was not heard for so long, in ms, counts as unreachable.
const REACHABLE_MS: u64 = 3_000;
/// Peers remembered at most; further ones are not listened to.
const PEERS_MAX: usize = 256;

/// So many decisions of a leader are read, and each text of them up to so many bytes.
const DECISIONS_MAX: usize = 8;
const DECISION_BYTES_MAX: usize = 1_024;

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfFacts {
    /// Applied so far.
    pub applied: Position,
    /// In the kernel so far.
    pub enforced: Position,
    /// Its wall clock.
    pub clock: Timestamp,
    /// The highest level it can read.
    pub level_max: u32,
    /// How many overrides it has.
    pub n_overrides: u32,
    /// Proposals without an answer.
    pub n_waiting: u32,
    /// It blocks nothing.
    pub observe: bool,
    /// It has the key of the cluster's authority.
    pub has_authority: bool,
    /// For how long it has heard no quorum, in ms.
    pub no_quorum_ms: Option<u64>,
}

impl SelfFacts {
    pub(super) fn to_wire(self) -> v1::Heartbeat {
        v1::Heartbeat {
            applied: Some(self.applied.into()),
            enforced: Some(self.enforced.into()),
            clock_ms: self.clock.0,
            level_max: self.level_max,
            n_overrides: self.n_overrides,
            n_waiting: self.n_waiting,
            observe: self.observe,
            has_authority: self.has_authority,
            decisions: Vec::new(),
            no_quorum_ms: self.no_quorum_ms,
        }
    }

    fn from_wire(heartbeat: &v1::Heartbeat) -> SelfFacts {
        SelfFacts {
            applied: position(heartbeat.applied),
            enforced: position(heartbeat.enforced),
            clock: Timestamp(heartbeat.clock_ms),
            level_max: heartbeat.level_max,
            n_overrides: heartbeat.n_overrides,
            n_waiting: heartbeat.n_waiting,
            observe: heartbeat.observe,
            has_authority: heartbeat.has_authority,
            no_quorum_ms: heartbeat.no_quorum_ms,
        }
    }
}

/// An absent or odd position says nothing, and nothing is what a new node has applied.
fn position(wire: Option<v1::Position>) -> Position {
    wire.and_then(|wire| Position::try_from(wire).ok()).unwrap_or_default()
}

fn decisions(wire: Vec<v1::HeartbeatDecision>) -> Vec<Decided> {
    let fits = |text: &String| text.len() <= DECISION_BYTES_MAX;
    let wire = wire.into_iter().take(DECISIONS_MAX);
    let read = wire.filter(|one| [&one.about, &one.step, &one.why].into_iter().all(fits));
    read.map(|v1::HeartbeatDecision { about, step, why }| Decided { about, step, why }).collect()
}

/// A leader's decisions on their way to the peers.
pub(super) fn decisions_to_wire(decided: Vec<Decided>) -> Vec<v1::HeartbeatDecision> {
    let to_wire = |Decided { about, step, why }| v1::HeartbeatDecision { about, step, why };
    decided.into_iter().take(DECISIONS_MAX).map(to_wire).collect()
}

/// A peer, as it was last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// What it said.
    pub facts: SelfFacts,
    /// When it was heard, in ms of this host's CLOCK_BOOTTIME.
    pub heard_at_ms: u64,
}

impl PeerFacts {
    /// Whether it was heard lately.
    #[must_use]
    pub fn is_reachable(&self, boottime_ms: u64) -> bool {
        boottime_ms.saturating_sub(self.heard_at_ms) <= REACHABLE_MS
    }

    /// Its wall clock now, as far as one can tell.
    #[must_use]
    pub fn clock_now(&self, boottime_ms: u64) -> Timestamp {
        self.facts.clock.plus_ms(boottime_ms.saturating_sub(self.heard_at_ms))
    }
}

/// All peers that were ever heard.
#[derive(Debug, Default)]
pub struct PeerTable {
    peers: Mutex<BTreeMap<NodeId, PeerFacts>>,
    voters: Mutex<BTreeSet<NodeId>>,
    /// What each one that said so decides as the leader.
    decisions: Mutex<BTreeMap<NodeId, Vec<Decided>>>,
}

impl PeerTable {
    pub(super) fn heard(&self, node: NodeId, heartbeat: v1::Heartbeat, boottime_ms: u64) {
        let facts = SelfFacts::from_wire(&heartbeat);
        let decided = decisions(heartbeat.decisions);
        {
            let mut decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
            if decided.is_empty() {
                decisions.remove(&node);
            } else if decisions.len() < PEERS_MAX || decisions.contains_key(&node) {
                decisions.insert(node, decided);
            }
        }
        let mut peers = self.lock();
        if peers.len() < PEERS_MAX || peers.contains_key(&node) {
            peers.insert(node, PeerFacts { facts, heard_at_ms: boottime_ms });
        }
    }

    /// What `node` last said.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<PeerFacts> {
        self.lock().get(&node).copied()
    }

    /// Since when `leader`, which can be reached, has heard no quorum, by its own word, in ms of this host's
    /// CLOCK_BOOTTIME.
    #[must_use]
    pub fn no_quorum_since_ms(&self, leader: NodeId, boottime_ms: u64) -> Option<u64> {
        let told = self.get(leader).filter(|told| told.is_reachable(boottime_ms))?;
        Some(told.heard_at_ms.saturating_sub(told.facts.no_quorum_ms?))
    }

    /// What `leader` has said that it decides.
    #[must_use]
    pub fn decisions(&self, leader: NodeId) -> Vec<Decided> {
        let decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        decisions.get(&leader).cloned().unwrap_or_default()
    }

    /// Forgets whoever is no member any more; of the members' clocks, only the voters' count.
    pub fn set_members(&self, members: &BTreeSet<NodeId>, voters: BTreeSet<NodeId>) {
        self.lock().retain(|node, _| members.contains(node));
        let mut decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        decisions.retain(|node, _| members.contains(node));
        *self.voters.lock().unwrap_or_else(PoisonError::into_inner) = voters;
    }

    /// The clocks of `own` and of all other voters that can be reached; `None` when that is no majority of
    /// the voters, or when they are not known yet, so that no single clock decides after an election.
    #[must_use]
    pub fn clocks(&self, own: (NodeId, Timestamp), boottime_ms: u64) -> Option<Vec<(NodeId, Timestamp)>> {
        let voters = self.voters.lock().unwrap_or_else(PoisonError::into_inner);
        let peers = self.lock();
        let reachable =
            peers.iter().filter(|(node, peer)| voters.contains(node) && peer.is_reachable(boottime_ms));
        let mut clocks: Vec<_> = reachable.map(|(node, peer)| (*node, peer.clock_now(boottime_ms))).collect();
        clocks.push(own);
        (!voters.is_empty() && clocks.len() * 2 > voters.len()).then_some(clocks)
    }

    /// Whether a voter that can be reached, not this node, can sign.
    #[must_use]
    pub fn has_authority_elsewhere(&self, boottime_ms: u64) -> bool {
        let voters = self.voters.lock().unwrap_or_else(PoisonError::into_inner);
        let can_sign = |peer: &PeerFacts| peer.facts.has_authority && peer.is_reachable(boottime_ms);
        self.lock().iter().any(|(node, peer)| voters.contains(node) && can_sign(peer))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, PeerFacts>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_majority_says_so_while_it_is_heard() {
        let (leader, table) = (NodeId(1), PeerTable::default());
        let without = SelfFacts { no_quorum_ms: Some(400), ..SelfFacts::default() };
        table.heard(leader, SelfFacts::default().to_wire(), 10_000);
        assert_eq!(table.no_quorum_since_ms(leader, 10_100), None);
        table.heard(leader, without.to_wire(), 10_500);
        assert_eq!(table.no_quorum_since_ms(leader, 10_900), Some(10_100));
        assert_eq!(table.no_quorum_since_ms(NodeId(2), 10_900), None);
        // Later on nobody knows, and this node soon hears no leader itself.
        assert_eq!(table.no_quorum_since_ms(leader, 10_500 + REACHABLE_MS + 1), None);
    }
}
