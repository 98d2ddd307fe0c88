//! What is wrong with a configuration is said once: what, where, why and what to do about it.
//!
//! What makes the whole node useless ends it. A mistake in one jail costs that jail and no other: a
//! node that blocks is worth more than one that is right.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, net};

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::HostPlan;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{MAIL_LOG, Tree};
use rustix::thread::CapabilitySet;

use crate::inside::in_lab;

const HOST: &str = "mx1";
const SOON: Duration = Duration::from_secs(10);
/// What is before the settings of a test in the configuration.
const FIRST_LINE_OF_SETTINGS: usize = 7;
/// Where the configuration says on which port the node listens.
const LISTEN_PLACE: &str = "config.toml:5: listen = ";
/// A jail that works, beside the one with the mistake.
const GOOD_JAIL: &str = "[postfix]\nenabled = true\n\n";
/// A jail's lines without its name and filter.
const MAIL_JAIL: &str = "enabled = true\nport = smtp\nlogpath = /var/log/mail.log\n";

/// How a start with a mistake goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The node ends, and its exit code says that it failed.
    Ends,
    /// The node runs without the part that is wrong.
    GoesOn,
}

#[test]
fn an_unknown_key_is_named_with_its_line() -> Result<()> {
    let place = format!("config.toml:{FIRST_LINE_OF_SETTINGS}");
    let wanted = ["colour", &place, "remove it, or write one of"];
    check("an_unknown_key_is_named_with_its_line", Tree::empty(), "colour = \"blue\"\n", |lab| {
        said_once(lab, CapabilitySet::empty(), Then::Ends, &wanted)
    })
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    check("a_port_in_use_is_named", Tree::empty(), "", |lab| {
        let address = lab.host(HOST).cluster_address();
        let _taken = lab
            .host(HOST)
            .netns()
            .run(|| net::TcpListener::bind(&address).context(|| format!("cannot listen on {address}")))?;
        said_once(
            lab,
            CapabilitySet::empty(),
            Then::Ends,
            &[&address, "another process", LISTEN_PLACE, "set another port"],
        )
    })
}

#[test]
fn without_the_right_to_change_the_firewall_a_node_that_must_ends() -> Result<()> {
    let name = "without_the_right_to_change_the_firewall_a_node_that_must_ends";
    check(name, Tree::empty(), "backend = \"nftables\"\n", |lab| {
        said_once(
            lab,
            CapabilitySet::NET_ADMIN,
            Then::Ends,
            &["config.toml:7", "CAP_NET_ADMIN", "nftables", "run as root"],
        )
    })
}

#[test]
fn without_the_right_to_change_the_firewall_a_node_says_that_it_blocks_nothing() -> Result<()> {
    let name = "without_the_right_to_change_the_firewall_a_node_says_that_it_blocks_nothing";
    check(name, Tree::empty(), "", |lab| {
        said_once(
            lab,
            CapabilitySet::NET_ADMIN,
            Then::GoesOn,
            &["CAP_NET_ADMIN", "NOTHING IS BLOCKED", "run as root"],
        )
    })
}

#[test]
fn a_missing_filter_costs_its_jail() -> Result<()> {
    let jail = format!("{GOOD_JAIL}[mail-x]\nfilter = nosuch\n{MAIL_JAIL}");
    let tree = Tree::empty().with("jail.local", &jail).with_log(MAIL_LOG);
    check("a_missing_filter_costs_its_jail", tree, "", |lab| {
        said_once(
            lab,
            CapabilitySet::empty(),
            Then::GoesOn,
            &["mail-x", "nosuch", "jail.local:5", "filter.d", "correct the name"],
        )
    })
}

#[test]
fn a_broken_regex_is_named_with_its_line() -> Result<()> {
    let jail = format!("{GOOD_JAIL}[mail-x]\nfilter = broken\n{MAIL_JAIL}");
    let filter = "[Definition]\n# a group that nobody closes\nfailregex = ^failed login (from <HOST>$\n";
    let tree =
        Tree::empty().with("jail.local", &jail).with("filter.d/broken.conf", filter).with_log(MAIL_LOG);
    check("a_broken_regex_is_named_with_its_line", tree, "", |lab| {
        said_once(
            lab,
            CapabilitySet::empty(),
            Then::GoesOn,
            &["mail-x", "broken.conf:3", "failregex", "closing parenthesis", "bannkreis regex"],
        )
    })
}

#[test]
fn an_unreadable_log_is_named() -> Result<()> {
    let tree = Tree::empty().with("jail.local", GOOD_JAIL).with_log(MAIL_LOG);
    check("an_unreadable_log_is_named", tree, "", |lab| {
        let path = lab.host(HOST).file("log").join(MAIL_LOG);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000))
            .context(|| format!("cannot change {}", path.display()))?;
        // Root reads everything, unless it may not.
        let without = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        said_once(
            lab,
            without,
            Then::GoesOn,
            &["jail [postfix]", "/var/log/mail.log", "denied", "read access"],
        )
    })
}

#[test]
fn a_jail_whose_log_is_not_there_waits_with_a_warning() -> Result<()> {
    let jail =
        format!("{GOOD_JAIL}[mail-x]\nfilter = postfix\nenabled = true\nlogpath = /var/log/nothing.log\n");
    let tree = Tree::empty().with("jail.local", &jail).with_log(MAIL_LOG);
    check("a_jail_whose_log_is_not_there_waits_with_a_warning", tree, "", |lab| {
        said_once(
            lab,
            CapabilitySet::empty(),
            Then::GoesOn,
            &["mail-x", "/var/log/nothing.log", "correct the jail's logpath"],
        )
    })
}

/// Runs `body` with a lab of one host that has these files and settings.
fn check(name: &str, tree: Tree, settings: &str, body: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let hosts = |_: &Path| {
        vec![HostPlan { name: HOST, tree, settings: settings.to_owned(), environment: Vec::new() }]
    };
    in_lab(&format!("bad_configuration::{name}"), hosts, body)
}

/// Starts the daemon and expects one line that has all of `wanted` in it, and the end or no end.
fn said_once(lab: &Lab, without: CapabilitySet, then: Then, wanted: &[&str]) -> Result<()> {
    let host = lab.host(HOST);
    let mut daemon = host.spawn_without(without)?;
    match then {
        Then::Ends => {
            let status = wait_for("the daemon ends", SOON, || {
                let ended = daemon.ended().context(|| "cannot wait for the daemon".to_owned())?;
                ended.ok_or_else(|| Failed("it runs".to_owned()))
            })?;
            expect(status.code().is_some_and(|code| code > 0), || format!("it ended with {status}"))?;
        }
        Then::GoesOn => wait_for("the daemon answers", SOON, || {
            let ended = daemon.ended().context(|| "cannot wait for the daemon".to_owned())?;
            expect(ended.is_none(), || format!("it ended: {ended:?}"))?;
            host.cli(&["status"])?.expect_success().map(drop)
        })?,
    }
    let words = host.words_since(0)?;
    let n_said = words.lines().filter(|line| wanted.iter().all(|word| line.contains(word))).count();
    expect(n_said == 1, || format!("{n_said} lines, not one, have {wanted:?} in them:\n{words}"))
}
