//! What a node can tell later: bans that are over and operators' commands, put into its own store when they are
//! applied, and found there again by address, jail and time.
//!
//! What is worth telling is decided in `bannkreis_core::history`; how long it stays, in `retention.rs`. Writing never
//! waits: it fills a batch of the local store. Not for bans that still hold: their evidence is a cold record.

use crate::control::{HistoryFact, HistoryFound, HistoryWish};
use crate::evidence;
use crate::local_store::{Batch, Key, LocalStore, LocalStoreError, Subjects, VALUE_BYTES_MAX};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::{Change, Outcome};
use bannkreis_core::command::Op;
use bannkreis_core::history::{Ending, HistoryEntry, HistoryKey, entries};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_proto::convert::{decode_history, encode_history};
use bannkreis_raft::AppliedEntry;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The format byte of an entry: then an encoded `StoredHistory`.
const FORMAT: u8 = 1;
/// A text of an entry that would be too long for the store is cut to so many bytes.
const CUT_TEXT_BYTES_MAX: usize = 256;
/// So many entries are read at once when somebody asks.
const READ_AT_ONCE: usize = 1_000;

/// Puts what people may ask about later into the batch, and says how many entries that are.
///
/// # Errors
/// When one of them is beyond the store's bounds.
pub fn keep(applied: &AppliedEntry, view: &BanList, batch: &mut Batch) -> Result<usize, LocalStoreError> {
    let found = entries(applied.position, applied.at, &applied.command, &applied.applied);
    for (key, entry) in &found {
        put(*key, entry, &names(entry, view), batch)?;
    }
    for change in &applied.applied.changes {
        if let Change::Forgotten { target } = change {
            let upto = HistoryKey { at: applied.at, position: applied.position, op: u32::MAX, n: u32::MAX };
            batch.put(Key::ToForget(*target, upto), Vec::new())?;
        }
    }
    Ok(found.len())
}

fn put(
    key: HistoryKey,
    entry: &HistoryEntry,
    names: &[(NodeId, String)],
    batch: &mut Batch,
) -> Result<(), LocalStoreError> {
    let mut value = encode(entry, names);
    if value.len() > VALUE_BYTES_MAX {
        value = encode(&shortened(entry.clone()), &[]);
    }
    if let Some(subnet) = entry.subnet() {
        let jail = entry.jail().map_or("", JailName::as_str);
        batch.put(Key::HistoryOf(subnet, key), jail.as_bytes().to_vec())?;
    }
    batch.put(Key::History(key), value)
}

/// Takes an entry out of the store.
pub fn forget(key: HistoryKey, value: &[u8], batch: &mut Batch) {
    // Of one that this release can not read, what says whom it is about stays behind: it is passed over.
    if let Some(subnet) = decode(value).and_then(|(entry, _)| entry.subnet()) {
        batch.delete(Key::HistoryOf(subnet, key));
    }
    batch.delete(Key::History(key));
}

/// The entry in a value, and what the nodes in it were called; `None` when this release can not read it.
#[must_use]
pub fn decode(value: &[u8]) -> Option<(HistoryEntry, Vec<(NodeId, String)>)> {
    let (&FORMAT, bytes) = value.split_first()? else { return None };
    decode_history(bytes).ok()
}

fn encode(entry: &HistoryEntry, names: &[(NodeId, String)]) -> Vec<u8> {
    let bytes = encode_history(entry, names);
    let mut value = Vec::with_capacity(bytes.len() + 1);
    value.push(FORMAT);
    value.extend_from_slice(&bytes);
    value
}

/// What the nodes of an entry are called now. Later their records may be gone, and this node be in another cluster.
fn names(entry: &HistoryEntry, view: &BanList) -> Vec<(NodeId, String)> {
    let mut nodes = entry.nodes();
    nodes.sort_unstable();
    nodes.dedup();
    let named = nodes.into_iter().filter_map(|node| {
        let name = &view.node(node)?.record.name;
        (!name.is_empty()).then(|| (node, name.clone()))
    });
    named.collect()
}

/// The same with its longest texts cut, so that it fits.
fn shortened(mut entry: HistoryEntry) -> HistoryEntry {
    match &mut entry {
        HistoryEntry::Ended(ended) => {
            if let Ending::Lifted(by) | Ending::Allowed(by) | Ending::ByNode(by) = &mut ended.ending {
                cut(&mut by.reason);
            }
        }
        HistoryEntry::Given(given) => {
            if let Outcome::Refused { why } = &mut given.outcome {
                cut(why);
            }
            if let Op::Allow { entry, .. } = &mut given.op {
                cut(&mut entry.note);
                cut(&mut entry.author);
            }
            if let Some(by) = given.op.operator_mut() {
                cut(&mut by.reason);
            }
        }
    }
    entry
}

fn cut(text: &mut String) {
    if text.len() > CUT_TEXT_BYTES_MAX {
        let end = (0..=CUT_TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

/// The newest entries that are asked for.
///
/// # Errors
/// When the store can not be read.
pub fn find(store: &LocalStore, wish: &HistoryWish) -> Result<HistoryFound, LocalStoreError> {
    let mut facts = Vec::new();
    // One more than is wanted tells that there are more.
    let n_max = wish.n_max.saturating_add(1);
    match wish.target {
        Some(target) => {
            for key in newest_about(store, target, wish, n_max)? {
                let Some(value) = store.history_entry(key)? else { continue };
                facts.extend(fact(store, &value)?);
            }
        }
        None => {
            let mut before = None;
            loop {
                let some = store.history_before(before, READ_AT_ONCE)?;
                let Some((last, _)) = some.last() else { break };
                before = Some(*last);
                let is_last = last.at < wish.since;
                for (_, value) in some.iter().filter(|(key, _)| key.at >= wish.since) {
                    let Some((entry, _)) = decode(value) else { continue };
                    if facts.len() < n_max && is_in(&entry, wish.jail.as_ref()) {
                        facts.extend(fact(store, value)?);
                    }
                }
                if is_last || facts.len() >= n_max {
                    break;
                }
            }
        }
    }
    let is_cut = facts.len() > wish.n_max;
    facts.truncate(wish.n_max);
    Ok(HistoryFound { facts, is_cut })
}

fn is_in(entry: &HistoryEntry, only: Option<&JailName>) -> bool {
    only.is_none_or(|only| entry.jail() == Some(only))
}

/// The newest first, of all that is about something in the target or around it.
fn newest_about(
    store: &LocalStore,
    target: Subnet,
    wish: &HistoryWish,
    n_max: usize,
) -> Result<Vec<HistoryKey>, LocalStoreError> {
    let wider = (0..target.prefix_len()).map(|length| (length, Subjects::exactly(target.widened_to(length))));
    let inside = (target.prefix_len(), Subjects::beginning_inside(target));
    let mut newest: BinaryHeap<Reverse<HistoryKey>> = BinaryHeap::new();
    for (from_length, mut subjects) in wider.chain([inside]) {
        loop {
            let page = store.history_of(&subjects, READ_AT_ONCE)?;
            for (subnet, key, jail) in page.entries {
                let is_asked_for = key.at >= wish.since
                    && wish.jail.as_ref().is_none_or(|only| only.as_str().as_bytes() == jail);
                // Of the wider ones with the same first address the last range finds again what was found.
                if is_asked_for && subnet.prefix_len() >= from_length {
                    newest.push(Reverse(key));
                }
                if newest.len() > n_max {
                    newest.pop();
                }
            }
            match page.rest {
                Some(rest) => subjects = rest,
                None => break,
            }
        }
    }
    // In the order of the reversed: the newest first.
    Ok(newest.into_sorted_vec().into_iter().map(|Reverse(key)| key).collect())
}

/// An entry with its evidence, if that is here.
fn fact(store: &LocalStore, value: &[u8]) -> Result<Option<HistoryFact>, LocalStoreError> {
    let Some((entry, names)) = decode(value) else { return Ok(None) };
    let evidence = match &entry {
        HistoryEntry::Ended(ended) => evidence::find(store, ended.cause)?,
        HistoryEntry::Given(_) => None,
    };
    Ok(Some(HistoryFact { entry, names, evidence }))
}

#[cfg(test)]
mod tests;
