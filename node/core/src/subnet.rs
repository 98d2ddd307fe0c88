//! The addresses a ban is about: one canonical type for a host, a prefix, IPv4 and IPv6.
//!
//! Not for names: whoever has a name resolves it first. An IPv4-mapped IPv6 address is the IPv4
//! address (RFC 4291 section 2.5.5.2), and host bits below the prefix are always zero, so equal
//! subnets are equal values.

use alloc::string::{String, ToString};
use core::cmp::Ordering;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Behind so many bits a translated address holds the IPv4 one.
pub(crate) const NAT64_PREFIX_LEN: u8 = 96;

/// A set of addresses with a common prefix, in canonical form.
///
/// They stand in the order of their addresses, IPv4 first, and the wider of two that begin alike first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet(IpNet);

impl Ord for Subnet {
    // In every search of every map of subnets: two comparisons of numbers.
    fn cmp(&self, other: &Subnet) -> Ordering {
        match (&self.0, &other.0) {
            (IpNet::V4(a), IpNet::V4(b)) => {
                (a.addr().to_bits(), a.prefix_len()).cmp(&(b.addr().to_bits(), b.prefix_len()))
            }
            (IpNet::V6(a), IpNet::V6(b)) => {
                (a.addr().to_bits(), a.prefix_len()).cmp(&(b.addr().to_bits(), b.prefix_len()))
            }
            (IpNet::V4(_), IpNet::V6(_)) => Ordering::Less,
            (IpNet::V6(_), IpNet::V4(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Subnet {
    fn partial_cmp(&self, other: &Subnet) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Subnet {
    /// One address: a /32 or a /128.
    #[must_use]
    pub fn host(address: IpAddr) -> Subnet {
        Subnet(IpNet::from(address.to_canonical()))
    }

    /// `address/prefix_len`, masked. `None` when the prefix is longer than the address.
    ///
    /// A prefix of an IPv4-mapped address is reduced by 96, when it reaches that far.
    #[must_use]
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Subnet> {
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
            && (96..=128).contains(&prefix_len)
        {
            return Ipv4Net::new(v4, prefix_len - 96).ok().map(|net| Subnet(IpNet::V4(net.trunc())));
        }
        IpNet::new(address, prefix_len).ok().map(|net| Subnet(net.trunc()))
    }

    /// Every IPv4 address.
    #[must_use]
    pub fn all_v4() -> Subnet {
        Subnet(IpNet::V4(Ipv4Net::default()))
    }

    /// Every IPv6 address.
    #[must_use]
    pub fn all_v6() -> Subnet {
        Subnet(IpNet::V6(Ipv6Net::default()))
    }

    /// The first address, with the host bits zero.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0.network()
    }

    /// How many leading bits are common.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }

    /// 32 or 128.
    #[must_use]
    pub fn max_prefix_len(self) -> u8 {
        self.0.max_prefix_len()
    }

    /// Whether this is one single address.
    #[must_use]
    pub fn is_host(self) -> bool {
        self.prefix_len() == self.max_prefix_len()
    }

    /// Whether this is IPv4.
    #[must_use]
    pub fn is_v4(self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether every address of `other` is in this subnet; a subnet contains itself.
    #[must_use]
    pub fn contains(self, other: Subnet) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether the two have an address in common: one of them contains the other.
    #[must_use]
    pub fn intersects(self, other: Subnet) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// The subnet of the first `prefix_len` bits that holds this one; itself when it is that wide
    /// already.
    #[must_use]
    pub fn widened_to(self, prefix_len: u8) -> Subnet {
        if prefix_len >= self.prefix_len() {
            return self;
        }
        match self.0 {
            IpNet::V4(net) => Ipv4Net::new(net.addr(), prefix_len).map(|n| Subnet(IpNet::V4(n.trunc()))),
            IpNet::V6(net) => Ipv6Net::new(net.addr(), prefix_len).map(|n| Subnet(IpNet::V6(n.trunc()))),
        }
        .unwrap_or(self)
    }

    /// The IPv4 subnet that these IPv6 addresses stand for, when they are what a NAT64 translator makes of it: the
    /// well-known prefix 64:ff9b::/96 (RFC 6052 section 2.1) with an IPv4 address behind it.
    #[must_use]
    pub fn translated_v4(self) -> Option<Subnet> {
        let IpAddr::V6(v6) = self.address() else { return None };
        let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = v6.segments() else { return None };
        let v4 = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
        self.prefix_len().checked_sub(NAT64_PREFIX_LEN).and_then(|len| Subnet::new(IpAddr::V4(v4), len))
    }

    /// The address bytes in network order: 4 or 16 of them.
    #[must_use]
    pub fn octets(self) -> Octets {
        match self.address() {
            IpAddr::V4(v4) => {
                Octets { bytes: Ipv6Addr::from(u128::from(u32::from(v4)) << 96).octets(), len: 4 }
            }
            IpAddr::V6(v6) => Octets { bytes: v6.octets(), len: 16 },
        }
    }

    /// The one for `text`, or a sentence that says what is wrong with it.
    fn parse(text: &str) -> Result<Subnet, SubnetError> {
        let bad = |why| SubnetError { text: text.to_string(), why };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad("not an IPv4 or IPv6 address"))?;
        match prefix {
            None => Ok(Subnet::host(address)),
            Some(digits) => {
                let len = digits.parse::<u8>().map_err(|_| bad("the part after / is not a prefix length"))?;
                Subnet::new(address, len).ok_or_else(|| bad("the prefix is longer than the address"))
            }
        }
    }
}

/// The bytes of a subnet's first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Octets {
    bytes: [u8; 16],
    len: u8,
}

impl core::ops::Deref for Octets {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { self.address().fmt(f) } else { self.0.fmt(f) }
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<IpAddr> for Subnet {
    fn from(address: IpAddr) -> Subnet {
        Subnet::host(address)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;
    fn from_str(text: &str) -> Result<Subnet, SubnetError> {
        Subnet::parse(text)
    }
}

/// A text that is not an address or a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetError {
    text: String,
    why: &'static str,
}

impl fmt::Display for SubnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no address or prefix: {} (expected e.g. 192.0.2.7, 192.0.2.0/24, 2001:db8::/64)",
            self.text.escape_debug(),
            self.why
        )
    }
}

impl core::error::Error for SubnetError {}
