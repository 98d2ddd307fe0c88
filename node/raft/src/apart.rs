//! Whether this node's cluster goes on without it. A node asks the members that it knows: one of a newer
//! generation says that the cluster was recovered, one that refuses it says why.
//!
//! Not for whether they answer at all (`status.rs`), nor for joining again (`membership.rs`).

use crate::handle::{Inner, RaftNode};
use crate::membership;
use crate::types::Member;
use bannkreis_core::ids::NodeId;
use bannkreis_proto::v1;
use std::sync::PoisonError;
use std::time::Duration;
use tonic::Code;

/// A member that does not answer within this time has nothing to say.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A node that hears a leader looks only every so manieth time.
const LOOKS_WITH_LEADER: u64 = 6;

/// Why a cluster goes on without this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apart {
    /// It was recovered, and is of a newer generation.
    Superseded {
        /// Which.
        generation: u32,
        /// Where a member of it answers: `host:port`.
        address: String,
    },
    /// A member of this generation refuses it.
    Refused {
        /// Where: `host:port`.
        address: String,
        /// Its word for why, a sentence.
        why: String,
    },
}

/// What a member says when it is asked how its cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who was asked.
    pub node: NodeId,
    /// Its host's name.
    pub name: String,
    /// Where: `host:port`.
    pub address: String,
    /// Its generation and whom it hears leading; `None` when it does not answer, or is of another cluster.
    pub said: Option<(u32, Option<NodeId>)>,
}

impl Answer {
    fn leader(&self, generation: u32) -> Option<NodeId> {
        self.said.filter(|(of, _)| *of == generation).and_then(|(_, leader)| leader)
    }
}

/// Who leads with a majority, by what the members of `generation` say. A leader's own word counts, and where it
/// can not be asked, that of whoever hears it: one without a majority goes on being heard.
fn leads(own: NodeId, heard: Option<NodeId>, generation: u32, answers: &[Answer]) -> Option<NodeId> {
    let itself = answers.iter().find(|answer| answer.leader(generation) == Some(answer.node));
    let is_asked = |node: NodeId| {
        node == own || answers.iter().any(|answer| answer.node == node && answer.said.is_some())
    };
    let told = answers.iter().filter_map(|answer| answer.leader(generation)).chain(heard);
    let own_lead = heard.filter(|leader| *leader == own);
    own_lead
        .or(itself.map(|answer| answer.node))
        .or_else(|| told.into_iter().find(|leader| !is_asked(*leader)))
}

impl RaftNode {
    /// Why this node's cluster goes on without it, when it was told so.
    #[must_use]
    pub fn apart(&self) -> Option<Apart> {
        self.inner.apart.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who leads this node's generation with a majority, by these answers and what this node hears itself.
    #[must_use]
    pub fn leads(&self, answers: &[Answer]) -> Option<NodeId> {
        leads(self.node_id(), membership::heard_leader(&self.inner), self.generation(), answers)
    }

    /// Asks every other member that this node knows how the cluster is, all at once.
    pub async fn ask_members(&self) -> Vec<Answer> {
        let others = others(&self.inner);
        let asked = others.into_iter().map(|(node, member)| async move {
            let said = ask(&self.inner, &member.address).await;
            Answer { node: NodeId(node), name: member.name, address: member.address, said }
        });
        futures::future::join_all(asked).await
    }
}

fn others(inner: &Inner) -> Vec<(u64, Member)> {
    let former = inner.spectator.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.former);
    let is_own = |node: u64| node == inner.identity.node.0 || former == Some(NodeId(node));
    membership::members(&inner.metrics()).into_iter().filter(|(node, _)| !is_own(*node)).collect()
}

async fn ask(inner: &Inner, address: &str) -> Option<(u32, Option<NodeId>)> {
    let asked = async {
        let mut client = inner.peers.new_client(address, None).await.ok()?;
        let info = client.join_info(v1::RaftJoinInfoRequest {}).await.ok()?.into_inner();
        let leader = Some(NodeId(info.leader)).filter(|leader| leader.0 != 0);
        (info.cluster[..] == inner.identity.cluster.0).then_some((info.generation, leader))
    };
    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok().flatten()
}

/// A call that does nothing, but for telling whether this node may call at all.
async fn is_refused(inner: &Inner, address: &str) -> Option<String> {
    let asked = async {
        let mut client = inner.peers.new_client(address, None).await.ok()?;
        let nothing = v1::RaftOrderRequest::default();
        let status = client.order(inner.peers.sender().sign(nothing, None)).await.err()?;
        (status.code() == Code::PermissionDenied).then(|| status.message().to_owned())
    };
    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok().flatten()
}

/// Looks for the `n_look`th time. Whatever has changed is said once.
///
/// Two nodes that come back late can be a majority of the old generation and have a leader: they are asked too, but
/// not as often.
pub(crate) async fn look(inner: &Inner, n_look: u64) {
    let members = membership::members(&inner.metrics());
    // One that joins knows no membership yet, and one that has lost its log has its own sentence.
    let is_known = inner.spectator.lock().unwrap_or_else(PoisonError::into_inner).is_none();
    let is_member = members.contains_key(&inner.identity.node.0);
    let hears_leader = inner.leader().is_some();
    if members.is_empty() || !is_known || (hears_leader && !n_look.is_multiple_of(LOOKS_WITH_LEADER)) {
        return;
    }
    let asked = others(inner).into_iter().map(|(_, member)| look_at(inner, member.address, is_member));
    let mut found: Vec<Apart> = futures::future::join_all(asked).await.into_iter().flatten().collect();
    // The newest generation counts, and any more than a refusal.
    found.sort_by_key(|apart| match apart {
        Apart::Superseded { generation, .. } => *generation,
        Apart::Refused { .. } => 0,
    });
    let found = found.pop();
    let mut held = inner.apart.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(found) = found else {
        if hears_leader {
            *held = None;
        }
        return;
    };
    if held.as_ref() == Some(&found) {
        return;
    }
    match &found {
        Apart::Superseded { generation, address } => tracing::error!(
            "the cluster was recovered without this node: {address} is of generation {generation}, this node of {}. \
             Run `bannkreis token create` there and the command that it prints here",
            inner.identity.generation
        ),
        Apart::Refused { address, why } => {
            tracing::error!("{address} does not let this node take part: {why}");
        }
    }
    *held = Some(found);
}

async fn look_at(inner: &Inner, address: String, is_member: bool) -> Option<Apart> {
    let (generation, leader) = ask(inner, &address).await?;
    if generation > inner.identity.generation {
        return Some(Apart::Superseded { generation, address });
    }
    if generation < inner.identity.generation || leader.is_none() {
        return None;
    }
    let why = match is_refused(inner, &address).await {
        Some(why) => why,
        // It has learned so itself.
        None if !is_member => "this node is no member any more".to_owned(),
        None => return None,
    };
    Some(Apart::Refused { address, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_majority_is_none_however_many_hear_it() {
        let answer = |node, said: Option<(u32, u64)>| Answer {
            node: NodeId(node),
            name: String::new(),
            address: String::new(),
            said: said.map(|(of, leader)| (of, Some(NodeId(leader)).filter(|leader| leader.0 != 0))),
        };
        let leads = |heard, answers: &[Answer]| leads(NodeId(1), heard, 1, answers).map(|node| node.0);
        // This node leads no more, and 2 still hears it.
        assert_eq!(leads(None, &[answer(2, Some((1, 1))), answer(3, None)]), None);
        // 2 leads no more, and this node still hears it.
        assert_eq!(leads(Some(NodeId(2)), &[answer(2, Some((1, 0))), answer(3, None)]), None);
        // 3 can not be asked, but is heard: by this node, or by another.
        assert_eq!(leads(Some(NodeId(3)), &[answer(2, Some((1, 0))), answer(3, None)]), Some(3));
        assert_eq!(leads(None, &[answer(2, Some((1, 3))), answer(3, None)]), Some(3));
        // It says so itself.
        assert_eq!(leads(None, &[answer(2, Some((1, 2)))]), Some(2));
        assert_eq!(leads(Some(NodeId(1)), &[]), Some(1));
        // Of another generation.
        assert_eq!(leads(None, &[answer(2, Some((2, 2)))]), None);
    }
}
