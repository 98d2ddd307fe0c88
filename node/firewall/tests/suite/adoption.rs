//! What becomes of a table when its process goes, or when a stranger is at it. Only a kernel has this.

use crate::in_kernel::{SHARDED, Sent};
use crate::lab::{has_program, may_run};
use crate::probe::{Probe, block, chain, ip, protect, release, udp};
use bannkreis_core::jail::Ports;
use bannkreis_core::ruleset::Ruleset;
use bannkreis_core::time::{HOUR_MS, Until};
use bannkreis_firewall::nftables::{Nftables, Sizes};
use bannkreis_firewall::{Firewall, FirewallError, MemoryFirewall};

/// Closes the firewall's socket, as the end of its process does, and opens it anew.
fn restart(probe: &mut Sent, open: fn() -> Box<dyn Firewall>) {
    probe.firewall = Box::new(MemoryFirewall::new());
    probe.firewall = probe.lab.host.enter(open);
}

fn old() -> Box<dyn Firewall> {
    Box::new(Nftables::open_like_an_old_kernel(Sizes::default()).unwrap())
}

fn is_adopted_with_its_elements(open: fn() -> Box<dyn Firewall>) {
    let mut probe = Sent::new(open);
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let mail = chain("mail", udp(&[25, 53]));
    let sshd = chain("sshd", Ports::whole_host());
    let deltas = [
        block("198.51.100.1", &mail, until),
        block("2001:db8:1::/64", &sshd, until),
        protect("198.51.100.9"),
    ];
    let now = probe.now();
    probe.firewall.apply(now, &deltas).unwrap();
    assert!(!probe.udp_passes(ip("198.51.100.1"), 53));
    let (known, another) = ("198.51.100.1".parse().unwrap(), "198.51.100.0/24".parse().unwrap());
    assert!(!probe.firewall.inherits(known), "nothing was there");
    for _ in 0..2 {
        restart(&mut probe, open);
        assert!(probe.firewall.inherits(known) && !probe.firewall.inherits(another));
        assert!(probe.firewall.intact().unwrap());
        assert!(!probe.udp_passes(ip("198.51.100.1"), 53) && probe.udp_passes(ip("198.51.100.1"), 54));
        assert!(!probe.udp_passes(ip("2001:db8:1::9"), 53));
        let held = probe.firewall.lookup("198.51.100.1".parse().unwrap()).unwrap().unwrap();
        assert_eq!(held.chain.as_ref(), Some(&mail));
        let counters = probe.firewall.counters().unwrap();
        assert!(counters.iter().any(|counter| counter.chain == mail && counter.packets > 0));
    }
    // What was found can be released, changed and protected like what was made.
    let now = probe.now();
    let changes = [
        release("198.51.100.1"),
        block("2001:db8:1::/64", &mail, until),
        block("198.51.100.0/24", &sshd, until),
    ];
    probe.firewall.apply(now, &changes).unwrap();
    assert!(probe.udp_passes(ip("198.51.100.9"), 53) && !probe.udp_passes(ip("198.51.100.1"), 53));
    assert!(probe.udp_passes(ip("2001:db8:1::9"), 54) && !probe.udp_passes(ip("2001:db8:1::9"), 53));
    assert!(probe.firewall.intact().unwrap());
    probe.firewall.replace(now, &Ruleset::default()).unwrap();
    assert!(probe.udp_passes(ip("198.51.100.1"), 53) && !probe.firewall.inherits(known));
}

#[test]
fn a_table_is_adopted_with_its_elements() {
    if may_run("adoption::a_table_is_adopted_with_its_elements") {
        for open in [Sent::nftables, Sent::sharded] {
            is_adopted_with_its_elements(open);
        }
    }
}

#[test]
fn a_table_without_owner_is_adopted_with_its_elements() {
    if may_run("adoption::a_table_without_owner_is_adopted_with_its_elements") {
        is_adopted_with_its_elements(old);
    }
}

#[test]
fn sets_and_rules_are_adopted_with_their_elements() {
    let test = "adoption::sets_and_rules_are_adopted_with_their_elements";
    if may_run(test) && has_program(test, "iptables-nft") && has_program(test, "iptables-legacy") {
        for open in [Sent::legacy, Sent::iptables_nft, Sent::input] {
            is_adopted_with_its_elements(open);
        }
    }
}

#[test]
fn a_second_process_is_told_who_has_the_table() {
    if !may_run("adoption::a_second_process_is_told_who_has_the_table") {
        return;
    }
    let probe = Sent::new(Sent::nftables);
    match probe.lab.host.enter(Nftables::open) {
        Err(error @ FirewallError::Busy { .. }) => {
            assert!(error.to_string().contains("another bannkreisd"), "{error}");
        }
        // Without owners (before Linux 6.9) the second one simply adopts.
        Ok(_) => eprintln!("this kernel has no owned tables that persist"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_strangers_flush_is_noticed_and_repaired() {
    if !may_run("adoption::a_strangers_flush_is_noticed_and_repaired") {
        return;
    }
    let mut probe = Sent::new(old);
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let sshd = chain("sshd", Ports::whole_host());
    let block = block("198.51.100.1", &sshd, until);
    let now = probe.now();
    probe.firewall.apply(now, std::slice::from_ref(&block)).unwrap();
    assert!(probe.firewall.intact().unwrap());
    assert!(!probe.udp_passes(ip("198.51.100.1"), 53));
    probe.lab.flush_like_a_stranger();
    assert!(!probe.firewall.intact().unwrap());
    assert!(matches!(
        probe.firewall.apply(now, std::slice::from_ref(&block)),
        Err(FirewallError::Lost { .. })
    ));
    assert_eq!(probe.firewall.lookup("198.51.100.1".parse().unwrap()).unwrap(), None);
    let mut wanted = Ruleset::default();
    wanted.apply(&block);
    probe.firewall.replace(now, &wanted).unwrap();
    assert!(probe.firewall.intact().unwrap());
    assert!(!probe.udp_passes(ip("198.51.100.1"), 53));
    let dropped = probe.firewall.counters().unwrap().iter().map(|counter| counter.packets).sum::<u64>();
    assert!(dropped >= 1, "what was seen before the flush is not forgotten: {dropped}");
}

#[test]
fn one_element_that_a_stranger_deletes_is_noticed() {
    let test = "adoption::one_element_that_a_stranger_deletes_is_noticed";
    if !may_run(test) || !has_program(test, "nft") {
        return;
    }
    let mut probe = Sent::new(old);
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let sshd = chain("sshd", Ports::whole_host());
    let mut wanted = Ruleset::default();
    for n in 0..2_000_u32 {
        wanted.apply(&block(&format!("198.18.{}.{}", n / 250, n % 250), &sshd, until));
    }
    let now = probe.now();
    let changes = ["add", "delete"].map(|change| format!("{change} element inet bannkreis"));
    for (n, change) in changes.iter().rev().enumerate() {
        // Nothing of what is done here is taken for a stranger's.
        probe.firewall.replace(now, &wanted).unwrap();
        probe.firewall.apply(now, &Ruleset::default().diff(&wanted)).unwrap();
        assert!(probe.firewall.intact().unwrap());
        let tables = probe.lab.host.run("nft", "-t list table inet bannkreis");
        let map = tables.split_whitespace().find(|word| word.starts_with("blocked_v4_32")).unwrap();
        let element = if change.starts_with("delete") { "198.18.1.7" } else { "198.18.9.9 : 0:1" };
        probe.lab.host.run("nft", &format!("{change} {map} {{ {element} }}"));
        assert_eq!(probe.udp_passes(ip("198.18.1.7"), 53), n == 0);
        assert!(!probe.firewall.intact().unwrap(), "{change}");
    }
    // What strangers do in tables of their own is their business.
    probe.firewall.replace(now, &wanted).unwrap();
    assert!(probe.firewall.intact().unwrap() && !probe.udp_passes(ip("198.18.1.7"), 53));
    for command in [
        "add table inet strangers",
        "add set inet strangers some { type ipv4_addr ; }",
        "add element inet strangers some { 198.18.1.7 }",
        "delete element inet strangers some { 198.18.1.7 }",
    ] {
        probe.lab.host.run("nft", command);
    }
    assert!(probe.firewall.intact().unwrap());
}

#[test]
fn a_shard_that_a_stranger_empties_is_noticed_and_repaired() {
    let test = "adoption::a_shard_that_a_stranger_empties_is_noticed_and_repaired";
    if !may_run(test) || !has_program(test, "nft") {
        return;
    }
    let mut probe = Sent::new(|| Box::new(Nftables::open_like_an_old_kernel(SHARDED).unwrap()));
    let mut wanted = Ruleset::default();
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    wanted.apply(&block("198.51.100.7", &chain("sshd", Ports::whole_host()), until));
    for command in ["flush chain inet bannkreis shard_v4_32_7_g", "flush map inet bannkreis shards_v4_32_g"] {
        let now = probe.now();
        probe.firewall.replace(now, &wanted).unwrap();
        assert!(probe.firewall.intact().unwrap() && !probe.udp_passes(ip("198.51.100.7"), 53));
        let table = probe.lab.host.run("nft", "-t list table inet bannkreis");
        let (verb, name) = command.rsplit_once(' ').unwrap();
        let full = table.split_whitespace().find(|word| word.starts_with(name)).unwrap();
        probe.lab.host.run("nft", &format!("{verb} {full}"));
        assert!(probe.udp_passes(ip("198.51.100.7"), 53));
        assert!(!probe.firewall.intact().unwrap(), "{command}");
    }
    let now = probe.now();
    probe.firewall.replace(now, &wanted).unwrap();
    assert!(probe.firewall.intact().unwrap() && !probe.udp_passes(ip("198.51.100.7"), 53));
}

#[test]
fn an_owned_table_survives_a_strangers_flush() {
    if !may_run("adoption::an_owned_table_survives_a_strangers_flush") {
        return;
    }
    let mut probe = Sent::new(Sent::nftables);
    if probe.lab.host.enter(Nftables::open).is_ok() {
        eprintln!("SKIPPED: this kernel has no owned tables that persist");
        return;
    }
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let now = probe.now();
    probe.firewall.apply(now, &[block("198.51.100.1", &chain("sshd", Ports::whole_host()), until)]).unwrap();
    probe.lab.flush_like_a_stranger();
    assert!(probe.firewall.intact().unwrap());
    assert!(!probe.udp_passes(ip("198.51.100.1"), 53));
}

#[test]
fn the_nft_program_can_list_it() {
    // Firewall managers list the ruleset too, and must not stumble over our table.
    let test = "adoption::the_nft_program_can_list_it";
    if !may_run(test) {
        return;
    }
    if !has_program(test, "nft") {
        return;
    }
    for open in [Sent::nftables, Sent::sharded] {
        can_be_listed(open);
    }
}

fn can_be_listed(open: fn() -> Box<dyn Firewall>) {
    let mut probe = Sent::new(open);
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let deltas = [
        block("198.51.100.1", &chain("sshd", Ports::tcp(&[22])), until),
        block("198.51.100.0/24", &chain("mail", Ports::tcp(&[25, 465]).union(&udp(&[53]))), until),
        block("2001:db8:1::/64", &chain("recidive", Ports::whole_host()), until),
        protect("203.0.113.0/24"),
        protect("2001:db8::/64"),
    ];
    let now = probe.now();
    probe.firewall.apply(now, &deltas).unwrap();
    for format in ["list ruleset", "-j list ruleset"] {
        let listing = probe.lab.host.run("nft", format);
        for part in ["198.51.100.0", "2001:db8:1::", "203.0.113.0", "465", "recidive_"] {
            assert!(listing.contains(part), "{part} is missing in {listing}");
        }
    }
}

#[test]
fn without_the_capability_it_says_so() {
    let opened = std::thread::spawn(|| {
        drop_all_capabilities();
        Nftables::open().map(|_| ())
    });
    let error = opened.join().unwrap().unwrap_err();
    assert!(matches!(error, FirewallError::NotPermitted { .. }), "{error:?}");
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
}

/// Of this thread, for good: capset(2) with three empty sets of 64 bits.
fn drop_all_capabilities() {
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: both arrays have the layout that capset(2) asks for in this version, and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
