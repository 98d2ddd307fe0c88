//! The log that people read: what the warden finds worth telling, and what changes on the cluster's ban list.
//!
//! In fail2ban's words where it has them, so that habits and log watchers go on working: `[jail] Found`,
//! `[jail] Ban`, `[jail] Unban`. Not for what went wrong: who meets an error says it.

use crate::fail2ban_log;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::{Change, UnbanReason};
use bannkreis_core::event::{IgnoredBecause, Notable};
use bannkreis_core::ids::NodeId;
use bannkreis_core::time::{Timestamp, Until};
use bannkreis_core::warden::LOW_TRUST_BLOCKS_MAX;

/// So many changes of one batch are told one by one; of the others, how many there were.
pub const CHANGES_TOLD_MAX: usize = 200;

/// Writes what this host's warden did.
pub fn tell(notable: &Notable, now: Timestamp) {
    fail2ban_log::tell(notable);
    match notable {
        Notable::Found { jail, offender, .. } => tracing::info!("[{jail}] Found {offender}"),
        Notable::Ignored { jail, offender, why } => {
            tracing::info!("[{jail}] Ignore {offender}: {}", ignored_because(*why));
        }
        Notable::Blocked { key, until, failures, n_told, evidence, is_of_low_trust } => {
            let how_long = how_long(*until, now);
            let told = if *n_told > 0 { format!(" ({n_told} of them told by peers)") } else { String::new() };
            let here =
                if *is_of_low_trust { " on this host only, for anybody may have sent it," } else { "" };
            tracing::info!(
                "[{}] Ban {} {how_long}{here} after {failures} failures{told}: {evidence}",
                key.jail,
                key.subnet
            );
        }
        Notable::Settled { key } => {
            tracing::debug!("[{}] {}: on the cluster's ban list", key.jail, key.subnet);
        }
        Notable::Protected { key, why } => {
            tracing::warn!("[{}] {} is released: it {why}", key.jail, key.subnet);
        }
        Notable::KeptLocal { key, why } => {
            tracing::warn!("[{}] {} is blocked on this host only: {why}", key.jail, key.subnet);
        }
        Notable::OutboxFull { key } => {
            tracing::warn!(
                "[{}] {} is no longer blocked: too many proposals wait for the cluster",
                key.jail,
                key.subnet
            );
        }
        Notable::LowTrustFull => {
            tracing::warn!(
                "{LOW_TRUST_BLOCKS_MAX} addresses are blocked for what was sent by UDP from other hosts, and no more are: \
                 somebody may be inventing them; send syslog messages by TCP"
            );
        }
        Notable::NoticesDropped { origin } => {
            tracing::warn!("node {origin} sends more notices than its quota allows; they are not honoured");
        }
    }
}

/// Writes what has changed on the ban list, after `view` is enforced here, on the node `own`. `changes`: the first
/// [`CHANGES_TOLD_MAX`] of a batch of `n_changes`; all of them when fail2ban's log is written, which has each.
pub fn tell_changes(changes: &[Change], n_changes: usize, view: &BanView, own: NodeId, now: Timestamp) {
    for change in changes {
        fail2ban_log::tell_change(change, view, own, now);
    }
    for change in changes.iter().take(CHANGES_TOLD_MAX) {
        tell_change(change, view, now);
    }
    if n_changes > CHANGES_TOLD_MAX {
        tracing::info!("and {} more changes of the cluster's ban list", n_changes - CHANGES_TOLD_MAX);
    }
}

fn tell_change(change: &Change, view: &BanView, now: Timestamp) {
    // Never the word "Ban" after the jail: watchers would count the origin's own ban twice.
    let banned = |key: &bannkreis_core::change::BanKey, until: Until, origin: NodeId, what: &str| {
        let (how_long, origin) = (how_long(until, now), name_of(origin, view));
        tracing::info!("[{}] Cluster {what} {} {how_long}, from {origin}", key.jail, key.subnet);
    };
    match change {
        Change::Banned { key, until, origin, .. } => banned(key, *until, *origin, "ban"),
        Change::Damped { key, until, origin } => banned(key, *until, *origin, "ban, cut short by a quota,"),
        Change::Extended { key, until, origin } => banned(key, *until, *origin, "extends the ban of"),
        Change::Unbanned { key, reason, .. } => {
            tracing::info!("[{}] Unban {}: {}", key.jail, key.subnet, unbanned_because(*reason));
        }
        Change::Shortened { key, until } => {
            tracing::info!(
                "[{}] Cluster shortens the ban of {}: {}",
                key.jail,
                key.subnet,
                how_long(*until, now)
            );
        }
        // History, or told by who did it.
        Change::Remembered { .. }
        | Change::Lifted(_)
        | Change::Distrusted { .. }
        | Change::Trusted { .. }
        | Change::Allowed(_)
        | Change::Disallowed { .. }
        | Change::NodeChanged { .. }
        | Change::SettingsChanged
        | Change::LevelRaised { .. }
        | Change::Forgotten { .. } => {}
    }
}

fn name_of(node: NodeId, view: &BanView) -> String {
    let name = view.node(node).map(|entry| entry.record.name.clone()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| node.to_string())
}

fn how_long(until: Until, now: Timestamp) -> String {
    match until.remaining_ms(now) {
        Some(ms) => format!("for {} s", ms / 1_000),
        None => "for ever".to_owned(),
    }
}

fn unbanned_because(reason: UnbanReason) -> &'static str {
    match reason {
        UnbanReason::Expired => "its time is over",
        UnbanReason::Operator => "an operator lifted it",
        UnbanReason::Allowed => "it came onto the allow list",
        UnbanReason::ByNode => "the node that brought it in was struck out",
        UnbanReason::OwnAddress => "a node announced the address as its own",
    }
}

fn ignored_because(why: IgnoredBecause) -> String {
    match why {
        IgnoredBecause::IgnoreIp => "ignoreip of the jail".to_owned(),
        IgnoredBecause::OwnAddress => "an address of this host or its peers".to_owned(),
        IgnoredBecause::Protected(protection) => format!("it {protection}"),
        IgnoredBecause::BeforeUnban => "it was let go after this failure".to_owned(),
        IgnoredBecause::NoSuchJail => "no such jail here".to_owned(),
    }
}
