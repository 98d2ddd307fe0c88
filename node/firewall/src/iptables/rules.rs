//! Our chains and rules, as the text that iptables-restore takes and iptables-save gives.
//!
//! ```text
//! *raw                                                    # or filter, with hook = "input"
//! -A PREROUTING -m comment --comment "…" -j bannkreis     # or INPUT, and what is forwarded
//! -A bannkreis -i lo -m comment --comment "bannkreis layout 1 generation 5" -j RETURN
//! -A bannkreis -m set --match-set bannkreis4-5-1 src -j f2b-sshd-1     # one for each (jail, ports)
//! -A f2b-sshd-1 -m set --match-set bannkreis4-5-pass src -m comment --comment "class 1 …" -j RETURN
//! -A f2b-sshd-1 -p tcp -m multiport --dports 22 -j DROP
//! ```
//!
//! An address that is in no set costs one lookup for each (jail, ports), times the prefix lengths in use there. What a
//! generation holds is in its own sets, and one commit lets the rules look into those of another one. Not for running
//! programs (`program.rs`).

use super::Hook;
use super::names::{BASE_CHAIN, GenerationNumber, class_chain, describe, is_class_chain};
use crate::classes::Classes;
use bannkreis_core::jail::{PortRange, Protocol};
use bannkreis_core::ruleset::Chain;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A rule may name so many ports (xt_multiport); a range counts for two.
const PORTS_PER_RULE_MAX: usize = 15;

/// What people read beside the rule by which everything of ours is reached.
const ABOUT: &str = "kept by bannkreisd; to open everything stop it and delete this rule";

/// Everything anew, in one commit: from then on packets are asked by the chains of `classes`. What was there before stays,
/// and nobody uses it.
pub(crate) fn whole(
    hook: Hook,
    number: GenerationNumber,
    classes: &Classes,
    v4: bool,
    saved: &str,
) -> String {
    let names = chains_of(number, classes);
    let mut text = format!("*{}\n:{BASE_CHAIN} - [0:0]\n", hook.table());
    for name in &names {
        let _ = writeln!(text, ":{name} - [0:0]");
    }
    let marker = number.marker();
    let _ = writeln!(text, "-A {BASE_CHAIN} -i lo -m comment --comment \"{marker}\" -j RETURN");
    for (class, chain) in classes.iter() {
        if let Some(chain) = chain {
            class_rules(&mut text, number, class, chain, v4);
        }
    }
    for entrance in hook.entrances(saved) {
        if !has_entrance(saved, entrance) {
            let jump = format!("-m comment --comment \"{ABOUT}\" -j {BASE_CHAIN}");
            let _ = writeln!(text, "-I {entrance} 1 {jump}");
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// Nothing of ours any more that `saved` shows beside the chains of `classes`; `None` when that is nothing.
pub(crate) fn without_old(
    hook: Hook,
    number: GenerationNumber,
    classes: &Classes,
    saved: &str,
) -> Option<String> {
    let names = chains_of(number, classes);
    let mut text = format!("*{}\n", hook.table());
    let mut n_old = 0;
    for old in our_chains(saved).filter(|name| !names.contains(*name) && *name != BASE_CHAIN) {
        let _ = writeln!(text, "-F {old}\n-X {old}");
        n_old += 1;
    }
    text.push_str("COMMIT\n");
    (n_old > 0).then_some(text)
}

/// Nothing of ours at all; `None` when that is so.
pub(crate) fn nothing(hook: Hook, saved: &str) -> Option<String> {
    let mut text = format!("*{}\n", hook.table());
    let entrances = hook.entrances(saved).iter().filter(|entrance| has_entrance(saved, entrance));
    for line in saved.lines() {
        for entrance in entrances.clone() {
            let leads =
                line.starts_with(&format!("-A {entrance} ")) && line.ends_with(&format!("-j {BASE_CHAIN}"));
            if leads {
                let _ = writeln!(text, "-D{}", &line[2..]);
            }
        }
    }
    let chains: BTreeSet<&str> = our_chains(saved).collect();
    for verb in ["-F", "-X"] {
        for chain in &chains {
            let _ = writeln!(text, "{verb} {chain}");
        }
    }
    text.push_str("COMMIT\n");
    (!chains.is_empty()).then_some(text)
}

fn chains_of(number: GenerationNumber, classes: &Classes) -> BTreeSet<String> {
    let name = |(class, chain): (u32, Option<&Chain>)| Some(class_chain(number, class, &chain?.jail));
    classes.iter().filter_map(name).collect()
}

/// These classes beside those there are.
pub(crate) fn more(hook: Hook, number: GenerationNumber, new: &[(u32, &Chain)], v4: bool) -> String {
    let mut text = format!("*{}\n", hook.table());
    for (class, chain) in new {
        let _ = writeln!(text, ":{} - [0:0]", class_chain(number, *class, &chain.jail));
    }
    for (class, chain) in new {
        class_rules(&mut text, number, *class, chain, v4);
    }
    text.push_str("COMMIT\n");
    text
}

fn class_rules(text: &mut String, number: GenerationNumber, class: u32, chain: &Chain, v4: bool) {
    let name = class_chain(number, class, &chain.jail);
    let (blocked, protected) = (number.blocked(class, v4), number.protected(v4));
    let comment = describe(class, chain);
    let _ = writeln!(
        text,
        "-A {name} -m set --match-set {protected} src -m comment --comment \"{comment}\" -j RETURN"
    );
    match chain.ports.ranges() {
        None => {
            let _ = writeln!(text, "-A {name} -j DROP");
        }
        Some(ranges) => {
            let protocols: BTreeSet<Protocol> = ranges.iter().map(|range| range.protocol).collect();
            for protocol in protocols {
                let of_protocol: Vec<&PortRange> =
                    ranges.iter().filter(|range| range.protocol == protocol).collect();
                for condition in port_conditions(protocol, &of_protocol) {
                    let _ = writeln!(text, "-A {name} -p {protocol}{condition} -j DROP");
                }
            }
        }
    }
    let _ = writeln!(text, "-A {BASE_CHAIN} -m set --match-set {blocked} src -j {name}");
}

/// What a rule must say of the ports, one for each rule that it takes.
fn port_conditions(protocol: Protocol, ranges: &[&PortRange]) -> Vec<String> {
    let is_all = ranges.iter().any(|range| (range.first, range.last) == (0, u16::MAX));
    if is_all || !protocol.has_ports() {
        return vec![String::new()];
    }
    let mut conditions = Vec::new();
    let mut rest = ranges;
    while !rest.is_empty() {
        let (mut room, mut ports) = (PORTS_PER_RULE_MAX, Vec::new());
        while let Some((range, after)) = rest.split_first() {
            let is_single = range.first == range.last;
            let n_ports = if is_single { 1 } else { 2 };
            if n_ports > room {
                break;
            }
            room -= n_ports;
            ports.push(match is_single {
                true => range.first.to_string(),
                false => format!("{}:{}", range.first, range.last),
            });
            rest = after;
        }
        conditions.push(format!(" -m multiport --dports {}", ports.join(",")));
    }
    conditions
}

/// Which program has written a table: name and version.
pub(crate) fn version(saved: &str) -> String {
    let written = saved.lines().find_map(|line| line.strip_prefix("# Generated by ")?.split_once(" on "));
    written.map_or("iptables-save", |(version, _)| version).to_owned()
}

/// The names of chains that we made, or an earlier process of ours, of a table as iptables-save gives it.
fn our_chains(saved: &str) -> impl Iterator<Item = &str> {
    let names = saved.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next());
    names.filter(|name| *name == BASE_CHAIN || is_class_of_ours(saved, name))
}

/// fail2ban's own chains are called alike; what is ours describes itself, is used by our base chain, or was emptied by a
/// stranger and is used by nobody.
fn is_class_of_ours(saved: &str, name: &str) -> bool {
    let (rule, described) = (format!("-A {name} "), format!("-A {name} -m set --match-set bannkreis"));
    let uses =
        |line: &str| [format!(" -j {name}"), format!(" -g {name}")].iter().any(|end| line.ends_with(end));
    let is_left_over = || !saved.lines().any(|line| line.starts_with(&rule) || uses(line));
    is_class_chain(name)
        && (saved.lines().any(|line| line.starts_with(&described))
            || saved.lines().any(|line| line.starts_with("-A bannkreis ") && uses(line))
            || is_left_over())
}

/// Whether packets of `entrance` are asked by our base chain.
fn has_entrance(saved: &str, entrance: &str) -> bool {
    let (begin, end) = (format!("-A {entrance} "), format!("-j {BASE_CHAIN}"));
    saved.lines().any(|line| line.starts_with(&begin) && line.ends_with(&end))
}

/// What is ours of a table as iptables-save gives it, line by line: rules of our chains, and those that lead into them.
pub(crate) fn ours(hook: Hook, saved: &str) -> Vec<String> {
    let chains: BTreeSet<&str> = our_chains(saved).collect();
    let entrances = hook.entrances(saved);
    let is_ours = |line: &&str| {
        let Some(rule) = line.strip_prefix("-A ") else { return false };
        let chain = rule.split(' ').next().unwrap_or_default();
        chains.contains(chain) || (entrances.contains(&chain) && rule.ends_with(&format!("-j {BASE_CHAIN}")))
    };
    saved.lines().filter(is_ours).map(str::to_owned).collect()
}

/// The generation that our base chain leads to in a table as iptables-save gives it, whether packets come there or not.
pub(crate) fn marked(saved: &str) -> Option<GenerationNumber> {
    let base = saved.lines().filter(|line| line.starts_with(&format!("-A {BASE_CHAIN} ")));
    base.filter_map(GenerationNumber::in_rule).next()
}

/// The same, when every entrance leads there.
pub(crate) fn generation(hook: Hook, saved: &str) -> Option<GenerationNumber> {
    let is_entered = hook.entrances(saved).iter().all(|entrance| has_entrance(saved, entrance));
    marked(saved).filter(|_| is_entered)
}

/// Packets and bytes that a chain has dropped, of a table as `iptables-save -c` gives it.
pub(crate) fn dropped(saved: &str, chain: &str) -> (u64, u64) {
    let rule = format!("-A {chain} ");
    let count = |line: &str| {
        let (counters, line) = line.strip_prefix('[')?.split_once("] ")?;
        let (packets, bytes) = counters.split_once(':')?;
        let is_drop = line.starts_with(&rule) && line.ends_with("-j DROP");
        is_drop.then_some((packets.parse().ok()?, bytes.parse().ok()?))
    };
    let counts = saved.lines().filter_map(count);
    counts.fold((0, 0), |(packets, bytes), (p, b): (u64, u64)| (packets + p, bytes + b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::jail::{JailName, Ports};

    fn chain(jail: &str, ports: Ports) -> Chain {
        Chain { jail: JailName::new(jail).unwrap(), ports }
    }

    #[test]
    fn a_rule_names_fifteen_ports_at_most_and_a_range_counts_for_two() {
        let range = |first, last| PortRange { protocol: Protocol::TCP, first, last };
        let singles: Vec<PortRange> = (1..=14).map(|n| range(n * 10, n * 10)).collect();
        let all: Vec<PortRange> = singles.into_iter().chain([range(500, 600), range(700, 700)]).collect();
        let conditions = port_conditions(Protocol::TCP, &all.iter().collect::<Vec<_>>());
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[1], " -m multiport --dports 500:600,700");
        let whole = [range(0, u16::MAX)];
        assert_eq!(port_conditions(Protocol::TCP, &whole.iter().collect::<Vec<_>>()), [String::new()]);
        let gre = [PortRange { protocol: Protocol(47), first: 1, last: 2 }];
        assert_eq!(port_conditions(Protocol(47), &gre.iter().collect::<Vec<_>>()), [String::new()]);
    }

    #[test]
    fn what_is_written_is_found_again_and_nothing_of_others() {
        let mut classes = Classes::default();
        classes.add(&chain("sshd", Ports::tcp(&[22])));
        classes.add(&chain("mail", Ports::whole_host()));
        let theirs =
            ":PREROUTING ACCEPT [0:0]\n:f2b-sshd - [0:0]\n-A PREROUTING -j f2b-sshd\n-A f2b-sshd -j RETURN\n";
        let text = whole(Hook::Raw, GenerationNumber(5), &classes, true, theirs);
        assert!(!text.contains("f2b-sshd\n"), "{text}");
        // As the kernel would have it afterwards.
        let saved = format!("{theirs}{}", text.replace("-I PREROUTING 1", "-A PREROUTING"));
        assert_eq!(generation(Hook::Raw, &saved), Some(GenerationNumber(5)));
        assert_eq!(our_chains(&saved).collect::<Vec<_>>(), ["bannkreis", "f2b-mail-2", "f2b-sshd-1"]);
        let ours = ours(Hook::Raw, &saved);
        assert_eq!(ours.len(), 1 + 2 * 3 + 1, "{ours:?}");
        assert!(!ours.iter().any(|line| line.contains("f2b-sshd ") || line.ends_with("f2b-sshd")));
        // A new ruleset needs no second way in, and then the old chains are nobody's.
        let mut fewer = Classes::default();
        fewer.add(&chain("mail", Ports::whole_host()));
        let text = whole(Hook::Raw, GenerationNumber(6), &fewer, true, &saved);
        assert!(text.contains(":f2b-mail-1b ") && !text.contains("-I PREROUTING"), "{text}");
        let text = without_old(Hook::Raw, GenerationNumber(6), &fewer, &saved).unwrap();
        assert!(text.contains("-X f2b-sshd-1\n") && text.contains("-X f2b-mail-2\n"), "{text}");
        assert_eq!(without_old(Hook::Raw, GenerationNumber(5), &classes, &saved), None);
        assert_eq!(generation(Hook::Raw, theirs), None);
        // What a stranger has emptied is found again, and what fail2ban has emptied is left alone.
        let emptied = ":bannkreis - [0:0]\n:f2b-sshd-1 - [0:0]\n:f2b-mail-2b - [0:0]\n:f2b-sshd - [0:0]\n";
        let text = nothing(Hook::Raw, emptied).unwrap();
        assert!(text.contains("-X f2b-sshd-1\n") && text.contains("-X f2b-mail-2b\n"), "{text}");
        assert!(!text.contains("f2b-sshd\n"), "{text}");
    }

    #[test]
    fn who_has_written_a_table_is_read() {
        let saved = "# Generated by iptables-save v1.8.9 (nf_tables) on Mon Nov 30 15:55:21 2026\n*raw\n";
        assert_eq!(version(saved), "iptables-save v1.8.9 (nf_tables)");
        assert_eq!(version("*raw\n"), "iptables-save");
    }

    #[test]
    fn what_a_chain_has_dropped_is_added_up() {
        let saved = "[7:700] -A f2b-sshd-1 -m set --match-set x src -j RETURN\n\
                     [2:120] -A f2b-sshd-1 -p tcp -j DROP\n[3:180] -A f2b-sshd-1 -p udp -j DROP\n\
                     [9:900] -A f2b-sshd-11 -j DROP\n";
        assert_eq!(dropped(saved, "f2b-sshd-1"), (5, 300));
    }
}
