//! Commands of the replicated log. The level is read before anything else is looked at.

use super::bounds::{OPS_MAX, SIGNATURE_BYTES_MAX};
use super::decode_error::DecodeError;
use super::fields::list;
use crate::v1;
use bannkreis_core::command::Command;
use bannkreis_core::ids::NodeId;
use bannkreis_core::time::Timestamp;
use bytes::Bytes;

/// Whether a release that knows the levels up to `readable` reads what belongs to `level`.
pub(crate) fn check_level(level: u32, readable: u32, field: &str) -> Result<(), DecodeError> {
    match level {
        0 => Err(DecodeError::missing(field)),
        found if found > readable => Err(DecodeError::Level { found, readable }),
        _ => Ok(()),
    }
}

impl From<&Command> for v1::Command {
    fn from(command: &Command) -> v1::Command {
        v1::Command {
            at_ms: command.at.0,
            level: command.level,
            ops: command.ops.iter().map(v1::Op::from).collect(),
            signed_by: command.signed_by.map(|node| node.0),
            signature: Bytes::copy_from_slice(&command.signature),
        }
    }
}

impl TryFrom<v1::Command> for Command {
    type Error = DecodeError;
    fn try_from(wire: v1::Command) -> Result<Command, DecodeError> {
        if wire.signature.len() > SIGNATURE_BYTES_MAX {
            let what = format!("has {} bytes: at most {SIGNATURE_BYTES_MAX} are read", wire.signature.len());
            return Err(DecodeError::field("signature", what));
        }
        // The level was looked at before anything else was decoded.
        Ok(Command {
            at: Timestamp(wire.at_ms),
            level: wire.level,
            ops: list(wire.ops, "ops", OPS_MAX)?,
            signed_by: wire.signed_by.map(NodeId),
            signature: wire.signature.to_vec(),
        })
    }
}
