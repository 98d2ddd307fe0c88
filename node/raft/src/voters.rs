//! Who votes and who leads, carried out: the leader does what `autopilot.rs` decides, and hands over before
//! it stops.
//!
//! ```text
//! leader, every second: looks at its members, decides, makes at most one change
//! leader that stops ── TransferLeader ──▶ the voter that lacks the least
//! ```
//!
//! Not for which voters there should be, nor for joining (`membership.rs`).

use crate::autopilot::{self, Decision, Seen, Step};
use crate::handle::Inner;
use crate::membership::change_keeping;
use crate::types::{Member, Metrics};
use bannkreis_core::ids::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{ChangeMembers, Instant as _, ServerState};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// A node this many entries behind, or fewer, has caught up.
const CAUGHT_UP_LAG_MAX: u64 = 16;
/// A leader that stops waits so long for another one to take over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);

/// What a leader remembers between two looks at its voters.
#[derive(Default)]
pub(crate) struct Memory {
    /// The term it leads in, and since when: silence counts from there at the earliest.
    leading: Option<(u64, Instant)>,
    /// When it last replaced a dead voter.
    replaced: Option<Instant>,
    /// The last reason, which is logged when it changes.
    why: String,
}

/// The leader looks at its voters and does what [`autopilot`] decides.
pub(crate) async fn steer(inner: &Inner, memory: &mut Memory) {
    let metrics = inner.metrics();
    if metrics.state != ServerState::Leader {
        return;
    }
    let since = match memory.leading {
        Some((term, since)) if term == metrics.current_term => since,
        _ => Instant::now(),
    };
    memory.leading = Some((metrics.current_term, since));
    let since_replaced = memory.replaced.map(|replaced| millis(replaced.elapsed()));
    let Decision { step, why } = autopilot::decide(&seen(inner, &metrics, since), since_replaced);
    if why != memory.why && step != Step::Wait {
        tracing::info!("{why}");
    }
    memory.why = why;
    let is_replacement = matches!(step, Step::Replace { .. });
    let (changes, retain) = match step {
        Step::Wait => return,
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
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The members as this leader, which leads `since` then, sees them.
fn seen(inner: &Inner, metrics: &Metrics, since: Instant) -> Vec<Seen> {
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
            is_caught_up: is_own || matching.is_some_and(|log_id| log_id.index >= wanted),
        }
    };
    metrics.membership_config.nodes().map(see).collect()
}

/// Before a leader stops: hands over to the voter that lacks the least, so that the next commit waits for
/// one message instead of an election. Gives up after [`HAND_OVER_TIMEOUT`]; the others elect then.
pub(crate) async fn hand_over(inner: &Inner) {
    let metrics = inner.metrics();
    if metrics.state != ServerState::Leader {
        return;
    }
    let members = seen(inner, &metrics, Instant::now());
    let voters = || members.iter().filter(|member| member.is_voter);
    let others = voters().filter(|member| member.is_alive && member.node != inner.identity.node);
    if others.count() * 2 <= voters().count() {
        // Without this node there is no majority: nobody could lead.
        return;
    }
    let candidates = members.iter();
    let matching = |node: NodeId| metrics.replication.as_ref().and_then(|nodes| nodes.get(&node.0)).copied();
    let heir = candidates
        .filter(|member| member.is_voter && member.is_alive && member.is_caught_up)
        .filter(|member| member.node != inner.identity.node)
        .max_by_key(|member| matching(member.node).flatten());
    let Some(heir) = heir else { return };
    if inner.raft.trigger().transfer_leader(heir.node.0).await.is_err() {
        return;
    }
    let mut watched = inner.raft.metrics();
    let handed_over = async {
        while watched.borrow_watched().current_leader == Some(inner.identity.node.0) {
            if watched.changed().await.is_err() {
                return;
            }
        }
    };
    match tokio::time::timeout(HAND_OVER_TIMEOUT, handed_over).await {
        Ok(()) => tracing::info!("{} leads now", heir.name),
        Err(_) => tracing::warn!("{} has not taken over the lead; the others elect", heir.name),
    }
}
