//! Operations on the ban list. An operation that this release does not know is an error: a node
//! that skipped it would hold another ban list than its peers.

use super::bounds::{IMPORT_ENTRIES_MAX, READINGS_MAX, SETTINGS_MAX, TEXT_BYTES_MAX};
use super::decode_error::{DecodeError, Inside};
use super::fields::{at_most, list, required, text};
use super::ids::hash;
use super::jail::{decode_jail_name, encode_optional_jail_name, optional_jail_name};
use crate::v1;
use bannkreis_core::command::{ImportedBan, ImportedHistory, Op, UnbanSelection};
use bannkreis_core::ids::{NodeId, Operator};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::proposal::Proposal;
use bannkreis_core::time::Timestamp;
use bytes::Bytes;
use v1::op::Kind;
use v1::op::unban::Selection;

impl From<&Op> for v1::Op {
    fn from(op: &Op) -> v1::Op {
        let kind = match op {
            Op::Ban(proposal) => Kind::Ban(proposal.into()),
            Op::OperatorBan { operator, target, jail, ban_time, ports, force } => {
                Kind::OperatorBan(v1::op::OperatorBan {
                    operator: Some(operator.into()),
                    target: Some((*target).into()),
                    jail: jail.as_str().to_string(),
                    ban_time: Some((*ban_time).into()),
                    ports: Some(ports.into()),
                    force: *force,
                })
            }
            Op::Unban { operator, selection } => Kind::Unban(v1::op::Unban {
                operator: Some(operator.into()),
                selection: Some(encode_selection(selection)),
            }),
            Op::Allow { operator, entry } => {
                Kind::Allow(v1::op::Allow { operator: Some(operator.into()), entry: Some(entry.into()) })
            }
            Op::Disallow { operator, subnet } => Kind::Disallow(v1::op::Disallow {
                operator: Some(operator.into()),
                subnet: Some((*subnet).into()),
            }),
            Op::Import { operator, bans, allow, history } => Kind::Import(v1::op::Import {
                operator: Some(operator.into()),
                bans: bans.iter().map(v1::op::import::Ban::from).collect(),
                allow: allow.iter().map(v1::AllowEntry::from).collect(),
                history: history.iter().map(v1::op::import::History::from).collect(),
            }),
            Op::Trust { operator, node } => {
                Kind::Trust(v1::op::Trust { operator: Some(operator.into()), node: node.0 })
            }
            Op::Tick { readings } => Kind::Tick(encode_readings(readings)),
            Op::Sweep => Kind::Sweep(v1::op::Sweep {}),
            Op::NodeSeen(record) => Kind::NodeSeen(record.into()),
            Op::Revoke { operator, node, keeps_key } => Kind::Revoke(v1::op::Revoke {
                operator: Some(operator.into()),
                node: node.0,
                keeps_key: *keeps_key,
            }),
            Op::Token { operator, hash, expires } => Kind::Token(v1::op::Token {
                operator: Some(operator.into()),
                hash: Bytes::copy_from_slice(hash),
                expires_ms: expires.0,
            }),
            Op::Settings { operator, fields } => Kind::Settings(v1::op::SetSettings {
                operator: Some(operator.into()),
                fields: fields.iter().map(v1::Setting::from).collect(),
            }),
            Op::RaiseLevel { level } => Kind::RaiseLevel(v1::op::RaiseLevel { level: *level }),
            Op::Forget { operator, target } => Kind::Forget(v1::op::Forget {
                operator: Some(operator.into()),
                target: Some((*target).into()),
            }),
        };
        v1::Op { kind: Some(kind) }
    }
}

impl TryFrom<v1::Op> for Op {
    type Error = DecodeError;
    fn try_from(wire: v1::Op) -> Result<Op, DecodeError> {
        match wire.kind.ok_or_else(|| DecodeError::missing("kind"))? {
            Kind::Ban(wire) => Proposal::try_from(wire).map(Op::Ban).inside("ban"),
            Kind::OperatorBan(wire) => decode_operator_ban(wire).inside("operator_ban"),
            Kind::Unban(wire) => decode_unban(wire).inside("unban"),
            Kind::Allow(wire) => decode_allow(wire).inside("allow"),
            Kind::Disallow(wire) => decode_disallow(wire).inside("disallow"),
            Kind::Import(wire) => decode_import(wire).inside("import"),
            Kind::Trust(v1::op::Trust { operator, node }) => {
                let operator = required(operator, "operator").inside("trust")?;
                Ok(Op::Trust { operator, node: NodeId(node) })
            }
            Kind::Tick(wire) => decode_tick(wire).inside("tick"),
            Kind::Sweep(v1::op::Sweep {}) => Ok(Op::Sweep),
            Kind::NodeSeen(wire) => NodeRecord::try_from(wire).map(Op::NodeSeen).inside("node_seen"),
            Kind::Revoke(v1::op::Revoke { operator, node, keeps_key }) => {
                let operator = required(operator, "operator").inside("revoke")?;
                Ok(Op::Revoke { operator, node: NodeId(node), keeps_key })
            }
            Kind::Token(wire) => decode_token(wire).inside("token"),
            Kind::Settings(wire) => decode_settings(wire).inside("settings"),
            Kind::RaiseLevel(v1::op::RaiseLevel { level }) => Ok(Op::RaiseLevel { level }),
            Kind::Forget(v1::op::Forget { operator, target }) => Ok(Op::Forget {
                operator: required(operator, "operator").inside("forget")?,
                target: required(target, "target").inside("forget")?,
            }),
        }
    }
}

fn decode_operator_ban(wire: v1::op::OperatorBan) -> Result<Op, DecodeError> {
    Ok(Op::OperatorBan {
        operator: required(wire.operator, "operator")?,
        target: required(wire.target, "target")?,
        jail: decode_jail_name(&wire.jail, "jail")?,
        ban_time: required(wire.ban_time, "ban_time")?,
        ports: required(wire.ports, "ports")?,
        force: wire.force,
    })
}

fn encode_selection(selection: &UnbanSelection) -> Selection {
    match selection {
        UnbanSelection::Target { target, jail } => Selection::Target(v1::op::unban::Target {
            target: Some((*target).into()),
            jail: encode_optional_jail_name(jail.as_ref()),
        }),
        UnbanSelection::All { jail } => {
            Selection::All(v1::op::unban::All { jail: encode_optional_jail_name(jail.as_ref()) })
        }
        UnbanSelection::ByNode { node, since } => {
            Selection::ByNode(v1::op::unban::ByNode { node: node.0, since_ms: since.0 })
        }
    }
}

fn decode_unban(wire: v1::op::Unban) -> Result<Op, DecodeError> {
    let operator: Operator = required(wire.operator, "operator")?;
    let selection = match wire.selection.ok_or_else(|| DecodeError::missing("selection"))? {
        Selection::Target(wire) => UnbanSelection::Target {
            target: required(wire.target, "target.target")?,
            jail: optional_jail_name(wire.jail, "target.jail")?,
        },
        Selection::All(wire) => UnbanSelection::All { jail: optional_jail_name(wire.jail, "all.jail")? },
        Selection::ByNode(wire) => {
            UnbanSelection::ByNode { node: NodeId(wire.node), since: Timestamp(wire.since_ms) }
        }
    };
    Ok(Op::Unban { operator, selection })
}

fn decode_allow(wire: v1::op::Allow) -> Result<Op, DecodeError> {
    Ok(Op::Allow { operator: required(wire.operator, "operator")?, entry: required(wire.entry, "entry")? })
}

fn decode_disallow(wire: v1::op::Disallow) -> Result<Op, DecodeError> {
    Ok(Op::Disallow {
        operator: required(wire.operator, "operator")?,
        subnet: required(wire.subnet, "subnet")?,
    })
}

fn decode_import(wire: v1::op::Import) -> Result<Op, DecodeError> {
    Ok(Op::Import {
        operator: required(wire.operator, "operator")?,
        bans: list(wire.bans, "bans", IMPORT_ENTRIES_MAX)?,
        allow: list(wire.allow, "allow", IMPORT_ENTRIES_MAX)?,
        history: list(wire.history, "history", IMPORT_ENTRIES_MAX)?,
    })
}

impl From<&ImportedBan> for v1::op::import::Ban {
    fn from(ban: &ImportedBan) -> v1::op::import::Ban {
        v1::op::import::Ban {
            subnet: Some(ban.subnet.into()),
            jail: ban.jail.as_str().to_string(),
            since_ms: ban.since.0,
            until: Some(ban.until.into()),
            count: ban.count,
            ports: Some((&ban.ports).into()),
            policy: Some((&ban.policy).into()),
            note: ban.note.clone(),
        }
    }
}

impl TryFrom<v1::op::import::Ban> for ImportedBan {
    type Error = DecodeError;
    fn try_from(wire: v1::op::import::Ban) -> Result<ImportedBan, DecodeError> {
        Ok(ImportedBan {
            subnet: required(wire.subnet, "subnet")?,
            jail: decode_jail_name(&wire.jail, "jail")?,
            since: Timestamp(wire.since_ms),
            until: required(wire.until, "until")?,
            count: wire.count,
            ports: required(wire.ports, "ports")?,
            policy: required(wire.policy, "policy")?,
            note: text(wire.note, "note", TEXT_BYTES_MAX)?,
        })
    }
}

impl From<&ImportedHistory> for v1::op::import::History {
    fn from(history: &ImportedHistory) -> v1::op::import::History {
        v1::op::import::History {
            subnet: Some(history.subnet.into()),
            jail: history.jail.as_str().to_string(),
            past: Some((&history.past).into()),
        }
    }
}

impl TryFrom<v1::op::import::History> for ImportedHistory {
    type Error = DecodeError;
    fn try_from(wire: v1::op::import::History) -> Result<ImportedHistory, DecodeError> {
        Ok(ImportedHistory {
            subnet: required(wire.subnet, "subnet")?,
            jail: decode_jail_name(&wire.jail, "jail")?,
            past: required(wire.past, "past")?,
        })
    }
}

fn encode_readings(readings: &[(NodeId, Timestamp)]) -> v1::op::Tick {
    let readings = readings.iter();
    v1::op::Tick {
        readings: readings
            .map(|(node, clock)| v1::op::tick::Reading { node: node.0, clock_ms: clock.0 })
            .collect(),
    }
}

fn decode_tick(wire: v1::op::Tick) -> Result<Op, DecodeError> {
    at_most(wire.readings.len(), "readings", READINGS_MAX)?;
    let readings = wire.readings.into_iter();
    Ok(Op::Tick {
        readings: readings.map(|reading| (NodeId(reading.node), Timestamp(reading.clock_ms))).collect(),
    })
}

fn decode_token(wire: v1::op::Token) -> Result<Op, DecodeError> {
    Ok(Op::Token {
        operator: required(wire.operator, "operator")?,
        hash: hash(&wire.hash, "hash")?,
        expires: Timestamp(wire.expires_ms),
    })
}

fn decode_settings(wire: v1::op::SetSettings) -> Result<Op, DecodeError> {
    Ok(Op::Settings {
        operator: required(wire.operator, "operator")?,
        fields: list(wire.fields, "fields", SETTINGS_MAX)?,
    })
}
