//! Facts about this host that the cluster must know so as never to ban it: its own addresses, its
//! routers, its name servers; and which boot of it this is.
//!
//! Read when asked; nothing here watches for changes (`housekeeping` asks again and again). A file that is missing or
//! strange yields no addresses, never an error: a container has no routes, and that is fine.

use bannkreis_core::node_record::NODE_ADDRESSES_MAX;
use bannkreis_core::subnet::Subnet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// What this host says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// gethostname(2), or `localhost` when it has none.
    pub hostname: String,
    /// /proc/sys/kernel/random/boot_id: another one after every boot.
    pub boot_id: String,
    /// Addresses of its interfaces without loopback and link-local ones, which are never bannable
    /// anyway. Sorted; at most [`NODE_ADDRESSES_MAX`].
    pub own: Vec<Subnet>,
    /// Its default gateways. Sorted; at most [`NODE_ADDRESSES_MAX`].
    pub gateways: Vec<Subnet>,
    /// The name servers of /etc/resolv.conf. Sorted; at most [`NODE_ADDRESSES_MAX`].
    pub resolvers: Vec<Subnet>,
}

impl HostFacts {
    /// Asks the kernel and reads the files.
    #[must_use]
    pub fn read() -> HostFacts {
        let nothing = HostFacts {
            hostname: hostname(),
            boot_id: text("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            ..HostFacts::default()
        };
        nothing.read_again()
    }

    /// The same host a while later. Of the addresses, what can not be read now stays what it was.
    #[must_use]
    pub fn read_again(&self) -> HostFacts {
        let own = interface_addresses().map_or_else(
            |error| {
                tracing::warn!(
                    "this host's own addresses can not be found out, so only those known before are protected: {error}"
                );
                self.own.clone()
            },
            |own| worth_protecting(own, &self.own),
        );
        let gateways = match (text("/proc/net/route"), text("/proc/net/ipv6_route")) {
            (None, None) => self.gateways.clone(),
            (v4, v6) => {
                let v4 = gateways_v4(&v4.unwrap_or_default());
                let both = v4.into_iter().chain(gateways_v6(&v6.unwrap_or_default()));
                worth_protecting(both, &self.gateways)
            }
        };
        // Whoever writes it anew may have taken it away for a moment.
        let resolvers = text("/etc/resolv.conf").map_or_else(
            || self.resolvers.clone(),
            |text| worth_protecting(resolvers(&text), &self.resolvers),
        );
        HostFacts { own, gateways, resolvers, ..self.clone() }
    }

    /// All that must never be blocked: own addresses, routers, name servers.
    #[must_use]
    pub fn protected(&self) -> Vec<Subnet> {
        [&self.own[..], &self.gateways, &self.resolvers].concat()
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Milliseconds of CLOCK_BOOTTIME (clock_gettime(2)): monotonic, and counts suspend.
#[must_use]
pub fn boottime_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec; the clock exists since Linux 2.6.39.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_BOOTTIME can be read on every Linux that this runs on");
    time.tv_sec.unsigned_abs() * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000
}

fn hostname() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the pointer and the length are those of a live array; one byte is kept for the end.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let name = if result == 0 { CStr::from_bytes_until_nul(&name).unwrap_or_default() } else { c"" };
    let name = name.to_string_lossy().trim().to_owned();
    if name.is_empty() { "localhost".into() } else { name }
}

fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list = MaybeUninit::<*mut libc::ifaddrs>::uninit();
    // SAFETY: getifaddrs(3) stores a list through the pointer when it succeeds.
    if unsafe { libc::getifaddrs(list.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it succeeded, so the pointer is initialised; it may be null, for an empty list.
    let list = unsafe { list.assume_init() };
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: a non-null element of the list is valid until freeifaddrs below.
        let entry = unsafe { ptr::read(next) };
        // SAFETY: `ifa_addr` is null or points to a socket address that lives as long as the list.
        addresses.extend(unsafe { address_of(entry.ifa_addr) });
        next = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

/// # Safety
/// `address` is null or points to a socket address whose family field tells its type.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, so by the caller's promise a socket address.
    let family = i32::from(unsafe { (*address).sa_family });
    match family {
        libc::AF_INET => {
            // SAFETY: an AF_INET address is a sockaddr_in (ip(7)).
            let address = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in>()) };
            Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: an AF_INET6 address is a sockaddr_in6 (ipv6(7)).
            let address = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in6>()) };
            Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Sorted, each once, bounded; `known`: what was found before, so that the bound is said once.
fn worth_protecting(addresses: impl IntoIterator<Item = IpAddr>, known: &[Subnet]) -> Vec<Subnet> {
    let is_local = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()
        }
    };
    let mut subnets: Vec<Subnet> =
        addresses.into_iter().filter(|address| !is_local(address)).map(Subnet::host).collect();
    subnets.sort_unstable();
    subnets.dedup();
    let n_found = subnets.len();
    subnets.truncate(NODE_ADDRESSES_MAX);
    if n_found > NODE_ADDRESSES_MAX && subnets != known {
        tracing::warn!(
            "this host has {n_found} addresses of one kind, of which {NODE_ADDRESSES_MAX} are protected in the whole \
             cluster; put the others on the allow list"
        );
    }
    subnets
}

/// Gateways of default routes in /proc/net/route (proc_pid_net(5)): hexadecimal, in the host's byte
/// order.
fn gateways_v4(routes: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (columns.next()?, columns.next()?);
        let mask = columns.nth(4)?;
        if (destination, mask) != ("00000000", "00000000") {
            return None;
        }
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        Some(IpAddr::from(gateway.to_ne_bytes()))
    };
    routes.lines().filter_map(gateway).collect()
}

/// Next hops of default routes in /proc/net/ipv6_route: 32 hexadecimal digits, in the order in which
/// they are spoken.
fn gateways_v6(routes: &str) -> Vec<IpAddr> {
    let next_hop = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (destination, prefix_len, next_hop) = (columns.first()?, columns.get(1)?, columns.get(4)?);
        if destination.bytes().any(|byte| byte != b'0') || *prefix_len != "00" || next_hop.len() != 32 {
            return None;
        }
        Some(IpAddr::from(u128::from_str_radix(next_hop, 16).ok()?.to_be_bytes()))
    };
    routes.lines().filter_map(next_hop).collect()
}

/// Name servers of a resolv.conf(5). A zone behind an IPv6 address (`%eth0`) is left out.
fn resolvers(resolv_conf: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let address = line.trim_start().strip_prefix("nameserver")?;
        let address = address.strip_prefix([' ', '\t'])?.split_ascii_whitespace().next()?;
        address.split('%').next()?.parse().ok()
    };
    resolv_conf.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addresses: Vec<IpAddr>) -> Vec<String> {
        worth_protecting(addresses, &[]).iter().map(ToString::to_string).collect()
    }

    fn subnet(address: &str) -> String {
        Subnet::host(address.parse().expect("an address")).to_string()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn default_gateways_are_found_among_the_routes() {
        let routes = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
nonsense
";
        assert_eq!(shown(gateways_v4(routes)), [subnet("192.168.1.1")]);
    }

    #[test]
    fn default_next_hops_of_ipv6_are_found_and_link_local_ones_left_out() {
        let zeros = "0".repeat(32);
        let routes = format!(
            "{zeros} 00 {zeros} 00 20010db8000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
             {zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
             20010db8000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001     eth0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\nnonsense\n"
        );
        assert_eq!(shown(gateways_v6(&routes)), [subnet("2001:db8::1")]);
    }

    #[test]
    fn name_servers_are_read_as_the_resolver_reads_them() {
        let text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 192.0.2.53\n  nameserver\t2001:db8::53 # x\n\
                    nameserver fe80::1%eth0\nnameserver 127.0.0.53\nnameservers 8.8.8.8\nnameserver here\n";
        assert_eq!(shown(resolvers(text)), [subnet("192.0.2.53"), subnet("2001:db8::53")]);
    }

    #[test]
    fn a_host_that_is_looked_at_again_is_the_same_and_has_forgotten_what_is_gone() {
        let gone = subnet("198.51.100.7").parse().expect("an address");
        let before = HostFacts { own: vec![gone], hostname: "kopano".into(), ..HostFacts::default() };
        let after = before.read_again();
        assert_eq!(after.hostname, "kopano");
        assert!(!after.own.contains(&gone) && after.own == HostFacts::read().own);
        assert_eq!(after.read_again(), after);
    }

    #[test]
    fn this_host_has_a_name_a_boot_and_a_clock() {
        let facts = HostFacts::read();
        assert!(!facts.hostname.is_empty() && !facts.boot_id.contains('\n'));
        assert!(!facts.own.contains(&Subnet::host(Ipv4Addr::LOCALHOST.into())));
        let before = boottime_ms();
        assert!(before > 0 && boottime_ms() >= before);
    }
}
