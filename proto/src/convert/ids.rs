//! Positions in the replicated log, ids of commands, and hashes.

use super::decode_error::DecodeError;
use super::fields::exactly;
use crate::v1;
use bannkreis_core::ids::{CommandId, NodeId, Position};
use bytes::Bytes;

/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;

impl From<Position> for v1::Position {
    fn from(position: Position) -> v1::Position {
        v1::Position { generation: position.generation, index: position.index }
    }
}

impl TryFrom<v1::Position> for Position {
    type Error = DecodeError;
    fn try_from(wire: v1::Position) -> Result<Position, DecodeError> {
        Ok(Position { generation: wire.generation, index: wire.index })
    }
}

/// The 16 bytes of a command's id, most significant first.
#[must_use]
pub fn encode_command_id(id: CommandId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}

/// The id in 16 bytes of the field `field`.
///
/// # Errors
/// When there are not 16 bytes.
pub fn decode_command_id(wire: &Bytes, field: &str) -> Result<CommandId, DecodeError> {
    exactly(wire, field).map(|bytes| CommandId(u128::from_be_bytes(bytes)))
}

/// A SHA-256.
pub(crate) fn hash(wire: &Bytes, field: &str) -> Result<Vec<u8>, DecodeError> {
    exactly::<HASH_BYTES>(wire, field).map(|bytes| bytes.to_vec())
}

/// The numbers of nodes.
pub(crate) fn node_ids(wire: Vec<u64>) -> Vec<NodeId> {
    wire.into_iter().map(NodeId).collect()
}
