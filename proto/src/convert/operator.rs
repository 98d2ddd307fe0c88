//! Who gave an operator's command, what came of it, and the entries of the allow list.

use super::bounds::{TEXT_BYTES_MAX, WHY_BYTES_MAX};
use super::decode_error::{DecodeError, Inside};
use super::fields::{required, text};
use super::ids::{decode_command_id, encode_command_id};
use crate::v1;
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::change::Outcome;
use bannkreis_core::ids::{NodeId, Operator};

impl From<&Operator> for v1::Operator {
    fn from(operator: &Operator) -> v1::Operator {
        v1::Operator {
            command_id: encode_command_id(operator.command_id),
            node: operator.node.0,
            author: operator.author.clone(),
            reason: operator.reason.clone(),
        }
    }
}

impl TryFrom<v1::Operator> for Operator {
    type Error = DecodeError;
    fn try_from(wire: v1::Operator) -> Result<Operator, DecodeError> {
        Ok(Operator {
            command_id: decode_command_id(&wire.command_id, "command_id")?,
            node: NodeId(wire.node),
            author: text(wire.author, "author", TEXT_BYTES_MAX)?,
            reason: text(wire.reason, "reason", TEXT_BYTES_MAX)?,
        })
    }
}

impl From<&AllowEntry> for v1::AllowEntry {
    fn from(entry: &AllowEntry) -> v1::AllowEntry {
        v1::AllowEntry {
            subnet: Some(entry.subnet.into()),
            note: entry.note.clone(),
            author: entry.author.clone(),
            node: entry.node.0,
            until: Some(entry.until.into()),
        }
    }
}

impl TryFrom<v1::AllowEntry> for AllowEntry {
    type Error = DecodeError;
    fn try_from(wire: v1::AllowEntry) -> Result<AllowEntry, DecodeError> {
        Ok(AllowEntry {
            subnet: required(wire.subnet, "subnet")?,
            note: text(wire.note, "note", TEXT_BYTES_MAX)?,
            author: text(wire.author, "author", TEXT_BYTES_MAX)?,
            node: NodeId(wire.node),
            until: required(wire.until, "until")?,
        })
    }
}

impl From<&Outcome> for v1::Outcome {
    fn from(outcome: &Outcome) -> v1::Outcome {
        use v1::outcome::{Done, Outcome as Wire, Refused};
        let outcome = match outcome {
            Outcome::Done { n_affected } => Wire::Done(Done { n_affected: *n_affected }),
            Outcome::Refused { why } => Wire::Refused(Refused { why: why.clone() }),
        };
        v1::Outcome { outcome: Some(outcome) }
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = DecodeError;
    fn try_from(wire: v1::Outcome) -> Result<Outcome, DecodeError> {
        use v1::outcome::{Done, Outcome as Wire, Refused};
        match wire.outcome.ok_or_else(|| DecodeError::missing("outcome"))? {
            Wire::Done(Done { n_affected }) => Ok(Outcome::Done { n_affected }),
            Wire::Refused(Refused { why }) => {
                Ok(Outcome::Refused { why: text(why, "why", WHY_BYTES_MAX).inside("refused")? })
            }
        }
    }
}
