//! What hosts bring along that had bans, allow entries and a past of their own before they joined: afterwards all of them
//! have the union, the longer end, and nothing that anybody allowed or let go.
//!
//! Not for joins that are cut short (`joining.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use serde_json::Value;

use crate::inside::{in_lab, three_quiet_hosts};

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(30);
const OF_KOPANO: &str = "203.0.113.1";
const OF_KERIO: &str = "203.0.113.2";
const OF_MX1: &str = "203.0.113.3";
/// Banned on kopano for an hour and on kerio for two.
const OF_TWO: &str = "203.0.113.4";
/// Banned on kerio, and allowed on kopano before.
const KOPANO_ALLOWS: &str = "203.0.113.40";
/// Banned on kopano, and allowed on kerio before.
const KERIO_ALLOWS: &str = "203.0.113.50";
/// Allowed on both, on mx1 for longer.
const TWO_ALLOW: &str = "203.0.113.60";
/// Was banned on kerio once, and that was over before it joined.
const PAST: &str = "203.0.113.70";
/// Banned on kerio first, and then banned and let go on kopano.
const LET_GO: &str = "203.0.113.80";

fn order(host: &Host, arguments: &[&str]) -> Result<()> {
    host.cli(arguments)?.expect_success().map(drop)
}

/// Which subnets are allowed, with note and end.
fn allowed(host: &Host) -> Result<BTreeMap<String, (String, Option<u64>)>> {
    let told = host.cli(&["--output", "json", "allow", "list"])?.json()?;
    let entries = told.get("entries").and_then(Value::as_array);
    let entries = entries.ok_or_else(|| Failed(format!("no entries: {told}")))?;
    let text =
        |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(entries
        .iter()
        .map(|entry| {
            let until = entry.get("until_ms").and_then(Value::as_u64);
            (text(entry, "subnet").replace("/32", ""), (text(entry, "note"), until))
        })
        .collect())
}

/// When this host's ban of an address ends.
fn end_of(host: &Host, address: &str) -> Result<Option<u64>> {
    let bans = host.bans()?;
    let ban = bans.iter().find(|ban| ban.is_committed && ban.subnet == address);
    Ok(ban.and_then(|ban| ban.until_ms))
}

/// How many bans of an address are over, as this host knows it: told in full, or only counted.
fn n_bans_before(host: &Host, address: &str) -> Result<u64> {
    let told = host.cli(&["--output", "json", "why", address])?.json()?;
    let list = |key: &str| told.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let counted: u64 =
        list("past").iter().filter_map(|past| past.get("n_bans").and_then(Value::as_u64)).sum();
    Ok(counted.max(list("ended").len() as u64))
}

/// What each of the three decides before it knows the others.
fn live_alone(lab: &mut Lab) -> Result<()> {
    for host in lab.hosts_mut() {
        host.start()?;
    }
    let [kopano, kerio, mx1] = ["kopano", "kerio", "mx1"].map(|name| lab.host(name));
    for (host, bans) in [
        (kerio, &[(PAST, "1s"), (OF_KERIO, "1h"), (OF_TWO, "2h"), (KOPANO_ALLOWS, "1h"), (LET_GO, "1h")][..]),
        (kopano, &[(OF_KOPANO, "1h"), (OF_TWO, "1h"), (KERIO_ALLOWS, "1h"), (LET_GO, "1h")]),
        (mx1, &[(OF_MX1, "1h")]),
    ] {
        for (address, length) in bans {
            order(host, &["ban", address, "--for", length])?;
        }
    }
    order(kopano, &["unban", LET_GO])?;
    order(kopano, &["allow", "add", KOPANO_ALLOWS, "--note", "the office"])?;
    order(kopano, &["allow", "add", TWO_ALLOW, "--note", "a partner", "--for", "1h"])?;
    order(kerio, &["allow", "add", KERIO_ALLOWS, "--note", "the scanner"])?;
    order(mx1, &["allow", "add", TWO_ALLOW, "--note", "a partner", "--for", "2h"])?;
    wait_for("kerio knows of a ban that is over", LATER, || {
        expect(end_of(kerio, PAST)?.is_none(), || format!("{PAST} is banned"))?;
        expect(n_bans_before(kerio, PAST)? == 1, || format!("it knows of no earlier ban of {PAST}"))
    })
}

#[test]
fn what_each_host_had_before_is_what_all_have_afterwards() -> Result<()> {
    let name = "brought_along::what_each_host_had_before_is_what_all_have_afterwards";
    in_lab(name, three_quiet_hosts, |lab| {
        live_alone(lab)?;
        let [kopano, kerio, mx1] = ["kopano", "kerio", "mx1"].map(|name| lab.host(name));
        let longest_ban = end_of(kerio, OF_TWO)?;
        let longest_entry = allowed(mx1)?.get(TWO_ALLOW).and_then(|(_, until)| *until);
        expect(longest_ban.is_some() && longest_entry.is_some(), || "nothing to compare with".to_owned())?;
        kerio.join(kopano)?;
        mx1.join(kopano)?;
        lab.wait_whole()?;

        let banned = BTreeSet::from([OF_KOPANO, OF_KERIO, OF_MX1, OF_TWO].map(str::to_owned));
        let entry = |note: &str, until| (note.to_owned(), until);
        let entries = BTreeMap::from([
            (KOPANO_ALLOWS.to_owned(), entry("the office", None)),
            (KERIO_ALLOWS.to_owned(), entry("the scanner", None)),
            (TWO_ALLOW.to_owned(), entry("a partner", longest_entry)),
        ]);
        for host in lab.hosts() {
            let name = host.name();
            wait_for(&format!("{name} has what all had"), LATER, || {
                let (listed, allowed) = (committed(&host.bans()?), allowed(host)?);
                expect(listed == banned, || format!("{name} lists {listed:?}"))?;
                expect(allowed == entries, || format!("{name} allows {allowed:?}"))?;
                let n_before = n_bans_before(host, PAST)?;
                expect(n_before == 1, || format!("{name} knows of {n_before} bans of {PAST} before"))?;
                let end = end_of(host, OF_TWO)?;
                expect(end == longest_ban, || {
                    format!("{name} bans {OF_TWO} until {end:?}, not {longest_ban:?}")
                })
            })?;
            let pairs = |addresses: &[&str]| -> Vec<_> {
                let parsed = addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
                parsed.map(|address| (address, host.port(25, address))).collect()
            };
            lab.attacker.wait_silent(&pairs(&[OF_KOPANO, OF_KERIO, OF_MX1, OF_TWO]), SOON)?;
            lab.attacker.wait_open(&pairs(&[KOPANO_ALLOWS, KERIO_ALLOWS, TWO_ALLOW, PAST, LET_GO]), SOON)?;
        }
        Ok(())
    })
}
