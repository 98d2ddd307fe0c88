//! Our own jails: what a host with nothing of fail2ban gets, what a host with its files gets besides, and
//! what both get in deploy/jails.
//!
//! Not for what the filters recognise (`base_filters`).

use bannkreis_filter::base::OS_RELEASE;
use bannkreis_filter::ini;
use bannkreis_filter::jail_config::{Logs, ReadJail};
use bannkreis_filter::reading::{self, Host, Reading};
use bannkreis_filter::tree::{ConfigTree, MemoryTree};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every jail of the base: its name, the ports that it closes, the logs that it reads on Debian.
const JAILS: [(&str, &str, &str); 32] = [
    ("sshd", "22/tcp", "/var/log/auth.log"),
    ("apache-auth", "80,443/tcp", "/var/log/apache2/*error.log"),
    ("apache-badbots", "80,443/tcp", "/var/log/apache2/*access.log"),
    ("apache-noscript", "80,443/tcp", "/var/log/apache2/*error.log"),
    ("apache-overflows", "80,443/tcp", "/var/log/apache2/*error.log"),
    ("apache-nohome", "80,443/tcp", "/var/log/apache2/*error.log"),
    ("apache-botsearch", "80,443/tcp", "/var/log/apache2/*error.log"),
    ("nginx-http-auth", "80,443/tcp", "/var/log/nginx/*error.log"),
    ("nginx-limit-req", "80,443/tcp", "/var/log/nginx/*error.log"),
    ("nginx-botsearch", "80,443/tcp", "/var/log/nginx/*access.log"),
    ("nginx-bad-request", "80,443/tcp", "/var/log/nginx/*access.log"),
    ("postfix", "25,465,587/tcp", "/var/log/mail.log"),
    ("postfix-rbl", "25,465,587/tcp", "/var/log/mail.log"),
    ("postfix-sasl", "25,110,143,465,587,993,995/tcp", "/var/log/mail.log"),
    ("dovecot", "110,143,465,587,993,995,4190/tcp", "/var/log/mail.log"),
    ("kopano-webapp", "80,443/tcp", "/var/log/apache2/*error.log /var/log/nginx/*error.log"),
    ("kopano-server", "80,236-237,443/tcp", "/var/log/kopano/audit.log"),
    ("kopano-gateway", "110,143,993,995/tcp", "/var/log/kopano/gateway.log"),
    ("kopano-ical", "80,443,8080,8443/tcp", "/var/log/nginx/*access.log"),
    ("z-push", "80,443/tcp", "/var/log/z-push/z-push*.log"),
    ("grommunio-web", "80,443/tcp", "/var/log/nginx/*error.log"),
    ("gromox", "80,110,143,443,993,995/tcp", "/var/log/mail.log"),
    ("grommunio-sync", "80,443/tcp", "/var/log/grommunio-sync/grommunio-sync*.log"),
    ("grommunio-dav", "80,443/tcp", "/var/log/grommunio-dav/dav.log"),
    ("kerio", "25,80,110,143,443,465,587,993,995,4040/tcp", "/opt/kerio/mailserver/store/logs/security.log"),
    (
        "kerio-security",
        "25,80,110,143,443,465,587,993,995,4040/tcp",
        "/opt/kerio/mailserver/store/logs/security.log",
    ),
    (
        "kerio-mail",
        "25,465,587/tcp",
        "/opt/kerio/mailserver/store/logs/security.log /opt/kerio/mailserver/store/logs/mail.log",
    ),
    (
        "kerio-spam",
        "25,465,587/tcp",
        "/opt/kerio/mailserver/store/logs/security.log /opt/kerio/mailserver/store/logs/spam.log",
    ),
    (
        "kerio-web",
        "80,443,4040/tcp",
        "/opt/kerio/mailserver/store/logs/security.log /opt/kerio/mailserver/store/logs/warning.log",
    ),
    ("roundcube-auth", "80,443/tcp", "/var/log/roundcube*/errors* /var/log/roundcube*/userlogins*"),
    ("sogo-auth", "80,443/tcp", "/var/log/sogo/sogo.log"),
    ("recidive", "all/tcp", "/var/log/fail2ban.log"),
];

fn host() -> Host<'static> {
    Host {
        zone: TimeZone::UTC,
        services: &|_| None,
        is_journal_instead: &|_| false,
        config_dir: "/etc/fail2ban".to_owned(),
    }
}

fn read(tree: &dyn ConfigTree) -> Reading {
    let reading = reading::read(tree, &host()).expect("well formed");
    assert_eq!(reading.errors, []);
    reading
}

fn bare() -> MemoryTree {
    MemoryTree::new("/etc/fail2ban/")
}

fn logs(jail: &ReadJail) -> String {
    match &jail.logs {
        Logs::Files(paths) => paths.iter().map(|path| path.glob.as_str()).collect::<Vec<_>>().join(" "),
        Logs::Journal(journal, matches) => format!("{journal} {matches}"),
    }
}

/// Name, ports and logs, as in [`JAILS`].
fn table(reading: &Reading) -> Vec<(String, String, String)> {
    let row = |jail: &ReadJail| (jail.jail.name.to_string(), jail.jail.ports.to_string(), logs(jail));
    reading.jails.iter().map(row).collect()
}

fn expected(wanted: impl Fn(&str) -> bool) -> Vec<(String, String, String)> {
    let owned =
        |&(name, ports, logs): &(&str, &str, &str)| (name.to_owned(), ports.to_owned(), logs.to_owned());
    JAILS.iter().filter(|(name, ..)| wanted(name)).map(owned).collect()
}

#[test]
fn without_any_file_of_the_user_every_jail_is_there_and_none_is_on() {
    let reading = read(&bare());
    assert!(reading.jails.is_empty() && reading.warnings().is_empty());
    assert_eq!(reading.disabled, JAILS.map(|(name, ..)| name));
}

#[test]
fn one_line_turns_a_jail_on() {
    let enabled: String = JAILS.iter().map(|(name, ..)| format!("[{name}]\nenabled = true\n")).collect();
    let reading = read(&bare().with("jail.local", &enabled));
    for (found, expected) in table(&reading).into_iter().zip(expected(|_| true)) {
        assert_eq!(found, expected);
    }
    assert_eq!(reading.jails.len(), JAILS.len());
    for jail in &reading.jails {
        let backtracking: Vec<&str> = jail.filter.backtracking().collect();
        assert!(backtracking.is_empty(), "{}: {backtracking:?}", jail.jail.name);
    }
}

#[test]
fn logs_are_looked_for_where_the_distribution_has_them() {
    let jail_local = "[sshd]\nenabled = true\n[postfix]\nenabled = true\n[apache-auth]\nenabled = true\n";
    for (os_release, logs) in [
        ("ID=ubuntu\n", ["/var/log/auth.log", "/var/log/mail.log", "/var/log/apache2/*error.log"]),
        ("ID=fedora\n", ["/var/log/secure", "/var/log/maillog", "/var/log/httpd/*error_log"]),
        ("ID=sles\n", ["/var/log/messages", "/var/log/mail", "/var/log/apache2/*error_log"]),
        (
            "ID=arch\n",
            [
                "journal _SYSTEMD_UNIT=ssh.service + _COMM=sshd",
                "journal _SYSTEMD_UNIT=postfix.service + _SYSTEMD_SLICE=system-postfix.slice",
                "/var/log/httpd/*error_log",
            ],
        ),
    ] {
        let reading = read(&bare().with("jail.local", jail_local).with(OS_RELEASE, os_release));
        let found: Vec<String> = table(&reading).into_iter().map(|(.., logs)| logs).collect();
        assert_eq!(found, [logs[0], logs[2], logs[1]], "{os_release}");
    }
}

#[test]
fn overrides_of_paths_are_read() {
    let tree = bare()
        .with("jail.local", "[sshd]\nenabled = true\n")
        .with("paths-overrides.local", "[DEFAULT]\nsshd_log = /srv/log/auth.log\n");
    assert_eq!(table(&read(&tree))[0].2, "/srv/log/auth.log");
}

/// A jail.conf as somebody may have it for years, with little in it.
const OLD_JAIL_CONF: &str = "[DEFAULT]\nmaxretry = 3\nbantime = 600\nfindtime = 600\nport = 0:65535\nprotocol = tcp\n\
    chain = INPUT\nbanaction = iptables-multiport\n\
    action = %(banaction)s[port=\"%(port)s\", protocol=\"%(protocol)s\"]\n\
    [ssh]\nenabled = true\nfilter = sshd\nport = ssh\nlogpath = /var/log/auth.log\n";

#[test]
fn a_jail_that_is_only_named_is_ours_and_the_others_stay_as_they_are() {
    let tree = bare().with("jail.conf", OLD_JAIL_CONF).with(
        "jail.local",
        "[kopano-gateway]\nenabled = true\n[kerio]\nenabled = true\nfilter = kerio\nlogpath = /var/log/maillog\n",
    );
    let reading = read(&tree);
    assert_eq!(
        table(&reading),
        [
            ("ssh", "22/tcp", "/var/log/auth.log"),
            ("kopano-gateway", "110,143,993,995/tcp", "/var/log/kopano/gateway.log"),
            ("kerio", "all/tcp", "/var/log/maillog"),
        ]
        .map(|(name, ports, logs)| (name.to_owned(), ports.to_owned(), logs.to_owned()))
    );
    assert!(reading.jails.iter().all(|jail| jail.jail.max_retry == 3));
}

/// Debian's own /etc/fail2ban, when somebody unpacked it for us.
fn debian() -> Option<MemoryTree> {
    let directory = PathBuf::from(std::env::var_os("BANNKREIS_FAIL2BAN_DIR")?);
    let mut tree = bare();
    for folder in ["", "filter.d", "action.d", "jail.d"] {
        for entry in std::fs::read_dir(directory.join(folder)).expect("readable").flatten() {
            if entry.path().is_file() {
                let bytes = std::fs::read(entry.path()).expect("readable");
                let path = Path::new(folder).join(entry.file_name());
                tree = tree.with(&path.to_string_lossy(), &String::from_utf8_lossy(&bytes));
            }
        }
    }
    Some(tree)
}

#[test]
fn below_debians_files_our_base_changes_nothing() {
    let Some(debian) = debian() else {
        println!("SKIPPED: BANNKREIS_FAIL2BAN_DIR names no etc/fail2ban of an unpacked Debian package");
        return;
    };
    let all_on = "[DEFAULT]\nenabled = true\nblocklist_de_apikey = k\ncfemail = a@b\ncfapikey = k\n";
    let debian = debian.with("jail.local", all_on);
    let alone = reading::read_tree(&debian, &host()).expect("well formed");
    let layered = reading::read(&debian, &host()).expect("well formed");
    assert!(alone.jails.len() > 50, "{}", alone.jails.len());
    assert_eq!(alone.errors, layered.errors);
    assert_eq!(alone.files, layered.files);
    assert_eq!(alone.disabled, layered.disabled);
    assert_eq!(table(&alone), table(&layered));
    for (alone, layered) in alone.jails.iter().zip(&layered.jails) {
        assert_eq!(alone.settings, layered.settings, "{}", alone.jail.name);
        assert_eq!(alone.filter_files, layered.filter_files, "{}", alone.jail.name);
        assert_eq!(alone.remarks, layered.remarks, "{}", alone.jail.name);
    }
}

#[test]
fn debians_files_have_our_jails_besides_when_they_are_named() {
    let Some(debian) = debian() else {
        println!("SKIPPED: BANNKREIS_FAIL2BAN_DIR names no etc/fail2ban of an unpacked Debian package");
        return;
    };
    let ours = |name: &str| {
        ["kopano", "grommunio", "gromox", "z-push", "kerio-"].iter().any(|start| name.starts_with(start))
    };
    let enabled: String = JAILS
        .iter()
        .filter(|(name, ..)| ours(name))
        .map(|(name, ..)| format!("[{name}]\nenabled = true\n"))
        .collect();
    let mut reading = read(&debian.with("jail.local", &enabled));
    reading.jails.retain(|jail| ours(jail.jail.name.as_str()));
    assert_eq!(table(&reading), expected(ours));
}

/// The files of deploy/jails by name.
fn deployed() -> BTreeMap<String, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/jails");
    let entries = std::fs::read_dir(directory).expect("readable").flatten();
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().expect("a name");
            (name, std::fs::read_to_string(entry.path()).expect("readable"))
        })
        .collect()
}

/// A file of deploy/jails with every option uncommented.
fn uncommented(text: &str) -> String {
    let sections = text.lines().skip_while(|line| !line.starts_with('['));
    sections.map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line))).collect()
}

/// The options of each jail of a file, whether it is on left aside.
fn jails_of(name: &str, text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let options = |options: Vec<(String, ini::Raw)>| {
        options
            .into_iter()
            .map(|(option, raw)| (option, raw.text))
            .filter(|(option, _)| option != "enabled")
            .collect()
    };
    let sections = ini::parse(name, text).expect("well formed");
    sections.into_iter().map(|section| (section.name, options(section.options))).collect()
}

#[test]
fn what_is_copied_from_deploy_says_what_is_built_in() {
    let base = include_str!("../src/base/jail.conf");
    let mut built_in = jails_of("jail.conf", base);
    built_in.retain(|name, _| name != "DEFAULT" && name != "INCLUDES");
    let mut copied = BTreeMap::new();
    for (name, text) in deployed() {
        for (jail, options) in jails_of(&name, &uncommented(&text)) {
            assert!(copied.insert(jail.clone(), options).is_none(), "[{jail}] stands twice in deploy/jails");
        }
    }
    assert_eq!(copied, built_in);
}

#[test]
fn what_is_copied_from_deploy_works_with_and_without_fail2ban() {
    let bare =
        deployed().iter().fold(bare(), |tree, (name, text)| tree.with(&format!("jail.d/{name}"), text));
    let mut seen = read(&bare);
    assert!(seen.jails.len() > 20 && seen.warnings().is_empty());
    seen.jails.sort_by_key(|jail| JAILS.iter().position(|(name, ..)| *name == jail.jail.name.as_str()));
    let on: Vec<String> = seen.jails.iter().map(|jail| jail.jail.name.to_string()).collect();
    assert_eq!(table(&seen), expected(|name| on.iter().any(|other| other == name)));
    let old = bare.with("jail.conf", OLD_JAIL_CONF);
    assert_eq!(read(&old).jails.len(), on.len() + 1);
}
