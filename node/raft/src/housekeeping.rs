//! What a leader proposes without being asked, and what every node looks at from time to time: clock
//! readings while something can end, sweeps while something is over, who votes, this
//! node's own address.
//!
//! Nothing here is needed for a ban to end on time: that is decided by time alone. It keeps time moving
//! and frees memory.

use crate::apart;
use crate::beside;
use crate::handle::Inner;
use crate::level;
use crate::membership;
use crate::proposer::submit;
use crate::rhythm;
use crate::voters;
use bannkreis_core::apply::TICK_INTERVAL_MIN_MS;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::Op;
use bannkreis_core::ids::NodeId;
use bannkreis_core::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp, Until};
use bannkreis_proto::convert::EncodedOp;
use openraft::ServerState;
use std::sync::Arc;
use std::time::Duration;

/// How often it looks.
const ROUND: Duration = Duration::from_secs(1);
/// Sweeps are at least this far apart, in ms.
const SWEEP_INTERVAL_MS: u64 = 10 * SECOND_MS;
/// While nothing but history can end, the clocks are read this often, in ms.
const SLOW_TICK_INTERVAL_MS: u64 = HOUR_MS;

/// A node that hears no leader asks the members why every so many rounds.
const APART_ROUNDS: u64 = 5;
/// A snapshot is not older than this, in ms, while the log moves on: what a node without a log goes on from.
const SNAPSHOT_INTERVAL_MS: u64 = 10 * MINUTE_MS;
/// With so many bans more, it may be older by the same again: writing it costs a small part of the time in any case.
const SNAPSHOT_BANS: u64 = 100_000;

/// Sees to it that there is a snapshot to go on from.
#[derive(Default)]
struct FreshSnapshots {
    written_ms: u64,
}

impl FreshSnapshots {
    /// Has one written when the newest one does not know the membership, or is old.
    async fn keep_fresh(&mut self, inner: &Inner) {
        if inner.room.is_lacking() {
            return;
        }
        let metrics = inner.metrics();
        let index = |log_id: &Option<crate::types::LogId>| log_id.as_ref().map(|log_id| log_id.index);
        let (applied, held) = (index(&metrics.last_applied), index(&metrics.snapshot));
        let changed = index(metrics.membership_config.log_id()).filter(|changed| Some(*changed) <= applied);
        let now_ms = inner.time.boottime_ms();
        let is_old =
            now_ms.saturating_sub(self.written_ms) >= interval_ms(inner.views.borrow().n_bans() as u64);
        if applied > held && (changed > held || is_old) {
            self.written_ms = now_ms;
            // What does not work now is due again in the next round, and a disk that fails says so elsewhere.
            let _ = inner.raft.trigger().snapshot().await;
        }
    }
}

fn interval_ms(n_bans: u64) -> u64 {
    SNAPSHOT_INTERVAL_MS.saturating_mul(1 + n_bans / SNAPSHOT_BANS)
}

/// Until the task is aborted.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut rounds = rhythm::every(ROUND);
    let mut swept_ms = 0;
    let mut memory = voters::Memory::default();
    let mut snapshots = FreshSnapshots::default();
    for round in 0u64.. {
        rounds.tick().await;
        level::stand_back(&inner);
        let members = membership::members(&inner.metrics()).into_iter();
        inner.peers.set_addresses(members.map(|(node, member)| (NodeId(node), member.address)));
        membership::keep_address(&inner).await;
        if round % APART_ROUNDS == 3 {
            apart::look(&inner, round / APART_ROUNDS).await;
        }
        snapshots.keep_fresh(&inner).await;
        if inner.metrics().state != ServerState::Leader {
            inner.decided(Vec::new());
            continue;
        }
        let mut decisions = voters::steer(&inner, &mut memory).await;
        voters::forget_gone(&inner, &mut memory).await;
        decisions.extend(level::steer(&inner).await);
        inner.decided(decisions);
        if inner.room.is_lacking() {
            continue;
        }
        let (view, now) = (inner.views.borrow().clone(), inner.time.now());
        let since_tick = now.ms_since(view.last_tick());
        let tick_due = since_tick >= TICK_INTERVAL_MIN_MS
            && (can_end(&view) || (since_tick >= SLOW_TICK_INTERVAL_MS && holds_history(&view)));
        let boottime_ms = inner.time.boottime_ms();
        let sweep_due = boottime_ms.saturating_sub(swept_ms) >= SWEEP_INTERVAL_MS
            && beside::run(move || is_something_over(&view, now)).await.unwrap_or(false);
        let ops = match (tick_due, sweep_due) {
            (false, false) => continue,
            // Without operations: the proposer reads the clocks when they are due.
            (true, false) => Vec::new(),
            (_, true) => vec![EncodedOp::new(Op::Sweep)],
        };
        if sweep_due {
            swept_ms = boottime_ms;
        }
        // What does not get through now is due again in the next round.
        let _ = submit(&inner.queue, ops).await;
    }
}

fn has_end(until: Until) -> bool {
    until.end().is_some()
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
