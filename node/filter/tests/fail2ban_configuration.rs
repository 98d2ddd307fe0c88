//! Whole configurations beside fail2ban itself: its own classes, unpacked from the Debian package, read the
//! same directories, and every option of every jail must come out the same.
//!
//! Nothing of fail2ban is installed or started. Without python3 or the package these tests say that they are
//! skipped. What an option means is tested elsewhere; here it is text.

mod fail2ban;

use fail2ban::trees::{self, Tree};
use fail2ban::{Fail2ban, ours};
use serde_json::Value;
use std::path::Path;

/// So many differences are told; the first ones explain the others.
const DIFFERENCES_TOLD_MAX: usize = 12;

/// Both readings of each tree; the differences, named by tree and option.
fn differences(fail2ban: &Fail2ban, trees: &[Tree]) -> Vec<String> {
    let root = tempfile::tempdir().expect("temporary directory");
    let dirs: Vec<_> = trees
        .iter()
        .enumerate()
        .map(|(n, tree)| {
            let dir = root.path().join(n.to_string());
            tree.write(&dir, fail2ban.config_dir());
            dir
        })
        .collect();
    let theirs = fail2ban.read(&dirs);
    let mut all = Vec::new();
    for ((tree, dir), theirs) in trees.iter().zip(&dirs).zip(&theirs) {
        let ours = ours::read(Path::new(dir));
        for difference in compare(theirs, &ours) {
            all.push(format!("{}: {difference}{}", tree.name, tree.text()));
        }
    }
    all
}

/// Where two readings of one tree differ. Errors need only be errors in both.
fn compare(theirs: &Value, ours: &Value) -> Vec<String> {
    if !theirs["error"].is_null() || !ours["error"].is_null() {
        let both = !theirs["error"].is_null() && !ours["error"].is_null();
        return if both { Vec::new() } else { vec![pair("the whole", &theirs["error"], &ours["error"])] };
    }
    let mut found = Vec::new();
    for name in keys(&theirs["jails"], &ours["jails"]) {
        let (theirs, ours) = (&theirs["jails"][&name], &ours["jails"][&name]);
        if theirs["error"].is_null() != ours["error"].is_null() || theirs.is_null() != ours.is_null() {
            found.push(pair(&format!("[{name}]"), &theirs["error"], &ours["error"]));
            continue;
        }
        for option in keys(&theirs["options"], &ours["options"]) {
            let (theirs, ours) = (&theirs["options"][&option], &ours["options"][&option]);
            if theirs != ours {
                found.push(pair(&format!("[{name}] {option}"), theirs, ours));
            }
        }
        for part in ["named", "actions"] {
            if theirs[part] != ours[part] {
                found.push(pair(&format!("[{name}] {part}"), &theirs[part], &ours[part]));
            }
        }
    }
    found
}

fn pair(what: &str, theirs: &Value, ours: &Value) -> String {
    format!("{what}\n  fail2ban  {theirs}\n  bannkreis {ours}")
}

fn keys(a: &Value, b: &Value) -> Vec<String> {
    let of = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    let mut keys: Vec<String> = of(a);
    keys.extend(of(b));
    keys.sort();
    keys.dedup();
    keys
}

fn expect_none(differences: &[String]) {
    assert!(
        differences.is_empty(),
        "{} differences, the first:\n{}",
        differences.len(),
        differences[..differences.len().min(DIFFERENCES_TOLD_MAX)].join("\n")
    );
}

#[test]
fn all_of_debians_jails_are_read_as_fail2ban_reads_them() {
    let Some(fail2ban) = Fail2ban::find() else { return };
    let all = [trees::all_stock_jails("file"), trees::all_stock_jails("systemd")];
    let root = tempfile::tempdir().expect("temporary directory");
    all[0].write(root.path(), fail2ban.config_dir());
    let jails = ours::read(root.path());
    assert!(jails["jails"].as_object().is_some_and(|jails| jails.len() > 80), "nearly nothing was compared");
    expect_none(&differences(&fail2ban, &all));
}

#[test]
fn changes_that_people_make_are_read_as_fail2ban_reads_them() {
    let Some(fail2ban) = Fail2ban::find() else { return };
    expect_none(&differences(&fail2ban, &trees::written()));
}

#[test]
fn trees_made_by_chance_are_read_as_fail2ban_reads_them() {
    let Some(fail2ban) = Fail2ban::find() else { return };
    let seeds =
        std::env::var("BANNKREIS_CONFIG_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    let all: Vec<Tree> = (0..seeds).map(trees::by_chance).collect();
    expect_none(&differences(&fail2ban, &all));
}
