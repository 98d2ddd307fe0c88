//! What people and programs see, for answers that are made up here: no daemon is asked.
//!
//! Each case has `tests/golden/NAME.txt` and `NAME.json`. `UPDATE_EXPECT=1` rewrites them; look at the
//! difference before it is kept.

mod answers;

use bannkreis_cli::args::Output;
use bannkreis_cli::commands::{
    allow, ban, bans, check, cluster, firewall, forget, history, local, members, pause, pki, recovery,
    settings, status, token, unban, why,
};
use bannkreis_cli::failure::Exit;
use bannkreis_cli::run::Shown;
use bannkreis_cli::text::{COLUMNS, Style};
use bannkreis_filter::tree::MemoryTree;
use bannkreis_proto::v1::{
    FirewallResponse, HistoryResponse, ListTokensResponse, MemberOrder, ShowCertificatesResponse,
};
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

fn style() -> Style {
    Style { color: false, zone: TimeZone::UTC }
}

fn same(file: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not as expected (UPDATE_EXPECT=1 rewrites it)\n--- expected\n{expected}\n--- found\n{found}",
        path.display()
    );
}

/// Text and JSON are as expected, and the text fits the page and moves no cursor.
fn expect(name: &str, exit: Exit, shown: &Shown) {
    assert_eq!(shown.exit, exit, "{name}");
    fits(name, &shown.text);
    same(&format!("{name}.txt"), &shown.text);
    same(&format!("{name}.json"), &format!("{:#}\n", shown.json));
}

fn fits(name: &str, text: &str) {
    assert!(text.ends_with('\n') || text.is_empty(), "{name}: the last line is not ended");
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{name}: wider than {COLUMNS}: {line}");
        assert!(!line.chars().any(char::is_control), "{name}: a control character in {line:?}");
    }
}

#[test]
fn status_of_a_healthy_node() {
    expect("status", Exit::Done, &status::show(&answers::status(), false, &style()));
}

#[test]
fn status_without_quorum() {
    let mut answer = answers::status();
    answer.state = Some(answers::troubled_state());
    answer.leader = String::new();
    expect("status-no-quorum", Exit::Done, &status::show(&answer, false, &style()));
}

#[test]
fn status_of_a_node_that_can_not_read_the_log() {
    let mut answer = answers::status();
    answer.state = Some(answers::halted_state());
    expect("status-halted", Exit::Done, &status::show(&answer, false, &style()));
}

#[test]
fn status_of_a_witness() {
    expect("status-witness", Exit::Done, &status::show(&answers::witness(), false, &style()));
}

#[test]
fn status_of_one_jail() {
    let mut answer = answers::status();
    answer.jails.truncate(1);
    answer.jails[0].banned = vec!["192.0.2.7".to_owned(), "2001:db8:1:2::/64".to_owned()];
    expect("status-jail", Exit::Done, &status::show(&answer, true, &style()));
}

#[test]
fn pause_for_a_while_and_its_end() {
    let mut answer = answers::orders::overridden();
    answer.results.truncate(1);
    expect("pause", Exit::Done, &pause::show(&answer, true, &style()));
    answer.results[0].until_ms = None;
    expect("pause-end", Exit::Done, &pause::show(&answer, false, &style()));
}

#[test]
fn firewall_with_drops() {
    expect("firewall", Exit::Done, &firewall::show(&answers::firewall(), &style()));
}

#[test]
fn firewall_that_refuses() {
    let answer = FirewallResponse {
        state: Some(answers::troubled_state()),
        n_blocked: 1,
        n_repairs: 0,
        error: "the kernel refused adding elements: Invalid argument (errno 22)\u{1b}[2J".to_owned(),
        chains: Vec::new(),
        ..answers::firewall()
    };
    expect("firewall-refuses", Exit::Done, &firewall::show(&answer, &style()));
}

#[test]
fn ban_done_everywhere() {
    expect("ban", Exit::Done, &ban::show(&answers::ban_done(), &style()));
}

#[test]
fn ban_refused() {
    expect("ban-refused", Exit::Refused, &ban::show(&answers::ban_refused(), &style()));
}

#[test]
fn unban_with_a_node_down_and_a_wider_ban() {
    expect("unban", Exit::NotEverywhere, &unban::show(&answers::unban_partly(), &style()));
}

#[test]
fn unban_with_unknown_outcome() {
    expect("unban-unknown", Exit::Unknown, &unban::show(&answers::unban_unknown(), &style()));
}

#[test]
fn bans_in_two_parts() {
    for (output, file) in [(Output::Table, "bans.txt"), (Output::Json, "bans.json")] {
        let mut out = Vec::new();
        let mut printer = bans::Printer::new(&mut out, output, style());
        for part in answers::bans() {
            printer.part(&part).unwrap();
        }
        printer.end().unwrap();
        let text = String::from_utf8(out).unwrap();
        match output {
            Output::Table => fits(file, &text),
            Output::Json => assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}"),
        }
        same(file, &text);
    }
}

#[test]
fn nobody_is_banned() {
    let mut out = Vec::new();
    let mut printer = bans::Printer::new(&mut out, Output::Table, style());
    printer.part(&answers::bans().remove(0)).unwrap();
    printer.end().unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "nobody is banned\n");
}

#[test]
fn why_banned_with_hostile_lines() {
    expect("why", Exit::Done, &why::show(&answers::why_banned(), &style()));
}

#[test]
fn why_blocked_on_this_host_only() {
    expect("why-here-only", Exit::Done, &why::show(&answers::why_here_only(), &style()));
}

#[test]
fn why_not_banned_but_protected() {
    expect("why-protected", Exit::Done, &why::show(&answers::why_protected(), &style()));
}

#[test]
fn why_when_it_is_over() {
    expect("why-over", Exit::Done, &why::show(&answers::history::why_over(), &style()));
}

#[test]
fn history_of_everything_and_of_nobody() {
    let answer = answers::history::history();
    expect("history", Exit::Done, &history::show(&answer, &style()));
    let nothing = HistoryResponse {
        target: "192.0.2.9".to_owned(),
        entries: Vec::new(),
        past: Vec::new(),
        has_more: false,
        ..answer
    };
    expect("history-nothing", Exit::Done, &history::show(&nothing, &style()));
}

#[test]
fn one_is_forgotten_and_one_is_banned() {
    expect("forget", Exit::Refused, &forget::show(&answers::history::forgotten(), &style()));
}

#[test]
fn cluster_of_three_with_one_down() {
    expect("cluster-status", Exit::Done, &cluster::show_status(&answers::members::cluster(), &style()));
}

#[test]
fn joined() {
    expect("cluster-join", Exit::Done, &cluster::show_join(&answers::members::joined(), &style()));
}

#[test]
fn status_of_a_node_that_has_lost_its_log() {
    let mut answer = answers::status();
    answer.state = Some(answers::members::spectator_state());
    expect("status-spectator", Exit::Done, &status::show(&answer, false, &style()));
}

#[test]
fn a_backup_is_written_and_checked() {
    let file = Path::new("/var/backups/kopano.bannkreis");
    expect("cluster-backup", Exit::Done, &recovery::show_backup(&answers::members::backup(), file, &style()));
    expect(
        "cluster-backup-check",
        Exit::Done,
        &recovery::show_restore(&answers::members::checked(), file, &style()),
    );
}

#[test]
fn a_new_life_is_told_before_it_is_begun() {
    let file = Path::new("/var/backups/kopano.bannkreis");
    let planned = |is_done| answers::members::restored(is_done);
    expect("cluster-restore-plan", Exit::Refused, &recovery::show_restore(&planned(false), file, &style()));
    expect("cluster-restore", Exit::Done, &recovery::show_restore(&planned(true), file, &style()));
    let plan = recovery::show_recover(&answers::members::recovered(false), " --now now", &style());
    expect("cluster-recover-plan", Exit::Refused, &plan);
    let done = recovery::show_recover(&answers::members::recovered(true), "", &style());
    expect("cluster-recover", Exit::Done, &done);
}

#[test]
fn orders_about_members() {
    for (name, order) in [
        ("cluster-remove", MemberOrder::Remove),
        ("cluster-promote", MemberOrder::Promote),
        ("cluster-demote", MemberOrder::Demote),
        ("cluster-transfer-leader", MemberOrder::TransferLeader),
    ] {
        expect(name, Exit::Done, &members::show_order(order, &answers::members::ordered(), &style()));
    }
    expect("cluster-trust", Exit::Done, &members::show_trust(&answers::orders::trusted(), &style()));
    expect("cluster-leave", Exit::Done, &members::show_leave(&answers::members::left(), &style()));
}

#[test]
fn the_allow_list_is_changed_and_shown() {
    expect("allow-add", Exit::Done, &allow::show_added(&answers::orders::allowed(), &style()));
    expect("allow-remove", Exit::Refused, &allow::show_removed(&answers::orders::disallowed(), &style()));
    let (state, entries) = answers::orders::allow_list();
    expect("allow-list", Exit::Done, &allow::show_list(&state, &entries, &style()));
    expect("allow-list-none", Exit::Done, &allow::show_list(&state, &[], &style()));
}

#[test]
fn what_is_decided_for_one_host() {
    expect("ban-local", Exit::Refused, &local::show(&answers::orders::overridden(), &style()));
}

#[test]
fn settings_are_shown_and_changed() {
    expect("cluster-settings", Exit::Done, &settings::show_list(&answers::orders::settings(), &style()));
    let set = settings::show_set(&answers::orders::settings_set(), &style());
    expect("cluster-settings-set", Exit::Done, &set);
}

#[test]
fn certificates() {
    expect("pki-show", Exit::Done, &pki::show_certificates(&answers::keys::certificates(), &style()));
    let insecure = ShowCertificatesResponse {
        mode: "insecure".to_owned(),
        has_authority: false,
        own: None,
        authorities: Vec::new(),
        renew_at_ms: None,
        ..answers::keys::certificates()
    };
    expect("pki-show-insecure", Exit::Done, &pki::show_certificates(&insecure, &style()));
    expect(
        "pki-issue",
        Exit::Done,
        &pki::show_issued(&answers::keys::issued(), Path::new("./Alice"), &style()),
    );
}

#[test]
fn tokens_are_made_listed_and_taken_back() {
    expect("token-create", Exit::Done, &token::show_created(&answers::keys::created_token(), &style()));
    let uncertain = token::show_created(&answers::keys::uncertain_token(), &style());
    expect("token-create-unknown", Exit::Unknown, &uncertain);
    let uncertain = token::show_revoked(&answers::keys::uncertainly_revoked_token(), &style());
    expect("token-revoke-unknown", Exit::Unknown, &uncertain);
    expect("token-list", Exit::Done, &token::show_list(&answers::keys::tokens(), &style()));
    let none = ListTokensResponse { tokens: Vec::new(), ..answers::keys::tokens() };
    expect("token-list-none", Exit::Done, &token::show_list(&none, &style()));
    expect("token-revoke", Exit::Done, &token::show_revoked(&answers::keys::revoked_token(), &style()));
}

#[test]
fn check_says_how_each_jail_runs() {
    let tree = MemoryTree::new("/etc/fail2ban/")
        .with(
            "jail.local",
            "[DEFAULT]\nignoreip = 172.16.0.0/16\n\n[mail]\nenabled = true\nfilter = mail\n\
             logpath = /var/log/mail.log\n          /var/log/mail.old\nport = smtp,465\nmaxretry = 3\nreach = host\n\
             bantime = 1w\nbantime.increment = true\nbantime.maxtime = 5w\n\
             ignorecommand = /usr/local/bin/known <ip>\nbantimes = 1h\niptables-multiport[name=HTTP, port=\"80,443\"]\n\n\
             [broken]\nenabled = true\nfilter = nowhere\nlogpath = /var/log/x.log\n",
        )
        .with("filter.d/mail.conf", "[Definition]\nfailregex = ^login from <HOST> failed$\n");
    let n_files = |pattern: &str| usize::from(pattern == "/var/log/mail.log");
    let shown = check::check(&tree, "/etc/fail2ban/", &n_files, &style()).unwrap();
    expect("check", Exit::Refused, &shown);
}

#[test]
fn colours_are_only_paint() {
    let coloured = Style { color: true, zone: TimeZone::UTC };
    let text = status::show(&answers::status(), false, &coloured).text;
    assert!(text.contains("\x1b[1mJAIL\x1b[0m"), "{text:?}");
    let mut plain = text;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
        plain = plain.replace(code, "");
    }
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&plain), trimmed(&status::show(&answers::status(), false, &style()).text));
}
