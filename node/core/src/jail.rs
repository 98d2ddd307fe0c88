//! Jails as the cluster knows them: a name, ports, and how long it bans.
//!
//! What a jail reads and recognises (logs, filters, regular expressions) is the business of
//! `bannkreis-filter`; this file has only what crosses the network and what both pure machines
//! need.

use crate::time::BanTime;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// The longest jail name in bytes.
pub const JAIL_NAME_BYTES_MAX: usize = 64;

/// A jail's name: 1 to 64 bytes, printable, no spaces, so that it can stand in tables, metric
/// labels and fail2ban's log format as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JailName(Arc<str>);

impl JailName {
    /// The jail of bans that an operator made without naming one.
    pub const OPERATOR: &'static str = "operator";

    /// Checks `name`.
    ///
    /// # Errors
    /// When it is empty, too long, or has a space or a control character in it.
    pub fn new(name: &str) -> Result<JailName, JailNameError> {
        let bad = |why| JailNameError { name: name.to_string(), why };
        if name.is_empty() {
            return Err(bad("it is empty"));
        }
        if name.len() > JAIL_NAME_BYTES_MAX {
            return Err(bad("it is longer than 64 bytes"));
        }
        if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad("it has a space or a control character in it"));
        }
        Ok(JailName(Arc::from(name)))
    }

    /// The jail of bans that an operator made without naming one.
    #[must_use]
    pub fn operator() -> JailName {
        JailName(Arc::from(Self::OPERATOR))
    }

    /// Sorts before every name, and is none: for range queries.
    pub(crate) fn lowest() -> JailName {
        JailName(Arc::from(""))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JailName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for JailName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that can not name a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailNameError {
    name: String,
    why: &'static str,
}

impl fmt::Display for JailNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` can not name a jail: {}", self.name.escape_debug(), self.why)
    }
}

impl core::error::Error for JailNameError {}

/// A transport protocol by its IP protocol number (IANA "Protocol Numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Transmission Control Protocol.
    pub const TCP: Protocol = Protocol(6);
    /// User Datagram Protocol.
    pub const UDP: Protocol = Protocol(17);
    /// Datagram Congestion Control Protocol.
    pub const DCCP: Protocol = Protocol(33);
    /// Stream Control Transmission Protocol.
    pub const SCTP: Protocol = Protocol(132);

    /// The protocol of this name, as iptables spells it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Protocol> {
        match name {
            "tcp" => Some(Protocol::TCP),
            "udp" => Some(Protocol::UDP),
            "dccp" => Some(Protocol::DCCP),
            "sctp" => Some(Protocol::SCTP),
            digits => digits.parse().ok().map(Protocol),
        }
    }

    /// Whether its packets carry port numbers.
    #[must_use]
    pub fn has_ports(self) -> bool {
        [Protocol::TCP, Protocol::UDP, Protocol::DCCP, Protocol::SCTP].contains(&self)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Protocol::TCP => f.write_str("tcp"),
            Protocol::UDP => f.write_str("udp"),
            Protocol::DCCP => f.write_str("dccp"),
            Protocol::SCTP => f.write_str("sctp"),
            Protocol(number) => number.fmt(f),
        }
    }
}

/// Neighbouring ports of one protocol, both ends included. `0..=65535` means the whole protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// Of this protocol.
    pub protocol: Protocol,
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

/// More ranges of one protocol than this become the whole protocol.
pub const PORT_RANGES_MAX: usize = 64;

/// What a ban closes: the whole host, or ports of protocols. Canonical: ranges are sorted, merged,
/// and at most [`PORT_RANGES_MAX`] per protocol, so equal sets are equal values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports(Option<Arc<[PortRange]>>);

impl Ports {
    /// Everything: all protocols, all ports.
    #[must_use]
    pub fn whole_host() -> Ports {
        Ports(None)
    }

    /// Nothing; the neutral element of [`Ports::union`].
    #[must_use]
    pub fn none() -> Ports {
        Ports(Some(Arc::from(Vec::new())))
    }

    /// These TCP ports.
    #[must_use]
    pub fn tcp(ports: &[u16]) -> Ports {
        Ports::from_ranges(
            ports
                .iter()
                .map(|&port| PortRange { protocol: Protocol::TCP, first: port, last: port })
                .collect(),
        )
    }

    /// These ranges, made canonical. A range whose ends are swapped is turned round.
    #[must_use]
    pub fn from_ranges(mut ranges: Vec<PortRange>) -> Ports {
        for range in &mut ranges {
            if range.first > range.last {
                core::mem::swap(&mut range.first, &mut range.last);
            }
        }
        ranges.sort_unstable();
        let mut merged: Vec<PortRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last)
                    if last.protocol == range.protocol && range.first <= last.last.saturating_add(1) =>
                {
                    last.last = last.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        let mut bounded: Vec<PortRange> = Vec::with_capacity(merged.len());
        for same_protocol in merged.chunk_by(|a, b| a.protocol == b.protocol) {
            if same_protocol.len() > PORT_RANGES_MAX {
                bounded.push(PortRange { protocol: same_protocol[0].protocol, first: 0, last: u16::MAX });
            } else {
                bounded.extend_from_slice(same_protocol);
            }
        }
        Ports(Some(Arc::from(bounded)))
    }

    /// Whether this closes everything.
    #[must_use]
    pub fn is_whole_host(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this closes nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.as_ref().is_some_and(|ranges| ranges.is_empty())
    }

    /// The ranges, or `None` for the whole host.
    #[must_use]
    pub fn ranges(&self) -> Option<&[PortRange]> {
        self.0.as_deref()
    }

    /// What either of the two closes.
    #[must_use]
    pub fn union(&self, other: &Ports) -> Ports {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => {
                if self.covers(other) {
                    return self.clone();
                }
                Ports::from_ranges(a.iter().chain(b.iter()).copied().collect())
            }
            _ => Ports::whole_host(),
        }
    }

    /// Whether everything that `other` closes is closed by this too.
    #[must_use]
    pub fn covers(&self, other: &Ports) -> bool {
        match (&self.0, &other.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs.iter().all(|range| {
                mine.iter().any(|own| {
                    own.protocol == range.protocol && own.first <= range.first && range.last <= own.last
                })
            }),
        }
    }
}

impl fmt::Display for Ports {
    /// `all ports`, or e.g. `25,465,587/tcp 53/udp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ranges) = self.ranges() else { return f.write_str("all ports") };
        if ranges.is_empty() {
            return f.write_str("no ports");
        }
        for (n, same_protocol) in ranges.chunk_by(|a, b| a.protocol == b.protocol).enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            for (n, range) in same_protocol.iter().enumerate() {
                let comma = if n > 0 { "," } else { "" };
                match (range.first, range.last) {
                    (0, u16::MAX) => write!(f, "{comma}all")?,
                    (first, last) if first == last => write!(f, "{comma}{first}")?,
                    (first, last) => write!(f, "{comma}{first}-{last}")?,
                }
            }
            write!(f, "/{}", same_protocol[0].protocol)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The longest escalation table.
pub const GROWTH_STEPS_MAX: usize = 64;

/// How the ban time grows with repeated offences: fail2ban's `bantime.increment` family, worked
/// out by the origin to one table, so that replicated arithmetic needs no formulas and no floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Ban time in ms by the number of earlier bans, from 0 on; the last one repeats.
    pub table_ms: Vec<u64>,
    /// `bantime.maxtime` in ms.
    pub max_ms: Option<u64>,
    /// `bantime.rndtime` in ms. Not random here: a fixed hash of offender, jail and count, below
    /// this bound, so that every node adds the same.
    pub rnd_ms: u64,
    /// `bantime.overalljails`: earlier bans count in whatever jail they were.
    pub overall_jails: bool,
}

/// How long a jail bans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanPolicy {
    /// `bantime`.
    pub ban_time: BanTime,
    /// `bantime.increment`; `None` when it is off. A ban for ever does not grow.
    pub growth: Option<Growth>,
}

impl BanPolicy {
    /// Always the same time.
    #[must_use]
    pub fn fixed(ban_time: BanTime) -> BanPolicy {
        BanPolicy { ban_time, growth: None }
    }
}

/// Whether a jail's failures are told to peers and counted with theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Yes.
    #[default]
    Cluster,
    /// No; its bans are shared nevertheless.
    Local,
}

/// What the warden needs of one of this host's own jails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jail {
    /// Its name.
    pub name: JailName,
    /// `maxretry`: the failure with this number bans. 0 and 1 both mean the first.
    pub max_retry: u32,
    /// `findtime` in ms.
    pub find_time_ms: u64,
    /// How long it bans.
    pub policy: BanPolicy,
    /// What it closes on this host.
    pub ports: Ports,
    /// `maxmatches`: how many lines are kept as evidence. At least one is, whatever this says.
    pub max_matches: u32,
    /// Whether failures are counted with those of other hosts.
    pub scope: Scope,
    /// Whether its failures are the bans of all other jails, on whatever host: fail2ban's `recidive`.
    pub counts_bans: bool,
    /// What its bans close on other nodes; `None`: what the cluster's setting says.
    pub reach: Option<crate::reach::Reach>,
    /// `ignoreip` entries that are addresses or prefixes: not counted and not blocked here.
    pub ignore: Vec<crate::subnet::Subnet>,
}

/// What a jail that counts bans reads, for people.
pub const COUNTED_BANS: &str = "the bans of all other jails, on all hosts";

impl Jail {
    /// Whether what other hosts see counts in it.
    #[must_use]
    pub fn is_counted_with_peers(&self) -> bool {
        self.scope == Scope::Cluster || self.counts_bans
    }
}
