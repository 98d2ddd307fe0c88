//! What operators say to the whole cluster or to one host, beside bans: the allow list, releases and blocks of one
//! host, settings. Each is checked by packets.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use crate::inside::{in_lab, plan, three_quiet_hosts};

/// For what takes milliseconds.
const SOON: Duration = Duration::from_secs(5);

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2));
const THIRD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 3));

/// What the host's tool says, which does what it is told.
fn told(host: &Host, arguments: &[&str]) -> Result<String> {
    Ok(host.cli(arguments)?.expect_success()?.stdout)
}

/// However its lines are broken.
fn says(told: &str, part: &str) -> Result<()> {
    let words: Vec<&str> = told.split_whitespace().collect();
    expect(words.join(" ").contains(part), || format!("no {part:?} in: {told}"))
}

/// That `from` is blocked, or not, on these hosts.
fn wait_blocked(lab: &Lab, from: IpAddr, hosts: &[&str], is_blocked: bool) -> Result<()> {
    let pairs: Vec<_> = hosts.iter().map(|name| (from, lab.host(name).port(25, from))).collect();
    if is_blocked { lab.attacker.wait_silent(&pairs, SOON) } else { lab.attacker.wait_open(&pairs, SOON) }
}

const ALL: [&str; 3] = ["kopano", "kerio", "mx1"];

#[test]
fn what_is_allowed_passes_everywhere_and_no_ban_comes_back() -> Result<()> {
    let name = "orders::what_is_allowed_passes_everywhere_and_no_ban_comes_back";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        let kopano = lab.host("kopano");
        told(kopano, &["ban", "203.0.113.1", "--for", "1h"])?;
        wait_blocked(lab, ONE, &ALL, true)?;
        says(
            &told(lab.host("kerio"), &["allow", "add", "203.0.113.1", "--note", "scanner"])?,
            "1 ban lifted",
        )?;
        // It is answered when it is enforced.
        lab.attacker.expect_open(&ALL.map(|name| (ONE, lab.host(name).port(25, ONE))))?;
        let refused = kopano.cli(&["ban", "203.0.113.1"])?;
        expect(refused.status.code() == Some(1), || format!("{}{}", refused.stdout, refused.stderr))?;
        says(&refused.stdout, "is on the allow list")?;
        // A wider ban stands, and lets it through.
        says(&told(kopano, &["ban", "203.0.113.0/24", "--for", "1h"])?, "banned")?;
        wait_blocked(lab, OTHER, &ALL, true)?;
        lab.attacker.expect_open(&ALL.map(|name| (ONE, lab.host(name).port(25, ONE))))?;
        let added = told(kopano, &["allow", "add", "203.0.113.2", "--for", "1h"])?;
        says(&added, "its packets pass, although it is part of the ban of 203.0.113.0/24")?;
        wait_blocked(lab, OTHER, &ALL, false)?;
        says(&told(lab.host("mx1"), &["allow", "list"])?, "scanner")?;
        // Without the entries the wider ban counts, and the lifted one stays lifted.
        told(kopano, &["allow", "remove", "203.0.113.1", "203.0.113.2"])?;
        wait_blocked(lab, ONE, &ALL, true)?;
        told(kopano, &["unban", "203.0.113.0/24"])?;
        wait_blocked(lab, ONE, &ALL, false)?;
        let listed = committed(&kopano.bans()?);
        expect(listed.is_empty(), || format!("{listed:?}"))
    })
}

#[test]
fn nobody_shuts_themselves_out_by_mistake() -> Result<()> {
    let name = "orders::nobody_shuts_themselves_out_by_mistake";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        let kopano = lab.host("kopano");
        let refused = |arguments: &[&str], part: &str| -> Result<()> {
            let session = [("SSH_CONNECTION", "203.0.113.1 50022 10.77.0.11 22")];
            let told = Told::ask_with(&kopano.file("run/control.sock"), arguments, &session)?;
            expect(told.status.code() == Some(1), || told.stdout.clone() + &told.stderr)?;
            says(&told.stdout, part)
        };
        // The host's own router is the attacker's host, and every host has its own addresses.
        refused(&["ban", "203.0.113.0/24"], "203.0.113.0/24 holds 203.0.113.1, from which you work")?;
        refused(
            &["ban", "10.77.0.12"],
            "10.77.0.12 is an address of kerio: never banned, with --force neither",
        )?;
        refused(&["ban", "10.77.0.99", "--force"], "is a router of kerio, kopano, mx1")?;
        refused(&["ban", "10.77.0.0/16"], "10.77.0.0/16 is wider than /24")?;
        let forced = told(kopano, &["ban", "10.77.0.0/16", "--force"])?;
        says(&forced, "10.77.0.12 (an address of kerio)")?;
        says(&forced, "packets from there pass")?;
        // The nodes go on talking, and the way out is open.
        told(lab.host("mx1"), &["ban", "203.0.113.1"])?;
        wait_blocked(lab, ONE, &ALL, true)?;
        lab.wait_whole()?;

        // Over the port it is the connection that counts.
        let keys = kopano.file("alice").display().to_string();
        told(kopano, &["pki", "issue", "alice", "--role", "operator", "--directory", &keys])?;
        let connect = kopano.cluster_address();
        let ban = ["--connect", &connect, "--keys", &keys, "ban", "203.0.113.2/31"];
        lab.attacker.netns().ip("route add 10.77.0.11 dev eth0 src 203.0.113.2\n")?;
        let told = lab.attacker.netns().run(|| Told::ask(Path::new("/nonexistent"), &ban))?;
        expect(told.status.code() == Some(1), || format!("{}{}", told.stdout, told.stderr))?;
        says(&told.stdout, "holds 203.0.113.2, from which you work")
    })
}

#[test]
fn what_is_decided_for_one_host_holds_there_alone_and_over_a_crash() -> Result<()> {
    let name = "orders::what_is_decided_for_one_host_holds_there_alone_and_over_a_crash";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        told(lab.host("kopano"), &["ban", "203.0.113.0/24", "--for", "1h"])?;
        wait_blocked(lab, ONE, &ALL, true)?;
        let kerio = lab.host("kerio");
        let said = told(kerio, &["unban", "203.0.113.1", "--local", "--reason", "a test"])?;
        says(&said, "let through on kerio only")?;
        says(&said, "`bannkreis unban 203.0.113.0/24` lifts that everywhere")?;
        let open =
            |lab: &Lab, host: &str, from| lab.attacker.expect_open(&[(from, lab.host(host).port(25, from))]);
        let silent = |lab: &Lab, host: &str, from| {
            lab.attacker.expect_silent(&[(from, lab.host(host).port(25, from))])
        };
        open(lab, "kerio", ONE)?;
        silent(lab, "kerio", OTHER)?;
        silent(lab, "kopano", ONE)?;
        let blocked: IpAddr = "198.18.0.7".parse().unwrap_or(ONE);
        says(&told(kerio, &["ban", "198.18.0.7", "--local"])?, "blocked on kerio only")?;
        silent(lab, "kerio", blocked)?;
        open(lab, "kopano", blocked)?;

        // It is shown with who, why and what takes it back, and the others count it.
        let why = told(kerio, &["why", "203.0.113.1"])?;
        says(&why, "let through on this host by an operator; uid 0 (root): a test")?;
        says(&why, "bannkreis unban 203.0.113.1 --local --end")?;
        says(&told(kerio, &["status"])?, "2 overrides of this host only")?;
        wait_for("the others count them", SOON, || {
            says(&told(lab.host("kopano"), &["cluster", "status"])?, "2 overrides")
        })?;

        // What was answered is on the disk.
        lab.host_mut("kerio").kill_9();
        open(lab, "kerio", ONE)?;
        lab.host_mut("kerio").start()?;
        open(lab, "kerio", ONE)?;
        silent(lab, "kerio", blocked)?;
        let kerio = lab.host("kerio");
        says(
            &told(kerio, &["unban", "198.18.0.7", "--local"])?,
            "not blocked on kerio by an operator's word any more",
        )?;
        open(lab, "kerio", blocked)?;
        told(kerio, &["unban", "203.0.113.1", "--local", "--end"])?;
        silent(lab, "kerio", ONE)?;
        told(kerio, &["ban", "198.18.0.7", "--local", "--for", "2s"])?;
        silent(lab, "kerio", blocked)?;
        wait_blocked(lab, blocked, &["kerio"], false)
    })
}

#[test]
fn a_host_without_a_quorum_takes_an_operators_word_for_itself() -> Result<()> {
    let name = "orders::a_host_without_a_quorum_takes_an_operators_word_for_itself";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        told(lab.host("kopano"), &["ban", "203.0.113.1", "--for", "1h"])?;
        wait_blocked(lab, ONE, &ALL, true)?;
        lab.host_mut("kopano").kill_9();
        lab.host_mut("kerio").kill_9();
        let mx1 = lab.host("mx1");
        told(mx1, &["unban", "203.0.113.1", "--local"])?;
        lab.attacker.expect_open(&[(ONE, mx1.port(25, ONE))])?;
        told(mx1, &["ban", "203.0.113.1", "--local"])?;
        lab.attacker.expect_silent(&[(ONE, mx1.port(25, ONE))])
    })
}

#[test]
fn a_node_that_is_not_trusted_blocks_alone_until_it_is_trusted_again() -> Result<()> {
    let name = "orders::a_node_that_is_not_trusted_blocks_alone_until_it_is_trusted_again";
    let hosts = |_: &Path| {
        [("kopano", seeds::kopano()), ("kerio", Tree::empty()), ("mx1", Tree::empty())]
            .map(|(name, tree)| plan(name, tree))
            .into()
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
        let attack = |from: IpAddr| -> Result<()> {
            let lines: Vec<String> = (0..10).map(|_| seeds::kopano_failure(from, "nobody")).collect();
            kopano.append_log(seeds::APACHE_ERROR_LOG, &lines).map(drop)
        };
        attack(ONE)?;
        wait_blocked(lab, ONE, &["kerio"], true)?;
        let undone = told(kerio, &["unban", "--by-node", "kopano"])?;
        says(&undone, "`bannkreis cluster trust kopano`")?;
        wait_blocked(lab, ONE, &["kerio"], false)?;
        // The log's times are whole seconds: lines of the second in which it was undone may be from before that.
        wait_for("kopano blocks by its own log", SOON, || {
            attack(OTHER)?;
            lab.attacker.wait_silent(&[(OTHER, kopano.port(443, OTHER))], Duration::from_secs(1))
        })?;
        let status = told(kerio, &["cluster", "status"])?;
        says(&status, "kopano is not trusted since its bans were undone")?;
        lab.attacker.expect_open(&[(OTHER, kerio.port(25, OTHER))])?;
        says(&told(kerio, &["cluster", "trust", "kopano"])?, "kopano: trusted again")?;
        // What comes is shared. What it has blocked meanwhile, perhaps by mistake, stays its own.
        attack(THIRD)?;
        wait_blocked(lab, THIRD, &["kerio", "mx1"], true)?;
        lab.attacker.expect_silent(&[(OTHER, kopano.port(443, OTHER))])?;
        lab.attacker.expect_open(&[(ONE, kerio.port(25, ONE)), (OTHER, kerio.port(25, OTHER))])
    })
}

#[test]
fn a_setting_changes_what_every_node_closes() -> Result<()> {
    let name = "orders::a_setting_changes_what_every_node_closes";
    let hosts = |_: &Path| {
        [("kopano", seeds::kopano()), ("kerio", seeds::kerio()), ("mx1", Tree::empty())]
            .map(|(name, tree)| plan(name, tree))
            .into()
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
        let lines: Vec<String> = (0..10).map(|_| seeds::kopano_failure(ONE, "nobody")).collect();
        kopano.append_log(seeds::APACHE_ERROR_LOG, &lines)?;
        let closed =
            |ports: &[u16]| ports.iter().map(|port| (ONE, kerio.port(*port, ONE))).collect::<Vec<_>>();
        lab.attacker.wait_silent(&closed(&[25, 443, 465, 587]), SOON)?;
        says(&told(kerio, &["why", "203.0.113.1"])?, "(reach = guarded)")?;
        let set = told(kerio, &["cluster", "settings", "set", "reach=ports"])?;
        says(&set, "reach is ports (was guarded)")?;
        // It is answered when it is enforced.
        lab.attacker.expect_silent(&closed(&[443]))?;
        lab.attacker.expect_open(&closed(&[25, 465, 587]))?;
        says(&told(kopano, &["why", "203.0.113.1"])?, "on kerio and mx1 (reach = ports)")?;
        says(&told(kopano, &["cluster", "settings"])?, "reach ports guarded guarded, ports, host")?;
        let refused = kerio.cli(&["cluster", "settings", "set", "skew_max=2h"])?;
        says(&refused.stderr, "`2h` is no value for skew_max: write one of 1s to 1h")?;
        let refused = kerio.cli(&["cluster", "settings", "set", "event_key=00"])?;
        says(&refused.stderr, "never changes")
    })
}

#[test]
fn a_jail_says_what_its_bans_close_on_other_hosts() -> Result<()> {
    let name = "orders::a_jail_says_what_its_bans_close_on_other_hosts";
    let hosts = |_: &Path| {
        let narrow = seeds::kopano().with("jail.d/narrow.local", "[kopano-webapp]\nreach = ports\n");
        [("kopano", narrow), ("kerio", seeds::kerio())].map(|(name, tree)| plan(name, tree)).into()
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
        let lines: Vec<String> = (0..10).map(|_| seeds::kopano_failure(ONE, "nobody")).collect();
        kopano.append_log(seeds::APACHE_ERROR_LOG, &lines)?;
        wait_for("kerio knows what kopano says of its jail", SOON, || {
            says(&told(kerio, &["why", "203.0.113.1"])?, "on kerio (reach = ports)")
        })?;
        lab.attacker.wait_silent(&[(ONE, kerio.port(443, ONE))], SOON)?;
        lab.attacker.expect_open(&[(ONE, kerio.port(25, ONE))])
    })
}
