//! What a node keeps for people: bans that are over, operators' commands.

use super::bounds::{NODE_NAME_BYTES_MAX, STORED_NAMES_MAX};
use super::decode_error::{DecodeError, Inside};
use super::fields::{at_most, list, required, text};
use super::ids::node_ids;
use crate::v1;
use bannkreis_core::ban::ORIGINS_MAX;
use bannkreis_core::history::{EndedBan, Ending, GivenCommand, HistoryEntry};
use bannkreis_core::ids::{NodeId, Operator};
use bannkreis_core::time::Timestamp;

/// A node's name, as it was then.
struct Name(NodeId, String);

impl TryFrom<v1::stored_history::NodeName> for Name {
    type Error = DecodeError;
    fn try_from(wire: v1::stored_history::NodeName) -> Result<Name, DecodeError> {
        Ok(Name(NodeId(wire.node), text(wire.name, "name", NODE_NAME_BYTES_MAX)?))
    }
}

/// The stored form of an entry, with what the nodes in it are called.
pub(super) fn encode(entry: &HistoryEntry, names: &[(NodeId, String)]) -> v1::StoredHistory {
    use v1::stored_history::{Entry, NodeName};
    let names = names.iter().take(STORED_NAMES_MAX);
    v1::StoredHistory {
        entry: Some(match entry {
            HistoryEntry::Ended(ended) => Entry::Ended(ended.into()),
            HistoryEntry::Given(given) => Entry::Given(given.into()),
        }),
        names: names.map(|(node, name)| NodeName { node: node.0, name: name.clone() }).collect(),
    }
}

/// The entry in `wire`, and what the nodes in it were called.
pub(super) fn decode(wire: v1::StoredHistory) -> Result<(HistoryEntry, Vec<(NodeId, String)>), DecodeError> {
    use v1::stored_history::Entry;
    let entry = match wire.entry.ok_or_else(|| DecodeError::missing("entry"))? {
        Entry::Ended(ended) => HistoryEntry::Ended(EndedBan::try_from(ended).inside("ended")?),
        Entry::Given(given) => HistoryEntry::Given(GivenCommand::try_from(given).inside("given")?),
    };
    let names: Vec<Name> = list(wire.names, "names", STORED_NAMES_MAX)?;
    Ok((entry, names.into_iter().map(|Name(node, name)| (node, name)).collect()))
}

impl From<&EndedBan> for v1::StoredEndedBan {
    fn from(ended: &EndedBan) -> v1::StoredEndedBan {
        v1::StoredEndedBan {
            key: Some((&ended.key).into()),
            since_ms: ended.since.0,
            end_ms: ended.end.0,
            count: ended.count,
            origins: ended.origins.iter().map(|node| node.0).collect(),
            cause: Some(ended.cause.into()),
            ending: Some((&ended.ending).into()),
        }
    }
}

impl TryFrom<v1::StoredEndedBan> for EndedBan {
    type Error = DecodeError;
    fn try_from(wire: v1::StoredEndedBan) -> Result<EndedBan, DecodeError> {
        at_most(wire.origins.len(), "origins", ORIGINS_MAX)?;
        Ok(EndedBan {
            key: required(wire.key, "key")?,
            since: Timestamp(wire.since_ms),
            end: Timestamp(wire.end_ms),
            count: wire.count,
            origins: node_ids(wire.origins),
            cause: required(wire.cause, "cause")?,
            ending: required(wire.ending, "ending")?,
        })
    }
}

impl From<&Ending> for v1::StoredEnding {
    fn from(ending: &Ending) -> v1::StoredEnding {
        use v1::stored_ending::{Expired, How, Late};
        let how = match ending {
            Ending::Expired => How::Expired(Expired {}),
            Ending::Lifted(by) => How::Lifted(by.into()),
            Ending::Allowed(by) => How::Allowed(by.into()),
            Ending::ByNode(by) => How::ByNode(by.into()),
            Ending::OwnAddress(node) => How::OwnAddress(node.0),
            Ending::Late => How::Late(Late {}),
        };
        v1::StoredEnding { how: Some(how) }
    }
}

impl TryFrom<v1::StoredEnding> for Ending {
    type Error = DecodeError;
    fn try_from(wire: v1::StoredEnding) -> Result<Ending, DecodeError> {
        use v1::stored_ending::{Expired, How, Late};
        let by = |wire, field| Operator::try_from(wire).inside(field);
        Ok(match wire.how.ok_or_else(|| DecodeError::missing("how"))? {
            How::Expired(Expired {}) => Ending::Expired,
            How::Lifted(wire) => Ending::Lifted(by(wire, "lifted")?),
            How::Allowed(wire) => Ending::Allowed(by(wire, "allowed")?),
            How::ByNode(wire) => Ending::ByNode(by(wire, "by_node")?),
            How::OwnAddress(node) => Ending::OwnAddress(NodeId(node)),
            How::Late(Late {}) => Ending::Late,
        })
    }
}

impl From<&GivenCommand> for v1::StoredCommand {
    fn from(given: &GivenCommand) -> v1::StoredCommand {
        let [n_bans, n_allow, n_histories] = given.n_imported;
        v1::StoredCommand {
            at_ms: given.at.0,
            op: Some((&given.op).into()),
            n_bans,
            n_allow,
            n_histories,
            outcome: Some((&given.outcome).into()),
        }
    }
}

impl TryFrom<v1::StoredCommand> for GivenCommand {
    type Error = DecodeError;
    fn try_from(wire: v1::StoredCommand) -> Result<GivenCommand, DecodeError> {
        Ok(GivenCommand {
            at: Timestamp(wire.at_ms),
            op: required(wire.op, "op")?,
            n_imported: [wire.n_bans, wire.n_allow, wire.n_histories],
            outcome: required(wire.outcome, "outcome")?,
        })
    }
}
