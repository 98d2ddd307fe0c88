//! How the suite asks a firewall what it does.
//!
//! Not for what is asked (`cases.rs`).

use bannkreis_core::jail::{JailName, PortRange, Ports, Protocol};
use bannkreis_core::ruleset::{Chain, Element, FirewallDelta};
use bannkreis_core::time::{Timestamp, Until};
use bannkreis_firewall::Firewall;
use std::net::IpAddr;

/// A firewall under test, with a way to send packets through it.
pub(crate) trait Probe {
    /// It.
    fn firewall(&mut self) -> &mut dyn Firewall;

    /// Cluster time.
    fn now(&self) -> Timestamp;

    /// Whether a UDP packet from `source` arrives at `port`.
    fn udp_passes(&mut self, source: IpAddr, port: u16) -> bool;

    /// Whether a TCP connection from `source` to `port` comes about.
    fn tcp_passes(&mut self, source: IpAddr, port: u16) -> bool;

    /// How late it may be in letting go: a timeout of whole seconds is rounded up.
    fn late_ms(&self) -> u64 {
        0
    }

    /// How long something lasts that is to be over soon: `ms`, or more where everything is slow.
    fn soon_ms(&self, ms: u64) -> u64 {
        ms
    }

    /// Returns when `ms` milliseconds have passed for sure.
    fn pass_time(&mut self, ms: u64);
}

/// UDP ports.
pub(crate) fn udp(ports: &[u16]) -> Ports {
    let range = |&port| PortRange { protocol: Protocol::UDP, first: port, last: port };
    Ports::from_ranges(ports.iter().map(range).collect())
}

/// UDP ports from one to another.
pub(crate) fn udp_range(first: u16, last: u16) -> Ports {
    Ports::from_ranges(vec![PortRange { protocol: Protocol::UDP, first, last }])
}

/// A chain.
pub(crate) fn chain(jail: &str, ports: Ports) -> Chain {
    Chain { jail: JailName::new(jail).unwrap(), ports }
}

/// Blocks `subnet` until `until`, and says that it was not blocked before whether it was or not: a backend does not
/// take anybody's word for it.
pub(crate) fn block(subnet: &str, chain: &Chain, until: Until) -> FirewallDelta {
    let element = Element { chain: chain.clone(), until };
    FirewallDelta::Block { subnet: subnet.parse().unwrap(), element, is_new: true }
}

/// Releases `subnet`.
pub(crate) fn release(subnet: &str) -> FirewallDelta {
    FirewallDelta::Release { subnet: subnet.parse().unwrap() }
}

/// Protects `subnet`.
pub(crate) fn protect(subnet: &str) -> FirewallDelta {
    FirewallDelta::Protect { subnet: subnet.parse().unwrap() }
}

/// No longer protects `subnet`.
pub(crate) fn unprotect(subnet: &str) -> FirewallDelta {
    FirewallDelta::Unprotect { subnet: subnet.parse().unwrap() }
}

/// An address.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
