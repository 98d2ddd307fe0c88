//! Bans that were over before this process has started, for jails that count bans: told from this node's own history, so
//! that a restart makes nobody who comes back a stranger.
//!
//! Not for bans that hold or begin while the node runs: the warden counts those by itself.

use crate::control::HistoryWish;
use crate::event_loop::LoopHandle;
use crate::history;
use crate::local_store::{LocalStore, LocalStoreError};
use bannkreis_core::event::Event;
use bannkreis_core::failure::Failure;
use bannkreis_core::history::{Ending, HistoryEntry};
use bannkreis_core::jail::JailName;
use bannkreis_core::settings::Settings;
use bannkreis_core::time::Now;
use bannkreis_core::warden::failure_of_ban;

/// The newest so many entries of the history are looked through.
const LOOKED_AT_MAX: usize = 10_000;
/// So many go to the warden at once.
const FAILURES_PER_EVENT_MAX: usize = 1_000;

/// Tells the warden of them, in the order of time.
///
/// # Errors
/// When the store can not be read.
pub fn tell_ended(store: &LocalStore, events: &LoopHandle, now: Now) -> Result<(), LocalStoreError> {
    let asked = events.ask(|warden, _| {
        let counting = warden.jails().filter(|(jail, _)| jail.counts_bans);
        let counting = counting.map(|(jail, _)| (jail.name.clone(), jail.find_time_ms)).collect::<Vec<_>>();
        (counting, *warden.view().settings())
    });
    // Without an answer the daemon is stopping.
    let Some((counting, settings)) = asked else { return Ok(()) };
    let failures = from_history(store, &settings, &counting, now)?;
    for some in failures.chunks(FAILURES_PER_EVENT_MAX) {
        events.send(Event::Failures(some.to_vec()));
    }
    Ok(())
}

/// What the jails `counting`, each with its findtime in ms, would have counted: the oldest first. Bans that an operator
/// undid are none.
///
/// # Errors
/// When the store can not be read.
fn from_history(
    store: &LocalStore,
    settings: &Settings,
    counting: &[(JailName, u64)],
    now: Now,
) -> Result<Vec<Failure>, LocalStoreError> {
    let Some(longest_ms) = counting.iter().map(|(_, find_time_ms)| *find_time_ms).max() else {
        return Ok(Vec::new());
    };
    store.flush()?;
    let since = now.cluster.minus_ms(longest_ms);
    let found = history::find(store, &HistoryWish { target: None, jail: None, since, n_max: LOOKED_AT_MAX })?;
    let ended = found.facts.iter().filter_map(|fact| match &fact.entry {
        HistoryEntry::Ended(ended) if matches!(ended.ending, Ending::Expired | Ending::Late) => Some(ended),
        HistoryEntry::Ended(_) | HistoryEntry::Given(_) => None,
    });
    let mut failures = Vec::new();
    for ended in ended {
        let at = now.wall.minus_ms(now.cluster.ms_since(ended.since));
        let young = |window: u64| ended.since >= now.cluster.minus_ms(window);
        let jails = counting.iter().filter(|(_, find_time_ms)| young(*find_time_ms));
        failures.extend(jails.filter_map(|(jail, _)| failure_of_ban(settings, jail, &ended.key, at, true)));
    }
    failures.sort_by_key(|failure| failure.at);
    Ok(failures)
}
