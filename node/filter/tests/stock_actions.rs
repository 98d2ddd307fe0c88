//! What becomes of each action that fail2ban ships, all of them: mapped to our own firewall, not run, or refused, and
//! what is said about it. The table is `stock_actions.txt`, so that a change is seen; `UPDATE_EXPECT=1` rewrites it.
//!
//! Not for parameters that jails give to actions: those are tested where they are read (`action`).

use bannkreis_filter::reading::{self, Host, Reading};
use bannkreis_filter::this_host::DirTree;
use bannkreis_filter::tree::{ConfigTree, MemoryTree};
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stock_actions.txt");
const FILTER: &str = "[Definition]\nfailregex = refused <HOST>$\n";

/// A jail for ports 80 and 443 with this one action, given what `action_` of jail.conf gives it.
fn jail_with(action: &str) -> String {
    format!(
        "[j]\nenabled = true\nfilter = door\nlogpath = /x\nport = http,https\nprotocol = tcp\nchain = INPUT\n\
         action = {action}[name=%(__name__)s, port=\"%(port)s\", protocol=\"%(protocol)s\", chain=\"%(chain)s\"]\n"
    )
}

fn read(tree: &dyn ConfigTree) -> Reading {
    let services = |name: &str| match name {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let host = Host {
        zone: TimeZone::UTC,
        services: &services,
        is_journal_instead: &|_| false,
        config_dir: String::new(),
    };
    reading::read(tree, &host).expect("the jails are well formed")
}

/// What a jail with `action` closes, and what is said, each with its line of the table.
fn lines(action: &str, reading: &Reading, place: &str) -> Vec<String> {
    let plain = |sentence: &str| sentence.replace(place, "");
    let ([jail], []) = (&reading.jails[..], &reading.errors[..]) else {
        return vec![format!("{action} | refused: {}", plain(&reading.errors[0].to_string()))];
    };
    let closes = if jail.jail.ports.is_none() { "nothing".to_owned() } else { jail.jail.ports.to_string() };
    let said = reading.warnings().into_iter().map(|remark| plain(&remark.sentence));
    // That such a jail closes nothing is the first line.
    let said = said.filter(|sentence| !sentence.starts_with("jail `j` has no action that closes ports"));
    [format!("{action} | {closes}")].into_iter().chain(said.map(|sentence| format!("  {sentence}"))).collect()
}

fn names(action_d: &Path) -> BTreeSet<String> {
    let files =
        fs::read_dir(action_d).expect("it can be read").map(|entry| entry.expect("an entry").file_name());
    let names = files.map(|name| name.into_string().expect("UTF-8"));
    names.map(|name| name.strip_suffix(".conf").map_or(name.clone(), str::to_owned)).collect()
}

#[test]
fn every_action_of_fail2ban_is_in_the_table() {
    let Some(fail2ban) = std::env::var_os("BANNKREIS_FAIL2BAN_DIR").filter(|dir| !dir.is_empty()) else {
        println!("SKIPPED: BANNKREIS_FAIL2BAN_DIR does not say where fail2ban is unpacked");
        return;
    };
    let action_d = PathBuf::from(fail2ban).join("action.d");
    let mut found = Vec::new();
    for action in names(&action_d) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| directory.path().join(name);
        std::os::unix::fs::symlink(&action_d, at("action.d")).expect("linked");
        fs::create_dir(at("filter.d")).expect("made");
        fs::write(at("filter.d/door.conf"), FILTER).expect("written");
        fs::write(at("jail.local"), jail_with(&action)).expect("written");
        let place = format!("{}/", directory.path().display());
        found.extend(lines(&action, &read(&DirTree::new(directory.path())), &place));
    }
    let found = found.join("\n") + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(TABLE, found).expect("written");
        return;
    }
    let expected = fs::read_to_string(TABLE).unwrap_or_default();
    assert!(found == expected, "{TABLE}\n--- expected\n{expected}\n--- found\n{found}");
}

/// The files of the firewall's actions are not needed: a jail.local may come alone to a host. What other actions include
/// is no action itself.
#[test]
fn actions_of_the_firewall_close_the_same_without_their_files() {
    let table = fs::read_to_string(TABLE).expect("the table");
    let closing: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| line.split_once(" | "))
        .filter(|(action, closes)| *closes != "nothing" && !action.ends_with("-common"))
        .collect();
    assert!(closing.len() > 30, "{closing:?}");
    for (action, closes) in closing {
        let tree =
            MemoryTree::new("/f/").with("jail.local", &jail_with(action)).with("filter.d/door.conf", FILTER);
        let line = lines(action, &read(&tree), "/f/").remove(0);
        assert_eq!(line, format!("{action} | {closes}"));
    }
}
