//! How long this node keeps what it can tell people: for the cluster's `history_retention_ms`, as far as there is room.
//!
//! ```text
//!   history    older than the retention, or beyond the bounds ──▶ gone, the oldest first
//!   evidence   of a live ban ──▶ stays, whatever its age
//!              of an ended ban that the history still tells of ──▶ stays with it
//!              anything else older than the retention ──▶ gone
//!   both       about somebody whom an operator has everybody forget ──▶ gone
//! ```
//!
//! It runs beside everything else, now and again, on a thread of its own. Not for what is replicated of ended bans: the
//! ban list frees that by itself, by the same setting.

use crate::evidence::{HEAD_BYTES, Piece, Pieces};
use crate::history;
use crate::local_store::{Batch, ColdKey, Key, LocalStore, LocalStoreError, Subjects};
use bannkreis_core::ban::Cause;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::Op;
use bannkreis_core::history::{HistoryEntry, HistoryKey};
use bannkreis_core::ids::Position;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{MINUTE_MS, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};

/// So much time passes from one look at what is too old to the next; so what is too old goes within an hour.
pub const PASS_INTERVAL_MS: u64 = 30 * MINUTE_MS;
/// After so many new records there is a look, so that the bounds hold, unless the last one has found room for more.
pub const PASS_RECORDS: u64 = 50_000;
/// So many records are read at once, and those of them that go are written together.
const AT_ONCE: usize = 1_000;
/// What the keys of an entry of the history take, in bytes.
const HISTORY_KEYS_BYTES: usize = 96;
/// What the key of a piece of evidence takes, in bytes.
const EVIDENCE_KEY_BYTES: usize = 17;

/// How much may be kept. The oldest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Ended bans and commands.
    pub history_records_max: usize,
    /// Their keys and values.
    pub history_bytes_max: usize,
    /// Pieces of evidence. Those of bans that are over go first; beyond it the oldest ban's goes as well.
    pub evidence_records_max: usize,
    /// Their keys and values.
    pub evidence_bytes_max: usize,
}

/// What a node keeps. A day of 8,000 bans fits thirty times. Each record takes some 150 bytes of memory as well, in sled's
/// tables; the pieces of evidence of one log entry share records.
pub const BOUNDS: Bounds = Bounds {
    history_records_max: 250_000,
    history_bytes_max: 128 * 1024 * 1024,
    evidence_records_max: 1_000_000,
    evidence_bytes_max: 512 * 1024 * 1024,
};

/// What one look has taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Ended bans and commands.
    pub n_history: usize,
    /// Pieces of evidence.
    pub n_evidence: usize,
    /// Of these, evidence of live bans, for which there was no room.
    pub n_of_live_bans: usize,
    /// So many new records keep within the bounds on records.
    pub n_room: u64,
    /// So many bytes more, keys and values, keep within the bounds on bytes.
    pub room_bytes: u64,
}

/// What was put into the store since the last look: counted where it is put there.
#[derive(Debug, Default)]
pub struct NewlyKept {
    n_records: AtomicU64,
    n_bytes: AtomicU64,
}

impl NewlyKept {
    /// Counts so many records, which take so many bytes together.
    pub fn add(&self, n_records: usize, n_bytes: usize) {
        self.n_records.fetch_add(n_records as u64, Ordering::Relaxed);
        self.n_bytes.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }

    /// Counts from nothing again: there is a look.
    pub fn clear(&self) {
        self.n_records.store(0, Ordering::Relaxed);
        self.n_bytes.store(0, Ordering::Relaxed);
    }

    /// Whether it may be more than there was room for when the `last` look was done.
    #[must_use]
    pub fn may_be_too_much(&self, last: &Forgotten) -> bool {
        let (n_records, n_bytes) =
            (self.n_records.load(Ordering::Relaxed), self.n_bytes.load(Ordering::Relaxed));
        n_records >= PASS_RECORDS && (n_records >= last.n_room || n_bytes >= last.room_bytes)
    }
}

/// Forgets what is too old at `now`, and what is too much.
///
/// # Errors
/// When the store can not be read or written; then the rest waits for the next look.
pub fn forget(
    store: &LocalStore,
    view: &BanList,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<Forgotten, LocalStoreError> {
    // What waits is copied by every look at the store, while nobody else can hand anything over.
    store.flush()?;
    let oldest = now.minus_ms(view.settings().history_retention_ms);
    let history = history_kept(store)?;
    let evidence = evidence_kept(store)?;
    let (history_max, evidence_max) = (
        Kept { n_records: bounds.history_records_max, n_bytes: bounds.history_bytes_max },
        Kept { n_records: bounds.evidence_records_max, n_bytes: bounds.evidence_bytes_max },
    );
    let mut forgotten = Forgotten {
        n_history: forget_history(store, oldest, history.beyond(&history_max))?,
        n_room: history_max.beyond(&history).n_records.min(evidence_max.beyond(&evidence).n_records) as u64,
        room_bytes: history_max.beyond(&history).n_bytes.min(evidence_max.beyond(&evidence).n_bytes) as u64,
        ..Forgotten::default()
    };
    let mut too_much = evidence.beyond(&evidence_max);
    forget_evidence(store, view, oldest, &mut too_much, false, &mut forgotten)?;
    if too_much.is_any() {
        forget_evidence(store, view, oldest, &mut too_much, true, &mut forgotten)?;
    }
    Ok(forgotten)
}

/// Forgets everybody who is to be forgotten, in the history and in the evidence, and says how many that were. What came
/// later stays, also when the command to forget is applied again after a restart.
///
/// # Errors
/// When the store can not be read or written; then it is done at the next look.
pub fn forget_asked(store: &LocalStore) -> Result<usize, LocalStoreError> {
    let asked = store.to_forget(AT_ONCE)?;
    if asked.is_empty() {
        return Ok(0);
    }
    store.flush()?;
    for (target, upto) in &asked {
        forget_history_of(store, *target, *upto)?;
    }
    forget_evidence_of(store, &asked)?;
    let mut batch = Batch::new();
    for (target, upto) in &asked {
        batch.delete(Key::ToForget(*target, *upto));
    }
    write(store, batch)?;
    Ok(asked.len())
}

fn forget_history_of(store: &LocalStore, target: Subnet, upto: HistoryKey) -> Result<(), LocalStoreError> {
    let mut subjects = Subjects::beginning_inside(target);
    loop {
        let page = store.history_of(&subjects, AT_ONCE)?;
        let mut batch = Batch::new();
        for (subnet, key, _) in page.entries {
            if target.contains(subnet) && is_before(key.at, key.position, upto) {
                batch.delete(Key::HistoryOf(subnet, key));
                batch.delete(Key::History(key));
            }
        }
        write(store, batch)?;
        match page.rest {
            Some(rest) => subjects = rest,
            None => return Ok(()),
        }
    }
}

/// By the place in the log, and for what another cluster's log has brought, by the time.
fn is_before(at: Timestamp, position: Position, upto: HistoryKey) -> bool {
    position <= upto.position || at <= upto.at
}

fn forget_evidence_of(store: &LocalStore, asked: &[(Subnet, HistoryKey)]) -> Result<(), LocalStoreError> {
    let mut from = first_of(0);
    loop {
        let some = store.cold_from(from, AT_ONCE)?;
        let Some((last, _)) = some.last() else { return Ok(()) };
        from = next_after(*last);
        let mut batch = Batch::new();
        for (key, value) in &some {
            let Some(Pieces { at, pieces }) = Pieces::decode(*key, value) else { continue };
            let goes = |subnet: Subnet| {
                asked
                    .iter()
                    .any(|(target, upto)| target.contains(subnet) && is_before(at, key.position, *upto))
            };
            let mut is_changed = false;
            let mut rest = Vec::new();
            for piece in pieces {
                match piece.op().filter(|op| banned_by(op).into_iter().any(goes)) {
                    None => rest.push(piece),
                    Some(op) => {
                        is_changed = true;
                        rest.extend(without(op, goes).map(|op| Piece::new(piece.n, &op)));
                    }
                }
            }
            if is_changed {
                put_rest(*key, at, rest, &mut batch)?;
            }
        }
        write(store, batch)?;
    }
}

/// What is left of a record stays under its key.
fn put_rest(
    key: ColdKey,
    at: Timestamp,
    pieces: Vec<Piece<'_>>,
    batch: &mut Batch,
) -> Result<(), LocalStoreError> {
    if pieces.is_empty() {
        batch.delete(Key::Cold(key));
        return Ok(());
    }
    Pieces { at, pieces }.put(key, batch)
}

/// The evidence of everybody else in it; `None`: there is nobody else.
fn without(op: Op, goes: impl Fn(Subnet) -> bool) -> Option<Op> {
    match op {
        Op::Import { operator, mut bans, allow, history } => {
            bans.retain(|ban| !goes(ban.subnet));
            (!bans.is_empty()).then_some(Op::Import { operator, bans, allow, history })
        }
        _ => None,
    }
}

/// Records and what they take, keys and values: how many there are, may be, or are too many.
struct Kept {
    n_records: usize,
    n_bytes: usize,
}

impl Kept {
    /// What is beyond `max`; of a bound, what is left beside it.
    fn beyond(&self, max: &Kept) -> Kept {
        Kept {
            n_records: self.n_records.saturating_sub(max.n_records),
            n_bytes: self.n_bytes.saturating_sub(max.n_bytes),
        }
    }

    fn is_any(&self) -> bool {
        self.n_records > 0 || self.n_bytes > 0
    }

    fn less(&mut self, n_bytes: usize) {
        self.n_records = self.n_records.saturating_sub(1);
        self.n_bytes = self.n_bytes.saturating_sub(n_bytes);
    }
}

fn history_kept(store: &LocalStore) -> Result<Kept, LocalStoreError> {
    let mut kept = Kept { n_records: 0, n_bytes: 0 };
    each_of_history(store, |_, value| {
        kept.n_records += 1;
        kept.n_bytes += value.len() + HISTORY_KEYS_BYTES;
        Keep::Stays
    })?;
    Ok(kept)
}

fn forget_history(
    store: &LocalStore,
    oldest: Timestamp,
    mut too_much: Kept,
) -> Result<usize, LocalStoreError> {
    each_of_history(store, |key, value| {
        if key.at >= oldest && !too_much.is_any() {
            return Keep::AllStay;
        }
        too_much.less(value.len() + HISTORY_KEYS_BYTES);
        Keep::Goes
    })
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Stays,
    /// It and all after it.
    AllStay,
    Goes,
}

/// Shows every entry of the history, the oldest first, takes away those that go, and counts them.
fn each_of_history(
    store: &LocalStore,
    mut decide: impl FnMut(HistoryKey, &[u8]) -> Keep,
) -> Result<usize, LocalStoreError> {
    let (mut after, mut n_gone) = (None, 0);
    loop {
        let some = store.history_after(after, AT_ONCE)?;
        let Some((last, _)) = some.last() else { return Ok(n_gone) };
        after = Some(*last);
        let mut batch = Batch::new();
        let mut is_end = false;
        for (key, value) in &some {
            match decide(*key, value) {
                Keep::Stays => {}
                Keep::AllStay => {
                    is_end = true;
                    break;
                }
                Keep::Goes => {
                    n_gone += 1;
                    history::forget(*key, value, &mut batch);
                }
            }
        }
        write(store, batch)?;
        if is_end {
            return Ok(n_gone);
        }
    }
}

/// Writes at once, so that no more waits than one batch.
fn write(store: &LocalStore, batch: Batch) -> Result<(), LocalStoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    store.commit(batch)?;
    store.flush()
}

fn evidence_kept(store: &LocalStore) -> Result<Kept, LocalStoreError> {
    let mut kept = Kept { n_records: 0, n_bytes: 0 };
    let mut from = first_of(0);
    loop {
        let some = store.cold_from(from, AT_ONCE)?;
        let Some((last, _)) = some.last() else { break };
        from = next_after(*last);
        for (key, value) in &some {
            kept.n_records += Pieces::decode(*key, value).map_or(1, |record| record.pieces.len());
            kept.n_bytes += value.len() + EVIDENCE_KEY_BYTES;
        }
    }
    Ok(kept)
}

/// Goes through the evidence in the order of the log. Within a generation that is the order of time, so the first that is
/// young enough ends it, unless there is too much.
fn forget_evidence(
    store: &LocalStore,
    view: &BanList,
    oldest: Timestamp,
    too_much: &mut Kept,
    also_of_live_bans: bool,
    forgotten: &mut Forgotten,
) -> Result<(), LocalStoreError> {
    let mut from = first_of(0);
    loop {
        let some = store.cold_from(from, AT_ONCE)?;
        let Some((last, _)) = some.last() else { return Ok(()) };
        from = next_after(*last);
        let mut batch = Batch::new();
        let mut next_generation = None;
        for (key, value) in &some {
            let Some(Pieces { at, pieces }) = Pieces::decode(*key, value) else { continue };
            if at >= oldest && !too_much.is_any() {
                // Times of another generation may be by another clock.
                next_generation = Some(key.position.generation.checked_add(1));
                break;
            }
            let (n_pieces, mut rest) = (pieces.len(), Vec::new());
            for piece in pieces {
                let Some(op) = piece.op() else {
                    rest.push(piece);
                    continue;
                };
                let cause = Cause::new(key.position, piece.n);
                let is_of_live_ban = is_of_live_ban(view, cause, &op);
                let stays = match is_of_live_ban {
                    true => !(also_of_live_bans && too_much.is_any()),
                    false => !too_much.is_any() && is_told_of(store, cause, &op)?,
                };
                if stays {
                    rest.push(piece);
                    continue;
                }
                too_much.less(piece.n_bytes());
                forgotten.n_evidence += 1;
                forgotten.n_of_live_bans += usize::from(is_of_live_ban);
            }
            if rest.is_empty() {
                too_much.n_bytes = too_much.n_bytes.saturating_sub(HEAD_BYTES + EVIDENCE_KEY_BYTES);
            }
            if rest.len() < n_pieces {
                put_rest(*key, at, rest, &mut batch)?;
            }
        }
        write(store, batch)?;
        match next_generation {
            None => {}
            Some(Some(generation)) => from = first_of(generation),
            Some(None) => return Ok(()),
        }
    }
}

fn first_of(generation: u32) -> ColdKey {
    ColdKey { position: Position { generation, index: 0 }, op: 0 }
}

fn next_after(key: ColdKey) -> ColdKey {
    match key.op.checked_add(1) {
        Some(op) => ColdKey { op, ..key },
        None => {
            let Position { generation, index } = key.position;
            ColdKey { position: Position { generation, index: index + 1 }, op: 0 }
        }
    }
}

/// Whom an operation can have banned.
fn banned_by(op: &Op) -> Vec<Subnet> {
    match op {
        Op::Ban(proposal) => vec![proposal.offender],
        Op::OperatorBan { target, .. } => vec![*target],
        Op::Import { bans, .. } => bans.iter().map(|ban| ban.subnet).collect(),
        _ => Vec::new(),
    }
}

fn is_of_live_ban(view: &BanList, cause: Cause, op: &Op) -> bool {
    banned_by(op).into_iter().any(|subnet| view.bans_of(subnet).any(|(_, ban)| ban.cause == cause))
}

/// Whether the history has an ended ban that this is the evidence of.
fn is_told_of(store: &LocalStore, cause: Cause, op: &Op) -> Result<bool, LocalStoreError> {
    for subnet in banned_by(op) {
        let mut subjects = Subjects::exactly(subnet);
        loop {
            let page = store.history_of(&subjects, AT_ONCE)?;
            for (_, key, _) in page.entries {
                let value = store.history_entry(key)?;
                let entry = value.as_deref().and_then(history::decode);
                if matches!(&entry, Some((HistoryEntry::Ended(ended), _)) if ended.cause == cause) {
                    return Ok(true);
                }
            }
            match page.rest {
                Some(rest) => subjects = rest,
                None => break,
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
