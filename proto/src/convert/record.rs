//! Records of snapshots. Everything that a ban list can hold can be read back; a record of a kind
//! that this release does not know is an error, for a ban list without it would be another one.

use super::decode_error::{DecodeError, Inside};
use super::fields::{list, number, required};
use super::ids::{decode_command_id, encode_command_id, hash};
use super::jail::{decode_jail_name, encode_optional_jail_name, optional_jail_name};
use super::node_record::encode_subnets;
use crate::v1;
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::ban::{Ban, Cause, ORIGINS_MAX, Origin};
use bannkreis_core::ban_list::{NodeEntry, Tombstone};
use bannkreis_core::change::{BanKey, Voided};
use bannkreis_core::history::PastBans;
use bannkreis_core::ids::NodeId;
use bannkreis_core::node_record::NODE_ADDRESSES_MAX;
use bannkreis_core::quota::Quota;
use bannkreis_core::record::{Head, Record};
use bannkreis_core::shards::SHARD_GROUPS;
use bannkreis_core::time::Timestamp;
use bannkreis_core::voters_clocks::ClockRead;
use bytes::Bytes;
use v1::record::Kind;

impl From<&Record> for v1::Record {
    fn from(record: &Record) -> v1::Record {
        let kind = match record {
            Record::Head(head) => Kind::Head(head.into()),
            Record::Node(entry) => Kind::Node(v1::record::Node {
                record: Some((&entry.record).into()),
                pending: encode_subnets(&entry.pending),
                untrusted: entry.untrusted,
                revoked: entry.revoked,
            }),
            Record::Allow(entry) => Kind::Allow(entry.into()),
            Record::Tombstone { subnet, voided, tombstone } => Kind::Tombstone(v1::record::LetGo {
                subnet: Some((*subnet).into()),
                jail: encode_optional_jail_name(voided.jail.as_ref()),
                tombstone: Some((*tombstone).into()),
                origin: voided.origin.map(|node| node.0),
            }),
            Record::Quota { node, quota } => Kind::Quota(v1::record::Quota {
                node: node.0,
                milli_tokens: quota.milli_tokens,
                at_ms: quota.at.0,
                n_damped: quota.n_damped,
            }),
            Record::Outcome { command_id, asked, outcome } => Kind::Outcome(v1::record::OfOperator {
                command_id: encode_command_id(*command_id),
                outcome: Some(outcome.into()),
                asked: *asked,
            }),
            Record::Clock { node, read } => {
                Kind::Clock(v1::record::Clock { node: node.0, clock_ms: read.clock.0, at_ms: read.at.0 })
            }
            Record::Token { hash, expires } => {
                Kind::Token(v1::record::Token { hash: Bytes::copy_from_slice(hash), expires_ms: expires.0 })
            }
            Record::Ban { key, ban } => Kind::Ban(encode_ban(key, ban)),
            Record::Past { key, past } => {
                Kind::Past(v1::record::Past { key: Some(key.into()), past: Some(past.into()) })
            }
        };
        v1::Record { kind: Some(kind) }
    }
}

impl TryFrom<v1::Record> for Record {
    type Error = DecodeError;
    fn try_from(wire: v1::Record) -> Result<Record, DecodeError> {
        match wire.kind.ok_or_else(|| DecodeError::missing("kind"))? {
            Kind::Head(wire) => Head::try_from(wire).map(Record::Head).inside("head"),
            Kind::Node(wire) => decode_node(wire).inside("node"),
            Kind::Allow(wire) => AllowEntry::try_from(wire).map(Record::Allow).inside("allow"),
            Kind::Tombstone(wire) => decode_let_go(wire).inside("tombstone"),
            Kind::Quota(wire) => Ok(Record::Quota {
                node: NodeId(wire.node),
                quota: Quota {
                    milli_tokens: wire.milli_tokens,
                    at: Timestamp(wire.at_ms),
                    n_damped: wire.n_damped,
                },
            }),
            Kind::Outcome(wire) => Ok(Record::Outcome {
                command_id: decode_command_id(&wire.command_id, "outcome.command_id")?,
                asked: wire.asked,
                outcome: required(wire.outcome, "outcome.outcome")?,
            }),
            Kind::Clock(wire) => Ok(Record::Clock {
                node: NodeId(wire.node),
                read: ClockRead { clock: Timestamp(wire.clock_ms), at: Timestamp(wire.at_ms) },
            }),
            Kind::Token(wire) => Ok(Record::Token {
                hash: hash(&wire.hash, "token.hash")?,
                expires: Timestamp(wire.expires_ms),
            }),
            Kind::Ban(wire) => decode_ban(wire).inside("ban"),
            Kind::Past(wire) => Ok(Record::Past {
                key: required(wire.key, "past.key")?,
                past: required(wire.past, "past.past")?,
            }),
        }
    }
}

impl From<&Head> for v1::record::Head {
    fn from(head: &Head) -> v1::record::Head {
        v1::record::Head {
            position: Some(head.position.into()),
            now_ms: head.now.0,
            last_tick_ms: head.last_tick.0,
            level: head.level,
            settings: Some((&head.settings).into()),
            sweep_next: head.sweep_next,
            tombstone_floor: Some(head.tombstone_floor.into()),
        }
    }
}

impl TryFrom<v1::record::Head> for Head {
    type Error = DecodeError;
    fn try_from(wire: v1::record::Head) -> Result<Head, DecodeError> {
        let last_shard = u32::try_from(SHARD_GROUPS - 1).unwrap_or(u32::MAX);
        Ok(Head {
            level: wire.level,
            position: required(wire.position, "position")?,
            now: Timestamp(wire.now_ms),
            last_tick: Timestamp(wire.last_tick_ms),
            settings: required(wire.settings, "settings")?,
            sweep_next: number(wire.sweep_next, "sweep_next", last_shard)?,
            tombstone_floor: required(wire.tombstone_floor, "tombstone_floor")?,
        })
    }
}

fn decode_node(wire: v1::record::Node) -> Result<Record, DecodeError> {
    Ok(Record::Node(Box::new(NodeEntry {
        record: required(wire.record, "record")?,
        pending: list(wire.pending, "pending", NODE_ADDRESSES_MAX)?,
        untrusted: wire.untrusted,
        revoked: wire.revoked,
    })))
}

fn decode_let_go(wire: v1::record::LetGo) -> Result<Record, DecodeError> {
    Ok(Record::Tombstone {
        subnet: required(wire.subnet, "subnet")?,
        voided: Voided { jail: optional_jail_name(wire.jail, "jail")?, origin: wire.origin.map(NodeId) },
        tombstone: required(wire.tombstone, "tombstone")?,
    })
}

fn encode_ban(key: &BanKey, ban: &Ban) -> v1::record::Ban {
    let origins = ban.origins.iter();
    v1::record::Ban {
        key: Some(key.into()),
        since_ms: ban.since.0,
        until: Some(ban.until.into()),
        count: ban.count,
        damped_by: ban.damped_by.map(|node| node.0),
        origins: origins.map(v1::Origin::from).collect(),
        ports: Some((&ban.ports).into()),
        cause: Some(ban.cause.into()),
    }
}

fn decode_ban(wire: v1::record::Ban) -> Result<Record, DecodeError> {
    let ban = Ban {
        since: Timestamp(wire.since_ms),
        until: required(wire.until, "until")?,
        count: wire.count,
        damped_by: wire.damped_by.map(NodeId),
        origins: list(wire.origins, "origins", ORIGINS_MAX)?.into(),
        ports: required(wire.ports, "ports")?,
        cause: required(wire.cause, "cause")?,
    };
    Ok(Record::Ban { key: required(wire.key, "key")?, ban })
}

impl From<&BanKey> for v1::BanKey {
    fn from(key: &BanKey) -> v1::BanKey {
        v1::BanKey { subnet: Some(key.subnet.into()), jail: key.jail.as_str().to_string() }
    }
}

impl TryFrom<v1::BanKey> for BanKey {
    type Error = DecodeError;
    fn try_from(wire: v1::BanKey) -> Result<BanKey, DecodeError> {
        Ok(BanKey { subnet: required(wire.subnet, "subnet")?, jail: decode_jail_name(&wire.jail, "jail")? })
    }
}

impl From<&Origin> for v1::Origin {
    fn from(origin: &Origin) -> v1::Origin {
        v1::Origin { node: origin.node.0, until: Some(origin.until.into()) }
    }
}

impl TryFrom<v1::Origin> for Origin {
    type Error = DecodeError;
    fn try_from(wire: v1::Origin) -> Result<Origin, DecodeError> {
        Ok(Origin { node: NodeId(wire.node), until: required(wire.until, "until")? })
    }
}

impl From<Cause> for v1::Cause {
    fn from(cause: Cause) -> v1::Cause {
        v1::Cause { position: Some(cause.position().into()), op: cause.op() }
    }
}

impl TryFrom<v1::Cause> for Cause {
    type Error = DecodeError;
    fn try_from(wire: v1::Cause) -> Result<Cause, DecodeError> {
        Ok(Cause::new(required(wire.position, "position")?, wire.op))
    }
}

impl From<&PastBans> for v1::PastBans {
    fn from(past: &PastBans) -> v1::PastBans {
        v1::PastBans {
            count: past.count,
            last_since_ms: past.last_since.0,
            last_end_ms: past.last_end.0,
            origin: past.origin.map(|node| node.0),
        }
    }
}

impl TryFrom<v1::PastBans> for PastBans {
    type Error = DecodeError;
    fn try_from(wire: v1::PastBans) -> Result<PastBans, DecodeError> {
        Ok(PastBans {
            count: wire.count,
            last_since: Timestamp(wire.last_since_ms),
            last_end: Timestamp(wire.last_end_ms),
            origin: wire.origin.map(NodeId),
        })
    }
}

impl From<Tombstone> for v1::Tombstone {
    fn from(tombstone: Tombstone) -> v1::Tombstone {
        v1::Tombstone { position: Some(tombstone.position.into()), at_ms: tombstone.at.0 }
    }
}

impl TryFrom<v1::Tombstone> for Tombstone {
    type Error = DecodeError;
    fn try_from(wire: v1::Tombstone) -> Result<Tombstone, DecodeError> {
        Ok(Tombstone { position: required(wire.position, "position")?, at: Timestamp(wire.at_ms) })
    }
}
