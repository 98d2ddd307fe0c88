//! What the cluster knows of jails: names, ports, how long they ban.

use super::bounds::ALL_PORT_RANGES_MAX;
use super::decode_error::DecodeError;
use super::fields::{at_most, list, number, optional, required};
use crate::v1;
use bannkreis_core::jail::{BanPolicy, GROWTH_STEPS_MAX, Growth, JailName, PortRange, Ports, Protocol};

/// The jail that the text of the field `field` names.
///
/// # Errors
/// When it is none: empty, too long, or with a space or a control character in it.
pub fn decode_jail_name(wire: &str, field: &str) -> Result<JailName, DecodeError> {
    JailName::new(wire).map_err(|error| DecodeError::field(field, format!("is no jail: {error}")))
}

/// The jail of a field whose absence means all jails.
pub(crate) fn optional_jail_name(wire: Option<String>, field: &str) -> Result<Option<JailName>, DecodeError> {
    wire.map(|name| decode_jail_name(&name, field)).transpose()
}

/// The text of an optional jail name.
pub(crate) fn encode_optional_jail_name(jail: Option<&JailName>) -> Option<String> {
    jail.map(|jail| jail.as_str().to_string())
}

impl From<PortRange> for v1::PortRange {
    fn from(range: PortRange) -> v1::PortRange {
        v1::PortRange {
            protocol: u32::from(range.protocol.0),
            first: u32::from(range.first),
            last: u32::from(range.last),
        }
    }
}

impl TryFrom<v1::PortRange> for PortRange {
    type Error = DecodeError;
    fn try_from(wire: v1::PortRange) -> Result<PortRange, DecodeError> {
        Ok(PortRange {
            protocol: Protocol(number(wire.protocol, "protocol", u8::MAX)?),
            first: number(wire.first, "first", u16::MAX)?,
            last: number(wire.last, "last", u16::MAX)?,
        })
    }
}

impl From<&Ports> for v1::Ports {
    fn from(ports: &Ports) -> v1::Ports {
        let closed = match ports.ranges() {
            None => v1::ports::Closed::WholeHost(v1::ports::WholeHost {}),
            Some(ranges) => v1::ports::Closed::Ranges(v1::ports::Ranges {
                ranges: ranges.iter().copied().map(v1::PortRange::from).collect(),
            }),
        };
        v1::Ports { closed: Some(closed) }
    }
}

impl TryFrom<v1::Ports> for Ports {
    type Error = DecodeError;
    fn try_from(wire: v1::Ports) -> Result<Ports, DecodeError> {
        let wire_ranges = match wire.closed.ok_or_else(|| DecodeError::missing("closed"))? {
            v1::ports::Closed::WholeHost(v1::ports::WholeHost {}) => return Ok(Ports::whole_host()),
            v1::ports::Closed::Ranges(wire) => wire.ranges,
        };
        let ranges: Vec<PortRange> = list(wire_ranges, "ranges", ALL_PORT_RANGES_MAX)?;
        let ports = Ports::from_ranges(ranges.clone());
        if ports.ranges() != Some(&ranges[..]) {
            let what = format!("are not sorted and merged: in canonical form they are {ports}");
            return Err(DecodeError::field("ranges", what));
        }
        Ok(ports)
    }
}

impl From<&Growth> for v1::Growth {
    fn from(growth: &Growth) -> v1::Growth {
        v1::Growth {
            table_ms: growth.table_ms.clone(),
            max_ms: growth.max_ms,
            rnd_ms: growth.rnd_ms,
            overall_jails: growth.overall_jails,
        }
    }
}

impl TryFrom<v1::Growth> for Growth {
    type Error = DecodeError;
    fn try_from(wire: v1::Growth) -> Result<Growth, DecodeError> {
        at_most(wire.table_ms.len(), "table_ms", GROWTH_STEPS_MAX)?;
        Ok(Growth {
            table_ms: wire.table_ms,
            max_ms: wire.max_ms,
            rnd_ms: wire.rnd_ms,
            overall_jails: wire.overall_jails,
        })
    }
}

impl From<&BanPolicy> for v1::BanPolicy {
    fn from(policy: &BanPolicy) -> v1::BanPolicy {
        v1::BanPolicy {
            ban_time: Some(policy.ban_time.into()),
            growth: policy.growth.as_ref().map(v1::Growth::from),
        }
    }
}

impl TryFrom<v1::BanPolicy> for BanPolicy {
    type Error = DecodeError;
    fn try_from(wire: v1::BanPolicy) -> Result<BanPolicy, DecodeError> {
        Ok(BanPolicy {
            ban_time: required(wire.ban_time, "ban_time")?,
            growth: optional(wire.growth, "growth")?,
        })
    }
}
