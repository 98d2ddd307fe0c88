//! Node records: what a node says about itself.

use super::bounds::{NODE_ADDRESS_BYTES_MAX, NODE_JAILS_MAX, NODE_NAME_BYTES_MAX};
use super::decode_error::{DecodeError, Inside};
use super::fields::{at_most, list, required, text, variant};
use super::ids::hash;
use super::jail::decode_jail_name;
use super::settings::decode_reach;
use crate::v1;
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::node_record::{NODE_ADDRESSES_MAX, NodeRecord, NodeRole};
use bannkreis_core::reach::Reach;
use bannkreis_core::subnet::Subnet;
use bytes::Bytes;

impl From<NodeRole> for v1::NodeRole {
    fn from(role: NodeRole) -> v1::NodeRole {
        match role {
            NodeRole::Full => v1::NodeRole::Full,
            NodeRole::Witness => v1::NodeRole::Witness,
        }
    }
}

/// The role in the field `field`.
///
/// # Errors
/// When it is none that this release knows.
pub fn decode_node_role(wire: i32, field: &str) -> Result<NodeRole, DecodeError> {
    match variant(wire, field)? {
        v1::NodeRole::Unspecified => Err(DecodeError::missing(field)),
        v1::NodeRole::Full => Ok(NodeRole::Full),
        v1::NodeRole::Witness => Ok(NodeRole::Witness),
    }
}

/// Subnets on their way to the wire.
pub(crate) fn encode_subnets(subnets: &[Subnet]) -> Vec<v1::Subnet> {
    subnets.iter().copied().map(v1::Subnet::from).collect()
}

fn decode_node_jail(wire: v1::node_record::Jail) -> Result<(JailName, Ports), DecodeError> {
    Ok((decode_jail_name(&wire.jail, "jail")?, required(wire.ports, "ports")?))
}

fn decode_node_reach(wire: &v1::node_record::JailReach) -> Result<(JailName, Reach), DecodeError> {
    Ok((decode_jail_name(&wire.jail, "jail")?, decode_reach(wire.reach, "reach")?))
}

impl From<&NodeRecord> for v1::NodeRecord {
    fn from(record: &NodeRecord) -> v1::NodeRecord {
        let jails = record.jails.iter();
        v1::NodeRecord {
            node: record.node.0,
            name: record.name.clone(),
            address: record.address.clone(),
            key_fingerprint: Bytes::copy_from_slice(&record.key_fingerprint),
            own: encode_subnets(&record.own),
            gateways: encode_subnets(&record.gateways),
            resolvers: encode_subnets(&record.resolvers),
            jails: jails
                .map(|(jail, ports)| v1::node_record::Jail {
                    jail: jail.as_str().to_string(),
                    ports: Some(ports.into()),
                })
                .collect(),
            reaches: record
                .reaches
                .iter()
                .map(|(jail, reach)| v1::node_record::JailReach {
                    jail: jail.as_str().to_string(),
                    reach: v1::Reach::from(*reach).into(),
                })
                .collect(),
            level_max: record.level_max,
            role: v1::NodeRole::from(record.role).into(),
        }
    }
}

impl TryFrom<v1::NodeRecord> for NodeRecord {
    type Error = DecodeError;
    fn try_from(wire: v1::NodeRecord) -> Result<NodeRecord, DecodeError> {
        at_most(wire.jails.len(), "jails", NODE_JAILS_MAX)?;
        at_most(wire.reaches.len(), "reaches", NODE_JAILS_MAX)?;
        let jails = wire.jails.into_iter().enumerate();
        let reaches = wire.reaches.into_iter().enumerate();
        Ok(NodeRecord {
            node: NodeId(wire.node),
            name: text(wire.name, "name", NODE_NAME_BYTES_MAX)?,
            address: text(wire.address, "address", NODE_ADDRESS_BYTES_MAX)?,
            key_fingerprint: match wire.key_fingerprint.is_empty() {
                true => Vec::new(),
                false => hash(&wire.key_fingerprint, "key_fingerprint")?,
            },
            own: list(wire.own, "own", NODE_ADDRESSES_MAX)?,
            gateways: list(wire.gateways, "gateways", NODE_ADDRESSES_MAX)?,
            resolvers: list(wire.resolvers, "resolvers", NODE_ADDRESSES_MAX)?,
            jails: jails
                .map(|(n, jail)| decode_node_jail(jail).inside(&format!("jails[{n}]")))
                .collect::<Result<_, _>>()?,
            reaches: reaches
                .map(|(n, reach)| decode_node_reach(&reach).inside(&format!("reaches[{n}]")))
                .collect::<Result<_, _>>()?,
            level_max: wire.level_max,
            role: decode_node_role(wire.role, "role")?,
        })
    }
}
