//! Packets: what the firewall costs one that passes and one that is dropped, by backend and number of bans, beside no rules
//! at all and the row of rules that fail2ban makes.
//!
//! A thread sends UDP over a pair of virtual cards; the receiving host's whole way is part of that call. Hosts take turns,
//! so that a machine that becomes slower does so for all.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use bannkreis_core::jail::Ports;
use bannkreis_core::ruleset::Ruleset;
use bannkreis_core::subnet::Subnet;
use bannkreis_firewall::Firewall;
use bannkreis_tests::failed::{Context, Failed, Result};
use bannkreis_tests::lab::netns::Netns;

use crate::bans::{feed, kernel_bytes};
use crate::{BACKENDS, NOW, cpu, element, offender, ruleset, say};

/// Rounds, of which the middle one counts.
const ROUNDS: usize = 9;
/// Packets of one kind in a round; fewer where each walks through a row of rules.
const PACKETS: u32 = 40_000;
const PACKETS_IN_ROW: u32 = 1_000;
/// Sources that send again and again.
const SOURCES: u32 = 100;
/// Bans in the row of rules.
const ROW: u32 = 10_000;
/// Bans, and how many prefix lengths they are of.
const CASES: [(u32, u8); 4] = [(0, 1), (10_000, 1), (10_000, 4), (1_000_000, 1)];
const PORT: u16 = 22_000;
/// What a ban closes besides, where each port is an element.
const PORTS: [u16; 6] = [22, 25, 443, 465, 587, 993];

/// Hosts without any rules, so many before each backend's: how far they are apart tells what a difference is worth.
const BARE_HOSTS: u32 = 2;
const NO_RULES: &str = "no rules";

/// A host where a packet costs what sending and dropping it costs, and nothing is looked up.
const DROPS_ALL: &str = "everything is dropped";

/// A host with a firewall, and whoever sends to it.
struct Host {
    what: String,
    /// Kept, so that the firewall stays as it is.
    _firewall: Option<Box<dyn Firewall>>,
    _sink: UdpSocket,
    good: Vec<UdpSocket>,
    banned: Vec<UdpSocket>,
    n_packets: u32,
    /// Nanoseconds, by round: of packets that pass, and of packets that are dropped.
    spent: (Vec<u64>, Vec<u64>),
    _namespaces: [Netns; 2],
}

impl Host {
    fn new(
        what: &str,
        n_packets: u32,
        arm: impl FnOnce(&Netns) -> Result<Option<Box<dyn Firewall>>>,
    ) -> Result<Host> {
        let (here, there) = (Netns::create()?, Netns::create()?);
        here.ip(&format!(
            "link set lo up\nlink add bench-host type veth peer name bench-peer netns {}\naddr add 192.0.2.1/30 dev bench-host\nlink set bench-host up",
            there.path().display()
        ))?;
        there.ip(
            "link set lo up\naddr add 192.0.2.2/30 dev bench-peer\nlink set bench-peer up\nroute add local 10.0.0.0/7 dev lo\n\
             route add local 12.0.0.0/6 dev lo\nroute add local 198.18.0.0/15 dev lo",
        )?;
        here.ip("route add default via 192.0.2.2")?;
        let sink = here.run(|| {
            UdpSocket::bind((Ipv4Addr::new(192, 0, 2, 1), PORT)).context(|| "cannot listen".to_owned())
        })?;
        let firewall = arm(&here)?;
        let good = (0..SOURCES).map(|n| IpAddr::from([198, 18, 1, u8::try_from(n).unwrap_or(0)]));
        let banned = (0..SOURCES).map(|n| offender(n * 7).address());
        Ok(Host {
            what: what.to_owned(),
            _firewall: firewall,
            _sink: sink,
            good: there.run(|| senders(good))?,
            banned: there.run(|| senders(banned))?,
            n_packets,
            spent: (Vec::new(), Vec::new()),
            _namespaces: [here, there],
        })
    }

    fn round(&mut self) {
        self.spent.0.push(send(&self.good, self.n_packets));
        self.spent.1.push(send(&self.banned, self.n_packets));
    }

    fn medians(&mut self) -> (u64, u64) {
        let middle = |spent: &mut Vec<u64>| {
            spent.sort_unstable();
            spent[spent.len() / 2]
        };
        (middle(&mut self.spent.0), middle(&mut self.spent.1))
    }
}

fn senders(sources: impl Iterator<Item = IpAddr>) -> Result<Vec<UdpSocket>> {
    let open = |source: IpAddr| {
        let socket = UdpSocket::bind((source, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), PORT))?;
        Ok(socket)
    };
    let opened: std::io::Result<Vec<UdpSocket>> = sources.map(open).collect();
    opened.context(|| "cannot send from there".to_owned())
}

/// Nanoseconds of CPU for each packet, the whole way included.
fn send(senders: &[UdpSocket], n_packets: u32) -> u64 {
    let before = cpu();
    for n in 0..n_packets {
        // One that is refused costs as much.
        let _ = senders[n as usize % senders.len()].send(&[0; 32]);
    }
    let spent: Duration = cpu().saturating_sub(before);
    u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX) / u64::from(n_packets)
}

pub(crate) fn measure() -> Result<()> {
    let mut hosts = Vec::new();
    for (name, open) in BACKENDS {
        for _ in 0..BARE_HOSTS {
            hosts.push(Host::new(NO_RULES, PACKETS, |_| Ok(None))?);
        }
        for (n, n_lengths) in CASES {
            let what = format!("{name}, {n} bans of {n_lengths} prefix lengths");
            hosts.push(Host::new(&what, PACKETS, |here| {
                here.run(|| {
                    let mut firewall = open()?;
                    let failed = |error: bannkreis_firewall::FirewallError| Failed(error.to_string());
                    firewall.replace(NOW, &whole_host(n, n_lengths)).map_err(failed)?;
                    Ok(Some(firewall))
                })
            })?);
        }
    }
    let per_port = format!("an element for each port, {ROW} bans of {} ports", 1 + PORTS.len());
    hosts.push(Host::new(&per_port, PACKETS, |here| by_port(here).map(|()| None))?);
    hosts.push(Host::new(DROPS_ALL, PACKETS, |here| {
        let rule =
            "table inet b {\n chain b { type filter hook prerouting priority -300; policy drop\n }\n}\n";
        feed(here, &["nft", "-f", "-"], rule).map(|()| None)
    })?);
    hosts.push(Host::new(&format!("fail2ban's row of {ROW} rules"), PACKETS_IN_ROW, |here| {
        let rules: String = (0..ROW).map(|n| format!("-A f2b-sshd -s {} -j DROP\n", offender(n))).collect();
        feed(
            here,
            &["iptables-legacy-restore"],
            &format!("*filter\n:f2b-sshd - [0:0]\n-A INPUT -j f2b-sshd\n{rules}COMMIT\n"),
        )?;
        Ok(None)
    })?);
    for _ in 0..ROUNDS {
        hosts.iter_mut().for_each(Host::round);
    }
    let medians: Vec<(String, u64, u64)> = hosts
        .iter_mut()
        .map(|host| {
            let (good, banned) = host.medians();
            (host.what.clone(), good, banned)
        })
        .collect();
    let mut without: Vec<u64> =
        medians.iter().filter(|(what, ..)| what == NO_RULES).map(|(_, good, _)| *good).collect();
    without.sort_unstable();
    let base = without[without.len() / 2];
    let bare = medians.iter().find(|(what, ..)| what == DROPS_ALL).map_or(0, |(.., banned)| *banned);
    say(&format!(
        "packets, with nothing in their way {base} ns each ({} to {} on {} hosts that are alike), and dropped without a look \
         {bare} ns each:",
        without[0],
        without[without.len() - 1],
        without.len()
    ));
    // Hosts that are alike differ, so a difference may well be below nothing.
    let more = |spent: u64, than: u64| spent.cast_signed() - than.cast_signed();
    for (what, good, banned) in
        medians.iter().filter(|(what, ..)| ![NO_RULES, DROPS_ALL].contains(&what.as_str()))
    {
        say(&format!(
            "  {what}: one that passes costs {} ns more than that, one that is dropped {} ns more than this",
            more(*good, base),
            more(*banned, bare)
        ));
    }
    let extra = |what: &str| {
        medians.iter().find(|(name, ..)| name.starts_with(what)).map_or(0, |(_, good, _)| more(*good, base))
    };
    let (row, ours) = (extra("fail2ban"), extra("nftables, 10000"));
    let less =
        if ours > 0 { format!("{} x less", row / ours) } else { "nothing that can be seen".to_owned() };
    say(&format!("  at {ROW} bans a packet that passes pays {less}, beside a row of rules (aim 150 x)"));
    Ok(())
}

/// What a ban is in a set of addresses with protocols and ports: an element for each of its ports.
fn by_port(here: &Netns) -> Result<()> {
    let ports: Vec<String> = PORTS.iter().map(|port| format!("tcp . {port}")).collect();
    let of = |n| {
        ports
            .iter()
            .chain([&format!("udp . {PORT}")])
            .map(|port| format!("{} . {port},\n", offender(n)))
            .collect()
    };
    let elements: String = (0..ROW).map(of).collect::<Vec<String>>().concat();
    let before = kernel_bytes()?;
    feed(
        here,
        &["nft", "-f", "-"],
        &format!(
            "table inet b {{\n set b {{ type ipv4_addr . inet_proto . inet_service; flags timeout; size 4000000; timeout 1d;\n \
             elements = {{ {elements} }}\n }}\n chain b {{ type filter hook prerouting priority -300;\n \
             ip saddr . meta l4proto . th dport @b counter drop\n }}\n}}\n"
        ),
    )?;
    let grown = kernel_bytes()?.saturating_sub(before) / u64::from(ROW);
    say(&format!("an element for each of {} ports: {grown} bytes of the kernel for a ban", 1 + PORTS.len()));
    Ok(())
}

/// As a ban of the whole host: what is sent here is UDP.
fn whole_host(n: u32, n_lengths: u8) -> Ruleset {
    let mut wanted = ruleset(n);
    let networks =
        (1..n_lengths).map(|n| Subnet::new([100, 64, n, 0].into(), 24 - n)).map(|subnet| (subnet, element()));
    wanted.elements.extend(networks.filter_map(|(subnet, element)| Some((subnet?, element))));
    for element in wanted.elements.values_mut() {
        element.chain.ports = Ports::whole_host();
    }
    wanted
}
