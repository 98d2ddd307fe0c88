//! Leaders fall and rise: who can lead, what a new one makes of an old one's entries, and when each node
//! hears of it.
//!
//! Not for what a leader writes (`raft_log`).

use super::{Appended, Entry, Leader, Waiting};
use crate::world::World;
use bannkreis_core::event::Event;

impl World {
    pub(super) fn quorum(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// The running nodes that `node` can talk to in both directions, itself included.
    pub(super) fn reachable(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&other| self.nodes[other].process.is_some())
            .filter(|&other| other == node || (self.links[node][other] && self.links[other][node]))
            .collect()
    }

    pub(super) fn leader_is_good(&self) -> bool {
        self.raft.leader.as_ref().is_some_and(|leader| {
            self.nodes[leader.node].process.is_some()
                && self.nodes[leader.node].start == leader.start
                && self.reachable(leader.node).len() >= self.quorum()
        })
    }

    pub(crate) fn depose(&mut self) {
        let Some(leader) = self.raft.leader.take() else { return };
        self.trace(format_args!("node {} no longer leads", leader.node));
        for appended in leader.appended {
            self.answer(appended.waiting, None);
            self.raft.orphaned.push(appended.entry);
        }
    }

    pub(super) fn elect(&mut self) {
        let candidates: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| self.nodes[node].process.is_some())
            .filter(|&node| self.reachable(node).len() >= self.quorum())
            .collect();
        if candidates.is_empty() {
            return;
        }
        let node = candidates[self.random.index(candidates.len())];
        self.raft.term += 1;
        let term = self.raft.term;
        self.trace(format_args!("node {node} leads in term {term}"));
        self.coverage.hit("log: leader changed");
        // What an old leader left on a majority is committed by the new one, with its old stamps.
        let orphaned = std::mem::take(&mut self.raft.orphaned);
        let n_kept = self.random.index(orphaned.len() + 1);
        let mut appended: Vec<Appended> = Vec::new();
        for (n, entry) in orphaned.into_iter().enumerate() {
            if n < n_kept {
                self.coverage.hit("log: old leader's entry committed later");
                appended.push(Appended { entry, waiting: Waiting::Nobody });
            } else {
                self.coverage.hit("log: uncommitted entry lost");
            }
        }
        appended.push(Appended { entry: Entry { command: None }, waiting: Waiting::Nobody });
        // A leader knows what was committed before it: its own first tick is news.
        let end = self.raft.last_index() + appended.len();
        if let Some(process) = &mut self.nodes[node].process {
            process.learned.get_or_insert(end);
        }
        self.raft.leader = Some(Leader {
            node,
            start: self.nodes[node].start,
            term: self.raft.term,
            appended,
            tick_asked_at_ms: 0,
            voters: None,
            slow_until_ms: 0,
        });
    }

    /// Tells a node's warden when a leader is found or lost.
    pub(super) fn tell_leader(&mut self, node: usize) {
        let leads = self.raft.leader.as_ref().map(|leader| leader.node);
        let known = leads
            .is_some_and(|leader| leader == node || (self.links[node][leader] && self.links[leader][node]));
        let host = &mut self.nodes[node];
        let Some(process) = &mut host.process else { return };
        if !process.leader_known {
            host.leaderless_at_ms = self.now_ms;
        }
        if process.leader_known != known && (self.healed || self.random.chance(300)) {
            process.leader_known = known;
            self.step(node, Event::Leader { known });
        }
    }
}
