//! The suite: one function per promise of the contract.
//!
//! Addresses are of documentation ranges. Every case starts with an empty firewall and takes what
//! it needs of the contract only. No case blocks 192.0.2.0/30 or 2001:db8::/64, from where a probe sends
//! what must arrive. Not for how packets are made (`probe.rs`).

use crate::probe::{Probe, block, chain, ip, protect, release, udp, udp_range, unprotect};
use bannkreis_core::jail::Ports;
use bannkreis_core::ruleset::{Element, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{HOUR_MS, Until};
use bannkreis_firewall::{ELEMENTS_PER_TRANSACTION_MAX, PERMANENT_LEASE_MS};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// A promise and its name.
pub(crate) type Case = (&'static str, fn(&mut dyn Probe));

/// All of them.
pub(crate) const CASES: &[Case] = &[
    ("whole_host", whole_host),
    ("prefixes", prefixes),
    ("ports", ports),
    ("many_ranges", many_ranges),
    ("no_ports", no_ports),
    ("tcp", tcp),
    ("prefixes_overlap", prefixes_overlap),
    ("upserts", upserts),
    ("over_is_released", over_is_released),
    ("leases", leases),
    ("expiry", expiry),
    ("protection", protection),
    ("everything", everything),
    ("last_word_counts", last_word_counts),
    ("idempotence", idempotence),
    ("replacing", replacing),
    ("counters", counters),
    ("ten_thousand", ten_thousand),
];

fn in_an_hour(probe: &dyn Probe) -> Until {
    Until::at(probe.now().plus_ms(HOUR_MS))
}

fn apply(probe: &mut dyn Probe, deltas: &[FirewallDelta]) {
    let now = probe.now();
    probe.firewall().apply(now, deltas).unwrap();
}

/// The sources that get through to UDP port 53, of those asked.
fn passing<'a>(probe: &mut dyn Probe, sources: &[&'a str]) -> BTreeSet<&'a str> {
    sources.iter().copied().filter(|source| probe.udp_passes(ip(source), 53)).collect()
}

fn whole_host(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let sshd = chain("sshd", Ports::whole_host());
    let sources = ["198.51.100.1", "198.51.100.2", "2001:db8:1::1", "2001:db8:1::2"];
    assert_eq!(passing(probe, &sources).len(), 4);
    apply(probe, &[block("198.51.100.1", &sshd, until), block("2001:db8:1::1", &sshd, until)]);
    assert_eq!(passing(probe, &sources), BTreeSet::from(["198.51.100.2", "2001:db8:1::2"]));
    apply(probe, &[release("198.51.100.1"), release("2001:db8:1::1")]);
    assert_eq!(passing(probe, &sources).len(), 4);
}

fn prefixes(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let sshd = chain("sshd", Ports::whole_host());
    let sources = [
        "198.51.100.1",
        "198.51.100.200",
        "203.0.113.1",
        "2001:db8:1::1",
        "2001:db8:1:0:9::9",
        "2001:db8:2::1",
    ];
    apply(probe, &[block("198.51.100.0/25", &sshd, until), block("2001:db8:1::/64", &sshd, until)]);
    assert_eq!(passing(probe, &sources), BTreeSet::from(["198.51.100.200", "203.0.113.1", "2001:db8:2::1"]));
    apply(probe, &[block("198.51.100.0/24", &sshd, until)]);
    assert_eq!(passing(probe, &sources), BTreeSet::from(["203.0.113.1", "2001:db8:2::1"]));
    // Releasing one key leaves the others.
    apply(probe, &[release("198.51.100.0/24"), release("198.51.100.1")]);
    assert_eq!(passing(probe, &sources), BTreeSet::from(["198.51.100.200", "203.0.113.1", "2001:db8:2::1"]));
}

fn ports(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let deltas = [
        block("198.51.100.1", &chain("one", udp(&[53])), until),
        block("198.51.100.2", &chain("range", udp_range(50, 55)), until),
        block("198.51.100.3", &chain("all-udp", udp_range(0, u16::MAX)), until),
        block("198.51.100.4", &chain("tcp-only", Ports::tcp(&[53, 54])), until),
        block("2001:db8:1::1", &chain("one", udp(&[53])), until),
    ];
    apply(probe, &deltas);
    for (source, closed) in [
        ("198.51.100.1", [true, false, false]),
        ("198.51.100.2", [true, true, false]),
        ("198.51.100.3", [true, true, true]),
        ("198.51.100.4", [false, false, false]),
        ("2001:db8:1::1", [true, false, false]),
    ] {
        let found = [53, 54, 56].map(|port| !probe.udp_passes(ip(source), port));
        assert_eq!(found, closed, "{source}");
    }
}

fn many_ranges(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let closed = udp(&[10, 12, 53])
        .union(&udp_range(100, 200))
        .union(&udp_range(65_000, u16::MAX))
        .union(&Ports::tcp(&[9]));
    apply(probe, &[block("198.51.100.1", &chain("mail", closed), until)]);
    let passing: Vec<u16> = [9, 10, 11, 12, 13, 52, 53, 54, 99, 100, 150, 200, 201, 64_999, 65_000, 65_535]
        .into_iter()
        .filter(|&port| probe.udp_passes(ip("198.51.100.1"), port))
        .collect();
    assert_eq!(passing, [9, 11, 13, 52, 54, 99, 201, 64_999]);
}

fn no_ports(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    apply(probe, &[block("198.51.100.1", &chain("nothing", Ports::none()), until)]);
    assert!(probe.udp_passes(ip("198.51.100.1"), 53));
}

fn tcp(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    assert!(probe.tcp_passes(ip("198.51.100.1"), 443));
    apply(probe, &[block("198.51.100.1", &chain("apache-auth", Ports::tcp(&[80, 443])), until)]);
    apply(probe, &[block("2001:db8:1::/64", &chain("apache-auth", Ports::tcp(&[80, 443])), until)]);
    assert!(!probe.tcp_passes(ip("198.51.100.1"), 443));
    assert!(probe.tcp_passes(ip("198.51.100.1"), 22));
    assert!(!probe.tcp_passes(ip("2001:db8:1::1"), 443));
    assert!(probe.tcp_passes(ip("2001:db8:1::1"), 22));
    assert!(probe.tcp_passes(ip("198.51.100.2"), 443));
}

fn prefixes_overlap(probe: &mut dyn Probe) {
    // Each has its own ports and its own end, whichever was first and whichever ends first.
    let hour = in_an_hour(probe);
    let soon_ms = probe.soon_ms(600);
    let soon = Until::at(probe.now().plus_ms(soon_ms));
    let one = chain("one", udp(&[53]));
    let other = chain("other", udp(&[54]));
    apply(probe, &[block("198.51.100.1", &one, soon), block("198.51.100.0/24", &other, hour)]);
    apply(probe, &[block("203.0.113.0/24", &other, soon), block("203.0.113.1", &one, hour)]);
    let closed = |probe: &mut dyn Probe, source| [53, 54].map(|port| !probe.udp_passes(ip(source), port));
    assert_eq!(closed(probe, "198.51.100.1"), [true, true]);
    assert_eq!(closed(probe, "198.51.100.2"), [false, true]);
    assert_eq!(closed(probe, "203.0.113.1"), [true, true]);
    assert_eq!(closed(probe, "203.0.113.2"), [false, true]);
    let late_ms = probe.late_ms();
    probe.pass_time(soon_ms + 100 + late_ms);
    assert_eq!(closed(probe, "198.51.100.1"), [false, true]);
    assert_eq!(closed(probe, "198.51.100.2"), [false, true]);
    assert_eq!(closed(probe, "203.0.113.1"), [true, false]);
    assert_eq!(closed(probe, "203.0.113.2"), [false, false]);
}

/// An end `ms` from now, blocked, and what the firewall says is left of it.
fn remaining(probe: &mut dyn Probe, subnet: &str, jail: &str, ms: u64) -> u64 {
    let until = Until::at(probe.now().plus_ms(ms));
    let chain = chain(jail, Ports::whole_host());
    apply(probe, &[block(subnet, &chain, until)]);
    let held = probe.firewall().lookup(subnet.parse().unwrap()).unwrap().expect("it is blocked");
    assert_eq!(held.chain, Some(chain));
    held.remaining_ms
}

fn upserts(probe: &mut dyn Probe) {
    // Later, earlier, later again; from one chain to another; other keys are not touched.
    for subnet in ["198.51.100.1", "2001:db8:1::/64"] {
        for (jail, ms) in [("sshd", 60_000), ("sshd", 600_000), ("dovecot", 30_000), ("sshd", 900_000)] {
            let remaining = remaining(probe, subnet, jail, ms);
            assert!((ms - 20_000..=ms).contains(&remaining), "{subnet} {jail}: {remaining} of {ms}");
        }
    }
    assert_eq!(probe.firewall().lookup("198.51.100.0/24".parse().unwrap()).unwrap(), None);
    assert_eq!(probe.firewall().lookup("2001:db8:2::/64".parse().unwrap()).unwrap(), None);
    assert!(!probe.udp_passes(ip("198.51.100.1"), 53));
}

fn over_is_released(probe: &mut dyn Probe) {
    let sshd = chain("sshd", Ports::whole_host());
    let over = Until::at(probe.now().minus_ms(1));
    let until = in_an_hour(probe);
    apply(probe, &[block("198.51.100.1", &sshd, until), block("198.51.100.2", &sshd, over)]);
    assert_eq!(passing(probe, &["198.51.100.1", "198.51.100.2"]), BTreeSet::from(["198.51.100.2"]));
    apply(probe, &[block("198.51.100.1", &sshd, over)]);
    assert_eq!(probe.firewall().lookup("198.51.100.1".parse().unwrap()).unwrap(), None);
    // What ends this very millisecond is not over yet, but it does end.
    let now = Until::at(probe.now());
    apply(probe, &[block("198.51.100.1", &sshd, now)]);
    let late_ms = probe.late_ms();
    probe.pass_time(100 + late_ms);
    assert_eq!(passing(probe, &["198.51.100.1", "198.51.100.2"]).len(), 2);
}

fn leases(probe: &mut dyn Probe) {
    let sshd = chain("sshd", Ports::whole_host());
    apply(probe, &[block("198.51.100.1", &sshd, Until::FOREVER)]);
    apply(probe, &[block("198.51.100.2", &sshd, Until::at(bannkreis_core::time::Timestamp(u64::MAX)))]);
    let mut left =
        |subnet: &str| probe.firewall().lookup(subnet.parse().unwrap()).unwrap().unwrap().remaining_ms;
    assert!((PERMANENT_LEASE_MS - 20_000..=PERMANENT_LEASE_MS).contains(&left("198.51.100.1")));
    assert!(left("198.51.100.2") > 50 * 365 * 24 * HOUR_MS);
    assert!(passing(probe, &["198.51.100.1", "198.51.100.2"]).is_empty());
}

fn expiry(probe: &mut dyn Probe) {
    let sshd = chain("sshd", Ports::whole_host());
    let soon_ms = probe.soon_ms(400);
    let soon = Until::at(probe.now().plus_ms(soon_ms));
    let until = in_an_hour(probe);
    apply(probe, &[block("198.51.100.1", &sshd, soon), block("2001:db8:1::/64", &sshd, soon)]);
    apply(probe, &[block("198.51.100.2", &sshd, until)]);
    let sources = ["198.51.100.1", "198.51.100.2", "2001:db8:1::1"];
    assert!(passing(probe, &sources).is_empty());
    let late_ms = probe.late_ms();
    probe.pass_time(soon_ms + 100 + late_ms);
    assert_eq!(passing(probe, &sources), BTreeSet::from(["198.51.100.1", "2001:db8:1::1"]));
    assert_eq!(probe.firewall().lookup("198.51.100.1".parse().unwrap()).unwrap(), None);
    // What has expired can be released, and blocked again.
    apply(probe, &[release("198.51.100.1"), block("2001:db8:1::/64", &sshd, until)]);
    assert_eq!(passing(probe, &sources), BTreeSet::from(["198.51.100.1"]));
}

fn protection(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let sshd = chain("sshd", Ports::whole_host());
    let deltas = [
        protect("198.51.100.7"),
        protect("2001:db8:1:2::/64"),
        block("198.51.100.7", &sshd, until),
        block("198.51.100.0/24", &sshd, until),
        block("198.51.0.0/16", &sshd, until),
        block("2001:db8:1::/48", &sshd, until),
    ];
    apply(probe, &deltas);
    let sources = ["198.51.100.7", "198.51.100.8", "2001:db8:1:2::9", "2001:db8:1:3::9"];
    let protected = BTreeSet::from(["198.51.100.7", "2001:db8:1:2::9"]);
    assert_eq!(passing(probe, &sources), protected);
    // Protection can come after the block, and can end; twice is once.
    apply(probe, &[protect("198.51.100.8/31"), protect("198.51.100.7")]);
    assert_eq!(passing(probe, &sources).len(), 3);
    let ends = [
        unprotect("198.51.100.8/31"),
        unprotect("198.51.100.7"),
        unprotect("192.0.2.0/28"),
        unprotect("198.51.100.99"),
    ];
    apply(probe, &ends);
    apply(probe, &ends);
    assert_eq!(passing(probe, &sources), BTreeSet::from(["2001:db8:1:2::9"]));
}

fn everything(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let all = chain("operator", Ports::whole_host());
    apply(probe, &[protect("198.51.100.2"), protect("192.0.2.0/30"), protect("2001:db8::/64")]);
    apply(probe, &[block("0.0.0.0/0", &all, until), block("::/0", &all, until)]);
    let sources = ["198.51.100.1", "198.51.100.2", "203.0.113.1", "2001:db8:1::1"];
    assert_eq!(passing(probe, &sources), BTreeSet::from(["198.51.100.2"]));
    apply(probe, &[release("0.0.0.0/0"), release("::/0")]);
    assert_eq!(passing(probe, &sources).len(), 4);
}

fn last_word_counts(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let sshd = chain("sshd", Ports::whole_host());
    let narrow = chain("narrow", udp(&[54]));
    let deltas = [
        block("198.51.100.1", &sshd, until),
        release("198.51.100.1"),
        release("198.51.100.2"),
        block("198.51.100.2", &sshd, until),
        block("203.0.113.1", &sshd, until),
        block("203.0.113.1", &narrow, until),
        protect("203.0.113.2"),
        unprotect("203.0.113.2"),
        block("203.0.113.2", &sshd, until),
    ];
    let sources = ["198.51.100.1", "198.51.100.2", "203.0.113.1", "203.0.113.2"];
    apply(probe, &deltas);
    assert_eq!(passing(probe, &sources), BTreeSet::from(["198.51.100.1", "203.0.113.1"]));
}

fn idempotence(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let sshd = chain("sshd", Ports::whole_host());
    let deltas = [
        block("198.51.100.1", &sshd, until),
        release("198.51.100.2"),
        release("203.0.113.0/24"),
        protect("203.0.113.1"),
        unprotect("203.0.113.2"),
    ];
    for _ in 0..3 {
        apply(probe, &deltas);
        let sources = ["198.51.100.1", "198.51.100.2", "203.0.113.1", "203.0.113.2"];
        assert_eq!(passing(probe, &sources).len(), 3);
    }
    assert!(probe.firewall().intact().unwrap());
}

fn replacing(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let sshd = chain("sshd", Ports::whole_host());
    apply(
        probe,
        &[block("198.51.100.1", &sshd, until), protect("203.0.113.1"), block("203.0.113.0/24", &sshd, until)],
    );
    let mut wanted = Ruleset::default();
    for delta in [
        block("198.51.100.2", &chain("dovecot", udp(&[53])), until),
        block("203.0.113.0/24", &sshd, until),
        block("198.51.100.9", &sshd, Until::at(probe.now().minus_ms(1))),
        protect("203.0.113.2"),
        block("2001:db8:1::/64", &sshd, Until::FOREVER),
    ] {
        wanted.apply(&delta);
    }
    let sources =
        ["198.51.100.1", "198.51.100.2", "198.51.100.9", "203.0.113.1", "203.0.113.2", "2001:db8:1::1"];
    for _ in 0..2 {
        let now = probe.now();
        probe.firewall().replace(now, &wanted).unwrap();
        assert_eq!(passing(probe, &sources), BTreeSet::from(["198.51.100.1", "198.51.100.9", "203.0.113.2"]));
        assert!(probe.udp_passes(ip("198.51.100.2"), 54));
        assert!(probe.firewall().intact().unwrap());
    }
    // And it goes on from there.
    apply(probe, &[release("198.51.100.2"), block("198.51.100.1", &sshd, until), protect("198.51.100.1")]);
    assert!(probe.udp_passes(ip("198.51.100.2"), 53) && probe.udp_passes(ip("198.51.100.1"), 53));
    let now = probe.now();
    probe.firewall().replace(now, &Ruleset::default()).unwrap();
    assert_eq!(passing(probe, &sources).len(), sources.len());
}

fn counters(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let sshd = chain("sshd", Ports::whole_host());
    let mail = chain("mail", udp(&[53]).union(&Ports::tcp(&[25])));
    let deltas = [block("198.51.100.1", &sshd, until), block("198.51.100.2", &mail, until)];
    apply(probe, &deltas);
    let count = |probe: &mut dyn Probe, of: &bannkreis_core::ruleset::Chain| {
        let counters = probe.firewall().counters().unwrap();
        counters.iter().find(|counter| counter.chain == *of).map_or(0, |counter| counter.packets)
    };
    for (source, n) in [("198.51.100.1", 3), ("198.51.100.2", 2), ("198.51.100.3", 2)] {
        for _ in 0..n {
            probe.udp_passes(ip(source), 53);
        }
    }
    assert!(probe.udp_passes(ip("198.51.100.2"), 54));
    assert_eq!((count(probe, &sshd), count(probe, &mail)), (3, 2));
    let mut wanted = Ruleset::default();
    deltas.iter().for_each(|delta| wanted.apply(delta));
    let now = probe.now();
    probe.firewall().replace(now, &wanted).unwrap();
    assert_eq!((count(probe, &sshd), count(probe, &mail)), (3, 2));
    probe.udp_passes(ip("198.51.100.1"), 53);
    assert_eq!((count(probe, &sshd), count(probe, &mail)), (4, 2));
}

fn ten_thousand(probe: &mut dyn Probe) {
    let until = in_an_hour(probe);
    let address = |n: u32| IpAddr::V4(Ipv4Addr::from(0xc612_0000 + n)); // 198.18.0.0/15
    // More chains than one transaction makes, and prefixes of every length.
    let chains: Vec<_> = (0..100_u16).map(|n| chain(&format!("jail-{n}"), udp(&[53, 1_000 + n]))).collect();
    let mut deltas: Vec<FirewallDelta> = (0..10_000_u32)
        .map(|n| FirewallDelta::Block {
            subnet: Subnet::host(address(n)),
            element: Element { chain: chains[n as usize % chains.len()].clone(), until },
            is_new: true,
        })
        .collect();
    for bits in 9..=32 {
        let subnet = Subnet::new(ip("10.255.255.255"), bits).unwrap();
        let element = Element { chain: chains[0].clone(), until };
        deltas.push(FirewallDelta::Block { subnet, element, is_new: true });
    }
    assert!(deltas.len() > ELEMENTS_PER_TRANSACTION_MAX);
    apply(probe, &deltas);
    apply(probe, &deltas);
    for n in [0, 999, 1_000, 5_555, 9_999] {
        assert!(!probe.udp_passes(address(n), 53), "{n}");
        assert!(!probe.udp_passes(address(n), 1_000 + (n % 100) as u16), "{n}");
        assert!(probe.udp_passes(address(n), 2_000), "{n}");
        let held = probe.firewall().lookup(Subnet::host(address(n))).unwrap().unwrap();
        assert_eq!(held.chain.as_ref(), Some(&chains[n as usize % 100]));
    }
    assert!(probe.udp_passes(address(10_000), 53));
    assert!(!probe.udp_passes(ip("10.128.0.1"), 53));
    assert!(probe.udp_passes(ip("10.1.0.1"), 53));
    assert!(probe.firewall().intact().unwrap());
    let releases: Vec<_> = deltas
        .iter()
        .filter_map(|delta| match delta {
            FirewallDelta::Block { subnet, .. } => Some(FirewallDelta::Release { subnet: *subnet }),
            _ => None,
        })
        .collect();
    apply(probe, &releases);
    assert!(probe.udp_passes(address(5_555), 53) && probe.udp_passes(ip("10.128.0.1"), 53));
}
