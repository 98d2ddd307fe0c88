//! The two articles' jails, filters and logs, word for word: which line is whose failure.
//!
//! The same lines are judged on our own base alone and, when `BANNKREIS_FAIL2BAN_DIR` names the
//! etc/fail2ban of an unpacked Debian package, on top of that: the decisions must be the same.

use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::time::{BanTime, Timestamp};
use bannkreis_filter::filter::{Judged, Mode};
use bannkreis_filter::jail_config::{Logs, ReadJail};
use bannkreis_filter::reading::{self, Host, Reading};
use bannkreis_filter::tree::{ConfigTree, MemoryTree};
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// 2026-11-20 10:00:30 UTC, when the last lines of the logs were written.
const NOW: Timestamp = Timestamp(1_795_168_830_000);

fn host() -> Host<'static> {
    Host {
        zone: TimeZone::UTC,
        services: &|_| None,
        is_journal_instead: &|_| false,
        config_dir: "/etc/fail2ban".to_owned(),
    }
}

fn sample(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/samples").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const KERIO_FILTERS: [&str; 10] = [
    "w00tw00t",
    "spam-blacklisted",
    "spam-harvest",
    "spam-missingauth",
    "spam-rejected",
    "spam-relay",
    "spam-smtp",
    "spam-unknownrcpt",
    "spam-detected",
    "kerio-auth",
];

fn kerio(jail_local: &str, mut tree: MemoryTree) -> MemoryTree {
    for filter in KERIO_FILTERS {
        let path = format!("filter.d/{filter}.conf");
        tree = tree.with(&path, &sample(&format!("kerio/{path}")));
    }
    tree.with("jail.local", &sample(jail_local))
}

fn kopano(tree: MemoryTree) -> MemoryTree {
    let filter = "filter.d/kopano-webapp-auth.conf";
    tree.with(filter, &sample(&format!("kopano/{filter}"))).with("jail.local", &sample("kopano/jail.local"))
}

fn bare() -> MemoryTree {
    MemoryTree::new("/etc/fail2ban/")
}

/// Debian's own /etc/fail2ban, when somebody unpacked it for us.
fn debian() -> Option<MemoryTree> {
    let directory = PathBuf::from(std::env::var_os("BANNKREIS_FAIL2BAN_DIR")?);
    let mut tree = bare();
    for folder in ["", "filter.d", "action.d", "jail.d"] {
        let entries = std::fs::read_dir(directory.join(folder)).expect("the directory is readable");
        for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
            let text = String::from_utf8_lossy(&std::fs::read(entry.path()).expect("readable")).into_owned();
            let path = Path::new(folder).join(entry.file_name());
            tree = tree.with(&path.to_string_lossy(), &text);
        }
    }
    Some(tree)
}

fn read(tree: &dyn ConfigTree) -> Reading {
    let reading = reading::read(tree, &host()).expect("the configuration is well formed");
    assert_eq!(reading.errors, [], "no jail has a mistake");
    reading
}

fn line(text: &[u8], number: u64) -> LogLine {
    LogLine {
        source: SourceId(0),
        position: SourcePosition(number),
        received_at: NOW,
        written_at: None,
        text: text.to_vec(),
        cut: false,
        replayed: false,
    }
}

/// Per line: its number from 1, the jail, and whom the jail blames.
fn decisions(reading: &mut Reading, log: &str) -> Vec<(u64, String, String)> {
    let mut decisions = Vec::new();
    for (text, number) in log.lines().zip(1..) {
        for jail in &mut reading.jails {
            if let Judged::Failure(failure) =
                jail.filter.judge(&line(text.as_bytes(), number), NOW, Mode::Following)
            {
                decisions.push((number, failure.jail.to_string(), failure.offender.to_string()));
            }
        }
    }
    decisions
}

fn expected(table: &[(u64, &str, &str)]) -> Vec<(u64, String, String)> {
    table.iter().map(|&(line, jail, offender)| (line, jail.to_owned(), offender.to_owned())).collect()
}

const KERIO_DECISIONS: [(u64, &str, &str); 24] = [
    (1, "spam-blacklisted", "203.0.113.10"),
    (2, "spam-blacklisted", "203.0.113.11"),
    (4, "spam-blacklisted", "203.0.113.13"),
    (5, "spam-detected", "203.0.113.20"),
    (6, "spam-detected", "203.0.113.20"),
    (7, "spam-detected", "203.0.113.20"),
    (10, "spam-harvest", "203.0.113.30"),
    (11, "spam-harvest", "203.0.113.31"),
    (13, "spam-missingauth", "203.0.113.41"),
    (14, "spam-missingauth", "203.0.113.41"),
    (15, "spam-missingauth", "203.0.113.41"),
    (16, "spam-rejected", "203.0.113.50"),
    (19, "spam-relay", "203.0.113.60"),
    (20, "spam-relay", "203.0.113.60"),
    (21, "spam-smtp", "203.0.113.70"),
    (22, "spam-unknownrcpt", "203.0.113.80"),
    (23, "spam-unknownrcpt", "203.0.113.80"),
    (24, "spam-unknownrcpt", "203.0.113.80"),
    (26, "w00tw00t", "203.0.113.90"),
    (27, "w00tw00t", "203.0.113.91"),
    (30, "kerio-auth", "203.0.113.100"),
    (32, "spam-blacklisted", "172.16.4.4"),
    (33, "spam-blacklisted", "2001:db8:bad::7"),
    (35, "spam-harvest", "2001:db8:bad::8"),
];

const KOPANO_DECISIONS: [(u64, &str, &str); 7] = [
    (1, "kopano-webapp", "10.10.10.101"),
    (2, "kopano-webapp", "10.10.10.101"),
    (3, "kopano-webapp", "2001:db8:bad::9"),
    (4, "apache-auth", "172.17.88.91"),
    (5, "apache-auth", "172.17.88.91"),
    (7, "kopano-webapp", "172.31.16.3"),
    (8, "kopano-webapp", "10.32.57.98"),
];

fn jail<'r>(reading: &'r Reading, name: &str) -> &'r ReadJail {
    reading
        .jails
        .iter()
        .find(|jail| jail.jail.name.as_str() == name)
        .unwrap_or_else(|| panic!("no jail {name}"))
}

fn files(jail: &ReadJail) -> Vec<&str> {
    match &jail.logs {
        Logs::Files(paths) => paths.iter().map(|path| path.glob.as_str()).collect(),
        Logs::Journal(..) => panic!("a journal"),
    }
}

fn kerio_decides(tree: MemoryTree) {
    let mut reading = read(&kerio("kerio/jail.local", tree));
    reading.jails.retain(|jail| jail.jail.name.as_str() != "sshd");
    assert_eq!(reading.jails.len(), 10);
    let got = decisions(&mut reading, &sample("kerio/maillog"));
    assert_eq!(got, expected(&KERIO_DECISIONS));
}

fn kerio_jails(tree: MemoryTree) {
    let reading = read(&kerio("kerio/jail.local", tree));
    for (name, max_retry, ban_s, ports) in [
        ("w00tw00t", 0, 86_400, "80,443/tcp"),
        ("spam-blacklisted", 0, 604_800, "25,465,587/tcp"),
        ("spam-missingauth", 3, 86_400, "25,465,587/tcp"),
        ("spam-relay", 3, 3_600, "25,465,587/tcp"),
        ("kerio-auth", 1, 86_400, "25,465,587/tcp"),
    ] {
        let jail = jail(&reading, name);
        assert_eq!(jail.jail.max_retry, max_retry, "{name}");
        assert_eq!(jail.jail.find_time_ms, 600_000, "{name}");
        assert_eq!(jail.jail.policy.ban_time, BanTime::Ms(ban_s * 1_000), "{name}");
        assert_eq!(jail.jail.ports.to_string(), ports, "{name}");
        let ignored: Vec<String> = jail.jail.ignore.iter().map(ToString::to_string).collect();
        assert_eq!(ignored, ["127.0.0.0/8", "172.16.0.0/16"], "{name}");
        assert_eq!(files(jail), ["/var/log/maillog"]);
    }
}

#[test]
fn the_second_action_at_column_0_is_ignored_and_warned_about() {
    let reading = read(&kerio("kerio/jail.local", bare()));
    let warnings: Vec<String> = reading.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].starts_with("/etc/fail2ban/jail.local:80: `iptables-multiport[name=HTTP"),
        "{}",
        warnings[0]
    );
    assert!(warnings[0].contains("looks like an action that lost its indentation"));

    let indented = read(&kerio("kerio/jail-indented.local", bare()));
    assert_eq!(jail(&indented, "kerio-auth").jail.ports.to_string(), "25,80,443,465,587/tcp");
    assert!(indented.warnings().is_empty());
}

fn kopano_decides(tree: MemoryTree) {
    let mut reading = read(&kopano(tree));
    reading.jails.retain(|jail| jail.jail.name.as_str() != "sshd");
    let names: Vec<&str> = reading.jails.iter().map(|jail| jail.jail.name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for (name, ports) in [("kopano-webapp", "443/tcp"), ("apache-auth", "80,443/tcp")] {
        let jail = jail(&reading, name);
        assert_eq!((jail.jail.max_retry, jail.jail.ports.to_string().as_str()), (5, ports));
        assert_eq!(files(jail), ["/var/log/apache2/*error.log"]);
    }
    let got = decisions(&mut reading, &sample("kopano/error.log"));
    assert_eq!(got, expected(&KOPANO_DECISIONS));
}

#[test]
fn check_knows_where_every_option_comes_from() {
    let reading = read(&kopano(bare()));
    let jail = jail(&reading, "kopano-webapp");
    let places = |option: &str| {
        let setting = jail.settings.iter().find(|setting| setting.option == option).expect("set");
        setting.places.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(places("logpath")[0], "/etc/fail2ban/jail.local:9");
    assert!(places("logpath")[1].starts_with("(built in) paths-common.conf:"));
    assert_eq!(places("failregex")[0], "/etc/fail2ban/filter.d/kopano-webapp-auth.conf:8");
    assert!(places("failregex")[1].starts_with("(built in) filter.d/apache-common.conf:"));
    assert!(places("maxretry")[0].starts_with("(built in) jail.conf:"));
    assert_eq!(jail.filter_files.len(), 2);
    assert!(reading.disabled.contains(&"sshd".to_owned()));
}

#[test]
fn the_articles_decide_as_written_on_our_own_base() {
    kerio_decides(bare());
    kerio_jails(bare());
    kopano_decides(bare());
}

#[test]
fn the_articles_decide_the_same_on_top_of_debians_files() {
    let Some(debian) = debian() else {
        println!("SKIPPED: BANNKREIS_FAIL2BAN_DIR names no etc/fail2ban of an unpacked Debian package");
        return;
    };
    kerio_decides(debian.clone());
    kerio_jails(debian.clone());
    kopano_decides(debian);
}
