//! Checked decoding to the types of `bannkreis-core`, and encoding from them. Nothing else converts.
//!
//! Encoding can not fail. Decoding takes nothing for granted: what is missing, unknown, out of
//! bounds or not canonical is a [`DecodeError`] that names the field, and never becomes a default,
//! because two nodes that guess differently hold different ban lists. So a leader decodes what it is
//! about to write: what gets into the Raft log and can not be decoded stops every node.
//!
//! Whole values go through the functions here. Messages that are part of others (`Subnet` in an
//! answer to an operator) convert by `From` (to the wire) and `TryFrom` (from it).

pub mod bounds;
mod command;
mod decode_error;
mod encoded;
mod fields;
mod history;
mod ids;
mod jail;
mod node_record;
mod op;
mod op_result;
mod operator;
mod proposal;
mod record;
mod settings;
mod stored;
mod subnet;
mod time;

pub use decode_error::DecodeError;
pub use encoded::{
    EncodedOp, decode_encoded_ops, decode_op, encode_op, join_command, join_ops, split_command,
};
pub use ids::{decode_command_id, encode_command_id};
pub use jail::decode_jail_name;
pub use node_record::decode_node_role;

use crate::v1;
use bannkreis_core::change::OpResult;
use bannkreis_core::command::{Command, LEVEL, Op};
use bannkreis_core::event::{OutboxEntry, Override};
use bannkreis_core::history::HistoryEntry;
use bannkreis_core::ids::NodeId;
use bannkreis_core::proposal::{Notice, Report};
use bannkreis_core::record::Record;
use bannkreis_core::subnet::Subnet;
use bounds::{COMMAND_BYTES_MAX, MESSAGE_BYTES_MAX, OPS_BYTES_MAX, OPS_MAX, RECORD_BYTES_MAX};
use bytes::{Buf, Bytes};
use command::check_level;
use decode_error::Inside;
use fields::list;
use prost::Message;

/// A command as it stands in the Raft log.
#[must_use]
pub fn encode_command(command: &Command) -> Bytes {
    v1::Command::from(command).encode_to_vec().into()
}

/// The command in `bytes`.
///
/// # Errors
/// [`DecodeError::Level`] when it belongs to a level above this release's, whatever else is in it;
/// otherwise when it is longer than [`COMMAND_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    decode_command_up_to(bytes, LEVEL)
}

/// The command in `bytes`, as a release reads it that knows the levels up to `readable`.
///
/// # Errors
/// As [`decode_command`].
pub fn decode_command_up_to(bytes: &[u8], readable: u32) -> Result<Command, DecodeError> {
    let head: v1::CommandHead = parse(bytes, "command", COMMAND_BYTES_MAX)?;
    check_level(head.level, readable, "command.level")?;
    let wire: v1::Command = parse(bytes, "command", COMMAND_BYTES_MAX)?;
    Command::try_from(wire).inside("command")
}

/// Operations on their way to the leader.
#[must_use]
pub fn encode_ops(ops: &[Op]) -> Bytes {
    v1::Ops { ops: ops.iter().map(v1::Op::from).collect() }.encode_to_vec().into()
}

/// The operations in `bytes`.
///
/// # Errors
/// When they are longer than [`OPS_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_ops(bytes: &[u8]) -> Result<Vec<Op>, DecodeError> {
    let wire: v1::Ops = parse(bytes, "list of operations", OPS_BYTES_MAX)?;
    list(wire.ops, "ops", OPS_MAX)
}

/// What came of operations, on the way back.
#[must_use]
pub fn encode_results(results: &[OpResult]) -> Bytes {
    v1::OpResults { results: results.iter().map(v1::OpResult::from).collect() }.encode_to_vec().into()
}

/// The results in `bytes`.
///
/// # Errors
/// When they are longer than [`COMMAND_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_results(bytes: &[u8]) -> Result<Vec<OpResult>, DecodeError> {
    let wire: v1::OpResults = parse(bytes, "list of results", COMMAND_BYTES_MAX)?;
    list(wire.results, "results", OPS_MAX)
}

/// A record as it stands in a snapshot.
#[must_use]
pub fn encode_record(record: &Record) -> Bytes {
    v1::Record::from(record).encode_to_vec().into()
}

/// The record in `bytes`.
///
/// # Errors
/// [`DecodeError::Level`] when it is the head of a snapshot of a level above this release's;
/// otherwise when it is longer than [`RECORD_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    decode_record_up_to(bytes, LEVEL)
}

/// The record in `bytes`, as a release reads it that knows the levels up to `readable`.
///
/// # Errors
/// As [`decode_record`].
pub fn decode_record_up_to(bytes: &[u8], readable: u32) -> Result<Record, DecodeError> {
    let wire: v1::Record = parse(bytes, "record", RECORD_BYTES_MAX)?;
    if let Some(v1::record::Kind::Head(head)) = &wire.kind {
        check_level(head.level, readable, "record.head.level")?;
    }
    Record::try_from(wire).inside("record")
}

/// A notice to the peers.
#[must_use]
pub fn encode_notice(notice: &Notice) -> Bytes {
    v1::Notice::from(notice).encode_to_vec().into()
}

/// The notice in `bytes`.
///
/// # Errors
/// When it is longer than [`MESSAGE_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_notice(bytes: &[u8]) -> Result<Notice, DecodeError> {
    let wire: v1::Notice = parse(bytes, "notice", MESSAGE_BYTES_MAX)?;
    Notice::try_from(wire).inside("notice")
}

/// A report to the peers.
#[must_use]
pub fn encode_report(report: &Report) -> Bytes {
    v1::Report::from(report).encode_to_vec().into()
}

/// The report in `bytes`.
///
/// # Errors
/// When it is longer than [`MESSAGE_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_report(bytes: &[u8]) -> Result<Report, DecodeError> {
    let wire: v1::Report = parse(bytes, "report", MESSAGE_BYTES_MAX)?;
    Report::try_from(wire).inside("report")
}

/// An outbox entry as a node keeps it over a restart.
#[must_use]
pub fn encode_outbox_entry(entry: &OutboxEntry) -> Bytes {
    v1::StoredOutboxEntry::from(entry).encode_to_vec().into()
}

/// The outbox entry in `bytes`.
///
/// # Errors
/// When it is longer than [`MESSAGE_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_outbox_entry(bytes: &[u8]) -> Result<OutboxEntry, DecodeError> {
    let wire: v1::StoredOutboxEntry = parse(bytes, "outbox entry", MESSAGE_BYTES_MAX)?;
    OutboxEntry::try_from(wire).inside("outbox entry")
}

/// An override of `subnet` as a node keeps it over a restart.
#[must_use]
pub fn encode_override(subnet: Subnet, decision: &Override) -> Bytes {
    stored::encode_override(subnet, decision).encode_to_vec().into()
}

/// The override in `bytes`, and whom it is about.
///
/// # Errors
/// When it is longer than [`MESSAGE_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_override(bytes: &[u8]) -> Result<(Subnet, Override), DecodeError> {
    let wire: v1::StoredOverride = parse(bytes, "override", MESSAGE_BYTES_MAX)?;
    stored::decode_override(wire).inside("override")
}

/// An entry of the history as a node keeps it, with what the nodes in it are called.
#[must_use]
pub fn encode_history(entry: &HistoryEntry, names: &[(NodeId, String)]) -> Bytes {
    history::encode(entry, names).encode_to_vec().into()
}

/// The entry of the history in `bytes`, and what the nodes in it were called.
///
/// # Errors
/// When it is longer than [`MESSAGE_BYTES_MAX`], malformed, or a field has no meaning.
pub fn decode_history(bytes: &[u8]) -> Result<(HistoryEntry, Vec<(NodeId, String)>), DecodeError> {
    let wire: v1::StoredHistory = parse(bytes, "entry of the history", MESSAGE_BYTES_MAX)?;
    history::decode(wire).inside("history")
}

fn parse<M: Message + Default>(
    bytes: impl Buf,
    what: &'static str,
    bytes_max: usize,
) -> Result<M, DecodeError> {
    let found_bytes = bytes.remaining();
    if found_bytes > bytes_max {
        return Err(DecodeError::TooLong { what, found_bytes, max_bytes: bytes_max });
    }
    M::decode(bytes).map_err(|source| DecodeError::Malformed { what, source })
}
