//! The network of the lab: a bridge, one wire to each host, one to the attacker, and who has which
//! address.
//!
//! The attacker stands where the internet would: it is every host's default route, and whole ranges
//! of addresses are its own.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::failed::{Context, Result};
use crate::lab::netns::Netns;

/// Everything the attacker may send from: documentation and benchmark ranges (RFC 5737, RFC 3849,
/// RFC 2544) and the private ranges that stand in the articles the configurations come from.
const ATTACKER_RANGES: [&str; 9] = [
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "198.18.0.0/15",
    "10.10.0.0/16",
    "10.32.0.0/16",
    "172.16.0.0/12",
    "100.64.0.0/16",
    "2001:db8:bad::/48",
];

const ATTACKER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 99);
const ATTACKER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x99);

/// A namespace on the wire, and its addresses.
pub struct Wire {
    /// Where it ends.
    pub netns: Netns,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Wire {
    /// Both addresses.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// All of it, ready to carry packets.
pub struct Wires {
    /// Holds the bridge.
    pub switch: Netns,
    /// One for each host: 10.77.0.11 and fd77::11 first.
    pub hosts: Vec<Wire>,
    /// The attacker's.
    pub attacker: Wire,
}

impl Wires {
    /// Makes the namespaces and connects them.
    ///
    /// # Errors
    /// When the kernel or ip(8) refuses.
    pub fn lay(n_hosts: usize) -> Result<Wires> {
        let switch = Netns::create()?;
        switch.ip(
            "link set lo up\nlink add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n",
        )?;
        let hosts = (11..)
            .take(n_hosts)
            .map(|number| {
                let v4 = Ipv4Addr::new(10, 77, 0, number);
                // Written alike: host 11 is 10.77.0.11 and fd77::11.
                let last = u16::from(number) + u16::from(number / 10) * 6;
                let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last);
                let wire = connect(&switch, &format!("host{number}"), v4, v6)?;
                wire.netns.ip(&format!(
                    "route add default via {ATTACKER_V4}\nroute add default via {ATTACKER_V6}\n"
                ))?;
                Ok(wire)
            })
            .collect::<Result<Vec<Wire>>>()?;
        let attacker = connect(&switch, "attacker", ATTACKER_V4, ATTACKER_V6)?;
        let mut ranges = String::new();
        for range in ATTACKER_RANGES {
            // Writing to a String never fails. A local route makes a whole range the host's own.
            let _ = writeln!(ranges, "route add local {range} dev lo");
        }
        attacker.netns.ip(&ranges)?;
        // IPv4 lets a socket have an address of such a route, IPv6 only with this.
        attacker.netns.run(|| {
            fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")
                .context(|| "cannot set ip_nonlocal_bind (does this kernel have IPv6?)".to_owned())
        })?;
        Ok(Wires { switch, hosts, attacker })
    }
}

/// A fresh namespace with `eth0` on the bridge.
fn connect(switch: &Netns, port: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Wire> {
    let netns = Netns::create()?;
    // Duplicate address detection would keep the addresses unusable for a second.
    netns.run(|| {
        for name in ["accept_dad", "dad_transmits"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/default/{name}"), "0")
                .context(|| format!("cannot set {name} (does this kernel have IPv6?)"))?;
        }
        Ok(())
    })?;
    switch.ip(&format!(
        "link add {port} type veth peer name eth0 netns {}\nlink set {port} master br0 up\n",
        netns.path().display()
    ))?;
    netns.ip(&format!(
        "link set lo up\nlink set eth0 up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n"
    ))?;
    Ok(Wire { netns, v4, v6 })
}
