//! Users of a node's own host who are neither root nor the daemon's: what the socket lets them do is said by the
//! groups that they are in, and whoever may not is told what to do instead.
//!
//! Not for people who ask from another host (`operators.rs`).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::programs::program;
use bannkreis_tests::lab::sandbox;
use bannkreis_tests::seeds::Tree;

use crate::inside::{in_lab, plan, skip};

/// Nobody's, on every system.
const UID: u32 = 65_534;
/// No group has this id.
const GID_OF_NO_GROUP: u32 = 4_000_000;
const TARGET: &str = "203.0.113.9";
const EVERYTHING: [&[&str]; 5] =
    [&["status"], &["bans"], &["ban", TARGET], &["unban", TARGET], &["cluster", "leave", "--force"]];

/// A group of this system that is not root's, and its id, by group(5).
fn some_group() -> Result<(String, u32)> {
    let groups = fs::read_to_string("/etc/group").context(|| "cannot read /etc/group".to_owned())?;
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        (gid != 0).then(|| (name.to_owned(), gid))
    });
    found.ok_or_else(|| Failed("/etc/group has no group but root's".to_owned()))
}

/// Everybody may go through the directories that lead to this file, and look at it.
fn open_way_to(file: &Path, up_to: &Path) -> Result<()> {
    for path in file.ancestors().take_while(|path| path.starts_with(up_to)) {
        let is_socket = path.extension().is_some_and(|extension| extension == "sock");
        if !is_socket {
            fs::set_permissions(path, Permissions::from_mode(0o755))
                .context(|| format!("cannot open {} to others", path.display()))?;
        }
    }
    Ok(())
}

/// As [`UID`] in the group `gid`, with a copy of the tool that they may run.
fn ask(host: &Host, gid: u32, arguments: &[&str]) -> Result<Told> {
    Told::ask_as(UID, gid, &host.file("../bannkreis"), &host.file("run/control.sock"), arguments)
}

fn refused(told: &Told, parts: &[&str]) -> Result<()> {
    let is_said = parts.iter().all(|part| told.stderr.contains(part));
    expect(!told.status.success() && is_said && told.stdout.is_empty(), || {
        format!("{} said instead of {parts:?}: {}{}", told.question, told.stdout, told.stderr)
    })
}

/// A lab of one host for somebody who is not root; skipped where nobody else can be made.
fn with_users(test: &str, groups: &str, body: impl FnOnce(&Host) -> Result<()>) -> Result<()> {
    if sandbox::inside().is_some() && sandbox::is_of_own_user() {
        return skip(test, "without root there is no other user to be");
    }
    let hosts = |_: &Path| {
        let mut host = plan("kopano", Tree::empty());
        host.settings.push_str(groups);
        vec![host]
    };
    in_lab(test, hosts, |lab| {
        lab.host_mut("kopano").start()?;
        let host = lab.host("kopano");
        let (lab, copy) = (host.file(".."), host.file("../bannkreis"));
        fs::copy(program("bannkreis")?, &copy).context(|| format!("cannot write {}", copy.display()))?;
        open_way_to(&copy, &lab)?;
        open_way_to(&host.file("run/control.sock"), &host.file(""))?;
        body(host)
    })
}

fn nothing_is_banned(host: &Host) -> Result<()> {
    let listed = committed(&host.bans()?);
    expect(listed.is_empty(), || format!("{listed:?} is banned"))
}

#[test]
fn where_no_group_is_named_nobody_but_root_may_even_open_the_socket() -> Result<()> {
    let name = "other_users::where_no_group_is_named_nobody_but_root_may_even_open_the_socket";
    with_users(name, "", |host| {
        let (_, gid) = some_group()?;
        for command in EVERYTHING {
            refused(&ask(host, gid, command)?, &["you may not open", "control.sock", "sudo"])?;
        }
        nothing_is_banned(host)
    })
}

#[test]
fn who_is_in_none_of_the_groups_may_do_nothing_and_is_told_what_would_help() -> Result<()> {
    let name = "other_users::who_is_in_none_of_the_groups_may_do_nothing_and_is_told_what_would_help";
    let (group, _) = some_group()?;
    with_users(name, &format!("[control]\nviewer_group = \"{group}\"\n"), |host| {
        for command in EVERYTHING {
            let told = ask(host, GID_OF_NO_GROUP, command)?;
            refused(&told, &[&format!("uid {UID}"), "may not ask", "groups", "bannkreis.toml", "sudo"])?;
        }
        nothing_is_banned(host)
    })
}

#[test]
fn who_is_in_a_group_may_do_what_its_role_may_and_no_more() -> Result<()> {
    let name = "other_users::who_is_in_a_group_may_do_what_its_role_may_and_no_more";
    let (group, gid) = some_group()?;
    with_users(name, &format!("[control]\nviewer_group = \"{group}\"\n"), |host| {
        for command in [&["status"][..], &["bans"], &["why", TARGET], &["cluster", "status"]] {
            ask(host, gid, command)?.expect_success()?;
        }
        let may_not = |command: &[&str], role: &str| {
            let told = ask(host, gid, command)?;
            refused(&told, &[&format!("uid {UID}"), "may not do this", role, "group", "bannkreis.toml"])
        };
        may_not(&["ban", TARGET], "role operator")?;
        may_not(&["unban", TARGET], "role operator")?;
        may_not(&["token", "create"], "role admin")?;
        may_not(&["cluster", "leave", "--force"], "role admin")?;
        nothing_is_banned(host)
    })
}
