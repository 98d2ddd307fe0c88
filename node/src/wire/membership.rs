//! Who is in the cluster, told to whoever has to know: the links, which reach each member, and the table of peers, in
//! which only voters' clocks and keys count.
//!
//! Not here: who becomes a member or a voter. That is Raft's.

use super::heartbeat::PeerTable;
use super::links::{Links, Member};
use bannkreis_core::ids::NodeId;
use bannkreis_raft::{RaftNode, RaftStatus, rhythm};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often the membership is looked at.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps a link to each member, and in the table of peers whoever is one, and who of them votes. Never returns.
pub async fn follow_members(raft: RaftNode, links: Arc<Links>, peers: Arc<PeerTable>) {
    let mut look = rhythm::every(MEMBERS_INTERVAL);
    let mut known = Membership::default();
    loop {
        look.tick().await;
        let found = Membership::of(&raft.status());
        if found != known {
            links.set_members(&found.members);
            let all = found.members.iter().map(|member| member.node).collect();
            peers.set_members(&all, found.voters.clone());
            known = found;
        }
    }
}

/// Who is in the cluster and who votes. A learner that becomes a voter may leave the list of members as it was.
#[derive(Default, PartialEq, Eq)]
struct Membership {
    members: Vec<Member>,
    voters: BTreeSet<NodeId>,
}

impl Membership {
    fn of(status: &RaftStatus) -> Membership {
        let both = status.voters.iter().chain(&status.learners);
        let members = both.map(|member| Member { node: member.node, address: member.address.clone() });
        Membership {
            members: members.collect(),
            voters: status.voters.iter().map(|voter| voter.node).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_raft::MemberStatus;

    fn member(node: u64) -> MemberStatus {
        MemberStatus {
            node: NodeId(node),
            address: format!("10.0.0.{node}:7420"),
            name: format!("mx{node}"),
            lag: None,
            heard_ms_ago: None,
        }
    }

    fn status(voters: &[u64], learners: &[u64]) -> RaftStatus {
        let all = |nodes: &[u64]| nodes.iter().copied().map(member).collect();
        RaftStatus { voters: all(voters), learners: all(learners), ..RaftStatus::default() }
    }

    #[test]
    fn a_learner_that_becomes_a_voter_is_news_whatever_the_order_of_the_ids() {
        let before = Membership::of(&status(&[1], &[2, 3]));
        let after = Membership::of(&status(&[1, 2, 3], &[]));
        assert_eq!(before.members, after.members, "in this order the addresses alone tell nothing");
        assert!(before != after);
    }
}
