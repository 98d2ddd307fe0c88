//! Which nodes' kernels do what the ban list says, and waiting until all of them do.

use super::answers::Snapshot;
use super::{MemberFacts, NodeApi};
use bannkreis_core::ids::Position;
use bannkreis_proto::v1::{EnforcementState, NodeEnforcement};
use std::time::Duration;
use tokio::time::Instant;

/// How often the members are looked at while somebody waits.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What `member` does with everything up to `position`.
fn state_of(member: &MemberFacts, position: Position) -> EnforcementState {
    if !member.is_enforcing {
        EnforcementState::NotEnforcing
    } else if member.enforced.is_some_and(|enforced| enforced >= position) {
        // What was done once stays done, whether the node can be reached now or not.
        EnforcementState::Enforced
    } else if member.is_reachable {
        EnforcementState::Behind
    } else {
        EnforcementState::Unreachable
    }
}

/// One entry per member, sorted by name. None at all when it is about nothing that stands in the Raft log: what
/// other nodes do about that is not known.
pub(super) fn list(snapshot: &Snapshot, position: Option<Position>) -> Vec<NodeEnforcement> {
    let Some(position) = position else { return Vec::new() };
    let mut nodes: Vec<NodeEnforcement> = snapshot
        .cluster
        .members
        .iter()
        .map(|member| NodeEnforcement {
            node_id: member.node.to_string(),
            name: snapshot.names.name(member.node),
            state: state_of(member, position).into(),
            enforced: member.enforced.map(|position| position.to_string()).unwrap_or_default(),
            n_overrides: snapshot.n_overrides(member),
        })
        .collect();
    nodes.sort_by(|a, b| (&a.name, &a.node_id).cmp(&(&b.name, &b.node_id)));
    nodes
}

/// Waits until this node has applied `position` and every node that can be reached enforces it, or the time is
/// over. There is nothing to wait for without a position.
pub(super) async fn wait(api: &dyn NodeApi, position: Option<Position>, deadline: Instant) {
    let Some(position) = position else { return };
    loop {
        let cluster = api.cluster();
        let is_done = api.view().position() >= position
            && !cluster.members.iter().any(|member| state_of(member, position) == EnforcementState::Behind);
        if is_done || Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + POLL_INTERVAL)).await;
    }
}
