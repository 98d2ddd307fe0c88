//! The program as a shell runs it: exit codes and messages when there is no daemon, or nothing makes sense.

use std::process::{Command, Output};

fn bannkreis(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bannkreis"));
    command.args(arguments).env_remove("BANNKREIS_SOCKET").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_a_daemon_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock").display().to_string();
    let output = bannkreis(&["--socket", &path, "status"]);
    assert_eq!(output.status.code(), Some(3));
    let message = text(&output.stderr);
    assert!(message.contains("bannkreisd is not running here, or not with this socket"), "{message}");
    assert!(message.contains(&path) && message.contains("--socket"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_socket_that_nobody_listens_on_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let output = bannkreis(&["--socket", path.to_str().unwrap(), "bans"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("nobody answers"), "{}", text(&output.stderr));
}

#[test]
fn failures_are_json_when_json_is_asked_for() {
    let cases: [(&[&str], i32, &str); 3] = [
        (&["--socket", "/nonexistent/x.sock", "--output", "json", "status"], 3, "not_reachable"),
        (&["--output=json", "unban"], 2, "usage"),
        (&["--output", "json", "check", "--config-dir", "/nonexistent"], 1, "refused"),
    ];
    for (arguments, code, kind) in cases {
        let output = bannkreis(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["error"]["kind"], kind, "{arguments:?}");
        assert_eq!(answer["error"]["exit_code"], code, "{arguments:?}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error_that_names_it() {
    let cases: [(&[&str], &str); 20] = [
        (&["ban", "500.1.1.1"], "500.1.1.1"),
        (&["ban", "192.0.2.7", "--for", "0"], "no length"),
        (&["ban", "192.0.2.7", "--for", "-5"], "negative"),
        (&["ban", "192.0.2.7", "--for", "soon"], "soon"),
        (&["ban", "192.0.2.7", "--jail", "a b"], "a b"),
        (&["unban", "--all", "192.0.2.7"], "cannot be used with"),
        (&["unban", "192.0.2.7", "--wait", "20m"], "20m"),
        (&["unban", "192.0.2.7", "--id", "xyz"], "32 hexadecimal digits"),
        (&["cluster", "join", "mx1"], "HOST:PORT"),
        (&["ban", "192.0.2.7", "--local", "--jail", "sshd"], "cannot be used with"),
        (&["ban", "192.0.2.7", "--end"], "--local"),
        (&["unban", "192.0.2.7", "--for", "1h"], "--local"),
        (&["unban", "--all", "--local"], "cannot be used with"),
        (&["unban", "192.0.2.7", "--local", "--for", "0"], "decides nothing"),
        (
            &["unban", "192.0.2.7", "--local", "--id", "000102030405060708090a0b0c0d0e0f"],
            "cannot be used with",
        ),
        (&["cluster", "settings", "set", "reach"], "KEY=VALUE"),
        (&["allow", "add", "192.0.2.7", "--for", "0"], "allows nobody"),
        (&["allow", "remove", "192.0.2.7/x"], "192.0.2.7/x"),
        (&["token", "create", "--ttl", "31d"], "write 1s to 30d"),
        (&["token", "revoke", "nobody"], "hexadecimal digits"),
    ];
    for (arguments, part) in cases {
        let output = bannkreis(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn lengths_are_spelled_as_in_fail2ban() {
    for length in ["600", "10m", "1h", "1d 12h", "-1"] {
        let output = bannkreis(&["--socket", "/nonexistent/x.sock", "ban", "192.0.2.7", "--for", length]);
        assert_eq!(output.status.code(), Some(3), "{length} is understood: {}", text(&output.stderr));
    }
}

#[test]
fn check_reads_a_directory_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("auth.log");
    std::fs::write(&log, "").unwrap();
    std::fs::create_dir(dir.path().join("filter.d")).unwrap();
    std::fs::write(
        dir.path().join("filter.d/door.conf"),
        "[Definition]\nfailregex = ^no entry for <HOST>$\n",
    )
    .unwrap();
    let jail = format!("[door]\nenabled = true\nfilter = door\nlogpath = {}\n", log.display());
    std::fs::write(dir.path().join("jail.local"), jail).unwrap();
    let output = bannkreis(&["check", "--config-dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let shown = text(&output.stdout);
    assert!(shown.contains("[door]") && shown.contains("(1 file)"), "{shown}");

    // What the daemon would not read is not said to be read, and what it would miss is named.
    let jail = format!(
        "[INCLUDES]\nbefore = nowhere.conf\n[door]\nenabled = true\nfilter = door\nlogpath = {}\n",
        dir.path().display()
    );
    std::fs::write(dir.path().join("jail.local"), jail).unwrap();
    let output = bannkreis(&["check", "--output", "json", "--config-dir", dir.path().to_str().unwrap()]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["jails"][0]["sources"][0]["n_files"], 0);
    let warnings = shown["warnings"].as_array().unwrap().iter();
    let warnings: Vec<_> = warnings
        .map(|warning| (warning["place"]["line"].as_u64(), warning["sentence"].as_str().unwrap()))
        .collect();
    let is_said =
        |line, what| warnings.iter().any(|(place, sentence)| *place == Some(line) && sentence.contains(what));
    assert!(is_said(6, "is a directory") && is_said(2, "nowhere.conf"), "{warnings:?}");
}

#[test]
fn check_names_a_log_that_several_hosts_write_into() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("mail.log");
    std::fs::create_dir(dir.path().join("filter.d")).unwrap();
    let filter = "[Definition]\nfailregex = ^no entry for <HOST>$\n";
    std::fs::write(dir.path().join("filter.d/door.conf"), filter).unwrap();
    let warnings = |lines: &str, scope: &str| {
        std::fs::write(&log, lines).unwrap();
        let options = format!("enabled = true\nfilter = door\nlogpath = {}\n{scope}", log.display());
        std::fs::write(dir.path().join("jail.local"), format!("[door]\n{options}")).unwrap();
        text(&bannkreis(&["check", "--config-dir", dir.path().to_str().unwrap()]).stdout)
    };
    let one = "Nov 29 17:50:35 mx1 sshd[1]: no\nNov 29 17:50:36 mx1 sshd[1]: no\n";
    let two = format!("{one}2026-11-29T17:50:37+00:00 mx2 sshd[1]: no\n");
    assert!(!warnings(one, "").contains("several hosts"));
    let said = warnings(&two, "");
    assert!(said.contains("several hosts (mx1, mx2)") && said.contains("scope = local"), "{said}");
    let said = warnings(&two, "scope = local\n");
    assert!(!said.contains("several hosts") && said.contains("on this host alone"), "{said}");
    let said = warnings(one, "scope = everywhere\n");
    assert!(said.contains("scope = everywhere") && said.contains("cluster"), "{said}");
}
