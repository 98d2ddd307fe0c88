//! What other people's programs do to our sets and rules, or beside them: it is noticed, or does no harm. Only a kernel has
//! this.

use crate::in_kernel::Sent;
use crate::lab::{has_program, may_run};
use crate::probe::{Probe, block, chain, ip, protect};
use bannkreis_core::jail::Ports;
use bannkreis_core::ruleset::Ruleset;
use bannkreis_core::time::{HOUR_MS, Until};
use bannkreis_firewall::{Firewall, MemoryFirewall};

/// Somebody's rules, as they would be restored at boot: they know nothing of ours.
const OTHERS: &str = "*TABLE\n:CHAIN ACCEPT [0:0]\n-A CHAIN -s 203.0.113.200 -j DROP\nCOMMIT\n";

fn is_noticed_and_repaired(open: fn() -> Box<dyn Firewall>, iptables: &str, (table, entrance): (&str, &str)) {
    let mut probe = Sent::new(open);
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let sshd = chain("sshd", Ports::whole_host());
    let mut wanted = Ruleset::default();
    for delta in [
        block("198.51.100.1", &sshd, until),
        block("198.51.100.2", &chain("mail", Ports::tcp(&[25])), until),
        block("2001:db8:1::/64", &sshd, until),
        protect("198.51.100.9"),
    ] {
        wanted.apply(&delta);
    }
    let now = probe.now();
    probe.firewall.replace(now, &wanted).unwrap();
    assert!(probe.firewall.intact().unwrap());
    let rules = OTHERS.replace("TABLE", table).replace("CHAIN", entrance);
    let file = std::env::temp_dir().join(format!("bannkreis-rules-{}-{table}", std::process::id()));
    std::fs::write(&file, rules).unwrap();
    let restore = format!("{iptables}-restore {}", file.display());
    let set = |probe: &Sent, end: &str| {
        let names = probe.lab.host.run("ipset", "list -n");
        let found = names.lines().find(|name| name.starts_with("bannkreis4") && name.ends_with(end));
        found.unwrap_or_else(|| panic!("no set of ours ends with {end}: {names}")).to_owned()
    };
    let flush = format!("{iptables} -t {table} -F");
    let way_in = format!("{iptables} -t {table} -D {entrance} 1");
    for n in 0..7 {
        let damage = match n {
            0 => flush.clone(),
            1 => restore.clone(),
            2 => "ipset flush".to_owned(),
            3 => format!("ipset del {} 198.51.100.1", set(&probe, "-2")),
            4 => format!("ipset del {} 198.51.100.9", set(&probe, "-pass")),
            5 => way_in.clone(),
            _ => {
                let rules = probe.lab.host.run(iptables, &format!("-t {table} -S"));
                let chain = rules.split_whitespace().find(|word| word.starts_with("f2b-sshd-")).unwrap();
                format!("{iptables} -t {table} -F {chain}")
            }
        };
        let (program, arguments) = damage.split_once(' ').unwrap();
        probe.lab.host.run(program, arguments);
        assert!(!probe.firewall.intact().unwrap(), "{damage}");
        probe.firewall.replace(now, &wanted).unwrap();
        assert!(probe.firewall.intact().unwrap(), "{damage}");
        assert!(!probe.udp_passes(ip("198.51.100.1"), 53), "{damage}");
        assert!(!probe.udp_passes(ip("2001:db8:1::7"), 53) && probe.udp_passes(ip("198.51.100.9"), 53));
    }
    let _ = std::fs::remove_file(file);
    // A ban that needs new rules comes before anybody has looked: what is missing is not taken for how it should be.
    for (n, damage) in [&flush, &way_in].into_iter().enumerate() {
        let (program, arguments) = damage.split_once(' ').unwrap();
        probe.lab.host.run(program, arguments);
        let new = block("198.51.100.77", &chain(&format!("new-{n}"), Ports::whole_host()), until);
        assert!(probe.firewall.apply(now, &[new]).is_err(), "{damage}");
        assert!(!probe.firewall.intact().unwrap(), "{damage}");
        probe.firewall.replace(now, &wanted).unwrap();
        assert!(!probe.udp_passes(ip("198.51.100.1"), 53), "{damage}");
    }
    // The way in is gone when a process starts: what an earlier one had blocked is blocked again at once.
    probe.firewall = Box::new(MemoryFirewall::new());
    let (program, arguments) = way_in.split_once(' ').unwrap();
    probe.lab.host.run(program, arguments);
    assert!(probe.udp_passes(ip("198.51.100.1"), 53));
    probe.firewall = probe.lab.host.enter(open);
    assert!(!probe.udp_passes(ip("198.51.100.1"), 53) && probe.firewall.inherits_any());
    assert!(probe.firewall.intact().unwrap());
    // Other people's sets and rules beside ours are nobody's damage, and stay.
    probe.lab.host.run("ipset", "create blocklist hash:ip");
    probe.lab.host.run("ipset", "add blocklist 203.0.113.9");
    probe.lab.host.run(iptables, &format!("-t {table} -N f2b-sshd"));
    probe.lab.host.run(iptables, &format!("-t {table} -A f2b-sshd -s 203.0.113.8 -j DROP"));
    probe.lab.host.run(iptables, &format!("-t {table} -I {entrance} -j f2b-sshd"));
    assert!(probe.firewall.intact().unwrap());
    probe.firewall.replace(now, &wanted).unwrap();
    assert!(!probe.udp_passes(ip("203.0.113.8"), 53));
    assert!(probe.lab.host.run("ipset", "list -n").contains("blocklist"));
}

#[test]
fn strangers_at_sets_and_rules_are_noticed() {
    let test = "strangers::strangers_at_sets_and_rules_are_noticed";
    let programs = ["iptables-legacy", "iptables-nft", "ipset"];
    if may_run(test) && programs.iter().all(|program| has_program(test, program)) {
        is_noticed_and_repaired(Sent::legacy, "iptables-legacy", ("raw", "PREROUTING"));
        is_noticed_and_repaired(Sent::iptables_nft, "iptables-nft", ("raw", "PREROUTING"));
        is_noticed_and_repaired(Sent::input, "iptables-nft", ("filter", "INPUT"));
    }
}

#[test]
fn strangers_with_iptables_do_nothing_to_nftables() {
    let test = "strangers::strangers_with_iptables_do_nothing_to_nftables";
    let programs = ["iptables-legacy", "iptables-nft", "ipset"];
    if !may_run(test) || !programs.iter().all(|program| has_program(test, program)) {
        return;
    }
    let mut probe = Sent::new(Sent::nftables);
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let now = probe.now();
    probe.firewall.apply(now, &[block("198.51.100.1", &chain("sshd", Ports::whole_host()), until)]).unwrap();
    for iptables in ["iptables-legacy", "iptables-nft"] {
        for table in ["filter", "raw", "mangle", "nat"] {
            probe.lab.host.run(iptables, &format!("-t {table} -F"));
            probe.lab.host.run(iptables, &format!("-t {table} -X"));
        }
    }
    probe.lab.host.run("ipset", "destroy");
    assert!(probe.firewall.intact().unwrap());
    assert!(!probe.udp_passes(ip("198.51.100.1"), 53));
}
