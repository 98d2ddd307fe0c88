//! **Replica agreement**: two nodes that have applied the same entries hold the same ban list.

use crate::world::World;

pub(crate) const NAME: &str = "replica agreement";

impl World {
    /// Compares every running node's ban list with a plain replay up to the same entry.
    pub(crate) fn check_replicas(&mut self) {
        for node in 0..self.nodes.len() {
            let Some(process) = &self.nodes[node].process else { continue };
            let applied = process.applied;
            if process.list == *self.raft.history[applied] {
                continue;
            }
            let is_restored = self.nodes[node].disk.snapshot.0 > 0;
            let invariant = if is_restored { super::snapshot_equals_replay::NAME } else { NAME };
            self.fail(invariant, format!("node {node} differs at {applied}"));
            return;
        }
    }
}
