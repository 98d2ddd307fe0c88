//! The customer calls when it is over: every node can say which jail has banned an address, because of which lines,
//! and who let it go; for as long as the setting says, and no longer.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};
use serde_json::Value;

use crate::inside::{in_lab, plan};

const CUSTOMER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 78));
const SOON: Duration = Duration::from_secs(10);
const AFTER_ELECTION: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 86_400_000;
/// The names the daemon reads its shifted clock under.
const CLOCK_VARIABLE: &str = "BANNKREIS_CLOCK_FILE";

/// What `history` says of an address, the newest first.
fn history(host: &Host, about: &str) -> Result<Vec<Value>> {
    let all = ["--output", "json", "history", about];
    let told = host.cli(if about.is_empty() { &all[..3] } else { &all })?.json()?;
    entries(&told)
}

fn entries(told: &Value) -> Result<Vec<Value>> {
    let entries = told.get("entries").and_then(Value::as_array);
    entries.cloned().ok_or_else(|| Failed(format!("no entries: {told}")))
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The one ban that is over, with the jail, the line, the origin, and how it ended.
fn expect_over(host: &Host, address: IpAddr, ending: &str) -> Result<Value> {
    let entries = history(host, &address.to_string())?;
    let over: Vec<&Value> = entries.iter().filter(|entry| text(entry, "kind") == "ended").collect();
    let name = host.name();
    expect(over.len() == 1, || format!("{name} tells of {} ended bans: {entries:?}", over.len()))?;
    let ended = over[0].clone();
    expect(text(&ended, "jail") == "postfix-sasl" && text(&ended, "ending") == ending, || {
        format!("{name} tells: {ended}")
    })?;
    let evidence = ended.get("evidence").cloned().unwrap_or_default();
    let line = evidence.pointer("/lines/0/text").and_then(Value::as_str).unwrap_or_default();
    expect(text(&evidence, "node") == "mx1" && line.contains(&address.to_string()), || {
        format!("{name} knows of no line: {ended}")
    })?;
    Ok(ended)
}

/// In one text, however its lines are broken.
fn unbroken(told: &Told) -> String {
    told.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn expect_told(host: &Host) -> Result<()> {
    let lifted = expect_over(host, CUSTOMER, "lifted")?;
    expect(text(&lifted, "reason") == "a customer called" && text(&lifted, "ended_on") == "kerio", || {
        format!("{} tells of another end: {lifted}", host.name())
    })?;
    let why = unbroken(&host.cli(&["why", &CUSTOMER.to_string()])?.expect_success()?);
    for part in
        ["is not banned", "was banned in jail postfix-sasl", "lifted by", "on kerio: a customer called"]
    {
        expect(why.contains(part), || format!("{} does not say {part:?}: {why}", host.name()))?;
    }
    let commands = history(host, "")?;
    let command = commands.iter().find(|entry| text(entry, "command") == "unban");
    expect(command.is_some_and(|unban| text(unban, "outcome") == "done"), || {
        format!("{} knows of no command: {commands:?}", host.name())
    })
}

#[test]
fn every_node_can_say_what_was_when_it_is_over() -> Result<()> {
    let hosts = |_: &_| {
        vec![
            plan("kopano", Tree::empty()),
            plan("kerio", Tree::empty()),
            plan("mx1", seeds::strict_mail_relay("1h")),
        ]
    };
    in_lab("history::every_node_can_say_what_was_when_it_is_over", hosts, |lab| {
        lab.form_cluster()?;
        lab.host("mx1").append_log(seeds::MAIL_LOG, &[seeds::postfix_failure(CUSTOMER)])?;
        for host in lab.hosts() {
            wait_for(&format!("{} lists the customer", host.name()), SOON, || {
                let listed = committed(&host.bans()?);
                expect(listed.contains(&CUSTOMER.to_string()), || format!("{listed:?}"))
            })?;
        }
        // One is down when it is lifted.
        lab.host_mut("kopano").kill_9();
        lab.leader()?;
        let unban = ["--output", "json", "unban", &CUSTOMER.to_string(), "--reason", "a customer called"];
        let done = lab.host("kerio").cli(&unban)?;
        expect(done.is_done(), || format!("it was not lifted: {}", done.stdout))?;
        for name in ["kerio", "mx1"] {
            expect_told(lab.host(name))?;
        }
        lab.host_mut("kopano").start()?;
        wait_for("kopano has caught up", AFTER_ELECTION, || expect_told(lab.host("kopano")))?;

        // It survives what it is told of.
        lab.host_mut("mx1").stop()?;
        lab.host_mut("mx1").start()?;
        wait_for("mx1 still knows", AFTER_ELECTION, || expect_told(lab.host("mx1")))?;

        // A ban that nobody lifts is over when its time is.
        lab.host("kerio")
            .cli(&["ban", &OTHER.to_string(), "--for", "2s", "--reason", "a try"])?
            .expect_success()?;
        for host in lab.hosts() {
            wait_for(&format!("{} says that it is over", host.name()), SOON, || {
                let entries = history(host, &OTHER.to_string())?;
                let over = entries.iter().find(|entry| text(entry, "kind") == "ended");
                let reason = over.and_then(|ended| ended.pointer("/evidence/reason")).and_then(Value::as_str);
                expect(reason == Some("a try"), || format!("{entries:?}"))
            })?;
        }
        expect_forgotten(lab)
    })
}

/// One command on any node, and nobody knows anything any more of what is over; who was down learns it later.
fn expect_forgotten(lab: &mut Lab) -> Result<()> {
    let (customer, other) = (CUSTOMER.to_string(), OTHER.to_string());
    lab.host("kerio").cli(&["ban", &other, "--for", "1h"])?.expect_success()?;
    let told = lab.host("kerio").cli(&["forget", &other])?;
    expect(!told.status.success() && unbroken(&told).contains("is banned in jail operator"), || {
        format!("a ban that holds was forgotten: {}{}", told.stdout, told.stderr)
    })?;
    lab.host_mut("mx1").kill_9();
    lab.leader()?;
    lab.host("kopano").cli(&["forget", &customer, "--reason", "they asked to"])?.expect_success()?;
    lab.host_mut("mx1").start()?;
    for host in lab.hosts() {
        wait_for(&format!("{} has forgotten the customer", host.name()), AFTER_ELECTION, || {
            let entries = history(host, &customer)?;
            expect(entries.is_empty(), || format!("{entries:?}"))?;
            let why = unbroken(&host.cli(&["why", &customer])?.expect_success()?);
            expect(!why.contains("was banned"), || why)?;
            let all = history(host, "")?;
            let forgets = || all.iter().filter(|entry| text(entry, "command") == "forget");
            let told = forgets().map(ToString::to_string).collect::<String>();
            // The refused one as well.
            expect(forgets().count() == 2 && !told.contains(&customer) && !told.contains(&other), || told)?;
            let command = forgets().next();
            let reason = command.map(|forget| text(forget, "reason"));
            expect(reason == Some("they asked to"), || format!("{all:?}"))?;
            let others = history(host, &other)?;
            expect(others.len() > 1, || format!("more was forgotten than that: {others:?}"))
        })?;
    }
    Ok(())
}

#[test]
fn a_host_that_joins_later_says_what_all_remember_and_that_there_is_more() -> Result<()> {
    let hosts = |_: &_| vec![plan("mx1", seeds::strict_mail_relay("2s")), plan("kerio", Tree::empty())];
    let name = "history::a_host_that_joins_later_says_what_all_remember_and_that_there_is_more";
    in_lab(name, hosts, |lab| {
        for host in lab.hosts_mut() {
            host.start()?;
        }
        lab.host("mx1").append_log(seeds::MAIL_LOG, &[seeds::postfix_failure(CUSTOMER)])?;
        wait_for("mx1 says that it is over", SOON, || expect_over(lab.host("mx1"), CUSTOMER, "expired"))?;
        lab.host("kerio").join(lab.host("mx1"))?;
        wait_for("kerio says what it can", AFTER_ELECTION, || {
            let told =
                lab.host("kerio").cli(&["--output", "json", "history", &CUSTOMER.to_string()])?.json()?;
            let is_known = told.pointer("/past/0/jail").and_then(Value::as_str) == Some("postfix-sasl")
                || entries(&told)?.iter().any(|entry| text(entry, "jail") == "postfix-sasl");
            expect(is_known, || format!("{told}"))
        })
    })
}

/// Alone a host blocks for as long as its jail says; when the cluster can agree again it is over, and told as that: as
/// late, or as over at once where the first commit is dated by a clock that has just begun to run again.
#[test]
fn what_was_over_before_the_cluster_could_agree_on_it_is_told_by_all() -> Result<()> {
    let hosts = |_: &_| {
        vec![
            plan("kopano", Tree::empty()),
            plan("kerio", Tree::empty()),
            plan("mx1", seeds::strict_mail_relay("2s")),
        ]
    };
    in_lab("history::what_was_over_before_the_cluster_could_agree_on_it_is_told_by_all", hosts, |lab| {
        lab.form_cluster()?;
        for name in ["kopano", "kerio"] {
            lab.host_mut(name).kill_9();
        }
        lab.host("mx1").append_log(seeds::MAIL_LOG, &[seeds::postfix_failure(CUSTOMER)])?;
        let mail = [(CUSTOMER, lab.host("mx1").port(25, CUSTOMER))];
        lab.attacker.wait_silent(&mail, SOON)?;
        lab.attacker.wait_open(&mail, SOON)?;
        for name in ["kopano", "kerio"] {
            lab.host_mut(name).start()?;
        }
        for host in lab.hosts() {
            wait_for(&format!("{} tells of it", host.name()), AFTER_ELECTION, || {
                expect_over(host, CUSTOMER, "late").or_else(|_| expect_over(host, CUSTOMER, "expired"))
            })?;
        }
        Ok(())
    })
}

#[test]
fn what_is_older_than_the_setting_is_gone_within_the_hour_and_evidence_of_what_holds_stays() -> Result<()> {
    let hosts = |directory: &Path| {
        let clock = directory.join("clock");
        let tree = |name| if name == "mx1" { seeds::strict_mail_relay("-1") } else { Tree::empty() };
        ["mx1", "kerio"]
            .map(|name| {
                let mut plan = plan(name, tree(name));
                plan.environment.push((CLOCK_VARIABLE.to_owned(), clock.display().to_string()));
                plan
            })
            .into()
    };
    let name =
        "history::what_is_older_than_the_setting_is_gone_within_the_hour_and_evidence_of_what_holds_stays";
    in_lab(name, hosts, |lab| {
        let clock = Clock(lab.hosts()[0].file("../clock"));
        clock.set(0)?;
        lab.form_cluster()?;
        let lines = [CUSTOMER, OTHER].map(seeds::postfix_failure);
        lab.host("mx1").append_log(seeds::MAIL_LOG, &lines)?;
        wait_for("both are banned", SOON, || {
            let listed = committed(&lab.host("kerio").bans()?);
            expect(listed.len() == 2, || format!("{listed:?}"))
        })?;
        lab.host("kerio").cli(&["unban", &CUSTOMER.to_string()])?.expect_success()?;

        clock.set(29 * DAY_MS)?;
        for host in lab.hosts() {
            wait_for(&format!("{} knows that days have passed", host.name()), AFTER_ELECTION, || {
                let told = host.cli(&["--output", "json", "status"])?;
                let now_ms = told.number_at("/state/now_ms")?;
                let lifted = expect_over(host, CUSTOMER, "lifted")?;
                let end_ms = lifted.get("end_ms").and_then(Value::as_u64).unwrap_or_default();
                expect(now_ms.saturating_sub(end_ms) > 28 * DAY_MS, || format!("{now_ms}: {lifted}"))
            })?;
        }
        clock.set(30 * DAY_MS + DAY_MS / 24)?;
        for host in lab.hosts() {
            wait_for(&format!("{} has forgotten it", host.name()), AFTER_ELECTION, || {
                let entries = history(host, &CUSTOMER.to_string())?;
                expect(entries.is_empty(), || format!("{entries:?}"))
            })?;
            let why = host.why(OTHER)?;
            let has_line = why.bans.iter().any(|ban| ban.node == "mx1" && ban.lines.len() == 1);
            expect(has_line, || format!("{} has lost the line of a ban that holds: {why:?}", host.name()))?;
        }
        Ok(())
    })
}

/// The file that shifts the clocks of all nodes.
struct Clock(PathBuf);

impl Clock {
    fn set(&self, offset_ms: u64) -> Result<()> {
        // Renamed into place: a daemon that reads in between sees the old one or the new one.
        let new = self.0.with_extension("new");
        let write = || {
            fs::write(&new, offset_ms.to_string())?;
            fs::rename(&new, &self.0)
        };
        write().context(|| format!("cannot write {}", self.0.display()))
    }
}
