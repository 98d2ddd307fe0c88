//! What a leader proposes without being asked, and what every node looks at from time to time: clock
//! readings while something can end, sweeps while something is over, who votes, this
//! node's own address.
//!
//! Nothing here is needed for a ban to end on time: that is decided by time alone. It keeps time moving
//! and frees memory.

use crate::handle::Inner;
use crate::level;
use crate::membership;
use crate::proposer::submit;
use crate::voters;
use bannkreis_core::apply::TICK_INTERVAL_MIN_MS;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::Op;
use bannkreis_core::ids::NodeId;
use bannkreis_core::time::{HOUR_MS, SECOND_MS, Timestamp, Until};
use openraft::ServerState;
use std::sync::Arc;
use std::time::Duration;

/// How often it looks.
const ROUND: Duration = Duration::from_secs(1);
/// Sweeps are at least this far apart, in ms.
const SWEEP_INTERVAL_MS: u64 = 10 * SECOND_MS;
/// While nothing but history can end, the clocks are read this often, in ms.
const SLOW_TICK_INTERVAL_MS: u64 = HOUR_MS;

/// Until the task is aborted.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut swept_ms = 0;
    let mut memory = voters::Memory::default();
    loop {
        rounds.tick().await;
        level::stand_back(&inner);
        let members = membership::members(&inner.metrics()).into_iter();
        inner.peers.set_addresses(members.map(|(node, member)| (NodeId(node), member.address)));
        membership::keep_address(&inner).await;
        if inner.metrics().state != ServerState::Leader {
            inner.decided(Vec::new());
            continue;
        }
        let mut decisions = voters::steer(&inner, &mut memory).await;
        voters::forget_gone(&inner, &mut memory).await;
        decisions.extend(level::steer(&inner).await);
        inner.decided(decisions);
        let (view, now) = (inner.views.borrow().clone(), inner.time.now());
        let since_tick = now.ms_since(view.last_tick());
        let tick_due = since_tick >= TICK_INTERVAL_MIN_MS
            && (can_end(&view) || (since_tick >= SLOW_TICK_INTERVAL_MS && holds_history(&view)));
        let boottime_ms = inner.time.boottime_ms();
        let sweep_due = boottime_ms.saturating_sub(swept_ms) >= SWEEP_INTERVAL_MS
            && tokio::task::spawn_blocking(move || is_something_over(&view, now)).await.unwrap_or(false);
        let ops = match (tick_due, sweep_due) {
            (false, false) => continue,
            // Without operations: the proposer reads the clocks when they are due.
            (true, false) => Vec::new(),
            (_, true) => vec![Op::Sweep],
        };
        if sweep_due {
            swept_ms = boottime_ms;
        }
        // What does not get through now is due again in the next round.
        let _ = submit(&inner.queue, ops).await;
    }
}

fn has_end(until: Until) -> bool {
    until.at().is_some()
}

/// Whether a ban, an allow entry or a token can end: then cluster time must keep moving.
fn can_end(list: &BanList) -> bool {
    list.bans().any(|(_, ban)| has_end(ban.until))
        || list.allow_list().iter().any(|(_, entry)| has_end(entry.until))
        || !list.tokens().is_empty()
}

fn holds_history(list: &BanList) -> bool {
    list.pasts().next().is_some() || list.tombstones().next().is_some()
}

/// Whether a sweep would free anything.
fn is_something_over(list: &BanList, now: Timestamp) -> bool {
    let settings = list.settings();
    let history_from = now.minus_ms(settings.history_retention_ms);
    let tombstones_from = now.minus_ms(settings.tombstone_retention_ms);
    list.bans().any(|(_, ban)| ban.until.is_over(now))
        || list.pasts().any(|(_, past)| past.last_end < history_from)
        || list.tombstones().any(|(_, _, tombstone)| tombstone.at < tombstones_from)
        || list.allow_list().iter().any(|(_, entry)| entry.until.is_over(now))
        || list.tokens().values().any(|end| *end < now)
}
