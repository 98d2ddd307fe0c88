//! The evidence of bans as this node keeps it: what was put into the replicated log, without what the ban list holds
//! anyway, as cold records of the local store.
//!
//! ```text
//! log entry ──▶ its operations that banned somebody ──▶ cold records of ≤ 4 KiB, under (entry, the first operation in it)
//! ```
//!
//! Many in one record, because in a flood it is the number of records that costs the store its time. How long they stay is
//! decided in `retention.rs`; not for what is told of bans that are over (`history.rs`).

use crate::control::ColdRecord;
use crate::local_store::{Batch, ColdKey, Key, LocalStore, LocalStoreError, VALUE_BYTES_MAX};
use bannkreis_core::ban::Cause;
use bannkreis_core::change::OpResult;
use bannkreis_core::command::Op;
use bannkreis_core::judge::Verdict;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::convert::{DecodeError, decode_op, decode_ops, encode_op, split_command};
use bannkreis_raft::AppliedEntry;
use std::borrow::Cow;

/// A piece larger than this is not kept: imports, whose bans speak for themselves.
const PIECE_BYTES_MAX: usize = 4_000;
/// The format byte of a record of one piece: the leader's stamp, then an encoded operation list of one. Still read.
const FORMAT_OF_ONE: u8 = 1;
/// The format byte of a record: the leader's stamp, then for each piece which operation of the entry it is (4 bytes), its
/// length (2), and the operation, encoded. Numbers are big-endian.
const FORMAT: u8 = 2;
/// What a record takes beside its pieces: format byte and stamp.
pub const HEAD_BYTES: usize = 9;
const PIECE_HEAD_BYTES: usize = 6;

/// The pieces of evidence in one cold record; all are of one log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// The leader's stamp of the entry.
    pub at: Timestamp,
    /// In the order of the entry.
    pub pieces: Vec<Piece<'a>>,
}

/// What one operation says about the bans that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Which operation of the entry.
    pub n: u32,
    op: Cow<'a, [u8]>,
}

impl Piece<'_> {
    /// A piece about the operation with this number.
    #[must_use]
    pub fn new(n: u32, op: &Op) -> Piece<'static> {
        Piece { n, op: Cow::Owned(encode_op(op).to_vec()) }
    }

    /// The operation; `None` when this release can not read it.
    #[must_use]
    pub fn op(&self) -> Option<Op> {
        decode_op(&self.op).ok()
    }

    /// What it takes in a record.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        PIECE_HEAD_BYTES + self.op.len()
    }
}

impl Pieces<'_> {
    /// What a cold record holds; `None` when this release can not read it.
    #[must_use]
    pub fn decode(key: ColdKey, value: &[u8]) -> Option<Pieces<'_>> {
        let (format, rest) = value.split_first()?;
        let (at, mut rest) = rest.split_first_chunk()?;
        let at = Timestamp(u64::from_be_bytes(*at));
        let mut pieces = Vec::new();
        match *format {
            FORMAT_OF_ONE => {
                let op = decode_ops(rest).ok()?.into_iter().next()?;
                pieces.push(Piece::new(key.op, &op));
            }
            FORMAT => {
                while !rest.is_empty() {
                    let (n, after) = rest.split_first_chunk()?;
                    let (length, after) = after.split_first_chunk()?;
                    let (op, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
                    pieces.push(Piece { n: u32::from_be_bytes(*n), op: Cow::Borrowed(op) });
                    rest = after;
                }
            }
            _ => return None,
        }
        Some(Pieces { at, pieces })
    }

    /// The value of a record of them.
    ///
    /// # Errors
    /// When a piece is longer than a record may be.
    pub fn put(&self, key: ColdKey, batch: &mut Batch) -> Result<(), LocalStoreError> {
        let mut value = Vec::with_capacity(self.n_bytes());
        value.push(FORMAT);
        value.extend_from_slice(&self.at.0.to_be_bytes());
        for Piece { n, op } in &self.pieces {
            let n_bytes = op.len();
            let length = u16::try_from(n_bytes).map_err(|_| LocalStoreError::TooLong {
                what: "a piece of evidence".to_owned(),
                n_bytes,
                max: VALUE_BYTES_MAX,
            })?;
            value.extend_from_slice(&n.to_be_bytes());
            value.extend_from_slice(&length.to_be_bytes());
            value.extend_from_slice(op);
        }
        batch.put(Key::Cold(key), value)
    }

    fn n_bytes(&self) -> usize {
        HEAD_BYTES + self.pieces.iter().map(Piece::n_bytes).sum::<usize>()
    }
}

/// Why evidence is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The entry's operations are not found in it.
    #[error(transparent)]
    Entry(#[from] DecodeError),
    /// The store does not take a record.
    #[error(transparent)]
    Store(#[from] LocalStoreError),
}

/// Puts the evidence of the bans of a log entry into the batch, and says how many pieces that are.
///
/// # Errors
/// When the entry can not be read, though it was applied, or the store does not take a record.
pub fn keep(entry: &AppliedEntry, batch: &mut Batch) -> Result<usize, KeepError> {
    let (mut n_kept, mut n_bytes) = (0, HEAD_BYTES);
    let encoded = split_command(entry.encoded.clone())?;
    let mut together = Pieces { at: entry.command.at, pieces: Vec::new() };
    let ops = entry.command.ops.iter().zip(&encoded).zip(&entry.applied.results);
    for (n, ((op, encoded), result)) in (0..).zip(ops) {
        let piece = match (op, result) {
            (Op::Ban(_), OpResult::Judged(Verdict::Open))
            | (Op::OperatorBan { .. }, OpResult::Operator { .. }) => Piece { n, op: Cow::Borrowed(encoded) },
            (Op::Import { operator, bans, .. }, OpResult::Operator { .. }) => {
                let (operator, bans) = (operator.clone(), bans.clone());
                Piece::new(n, &Op::Import { operator, bans, allow: Vec::new(), history: Vec::new() })
            }
            _ => continue,
        };
        if piece.op.len() > PIECE_BYTES_MAX {
            continue;
        }
        if n_bytes + piece.n_bytes() > VALUE_BYTES_MAX {
            put_together(&mut together, entry, batch)?;
            n_bytes = HEAD_BYTES;
        }
        n_bytes += piece.n_bytes();
        n_kept += 1;
        together.pieces.push(piece);
    }
    put_together(&mut together, entry, batch)?;
    Ok(n_kept)
}

fn put_together(
    together: &mut Pieces<'_>,
    entry: &AppliedEntry,
    batch: &mut Batch,
) -> Result<(), LocalStoreError> {
    if let Some(first) = together.pieces.first() {
        together.put(ColdKey { position: entry.position, op: first.n }, batch)?;
        together.pieces.clear();
    }
    Ok(())
}

/// What is kept of the operation that made a ban, if anything is.
///
/// # Errors
/// When the store can not be read.
pub fn find(store: &LocalStore, cause: Cause) -> Result<Option<ColdRecord>, LocalStoreError> {
    let wanted = ColdKey { position: cause.position(), op: cause.op() };
    let Some((key, value)) = store.cold_upto(wanted)? else { return Ok(None) };
    let found = Pieces::decode(key, &value).and_then(|Pieces { at, pieces }| {
        let op = pieces.iter().find(|piece| piece.n == cause.op())?.op()?;
        Some(ColdRecord { at, op })
    });
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests;
