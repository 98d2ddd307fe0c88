//! Whole configurations: what a jail becomes, and what people are told about mistakes.

use bannkreis_core::jail::BanPolicy;
use bannkreis_core::time::BanTime;
use bannkreis_filter::jail_config::{Logs, ReadJail};
use bannkreis_filter::journal::Journal;
use bannkreis_filter::journal_match::JournalMatch;
use bannkreis_filter::reading::{self, Host, Reading};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;

fn read(files: &[(&str, &str)]) -> Result<Reading, String> {
    let tree = files.iter().fold(MemoryTree::new("/f/"), |tree, (path, text)| tree.with(path, text));
    let host = Host {
        zone: TimeZone::UTC,
        services: &|_| None,
        is_journal_instead: &|_| false,
        config_dir: "/f".to_owned(),
    };
    reading::read(&tree, &host).map_err(|error| error.to_string())
}

fn one(jail_local: &str) -> ReadJail {
    let mut reading = read(&[("jail.local", jail_local)]).expect("well formed");
    assert_eq!(reading.errors, []);
    assert_eq!(reading.jails.len(), 1);
    reading.jails.remove(0)
}

fn problem(jail_local: &str) -> String {
    let reading = read(&[("jail.local", jail_local)]).expect("well formed");
    assert!(reading.jails.is_empty());
    reading.errors[0].to_string()
}

const JAIL: &str = "[j]\nenabled = true\nfilter =\nfailregex = ^x <HOST>$\nlogpath = /l\n";

#[test]
fn options_mean_what_they_mean_in_fail2ban() {
    let jail = one(&format!(
        "{JAIL}\n  /var/log/b*.log tail\nmaxretry = 0\nfindtime = 1h\nbantime = -1\nport = http,8000:8010\n\
         protocol = udp\nignoreip = 10.0.0.1/8, 192.0.2.1\n  2001:db8::/32\nmaxmatches = 2\n"
    ));
    assert_eq!((jail.jail.max_retry, jail.jail.find_time_ms, jail.jail.max_matches), (0, 3_600_000, 2));
    assert_eq!(jail.jail.policy, BanPolicy::fixed(BanTime::Forever));
    assert_eq!(jail.jail.ports.to_string(), "80,8000-8010/udp");
    let ignored: Vec<String> = jail.jail.ignore.iter().map(ToString::to_string).collect();
    assert_eq!(ignored, ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]);
    let Logs::Files(logs) = &jail.logs else { panic!("files") };
    assert_eq!((logs[0].glob.as_str(), logs[1].glob.as_str(), logs[1].tail), ("/l", "/var/log/b*.log", true));

    let growing = one(&format!("{JAIL}bantime = 1m\nbantime.increment = true\nbantime.maxtime = 1h\n"));
    let growth = growing.jail.policy.growth.expect("on");
    assert_eq!((growth.table_ms[1], growth.max_ms), (120_000, Some(3_600_000)));
    assert_eq!(one(&format!("{JAIL}maxretry = 7\n")).jail.max_matches, 7);
}

#[test]
fn a_jail_may_build_on_its_filters_expressions() {
    let files = [
        ("filter.d/f.conf", "[Definition]\nfailregex = ^a <HOST>$\nignoreregex = x\n[Init]\nmaxlines = 1\n"),
        (
            "jail.local",
            "[j]\nenabled = true\nfilter = f\nlogpath = /l\nfailregex = %(known/failregex)s\n  ^b <HOST>$\n",
        ),
    ];
    let reading = read(&files).expect("well formed");
    let value = |option: &str| {
        let settings = &reading.jails[0].settings;
        settings.iter().find(|setting| setting.option == option).expect("set").value.clone()
    };
    assert_eq!(value("failregex"), "^a <HOST>$\n^b <HOST>$");
    assert_eq!(value("ignoreregex"), "x");
    assert_eq!(reading.jails[0].filter_files, ["/f/filter.d/f.conf"]);
}

#[test]
fn a_users_local_file_changes_our_filter_and_a_conf_replaces_it() {
    let enabled = ("jail.local", "[sshd]\nenabled = true\n");
    let local = read(&[enabled, ("filter.d/sshd.local", "[Definition]\nfailregex = ^mine <HOST>$\n")]);
    let local = local.expect("well formed");
    let files = &local.jails[0].filter_files;
    assert_eq!(files[..2], ["(built in) filter.d/common.conf", "(built in) filter.d/sshd.conf"]);
    assert_eq!(files[2], "/f/filter.d/sshd.local");
    let replaced = read(&[enabled, ("filter.d/sshd.conf", "[Definition]\nfailregex = ^mine <HOST>$\n")]);
    assert_eq!(replaced.expect("well formed").jails[0].filter_files, ["/f/filter.d/sshd.conf"]);
}

#[test]
fn a_mistake_in_one_jail_leaves_the_others_alone() {
    let reading = read(&[("jail.local", &format!("{JAIL}[k]\nenabled = true\nfilter = nosuch\n"))]);
    let reading = reading.expect("well formed");
    assert_eq!((reading.jails.len(), reading.errors.len()), (1, 1));
    assert!(
        reading.errors[0]
            .to_string()
            .starts_with("/f/jail.local:8: jail [k] does not run: there is no filter `nosuch`")
    );
}

#[test]
fn mistakes_are_told_with_place_cause_and_remedy() {
    for (jail_local, parts) in [
        (format!("{JAIL}findtime = soon\n"), ["/f/jail.local:6: jail [j]", "findtime: `soon`", "10m"]),
        (format!("{JAIL}bantime = 1x\n"), ["/f/jail.local:6:", "`1x` is no length of time", "-1"]),
        (format!("{JAIL}maxlines = few\n"), ["/f/jail.local:6:", "`maxlines = few`", "no number"]),
        (
            format!("{JAIL}ignorecommand = x\nignorecache = max-count=2\n"),
            ["/f/jail.local:7:", "no key", "max-time=5m"],
        ),
        (
            format!("{JAIL}bantime = %(findtime)s\nfindtime = %(bantime)s\n"),
            ["/f/jail.local:7:", "names itself", "10 levels"],
        ),
        (format!("{JAIL}ignoreregex = (\n"), ["/f/jail.local:6:", "ignoreregex `(`", "does not compile"]),
        (format!("{JAIL}datepattern = %%Q\n"), ["/f/jail.local:6:", "datepattern `%Q`", "%%"]),
        (format!("{JAIL}logtimezone = Mars\n"), ["/f/jail.local:6:", "`logtimezone = Mars`", "UTC+0100"]),
        (format!("{JAIL}port = nosuch\n"), ["/f/jail.local:", "`nosuch`", "write its number"]),
        (
            format!("{JAIL}logencoding = %(nosuch)s\n"),
            ["/f/jail.local:6:", "%(nosuch)s", "no option of that name"],
        ),
        (format!("{JAIL}usedns = maybe\n"), ["/f/jail.local:6:", "`usedns = maybe`", "yes, warn, no or raw"]),
        (
            format!("{JAIL}bantime.increment = true\nbantime.formula = 1/0\n"),
            ["jail [j]", "bantime.formula", "bantime.multipliers"],
        ),
        (
            "[j]\nenabled = true\nfilter =\nfailregex = ^x$\n".to_owned(),
            ["/f/jail.local:4:", "`^x$`", "put <HOST> there"],
        ),
        (
            "[j]\nenabled = true\nfilter =\n".to_owned(),
            ["jail [j]", "no failregex", "give the jail a filter"],
        ),
        ("[j]\nenabled = yess\nfilter = f\n".to_owned(), ["/f/jail.local:2:", "`yess`", "true or false"]),
        ("[j]\nenabled = true\nfilter = f[x\n".to_owned(), ["/f/jail.local:3:", "filter:", "name[key=value"]),
    ] {
        let told = problem(&jail_local);
        for part in parts {
            assert!(told.contains(part), "`{told}` does not contain `{part}`");
        }
    }
}

#[test]
fn a_malformed_jail_file_is_an_error_of_the_whole() {
    let error = read(&[("jail.local", "[j]\nenabled = true\nenabled = false\n")]).expect_err("twice");
    assert!(error.starts_with("/f/jail.local:3: option `enabled`"), "{error}");
}

#[test]
fn what_is_not_honoured_is_said() {
    let jail = one(&format!(
        "{JAIL}maxretry = many\nignoreip = a_b.example file:/x\nignorecommand = /bin/x <ip-host>\n\
         logencoding = utf-16\nbackend = gamin\nignoreself = no\nmaxretri = 3\nusedns = raw\n\
         action = %(action_)s\n  sendmail-whois[name=j]\n  nowhere\n"
    ));
    let told: Vec<String> = jail.remarks.iter().map(ToString::to_string).collect();
    for part in [
        "`maxretry = many`",
        "`file:/x` in ignoreip",
        "<ip-host> in ignorecommand",
        "`backend = gamin`",
        "`ignoreself = false`",
        "`maxretri`: it is no option of a jail, and no other value names it; is `maxretry` meant?",
        "`usedns = raw`",
        "there is no action `nowhere`",
        "`logencoding = utf-16`",
        "action `sendmail-whois`",
    ] {
        assert!(
            told.iter().any(|sentence| sentence.contains(part) && sentence.starts_with("/f/jail.local:")),
            "{part}: {told:#?}"
        );
    }
    assert_eq!(jail.jail.max_retry, 5);
    assert_eq!(jail.ignore_names, ["a_b.example"]);
    assert_eq!(jail.ignore_command.expect("set").script, "/bin/x \"\"");
}

#[test]
fn what_is_set_for_fail2bans_own_daemon_is_said_to_have_no_effect() {
    let files = [
        ("fail2ban.conf", "[Definition]\nloglevel = INFO\ndbpurgeage = 1d\n"),
        ("fail2ban.local", "[Definition]\nloglevel = DEBUG\n"),
    ];
    let reading = read(&files).expect("well formed");
    let told: Vec<String> = reading.warnings().iter().map(ToString::to_string).collect();
    let expected = "/f/fail2ban.local:2: `loglevel = DEBUG` of fail2ban's daemon has no effect: the daemon's log is \
                    set in bannkreis.toml, [log]";
    assert_eq!(told, [expected]);
}

#[test]
fn files_that_include_each_other_for_ever_are_named() {
    let files = [
        ("jail.local", "[j]\nenabled = true\nfilter = f\nlogpath = /l\n"),
        ("filter.d/f.conf", "[INCLUDES]\nbefore = g.conf\n[Definition]\nfailregex = ^f <HOST>$\n"),
        ("filter.d/g.local", "[INCLUDES]\nbefore = g.conf\n"),
        ("filter.d/g.conf", "[Definition]\n"),
    ];
    let reading = read(&files).expect("only this jail");
    let told = reading.errors[0].to_string();
    assert!(told.contains("/f/filter.d/g.local is included more than 32 levels deep"), "{told}");
}

#[test]
fn the_firewalls_parameters_come_from_the_actions_file_where_there_is_one() {
    let files = [
        (
            "jail.local",
            "[j]\nenabled = true\nfilter =\nfailregex = ^x <HOST>$\nlogpath = /l\naction = mine\n",
        ),
        ("action.d/iptables.conf", "[Definition]\nactionban = x\n[Init]\nport = ssh\nprotocol = tcp\n"),
        (
            "action.d/mine.conf",
            "[INCLUDES]\nbefore = iptables.conf\n[Definition]\ntype = multiport\n[Init]\nport = 25,587\n",
        ),
    ];
    let reading = read(&files).expect("well formed");
    assert_eq!(reading.jails[0].jail.ports.to_string(), "25,587/tcp");
    assert!(reading.warnings().is_empty(), "{:?}", reading.warnings());
}

#[test]
fn the_journal_is_named_with_its_matches() {
    let jail = one("[sshd]\nenabled = true\nbackend = systemd\n");
    let matches = JournalMatch::parse("_SYSTEMD_UNIT=ssh.service + _COMM=sshd").unwrap();
    assert_eq!(jail.logs, Logs::Journal(Journal::of_host(), matches));
    assert_eq!(jail.remarks, []);
    let jail =
        one("[x]\nenabled = true\nfilter =\nbackend = systemd[journalpath=/x]\nfailregex = ^<HOST>$\n");
    let Logs::Journal(journal, matches) = &jail.logs else { panic!("a journal") };
    assert_eq!((journal.to_string(), matches.is_everything()), ("journal --directory=/x".to_owned(), true));
    assert!(jail.remarks[0].sentence.contains("every entry"), "{:?}", jail.remarks);
}

#[test]
fn what_can_not_be_asked_of_a_journal_is_named_with_its_line() {
    for (options, said) in [
        (
            "backend = systemd[path=/x]",
            "3: jail [sshd] does not run: `systemd[path=/x]`: `path` is not known",
        ),
        (
            "backend = systemd\njournalmatch = sshd",
            "4: jail [sshd] does not run: `journalmatch`: `sshd` is no match",
        ),
    ] {
        let reading = read(&[("jail.local", &format!("[sshd]\nenabled = true\n{options}\n"))]).unwrap();
        let error = reading.errors[0].to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// Debian 12: there is a journal, and no file that a logpath names.
#[test]
fn a_jail_without_files_reads_the_journal_where_there_is_one() {
    let read_with = |text: &str, is_journal_instead: &dyn Fn(&str) -> bool| {
        let tree = MemoryTree::new("/f/")
            .with("jail.local", text)
            .with("filter.d/mine.conf", "[Definition]\nfailregex = ^<HOST>$\n");
        let host = Host {
            zone: TimeZone::UTC,
            services: &|_| None,
            is_journal_instead,
            config_dir: "/f".to_owned(),
        };
        let reading = reading::read(&tree, &host).unwrap();
        assert_eq!(reading.errors, []);
        reading.jails.into_iter().map(|jail| matches!(jail.logs, Logs::Journal(..))).collect::<Vec<bool>>()
    };
    let jail = |options: &str| format!("[sshd]\nenabled = true\n{options}\n");
    let yes: &dyn Fn(&str) -> bool = &|log_path| log_path.contains("auth.log") || log_path == "/x";
    assert_eq!(read_with(&jail(""), yes), [true]);
    assert_eq!(read_with(&jail("backend = auto\nlogpath = /x"), yes), [true]);
    for options in [
        "backend = polling",
        "systemd_if_nologs = false",
        "filter = mine",
        "logpath = /y",
        "backend = pyinotify",
    ] {
        assert_eq!(read_with(&jail(options), yes), [false], "{options}");
    }
    assert_eq!(read_with(&jail(""), &|_| false), [false]);
}
