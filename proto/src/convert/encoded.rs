//! Operations together with their encoded form, which goes on as it is: from whoever proposes, over the leader, into the
//! log and into what each node keeps. So each is encoded once.
//!
//! It stands on `bytes` and a message being the same on the wire (Protocol Buffers, "Updating A Message Type"). Not for
//! what an operation is encoded to (`op.rs`).

use super::bounds::{COMMAND_BYTES_MAX, OPS_BYTES_MAX, OPS_MAX};
use super::decode_error::DecodeError;
use super::fields::at_most;
use super::parse;
use crate::v1;
use bannkreis_core::command::Op;
use bannkreis_core::time::Timestamp;
use bytes::Bytes;
use prost::Message;

/// An operation and its encoded form.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedOp {
    op: Op,
    bytes: Bytes,
}

impl EncodedOp {
    /// Encodes an operation.
    #[must_use]
    pub fn new(op: Op) -> EncodedOp {
        EncodedOp { bytes: encode_op(&op), op }
    }

    /// The operation.
    #[must_use]
    pub fn op(&self) -> &Op {
        &self.op
    }

    /// The length of its encoded form, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether every node reads it.
    ///
    /// # Errors
    /// What they would find wrong with it.
    pub fn check(&self) -> Result<(), DecodeError> {
        decode_op(&self.bytes).map(|_| ())
    }
}

/// An operation.
#[must_use]
pub fn encode_op(op: &Op) -> Bytes {
    v1::Op::from(op).encode_to_vec().into()
}

/// The operation in `bytes`.
///
/// # Errors
/// When it is longer than [`OPS_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_op(bytes: &[u8]) -> Result<Op, DecodeError> {
    let wire: v1::Op = parse(bytes, "operation", OPS_BYTES_MAX)?;
    Op::try_from(wire)
}

/// The operations in `bytes`, each with its part of them.
///
/// # Errors
/// When they are longer than [`OPS_BYTES_MAX`] or more than [`OPS_MAX`], malformed, or a field has no meaning.
pub fn decode_encoded_ops(bytes: Bytes) -> Result<Vec<EncodedOp>, DecodeError> {
    let v1::EncodedOps { ops } = parse(bytes, "list of operations", OPS_BYTES_MAX)?;
    at_most(ops.len(), "ops", OPS_MAX)?;
    let read = |(n, bytes): (usize, Bytes)| {
        let op = decode_op(&bytes).map_err(|error| error.inside(&format!("ops[{n}]")))?;
        Ok(EncodedOp { op, bytes })
    };
    ops.into_iter().enumerate().map(read).collect()
}

/// As [`encode_ops`](super::encode_ops).
#[must_use]
pub fn join_ops(ops: &[EncodedOp]) -> Bytes {
    v1::EncodedOps { ops: bytes_of(ops) }.encode_to_vec().into()
}

/// As [`encode_command`](super::encode_command), unsigned.
#[must_use]
pub fn join_command(at: Timestamp, level: u32, ops: &[EncodedOp]) -> Bytes {
    v1::EncodedCommand { at_ms: at.0, level, ops: bytes_of(ops) }.encode_to_vec().into()
}

/// The operations in an encoded command, encoded.
///
/// # Errors
/// When it is longer than [`COMMAND_BYTES_MAX`] or malformed.
pub fn split_command(bytes: Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let v1::EncodedCommand { ops, .. } = parse(bytes, "command", COMMAND_BYTES_MAX)?;
    Ok(ops)
}

fn bytes_of(ops: &[EncodedOp]) -> Vec<Bytes> {
    ops.iter().map(|op| op.bytes.clone()).collect()
}
