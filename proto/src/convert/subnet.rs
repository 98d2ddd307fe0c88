//! Subnets: only canonical ones are read, so that equal subnets are equal bytes.

use super::decode_error::DecodeError;
use crate::v1;
use bannkreis_core::subnet::Subnet;
use bytes::Bytes;
use std::net::IpAddr;

impl From<Subnet> for v1::Subnet {
    fn from(subnet: Subnet) -> v1::Subnet {
        v1::Subnet {
            address: Bytes::copy_from_slice(&subnet.octets()),
            prefix_len: u32::from(subnet.prefix_len()),
        }
    }
}

impl TryFrom<v1::Subnet> for Subnet {
    type Error = DecodeError;
    fn try_from(wire: v1::Subnet) -> Result<Subnet, DecodeError> {
        let address = match (<[u8; 4]>::try_from(&wire.address[..]), <[u8; 16]>::try_from(&wire.address[..]))
        {
            (Ok(v4), _) => IpAddr::from(v4),
            (_, Ok(v6)) => IpAddr::from(v6),
            _ => {
                let what = format!("has {} bytes: it takes 4 or 16", wire.address.len());
                return Err(DecodeError::field("address", what));
            }
        };
        let subnet = u8::try_from(wire.prefix_len).ok().and_then(|len| Subnet::new(address, len));
        let subnet = subnet.ok_or_else(|| {
            let what = format!("is {}: longer than the address {address}", wire.prefix_len);
            DecodeError::field("prefix_len", what)
        })?;
        if subnet.octets()[..] != wire.address[..] {
            let what = format!("is {address}/{} instead of its canonical form {subnet}", wire.prefix_len);
            return Err(DecodeError::field("", what));
        }
        Ok(subnet)
    }
}
