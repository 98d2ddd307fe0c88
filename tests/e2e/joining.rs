//! From hosts that were installed one by one to one cluster: tokens, joins that meet each other, joins that are
//! killed half-way. Never two clusters of several, never a lost ban, never a packet through.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bannkreis_core::ruleset::Ruleset;
use bannkreis_core::time::Timestamp;
use bannkreis_firewall::BackendChoice;
use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::flood::Flood;
use bannkreis_tests::lab::host::{Host, HostPlan};
use bannkreis_tests::lab::listeners::COUNTING_PORT;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;

use crate::inside::{QUICK_RAFT, in_lab, plan, three_quiet_hosts};

/// For what takes milliseconds, and for what takes an election or two.
const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);
const A_MINUTE: Duration = Duration::from_secs(60);

/// What the `n`-th host has banned before it knows any other.
fn own_ban(n: usize) -> IpAddr {
    IpAddr::from([203, 0, 113, u8::try_from(n + 1).unwrap_or(u8::MAX)])
}

fn ban(host: &Host, address: IpAddr) -> Result<()> {
    host.cli(&["ban", &address.to_string(), "--for", "1h"])?.expect_success().map(drop)
}

/// Starts every host alone, with a ban of its own that it enforces.
fn start_alone(lab: &mut Lab) -> Result<()> {
    for host in lab.hosts_mut() {
        host.start()?;
    }
    for (n, host) in lab.hosts().iter().enumerate() {
        ban(host, own_ban(n))?;
        lab.attacker.wait_silent(&[(own_ban(n), host.port(25, own_ban(n)))], SOON)?;
    }
    Ok(())
}

fn own_bans(n_hosts: usize) -> BTreeSet<String> {
    (0..n_hosts).map(|n| own_ban(n).to_string()).collect()
}

fn lists(host: &Host, wanted: &BTreeSet<String>) -> Result<()> {
    let listed = committed(&host.bans()?);
    expect(listed.is_superset(wanted), || format!("{} lists {listed:?}", host.name()))
}

#[test]
fn hosts_installed_separately_become_one_cluster_by_a_command_each_and_let_nothing_through() -> Result<()> {
    let name =
        "joining::hosts_installed_separately_become_one_cluster_by_a_command_each_and_let_nothing_through";
    in_lab(name, three_quiet_hosts, |lab| {
        start_alone(lab)?;
        let mut floods = Vec::new();
        for (n, host) in lab.hosts().iter().enumerate() {
            let from = own_ban(n);
            floods.push(Flood::start(lab.attacker.netns(), &[from], &[host.port(COUNTING_PORT, from)])?);
        }
        for host in &lab.hosts()[1..] {
            host.join(lab.host("kopano"))?;
        }
        lab.wait_whole()?;
        let wanted = own_bans(3);
        for host in lab.hosts() {
            wait_for("every ban is everywhere", SOON, || lists(host, &wanted))?;
            let pairs: Vec<_> = (0..3).map(|n| (own_ban(n), host.port(25, own_ban(n)))).collect();
            lab.attacker.wait_silent(&pairs, SOON)?;
        }
        for (host, flood) in lab.hosts().iter().zip(&floods) {
            wait_for("a flood worth the name", SOON, || {
                expect(flood.n_sent() > 1_000, || format!("only {} packets were sent", flood.n_sent()))
            })?;
            let counted = host.listeners().counted();
            expect(counted.is_empty(), || format!("packets got through on {}: {counted:?}", host.name()))?;
        }
        Ok(())
    })
}

#[test]
fn a_token_lets_one_host_in_and_the_other_stays_what_it_was() -> Result<()> {
    let name = "joining::a_token_lets_one_host_in_and_the_other_stays_what_it_was";
    in_lab(name, three_quiet_hosts, |lab| {
        start_alone(lab)?;
        let [kopano, kerio, mx1] = ["kopano", "kerio", "mx1"].map(|name| lab.host(name));
        let (token, to) = (kopano.token()?, kopano.cluster_address());
        let join = |host: &Host, more: &[&str]| host.cli(&[&["cluster", "join", &to], more].concat());
        refused(&join(kerio, &[])?.stderr, "token create")?;
        refused(&join(kerio, &["--token", "bkt1_nonsense"])?.stderr, "is no join token")?;
        // A token of another cluster.
        refused(
            &join(kerio, &["--token", &mx1.token()?])?.stderr,
            "no member of the cluster that the token is for",
        )?;
        join(kerio, &["--token", &token])?.expect_success()?;
        refused(&join(mx1, &["--token", &token])?.stderr, "used already")?;
        // One that was taken back.
        let created = kopano.cli(&["--output", "json", "token", "create", "--ttl", "10m"])?;
        let (token, id) = (created.text_at("/token")?, created.text_at("/id")?);
        kerio.cli(&["token", "revoke", &id[..12]])?.expect_success()?;
        refused(&join(mx1, &["--token", &token])?.stderr, "taken back")?;

        // It works alone as before, and is let in with a good one.
        ban(mx1, own_ban(7))?;
        lab.attacker.wait_silent(&[2, 7].map(|n| (own_ban(n), mx1.port(25, own_ban(n)))), SOON)?;
        mx1.join(kerio)?;
        lab.wait_whole()
    })
}

fn refused(stderr: &str, why: &str) -> Result<()> {
    expect(stderr.contains(why), || format!("instead of {why:?} it said: {stderr}"))
}

#[test]
fn two_clusters_of_several_refuse_each_other() -> Result<()> {
    let name = "joining::two_clusters_of_several_refuse_each_other";
    let hosts = |_: &_| ["kopano", "kerio", "mx1", "mx2"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        start_alone(lab)?;
        let [kopano, kerio, mx1, mx2] = ["kopano", "kerio", "mx1", "mx2"].map(|name| lab.host(name));
        kerio.join(kopano)?;
        mx2.join(mx1)?;
        for (from, to) in [(kerio, mx1), (mx1, kopano)] {
            let token = to.token()?;
            let told = from.cli(&["cluster", "join", &to.cluster_address(), "--token", &token])?;
            refused(&told.stderr, "two clusters never mix")?;
        }
        // Nobody has changed sides.
        for host in lab.hosts() {
            let n_nodes = host.cluster_status()?.nodes.len();
            expect(n_nodes == 2, || format!("{} sees {n_nodes} nodes", host.name()))?;
        }
        Ok(())
    })
}

#[test]
fn two_hosts_that_join_each_other_at_the_same_time_become_one_cluster() -> Result<()> {
    let name = "joining::two_hosts_that_join_each_other_at_the_same_time_become_one_cluster";
    let hosts = |_: &_| ["kopano", "kerio"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        start_alone(lab)?;
        let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
        let tokens = [kopano.token()?, kerio.token()?];
        let join = |host: &Host, to: &Host, token: &str| {
            host.cli(&["cluster", "join", &to.cluster_address(), "--token", token])
        };
        let answers = std::thread::scope(|scope| {
            let one = scope.spawn(|| join(kerio, kopano, &tokens[0]));
            let other = scope.spawn(|| join(kopano, kerio, &tokens[1]));
            [one.join(), other.join()]
        });
        let mut n_joined = 0;
        for answer in answers {
            let told = answer.map_err(|_| Failed("a thread has panicked".to_owned()))??;
            n_joined += usize::from(told.status.success());
        }
        expect(n_joined == 1, || format!("{n_joined} of two joins were done"))?;
        one_cluster_with_all_bans(lab)
    })
}

fn one_cluster_with_all_bans(lab: &Lab) -> Result<()> {
    lab.wait_whole()?;
    let wanted = own_bans(lab.hosts().len());
    for host in lab.hosts() {
        wait_for("every ban is everywhere", LATER, || lists(host, &wanted))?;
    }
    Ok(())
}

#[test]
fn a_join_that_is_killed_at_any_moment_is_finished_with_the_same_token() -> Result<()> {
    let name = "joining::a_join_that_is_killed_at_any_moment_is_finished_with_the_same_token";
    let hosts =
        |_: &_| ["kopano", "kerio", "mx1", "mx2", "mx3", "mx4"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        start_alone(lab)?;
        let to = lab.host("kopano").cluster_address();
        let moments_ms = [0_u64, 15, 40, 90, 200];
        for (n, moment_ms) in (1..).zip(moments_ms) {
            let name = lab.hosts()[n].name();
            let token = lab.host("kopano").token()?;
            let socket = lab.host(name).file("run/control.sock");
            let asking = std::thread::spawn({
                let (to, token) = (to.clone(), token.clone());
                move || Told::ask(&socket, &["cluster", "join", &to, "--token", &token])
            });
            // A moment in the middle of something: the point is that it may be any.
            std::thread::sleep(Duration::from_millis(moment_ms));
            lab.host_mut(name).kill_9();
            asking.join().map_err(|_| Failed("a thread has panicked".to_owned()))??;
            // The kernel never let go of its ban.
            lab.attacker.wait_silent(&[(own_ban(n), lab.host(name).port(25, own_ban(n)))], SOON)?;
            lab.host_mut(name).start()?;
            let host = lab.host(name);
            wait_for("the join is done", LATER, || {
                let told = host.cli(&["cluster", "join", &to, "--token", &token])?;
                expect(told.status.success() || told.stderr.contains("this node belongs to"), || {
                    told.stderr.clone()
                })
            })?;
        }
        one_cluster_with_all_bans(lab)
    })
}

#[test]
fn a_cluster_that_dies_at_any_moment_of_a_join_loses_nobodys_ban() -> Result<()> {
    let name = "joining::a_cluster_that_dies_at_any_moment_of_a_join_loses_nobodys_ban";
    let hosts = |_: &_| ["kopano", "kerio", "mx1", "mx2", "mx3"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        start_alone(lab)?;
        let to = lab.host("kopano").cluster_address();
        for (n, moment_ms) in (1..).zip([5_u64, 40, 120, 300]) {
            let name = lab.hosts()[n].name();
            let token = lab.host("kopano").token()?;
            let socket = lab.host(name).file("run/control.sock");
            // Its answer may take half a minute, and nobody waits for that.
            drop(std::thread::spawn({
                let (to, token) = (to.clone(), token.clone());
                move || Told::ask(&socket, &["cluster", "join", &to, "--token", &token])
            }));
            // A moment in the middle of something: the point is that it may be any.
            std::thread::sleep(Duration::from_millis(moment_ms));
            // Whoever is a member already dies as well.
            for member in 0..n {
                lab.hosts_mut()[member].kill_9();
            }
            lab.attacker.expect_silent(&[(own_ban(n), lab.host(name).port(25, own_ban(n)))])?;
            for member in 0..n {
                lab.hosts_mut()[member].launch()?;
            }
            for member in 0..n {
                lab.hosts_mut()[member].wait_ready()?;
            }
            let host = lab.host(name);
            wait_for("the host is in, by itself or with the same token", A_MINUTE, || {
                let nodes = host.cluster_status()?.nodes.len();
                if nodes == 1 {
                    let told = host.cli(&["cluster", "join", &to, "--token", &token])?;
                    return expect(told.status.success(), || told.stderr.clone());
                }
                expect(nodes == n + 1, || format!("{name} sees {nodes} nodes"))
            })?;
        }
        one_cluster_with_all_bans(lab)
    })
}

#[test]
fn a_join_that_can_not_go_on_keeps_every_ban_over_a_boot_and_says_so() -> Result<()> {
    let name = "joining::a_join_that_can_not_go_on_keeps_every_ban_over_a_boot_and_says_so";
    in_lab(name, three_quiet_hosts, |lab| {
        start_alone(lab)?;
        half_a_join(lab, "kerio")?;
        let kept = (own_ban(1), lab.host("kerio").port(25, own_ban(1)));
        listed_as_waiting(lab.host("kerio"), own_ban(1))?;

        // A host that boots has nothing in its kernel.
        lab.host_mut("kerio").kill_9();
        lab.host("kerio").netns().run(|| {
            let refused = || "cannot empty the kernel's table".to_owned();
            let mut kernel = bannkreis_firewall::open(BackendChoice::Nftables).context(refused)?;
            kernel.replace(Timestamp::ZERO, &Ruleset::default()).context(refused)
        })?;
        lab.attacker.wait_open(&[kept], SOON)?;
        lab.host_mut("kerio").start()?;
        lab.attacker.wait_silent(&[kept], SOON)?;
        listed_as_waiting(lab.host("kerio"), own_ban(1))?;

        // When the cluster is back it goes on by itself.
        lab.host_mut("kopano").start()?;
        let wanted = own_bans(2);
        for name in ["kopano", "kerio"] {
            wait_for("every ban is on both", LATER, || lists(lab.host(name), &wanted))?;
        }
        let first = lab.host("kerio").cli(&["status"])?.expect_success()?.stdout;
        expect(!first.contains("is joining"), || first.clone())?;

        // When it is gone for good, there is a way back.
        half_a_join(lab, "mx1")?;
        let mx1 = lab.host("mx1");
        refused(&mx1.cli(&["cluster", "leave"])?.stderr, "still joining")?;
        mx1.cli(&["cluster", "leave", "--force"])?.expect_success()?;
        lists(mx1, &BTreeSet::from([own_ban(2).to_string()]))?;
        lab.attacker.expect_silent(&[(own_ban(2), mx1.port(25, own_ban(2)))])?;
        let first = mx1.cli(&["status"])?.expect_success()?.stdout;
        expect(first.starts_with("mx1: a cluster of one"), || first.clone())
    })
}

/// Has a host let in, and kills kopano, which is the cluster, before the host is a member.
fn half_a_join(lab: &mut Lab, name: &'static str) -> Result<()> {
    let (to, token) = (lab.host("kopano").cluster_address(), lab.host("kopano").token()?);
    let socket = lab.host(name).file("run/control.sock");
    // Its answer takes half a minute, and nobody waits for that.
    drop(std::thread::spawn(move || {
        let arguments = ["cluster", "join", &to, "--token", &token];
        Told::ask(&socket, &arguments)
    }));
    let begun = lab.host(name).file("state/join-target");
    wait_for("the host gives up its own cluster", LATER, || {
        expect(begun.exists(), || "it has not begun yet".to_owned())
    })?;
    lab.host_mut("kopano").kill_9();
    wait_for("the host says so", SOON, || {
        let told = lab.host(name).cli(&["status"])?.expect_success()?.stdout;
        expect(told.starts_with("this node is joining"), || told.clone())
    })
}

fn listed_as_waiting(host: &Host, address: IpAddr) -> Result<()> {
    let bans = host.cli(&["--output", "json", "bans"])?.expect_success()?.stdout;
    let is_listed = bans.contains(&format!("\"{address}\"")) && bans.contains("\"waiting\"");
    expect(is_listed, || format!("{} lists {bans}", host.name()))?;
    let first = host.cli(&["status"])?.expect_success()?.stdout;
    let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
    expect(first.starts_with("this node is joining by "), || first.clone())?;
    expect(first.contains("cluster leave --force"), || first.clone())
}

#[test]
fn a_configured_join_needs_nobody_and_any_order_of_starts_will_do() -> Result<()> {
    let name = "joining::a_configured_join_needs_nobody_and_any_order_of_starts_will_do";
    in_lab(name, three_quiet_hosts, |lab| {
        let to = lab.host("kopano").cluster_address();
        let followers = ["kerio", "mx1"];
        for name in followers {
            let file = lab.host(name).file("token");
            let settings = format!("join = \"{to}\"\ntoken_file = \"{}\"\n{QUICK_RAFT}", file.display());
            lab.host_mut(name).change_settings(&settings)?;
            // Before there is a token, and before there is anybody to join.
            lab.host_mut(name).start()?;
        }
        lab.host_mut("kopano").start()?;
        for name in followers {
            // As an image's tooling would leave it there, whole at once.
            let (token, file) = (lab.host("kopano").token()?, lab.host(name).file("token"));
            let unfinished = lab.host(name).file("token.new");
            std::fs::write(&unfinished, token).context(|| "cannot write a token".to_owned())?;
            std::fs::rename(unfinished, file).context(|| "cannot write a token".to_owned())?;
        }
        lab.wait_whole()?;
        // Started again, nobody joins anew.
        for host in lab.hosts_mut() {
            host.kill_9();
        }
        for name in ["mx1", "kopano", "kerio"] {
            lab.host_mut(name).launch()?;
        }
        for host in lab.hosts_mut() {
            host.wait_ready()?;
        }
        lab.wait_whole()
    })
}

#[test]
fn without_tls_a_join_needs_no_token_and_the_daemon_says_that_nobody_is_safe() -> Result<()> {
    let name = "joining::without_tls_a_join_needs_no_token_and_the_daemon_says_that_nobody_is_safe";
    let insecure = |name| HostPlan {
        settings: format!("tls.mode = \"insecure\"\n{QUICK_RAFT}"),
        ..plan(name, Tree::empty())
    };
    in_lab(
        name,
        |_| ["kopano", "kerio"].map(insecure).into(),
        |lab| {
            start_alone(lab)?;
            let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
            kerio.cli(&["cluster", "join", &kopano.cluster_address()])?.expect_success()?;
            one_cluster_with_all_bans(lab)?;
            // Said again at every start, and also by a node that is one of several.
            for n_starts in 1..=3 {
                for host in lab.hosts() {
                    let words = host.words_since(0)?;
                    let n_warnings = words.matches("nothing is encrypted").count();
                    expect(n_warnings == n_starts, || {
                        format!("{} warned {n_warnings} times at {n_starts} starts: {words}", host.name())
                    })?;
                }
                for host in lab.hosts_mut() {
                    host.stop()?;
                }
                for host in lab.hosts_mut() {
                    host.start()?;
                }
                lab.wait_whole()?;
            }
            Ok(())
        },
    )
}
