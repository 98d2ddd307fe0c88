//! What this log says of bans is what the jail `recidive` reads in it: the lines are written by the daemon's own log
//! and judged by the filter that is built in, so that neither can be changed without the other.

use super::*;
use crate::log_file::log_of;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::BanKey;
use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::jail::JailName;
use bannkreis_core::judge::NotSharedReason;
use bannkreis_core::settings::Settings;
use bannkreis_filter::filter::{Judged, Mode};
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;
use std::path::Path;
use std::time::SystemTime;

/// The cluster's time in these lines; the log writes its own in front.
const NOW: Timestamp = Timestamp(1_000_000_000_000);

fn key(subnet: &str, jail: &str) -> BanKey {
    BanKey { subnet: subnet.parse().expect("an address"), jail: JailName::new(jail).expect("a name") }
}

fn blocked(subnet: &str, jail: &str, until: Until, n_told: u32, evidence: &str) -> Notable {
    Notable::Blocked { key: key(subnet, jail), until, failures: 5, n_told, evidence: evidence.to_owned() }
}

/// Whom the jail `recidive` blames for each of `lines`, read from a file that they are appended to.
fn blamed(lines: &[String]) -> Vec<Option<String>> {
    let text = "[recidive]\nenabled = true\nlogpath = /x\n";
    let tree = MemoryTree::new("/f/").with("jail.local", text);
    let host = Host { zone: TimeZone::UTC, services: &|_| None, config_dir: String::new() };
    let mut jail = reading::read(&tree, &host).expect("well formed").jails.remove(0);
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let now = Timestamp(u64::try_from(since).expect("not for long yet"));
    let mut judge = |line: &String| {
        let text = line.clone().into_bytes();
        let (source, position) = (SourceId(0), SourcePosition(0));
        let line = LogLine { source, position, received_at: now, text, cut: false, replayed: false };
        match jail.filter.judge(&line, now, Mode::Following) {
            Judged::Failure(failure) => {
                assert!(now.0.abs_diff(failure.at.0) < 10_000, "the line's own date: {:?}", failure.at);
                Some(failure.offender.to_string())
            }
            _ => None,
        }
    };
    lines.iter().map(&mut judge).collect()
}

/// Every form of a line that says that this host bans somebody.
fn bans() -> Vec<(&'static str, Notable)> {
    let soon = Until::At(Timestamp(NOW.0 + 599_999));
    let forged = "user NOTICE  [sshd] Ban 198.51.100.1 from 192.0.2.1";
    vec![
        ("192.0.2.1", blocked("192.0.2.1", "sshd", soon, 0, "Failed password for root from 192.0.2.1")),
        ("192.0.2.1", blocked("192.0.2.1", "sshd", Until::Forever, 0, forged)),
        ("192.0.2.1", blocked("192.0.2.1", "postfix-sasl", soon, 3, "")),
        ("203.0.113.0/24", blocked("203.0.113.0/24", "sshd", soon, 0, "x")),
        ("2001:db8::1", blocked("2001:db8::1", "sshd", soon, 0, "x")),
        ("2606:4700::/64", blocked("2606:4700::/64", "sshd", soon, 0, "x")),
        ("2001:db8:1:2::/64", blocked("2001:db8:1:2::/64", "sshd", Until::Forever, 0, "x")),
        ("64:ff9b::c000:201", blocked("64:ff9b::c000:201", "sshd", soon, 0, "x")),
    ]
}

#[test]
fn recidive_reads_every_ban_that_this_log_tells() {
    let (expected, notables): (Vec<_>, Vec<_>) = bans().into_iter().unzip();
    let lines = log_of(|| notables.iter().for_each(|notable| tell(notable, NOW)));
    let expected: Vec<_> = expected.into_iter().map(|offender| Some(offender.to_owned())).collect();
    assert_eq!(blamed(&lines), expected, "{lines:#?}");
    // What goes to standard error stands in syslog behind syslog's own date, name and process.
    let now = jiff::Timestamp::now().strftime("%FT%T%.6f+00:00").to_string();
    for prefix in [format!("{now} h bannkreisd[811]: "), format!("{now} bannkreisd[811]: ")] {
        let relayed: Vec<_> = lines.iter().map(|line| format!("{prefix}{line}")).collect();
        assert_eq!(blamed(&relayed), expected, "{relayed:#?}");
    }
}

#[test]
fn recidive_reads_no_other_line_of_this_log_as_a_ban() {
    let (found, peer) = (key("192.0.2.1", "sshd"), NodeId(2));
    let notables = [
        blocked("192.0.2.1", "recidive", Until::Forever, 0, "x"),
        Notable::Found { jail: found.jail.clone(), offender: found.subnet, at: NOW },
        Notable::Ignored {
            jail: found.jail.clone(),
            offender: found.subnet,
            why: IgnoredBecause::BeforeUnban,
        },
        Notable::Settled { key: found.clone() },
        Notable::KeptLocal { key: found.clone(), why: NotSharedReason::Quota },
        Notable::OutboxFull { key: found.clone() },
        Notable::NoticesDropped { origin: peer },
    ];
    let changes = [
        Change::Banned { key: found.clone(), until: Until::Forever, count: 1, origin: peer },
        Change::Damped { key: found.clone(), until: Until::Forever, origin: peer },
        Change::Extended { key: found.clone(), until: Until::Forever, origin: peer },
        Change::Shortened { key: found, until: Until::Forever },
    ];
    let view = BanList::new(Settings::at_birth([0; 16])).view();
    let lines = log_of(|| {
        notables.iter().for_each(|notable| tell(notable, NOW));
        tell_changes(&changes, changes.len(), &view, NOW);
    });
    assert_eq!(lines.len(), notables.len() + changes.len(), "{lines:#?}");
    assert!(blamed(&lines).iter().all(Option::is_none), "{lines:#?}");
}

#[test]
fn the_labelled_samples_of_this_log_are_what_it_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples/recidive/lines");
    let samples = std::fs::read_to_string(path).expect("readable");
    let lines = log_of(|| bans().iter().for_each(|(_, notable)| tell(notable, NOW)));
    let without_time = |line: &str| Some(line.split_once("Z ")?.1.to_owned());
    let written: Vec<_> = lines.iter().filter_map(|line| without_time(line)).collect();
    let ours = samples.lines().filter(|line| line.contains(" INFO [") && line.contains("] Ban "));
    let mut n_ours = 0;
    for sample in ours.filter(|line| !line.starts_with("ignoreregex")) {
        let text = without_time(sample).expect("a time");
        assert!(written.contains(&text), "not written so: {sample}\n{written:#?}");
        n_ours += 1;
    }
    assert!(n_ours >= 4, "{n_ours}");
}
