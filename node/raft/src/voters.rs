//! Who votes and who leads, carried out: the leader does what `autopilot.rs` decides, and hands over before
//! it stops.
//!
//! ```text
//! leader, every second: looks at its members, decides, makes at most one change
//! leader that stops ── TransferLeader ──▶ the full voter that lacks the least
//! ```
//!
//! Not for which voters there should be, nor for joining (`membership.rs`).

use crate::autopilot::{self, Decision, Seen, Step};
use crate::handle::Inner;
use crate::membership::change_keeping;
use crate::status::Decided;
use crate::types::{Member, Metrics};
use bannkreis_core::command::Op;
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::node_record::NodeRole;
use bannkreis_proto::convert::EncodedOp;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{ChangeMembers, Instant as _, ServerState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// A node this many entries behind, or fewer, has caught up.
const CAUGHT_UP_LAG_MAX: u64 = 16;
/// A record is kept for so long when its node is no member: one that joins has it before it is.
const RECORD_OUTLIVES: Duration = Duration::from_secs(60);
/// A member of whom nothing was heard is new for so long: several elections.
const NEW_FOR: Duration = Duration::from_secs(10);
/// A leader that hands over waits so long for another one to take over, then it asks again, the next best one first.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// So often a leader that stops asks; after that the others elect.
const HAND_OVER_TRIES: usize = 3;
/// Before that it waits at most so long for a voter that lacks nothing, and for the end of a change of the voters.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// A leader that should not lead tries to hand over this often.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(30);

/// What a leader remembers between two looks at its voters.
#[derive(Default)]
pub(crate) struct Memory {
    /// The term it leads in, and since when: silence counts from there at the earliest.
    leading: Option<(u64, Instant)>,
    /// When it last replaced a dead voter.
    replaced: Option<Instant>,
    /// The last reason, which is logged when it changes.
    why: String,
    /// When it last tried to hand over to a node that should lead instead.
    handed_over: Option<Instant>,
    /// Nodes with a record and without a membership, since when.
    gone: BTreeMap<NodeId, Instant>,
    /// The members, since when this leader knows them.
    met: BTreeMap<NodeId, Instant>,
}

impl Memory {
    /// Says who of these, of whom nothing was heard, is new.
    fn meet(&mut self, members: &mut [Seen]) {
        self.met.retain(|node, _| members.iter().any(|member| member.node == *node));
        for member in members {
            let met = self.met.entry(member.node).or_insert_with(Instant::now);
            member.is_new &= met.elapsed() < NEW_FOR;
        }
    }
}

/// The leader takes back the records of nodes that are no members any more, so that nothing is believed of them
/// and their addresses are nobody's.
pub(crate) async fn forget_gone(inner: &Inner, memory: &mut Memory) {
    let metrics = inner.metrics();
    if metrics.state != ServerState::Leader {
        memory.gone.clear();
        return;
    }
    let is_member = |node: NodeId| metrics.membership_config.membership().get_node(&node.0).is_some();
    let view = inner.views.borrow().clone();
    let gone = view.nodes().filter(|(node, entry)| !entry.revoked && !is_member(*node));
    let gone: BTreeSet<NodeId> = gone.map(|(node, _)| node).collect();
    memory.gone.retain(|node, _| gone.contains(node));
    for node in gone {
        if memory.gone.entry(node).or_insert_with(Instant::now).elapsed() < RECORD_OUTLIVES {
            continue;
        }
        let operator = Operator {
            // The same for every attempt.
            command_id: CommandId(u128::from(node.0) << 64 | u128::from(inner.identity.generation)),
            node: inner.identity.node,
            author: "autopilot".to_owned(),
            reason: "no member any more".to_owned(),
        };
        let revoke = EncodedOp::new(Op::Revoke { operator, node, keeps_key: true });
        if inner.propose_here(vec![revoke]).await.is_ok() {
            tracing::info!("{node} is no member any more: its addresses count no longer");
        }
    }
}

/// The leader looks at its voters and does what [`autopilot`] decides. Says what that is.
pub(crate) async fn steer(inner: &Inner, memory: &mut Memory) -> Vec<Decided> {
    let metrics = inner.metrics();
    if metrics.state != ServerState::Leader {
        return Vec::new();
    }
    let since = match memory.leading {
        Some((term, since)) if term == metrics.current_term => since,
        _ => Instant::now(),
    };
    memory.leading = Some((metrics.current_term, since));
    let since_replaced = memory.replaced.map(|replaced| millis(replaced.elapsed()));
    let mut members = seen(inner, &metrics, since);
    memory.meet(&mut members);
    let cannot = match (inner.halted.is_set(), inner.room.is_lacking()) {
        (true, _) => Some("can not read the log"),
        (false, true) => Some("has no room on its disk"),
        (false, false) => None,
    };
    if let Some((heir, why)) = autopilot::better_leader(&members, inner.identity.node, cannot) {
        // One that does not take over would cost the cluster an election each time.
        let is_early = memory.handed_over.is_some_and(|tried| tried.elapsed() < HAND_OVER_PAUSE);
        if !is_early {
            memory.handed_over = Some(Instant::now());
            if let Err(error) = transfer(inner, Some(heir.node)).await {
                tracing::warn!("{why}, but {error}");
            }
        }
        return vec![Decided::new("leader", "hand_over", why)];
    }
    if let Some(why) = inner.room.lack() {
        return vec![Decided::new("leader", "wait", why)];
    }
    let Decision { step, why } = autopilot::decide(&members, since_replaced, inner.timing.dead_after_ms);
    let decided = vec![Decided::new("voters", step.word(), why.clone())];
    if why != memory.why && step != Step::Wait {
        tracing::info!("{why}");
    }
    memory.why = why;
    let is_replacement = matches!(step, Step::Replace { .. });
    let (changes, retain) = match step {
        Step::Wait => return decided,
        Step::Grow(nodes) => (ChangeMembers::AddVoterIds(nodes), true),
        Step::Replace { dead, by } => {
            let voters = metrics.membership_config.voter_ids().filter(|voter| *voter != dead.0);
            (ChangeMembers::ReplaceAllVoters(voters.chain([by.0]).collect()), true)
        }
        Step::Forget(gone) => (ChangeMembers::RemoveNodes(BTreeSet::from([gone.0])), false),
    };
    match change_keeping(inner, changes, retain).await {
        Ok(_) if is_replacement => memory.replaced = Some(Instant::now()),
        Ok(_) => {}
        // Looked at again in a second.
        Err(error) => tracing::debug!(%error, "the voters are not changed yet"),
    }
    decided
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The members as this leader, which leads `since` then, sees them.
pub(crate) fn seen(inner: &Inner, metrics: &Metrics, since: Instant) -> Vec<Seen> {
    let view = inner.views.borrow().clone();
    let wanted = metrics.last_log_index.unwrap_or(0).saturating_sub(CAUGHT_UP_LAG_MAX);
    let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
    let see = |(node, member): (&u64, &Member)| {
        let is_own = *node == inner.identity.node.0;
        let matching = metrics.replication.as_ref().and_then(|nodes| nodes.get(node)).copied().flatten();
        let heard = metrics.heartbeat.as_ref().and_then(|nodes| nodes.get(node)).copied().flatten();
        let silent = heard.map_or_else(|| since.elapsed(), |heard| heard.elapsed());
        Seen {
            node: NodeId(*node),
            name: member.name.clone(),
            address: member.address.clone(),
            is_voter: voters.contains(node),
            is_alive: is_own || (heard.is_some() && silent < inner.timing.election_max()),
            silent_ms: if is_own { 0 } else { millis(silent) },
            // For how long it is known, only the leader's memory says.
            is_new: !is_own && heard.is_none(),
            is_caught_up: is_own || matching.is_some_and(|log_id| log_id.index >= wanted),
            is_demoted: member.is_demoted,
            is_witness: view.node(NodeId(*node)).is_some_and(|entry| entry.record.role == NodeRole::Witness),
        }
    };
    metrics.membership_config.nodes().map(see).collect()
}

/// Before a leader stops: hands over to the voter that lacks the least, so that the next commit waits for
/// one message instead of an election. Gives up after [`HAND_OVER_TRIES`]; the others elect then.
pub(crate) async fn hand_over(inner: &Inner) {
    let members = seen(inner, &inner.metrics(), Instant::now());
    let voters = || members.iter().filter(|member| member.is_voter);
    let others = voters().filter(|member| member.is_alive && member.node != inner.identity.node);
    if others.count() * 2 <= voters().count() {
        tracing::debug!("without this node there is no majority, and nobody could lead");
        return;
    }
    let mut asked = Vec::new();
    for _ in 0..HAND_OVER_TRIES {
        match transfer_but(inner, None, &mut asked).await {
            Ok(heir) => return tracing::info!("{heir} leads now"),
            Err(why) => tracing::debug!("nobody takes over the lead: {why}"),
        }
        if inner.metrics().state != ServerState::Leader {
            return;
        }
    }
}

/// This leader hands over to `wanted`, or to the voter that lacks the least. Gives the new leader's name.
///
/// # Errors
/// A sentence: this node does not lead, or nobody could.
pub(crate) async fn transfer(inner: &Inner, wanted: Option<NodeId>) -> Result<String, String> {
    transfer_but(inner, wanted, &mut Vec::new()).await
}

/// The same; whoever was `asked` before is asked last, and whoever is asked is added.
async fn transfer_but(
    inner: &Inner,
    wanted: Option<NodeId>,
    asked: &mut Vec<NodeId>,
) -> Result<String, String> {
    let metrics = inner.metrics();
    if metrics.state != ServerState::Leader {
        return Err("this node does not lead".to_owned());
    }
    settle(inner, wanted, metrics.last_log_index).await;
    let metrics = inner.metrics();
    let members = seen(inner, &metrics, Instant::now());
    let matching = |node: NodeId| metrics.replication.as_ref().and_then(|nodes| nodes.get(&node.0)).copied();
    // One that can not read what counts could only hand over in its turn.
    let view = inner.views.borrow().clone();
    let reads = |node| view.node(node).is_none_or(|entry| entry.record.level_max >= view.level());
    let heir = members
        .iter()
        .filter(|member| reads(member.node))
        .filter(|member| member.is_voter && member.is_alive && member.is_caught_up)
        .filter(|member| member.node != inner.identity.node)
        .filter(|member| wanted.is_none_or(|wanted| member.node == wanted))
        .max_by_key(|member| {
            (!asked.contains(&member.node), !member.is_witness, matching(member.node).flatten())
        });
    let heir =
        heir.ok_or("no voter that answers has caught up: `bannkreis cluster status` shows how far each is")?;
    asked.push(heir.node);
    inner.raft.trigger().transfer_leader(heir.node.0).await.map_err(|error| error.to_string())?;
    let mut watched = inner.raft.metrics();
    let handed_over = async {
        // That this node leads no longer is not enough: it has only voted then, and its vote may not be out yet.
        loop {
            let is_done = {
                let seen = watched.borrow_watched();
                seen.current_term > metrics.current_term && seen.current_leader.is_some()
            };
            if is_done || watched.changed().await.is_err() {
                return;
            }
        }
    };
    let timeout = HAND_OVER_TIMEOUT.as_millis();
    match tokio::time::timeout(HAND_OVER_TIMEOUT, handed_over).await {
        Ok(()) => Ok(heir.name.clone()),
        Err(_) => Err(format!("{} has not taken over within {timeout} ms; the others elect", heir.name)),
    }
}

/// Waits a little until a voter that may take over has all that this leader had written, for one that lacks something can
/// not be elected before it has that; and until no change of the voters is half done, for that may need this node.
async fn settle(inner: &Inner, wanted: Option<NodeId>, last: Option<u64>) {
    let own = inner.identity.node.0;
    let mut watched = inner.raft.metrics();
    let is_settled = |metrics: &Metrics| {
        let voters = metrics.membership_config.voter_ids();
        let mut heirs =
            voters.filter(|voter| *voter != own && wanted.is_none_or(|wanted| wanted.0 == *voter));
        let matching = |voter| metrics.replication.as_ref()?.get(&voter).copied().flatten();
        let is_even = heirs.any(|voter| matching(voter).map(|log_id| log_id.index) >= last);
        is_even && metrics.membership_config.membership().get_joint_config().len() == 1
    };
    let settled = async {
        loop {
            let is_done = is_settled(&watched.borrow_watched());
            if is_done || watched.changed().await.is_err() {
                return;
            }
        }
    };
    // The best of those that are behind is asked then.
    let _ = tokio::time::timeout(SETTLE_TIMEOUT, settled).await;
}
