//! When more is gone than a cluster can lose: backup and restore, a majority that does not come back, a log that is
//! missing or garbage, a daemon that is killed in the middle. One of two states, never a lost ban, never a packet
//! through.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::flood::Flood;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::listeners::COUNTING_PORT;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use crate::inside::{in_lab, plan, three_quiet_hosts};

/// For what takes milliseconds, and for what takes an election or two.
const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);

fn offender(n: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, n])
}

fn ban(host: &Host, n: u8) -> Result<()> {
    committed_by(host, &["ban", &offender(n).to_string(), "--for", "1h"])
}

/// Whether everybody enforces it already is not asked: somebody may just be starting.
fn committed_by(host: &Host, command: &[&str]) -> Result<()> {
    let told = host.cli(&[&["--output", "json"], command].concat())?;
    expect(told.is_done(), || format!("{command:?}: {} {}", told.stdout, told.stderr))
}

fn unban(host: &Host, n: u8) -> Result<()> {
    committed_by(host, &["unban", &offender(n).to_string()])
}

/// The host lists all of `wanted`, and of `unwanted` none.
fn lists(host: &Host, wanted: &[u8], unwanted: &[u8]) -> Result<()> {
    let listed: BTreeSet<String> = committed(&host.bans()?);
    let has = |n: &u8| listed.contains(&offender(*n).to_string());
    expect(wanted.iter().all(has) && !unwanted.iter().any(has), || {
        format!("{} lists {listed:?}, wanted {wanted:?} and not {unwanted:?}", host.name())
    })
}

fn blocks(lab: &Lab, host: &Host, wanted: &[u8]) -> Result<()> {
    let pairs: Vec<_> = wanted.iter().map(|n| (offender(*n), host.port(25, offender(*n)))).collect();
    lab.attacker.wait_silent(&pairs, SOON)
}

/// One that goes on until it is dropped; nothing of it may arrive.
fn flood(lab: &Lab, host: &Host, n: u8) -> Result<Flood> {
    Flood::start(lab.attacker.netns(), &[offender(n)], &[host.port(COUNTING_PORT, offender(n))])
}

fn nothing_came_through(host: &Host, flood: &Flood) -> Result<()> {
    wait_for("a flood worth the name", SOON, || {
        expect(flood.n_sent() > 1_000, || format!("only {} packets were sent", flood.n_sent()))
    })?;
    let counted = host.listeners().counted();
    expect(counted.is_empty(), || format!("packets got through on {}: {counted:?}", host.name()))
}

fn says(told: &Told, what: &str) -> Result<()> {
    let all = format!("{}{}", told.stdout, told.stderr);
    // Lines are wrapped for people.
    let one_line = all.split_whitespace().collect::<Vec<_>>().join(" ");
    expect(one_line.contains(what), || format!("instead of {what:?} it said: {all}"))
}

fn generation(host: &Host) -> Result<u64> {
    host.cli(&["--output", "json", "cluster", "status"])?.number_at("/generation")
}

/// Joins and waits until both are one cluster.
fn join(host: &Host, to: &Host, n_members: usize) -> Result<()> {
    host.join(to)?;
    wait_for("the host is a member", LATER, || {
        let seen = host.cluster_status()?.nodes.iter().filter(|node| node.is_reachable).count();
        expect(seen == n_members, || format!("{} sees {seen} of {n_members} nodes", host.name()))
    })
}

#[test]
fn a_backup_is_restored_on_a_fresh_host_and_the_others_join_it_again() -> Result<()> {
    let name = "recovery::a_backup_is_restored_on_a_fresh_host_and_the_others_join_it_again";
    let hosts = |_: &_| ["kopano", "kerio", "mx1", "mx2"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        for name in ["kopano", "kerio", "mx1"] {
            lab.host_mut(name).start()?;
        }
        for (name, n_members) in [("kerio", 2), ("mx1", 3)] {
            join(lab.host(name), lab.host("kopano"), n_members)?;
        }
        let kopano = lab.host("kopano");
        for n in 1..=20 {
            ban(kopano, n)?;
        }
        unban(kopano, 20)?;
        let file = kopano.file("backup");
        let path = file.to_string_lossy().into_owned();
        kopano.cli(&["cluster", "backup", &path, "--with-keys"])?.expect_success()?;
        let mode = fs::metadata(&file).context(|| "there is no backup".to_owned())?.permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777;
        expect(mode == 0o600, || format!("the backup has mode {mode:o}"))?;
        let checked = kopano.cli(&["cluster", "backup", "--check", &path])?.expect_success()?;
        says(&checked, "19 bans")?;
        // A member of several is not restored to, and damage is found.
        says(&kopano.cli(&["cluster", "restore", &path, "--yes"])?, "cluster leave")?;
        let damaged = kopano.file("damaged");
        let mut bytes = fs::read(&file).context(|| "the backup can not be read".to_owned())?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&damaged, bytes).context(|| "no damaged backup".to_owned())?;
        says(
            &kopano.cli(&["cluster", "backup", "--check", &damaged.to_string_lossy()])?,
            "the backup can not be used",
        )?;
        // Without a leader too, and it says so.
        for name in ["kerio", "mx1"] {
            lab.host_mut(name).kill_9();
        }
        let kopano = lab.host("kopano");
        wait_for("the quorum is lost", LATER, || says(&kopano.cli(&["status"])?, "no quorum"))?;
        let alone = kopano.file("alone").to_string_lossy().into_owned();
        says(&kopano.cli(&["cluster", "backup", &alone])?.expect_success()?, "no quorum")?;
        lab.host_mut("kopano").kill_9();

        // A host that was installed meanwhile, and has bans of its own.
        lab.host_mut("mx2").start()?;
        let mx2 = lab.host("mx2");
        ban(mx2, 100)?;
        ban(mx2, 20)?;
        blocks(lab, mx2, &[100])?;
        let flooding = flood(lab, mx2, 100)?;
        let planned = mx2.cli(&["cluster", "restore", &path])?;
        says(&planned, "Nothing was done")?;
        lists(mx2, &[100, 20], &[1])?;
        mx2.cli(&["cluster", "restore", &path, "--yes"])?.expect_success()?;
        // Its own ban of an address that was let go there before is newer than that, and stays.
        let restored: Vec<u8> = (1..=20).chain([100]).collect();
        lists(mx2, &restored, &[])?;
        blocks(lab, mx2, &restored)?;
        nothing_came_through(mx2, &flooding)?;
        expect(generation(mx2)? == 2, || "no new generation".to_owned())?;

        // The others come back, hear of it, and join.
        for (name, n_members) in [("kopano", 2), ("kerio", 3), ("mx1", 4)] {
            lab.host_mut(name).start()?;
            join(lab.host(name), lab.host("mx2"), n_members)?;
        }
        for host in lab.hosts() {
            wait_for("every ban is everywhere", LATER, || lists(host, &restored, &[]))?;
            expect(generation(host)? == 2, || format!("{} is of another generation", host.name()))?;
        }
        // What is let go now stays so, whoever comes later with the old word.
        unban(lab.host("mx1"), 5)?;
        lists(lab.host("mx2"), &[1], &[5])
    })
}

#[test]
fn a_survivor_recovers_and_the_other_one_joins_it_and_a_late_one_disturbs_nobody() -> Result<()> {
    let name = "recovery::a_survivor_recovers_and_the_other_one_joins_it_and_a_late_one_disturbs_nobody";
    let hosts = |_: &_| ["kopano", "kerio", "mx1", "mx2", "mx3"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        wait_for("five voters", LATER, || {
            let voters = lab.host("kopano").cluster_status()?.nodes.iter().filter(|n| n.is_voter).count();
            expect(voters == 5, || format!("{voters} voters"))
        })?;
        for n in [1, 9] {
            ban(lab.host("kopano"), n)?;
        }
        let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
        blocks(lab, kopano, &[1, 9])?;
        blocks(lab, kerio, &[1, 9])?;
        let floods = [flood(lab, kopano, 9)?, flood(lab, kerio, 9)?];
        says(&kopano.cli(&["cluster", "recover", "--yes"])?, "has a quorum")?;
        for name in ["mx1", "mx2", "mx3"] {
            lab.host_mut(name).kill_9();
        }
        let kopano = lab.host("kopano");
        wait_for("nobody hears a leader", LATER, || {
            let planned = kopano.cli(&["cluster", "recover"])?;
            says(&planned, "kerio")?;
            says(&planned, "Nothing was done")
        })?;
        expect(generation(kopano)? == 1, || "it was done".to_owned())?;
        kopano.cli(&["cluster", "recover", "--yes"])?.expect_success()?;
        expect(generation(kopano)? == 2, || "no new generation".to_owned())?;
        lists(kopano, &[1, 9], &[])?;
        ban(kopano, 2)?;
        unban(kopano, 1)?;

        // The other survivor is told what to type in the first line, and its bans come along.
        let kerio = lab.host("kerio");
        wait_for("kerio knows that it is left behind", LATER, || {
            let told = kerio.cli(&["status"])?;
            let first = told.stdout.lines().next().unwrap_or_default().to_owned();
            expect(first.starts_with("the cluster was recovered"), || first.clone())?;
            says(&told, "cluster join")
        })?;
        join(kerio, kopano, 2)?;
        for host in [kopano, kerio] {
            wait_for("the union of bans, without who was let go", LATER, || lists(host, &[2, 9], &[1]))?;
        }

        // A majority of the old generation comes back late: it goes on among itself, and is told.
        for name in ["mx1", "mx2", "mx3"] {
            lab.host_mut(name).start()?;
        }
        let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
        let before = kopano.cli(&["--output", "json", "cluster", "status"])?.number_at("/term")?;
        wait_for("mx1 is told", Duration::from_secs(60), || {
            says(&lab.host("mx1").cli(&["status"])?, "the cluster was recovered")
        })?;
        ban(kopano, 4)?;
        blocks(lab, kerio, &[4])?;
        let after = kopano.cli(&["--output", "json", "cluster", "status"])?.number_at("/term")?;
        expect(before == after, || format!("term {after} instead of {before}: somebody has disturbed it"))?;
        join(lab.host("mx1"), kerio, 3)?;
        wait_for("the late one has every ban", LATER, || lists(lab.host("mx1"), &[2, 4, 9], &[1]))?;
        for (name, flooding) in ["kopano", "kerio"].into_iter().zip(&floods) {
            nothing_came_through(lab.host(name), flooding)?;
        }
        Ok(())
    })
}

/// What `raft/` is like at the next start.
fn lose_log(host: &Host, garbage: bool) -> Result<()> {
    let log = host.file("state/raft");
    if !garbage {
        return fs::remove_dir_all(&log).context(|| format!("cannot remove {}", log.display()));
    }
    let database = log.join("db");
    fs::write(&database, vec![0xa5; 64 * 1_024]).context(|| format!("cannot damage {}", database.display()))
}

#[test]
fn a_node_that_lost_its_log_protects_and_becomes_a_member_again_under_a_new_id() -> Result<()> {
    let name = "recovery::a_node_that_lost_its_log_protects_and_becomes_a_member_again_under_a_new_id";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        for n in 1..=3 {
            ban(lab.host("kopano"), n)?;
        }
        for (name, garbage) in [("mx1", false), ("kerio", true)] {
            let host = lab.host(name);
            blocks(lab, host, &[1, 2, 3])?;
            let flooding = flood(lab, host, 1)?;
            let former = own_id(host)?;
            lab.host_mut(name).stop()?;
            lose_log(lab.host(name), garbage)?;
            lab.host_mut(name).start()?;
            let host = lab.host(name);
            wait_for("it is a member again", LATER, || {
                let told = host.cli(&["status"])?;
                expect(!told.stdout.starts_with("spectator"), || told.stdout.clone())
            })?;
            expect(own_id(host)? != former, || {
                "it goes on under the id whose votes it has forgotten".to_owned()
            })?;
            wait_for("three voters, and the old id is gone", LATER, || {
                let nodes = lab.host("kopano").cluster_status()?.nodes;
                let n_voters = nodes.iter().filter(|node| node.is_voter && node.is_reachable).count();
                expect(nodes.len() == 3 && n_voters == 3, || format!("{nodes:?}"))
            })?;
            ban(host, if garbage { 5 } else { 4 })?;
            wait_for("it has every ban", LATER, || lists(lab.host(name), &[1, 2, 3, 4], &[]))?;
            nothing_came_through(host, &flooding)?;
            let words = host.words_since(0)?;
            expect(words.contains("as a spectator"), || words.clone())?;
        }
        lab.wait_whole()
    })
}

fn own_id(host: &Host) -> Result<String> {
    host.cli(&["--output", "json", "status"])?.text_at("/state/node_id")
}

#[test]
fn a_node_alone_whose_log_is_garbage_protects_as_a_spectator_until_it_is_recovered() -> Result<()> {
    let name = "recovery::a_node_alone_whose_log_is_garbage_protects_as_a_spectator_until_it_is_recovered";
    in_lab(
        name,
        |_| vec![plan("kopano", Tree::empty())],
        |lab| {
            lab.host_mut("kopano").start()?;
            for n in 1..=3 {
                ban(lab.host("kopano"), n)?;
            }
            blocks(lab, lab.host("kopano"), &[1, 2, 3])?;
            let flooding = flood(lab, lab.host("kopano"), 1)?;
            lab.host_mut("kopano").stop()?;
            lose_log(lab.host("kopano"), true)?;
            lab.host_mut("kopano").start()?;
            let kopano = lab.host("kopano");
            for question in [&["status"][..], &["bans"], &["cluster", "status"]] {
                let told = kopano.cli(question)?;
                expect(told.stdout.starts_with("spectator: "), || told.stdout.clone())?;
                says(&told, "bannkreis cluster recover")?;
            }
            lists(kopano, &[1, 2, 3], &[])?;
            blocks(lab, kopano, &[1, 2, 3])?;
            kopano.cli(&["cluster", "recover", "--yes"])?.expect_success()?;
            lists(kopano, &[1, 2, 3], &[])?;
            ban(kopano, 4)?;
            blocks(lab, kopano, &[1, 2, 3, 4])?;
            nothing_came_through(kopano, &flooding)?;
            let told = kopano.cli(&["status"])?;
            expect(!told.stdout.contains("spectator"), || told.stdout.clone())
        },
    )
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_new_life_has_one_life_or_the_other_and_every_ban() -> Result<()> {
    let name =
        "recovery::a_daemon_killed_in_the_middle_of_a_new_life_has_one_life_or_the_other_and_every_ban";
    in_lab(
        name,
        |_| vec![plan("kopano", Tree::empty())],
        |lab| {
            lab.host_mut("kopano").start()?;
            for n in 1..=5 {
                ban(lab.host("kopano"), n)?;
            }
            let path = lab.host("kopano").file("backup").to_string_lossy().into_owned();
            lab.host("kopano").cli(&["cluster", "backup", &path, "--with-keys"])?.expect_success()?;
            ban(lab.host("kopano"), 6)?;
            let mut before = generation(lab.host("kopano"))?;
            let (mut n_old, mut n_new) = (0, 0);
            for (n, moment_ms) in [0_u64, 30, 60, 90, 120, 160, 200, 260, 330, 420].into_iter().enumerate() {
                let kopano = lab.host("kopano");
                let flooding = flood(lab, kopano, 1)?;
                let (socket, path) = (kopano.file("run/control.sock"), path.clone());
                let asking = std::thread::spawn(move || {
                    let recover = ["cluster", "recover", "--yes", "--force"];
                    let restore = ["cluster", "restore", &path, "--yes"];
                    Told::ask(&socket, if n.is_multiple_of(2) { &recover } else { &restore })
                });
                // A moment in the middle of something: the point is that it may be any.
                std::thread::sleep(Duration::from_millis(moment_ms));
                lab.host_mut("kopano").kill_9();
                asking.join().map_err(|_| Failed("a thread has panicked".to_owned()))??;
                lab.host_mut("kopano").start()?;
                let kopano = lab.host("kopano");
                let after = generation(kopano)?;
                expect(after == before || after == before + 1, || format!("{after} after {before}"))?;
                n_old += usize::from(after == before);
                n_new += usize::from(after > before);
                before = after;
                lists(kopano, &[1, 2, 3, 4, 5, 6], &[])?;
                blocks(lab, kopano, &[1, 2, 3, 4, 5, 6])?;
                nothing_came_through(kopano, &flooding)?;
                // It works, and not only looks so.
                ban(kopano, 7)?;
            }
            expect(n_old > 0 && n_new > 0, || format!("never in the middle: {n_old} old, {n_new} new"))
        },
    )
}

#[test]
fn a_wrong_cluster_time_is_set_by_recovering_and_every_ban_keeps_what_is_left_of_it() -> Result<()> {
    let name = "recovery::a_wrong_cluster_time_is_set_by_recovering_and_every_ban_keeps_what_is_left_of_it";
    in_lab(
        name,
        |directory| {
            let mut ahead = plan("kopano", Tree::empty());
            let file = directory.join("clock").to_string_lossy().into_owned();
            ahead.environment.push(("BANNKREIS_CLOCK_FILE".to_owned(), file));
            vec![ahead]
        },
        |lab| {
            let year_ms = 365 * 24 * 3_600 * 1_000_u64;
            let clock = lab.host("kopano").file("../clock");
            let shift =
                |ms: u64| fs::write(&clock, ms.to_string()).context(|| "cannot set the clock".to_owned());
            shift(year_ms)?;
            lab.host_mut("kopano").start()?;
            ban(lab.host("kopano"), 1)?;
            let told = |host: &Host| host.cli(&["--output", "json", "bans"]);
            let left = |host: &Host| {
                let told = told(host)?;
                let now_ms = told.number_at("/state/now_ms")?;
                Ok::<_, Failed>((now_ms, told.number_at("/bans/0/until_ms")?.saturating_sub(now_ms)))
            };
            let (wrong_ms, _) = left(lab.host("kopano"))?;
            // Somebody sets the clock: cluster time does not follow back.
            lab.host_mut("kopano").stop()?;
            shift(0)?;
            lab.host_mut("kopano").start()?;
            let kopano = lab.host("kopano");
            let (still_ms, _) = left(kopano)?;
            // The file shifts CLOCK_BOOTTIME as well, so what has passed since the last stored time is not counted.
            expect(still_ms + 10_000 > wrong_ms, || "cluster time ran backwards".to_owned())?;
            kopano.cli(&["cluster", "recover", "--now", "now", "--yes"])?.expect_success()?;
            for _ in 0..2 {
                let (now_ms, left_ms) = left(lab.host("kopano"))?;
                expect(now_ms + year_ms / 2 < wrong_ms, || format!("it still is {now_ms}"))?;
                expect((3_000_000..=3_600_000).contains(&left_ms), || format!("{left_ms} ms are left"))?;
                blocks(lab, lab.host("kopano"), &[1])?;
                lab.host_mut("kopano").kill_9();
                lab.host_mut("kopano").start()?;
            }
            Ok(())
        },
    )
}

#[test]
fn a_spectator_that_nobody_can_take_in_reads_its_logs_and_hears_its_peers() -> Result<()> {
    let name = "recovery::a_spectator_that_nobody_can_take_in_reads_its_logs_and_hears_its_peers";
    let hosts = |_: &_| {
        vec![plan("kopano", seeds::kerio()), plan("kerio", Tree::empty()), plan("mx1", seeds::kerio())]
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        ban(lab.host("kopano"), 1)?;
        blocks(lab, lab.host("mx1"), &[1])?;
        let former = own_id(lab.host("mx1"))?;
        lab.host_mut("mx1").stop()?;
        lose_log(lab.host("mx1"), false)?;
        lab.host_mut("kerio").kill_9();
        lab.host_mut("mx1").start()?;
        let (kopano, mx1) = (lab.host("kopano"), lab.host("mx1"));
        wait_for("it says who does not take it in and why", LATER, || {
            let told = mx1.cli(&["status"])?;
            expect(told.stdout.starts_with("spectator: "), || told.stdout.clone())?;
            says(&told, "the last answer: ")
        })?;
        blocks(lab, mx1, &[1])?;
        // What its own log convicts, and what a peer tells it.
        mx1.append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(offender(2))])?;
        blocks(lab, mx1, &[1, 2])?;
        kopano.append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(offender(3))])?;
        blocks(lab, mx1, &[1, 2, 3])?;

        lab.host_mut("kerio").start()?;
        for host in lab.hosts() {
            wait_for("the cluster has every ban", LATER, || lists(host, &[1, 2, 3], &[]))?;
        }
        wait_for("it is a member again", LATER, || {
            let told = lab.host("mx1").cli(&["status"])?;
            expect(!told.stdout.starts_with("spectator"), || told.stdout.clone())?;
            let nodes = lab.host("kopano").cluster_status()?.nodes;
            let n_voters = nodes.iter().filter(|node| node.is_voter && node.is_reachable).count();
            expect(nodes.len() == 3 && n_voters == 3, || format!("{nodes:?}"))
        })?;
        expect(own_id(lab.host("mx1"))? != former, || "it goes on under its former id".to_owned())
    })
}

#[test]
fn a_learner_that_lost_its_log_keeps_its_key_and_one_that_recovers_makes_an_authority() -> Result<()> {
    let name = "recovery::a_learner_that_lost_its_log_keeps_its_key_and_one_that_recovers_makes_an_authority";
    let hosts = |_: &_| ["kopano", "kerio"].map(|name| plan(name, Tree::empty())).into();
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        ban(lab.host("kopano"), 1)?;
        // Twice: the second time its first id is one that the cluster has forgotten.
        for n in 2..=3 {
            let former = own_id(lab.host("kerio"))?;
            lab.host_mut("kerio").stop()?;
            lose_log(lab.host("kerio"), false)?;
            lab.host_mut("kerio").start()?;
            let kerio = lab.host("kerio");
            wait_for("it is a member again, and the only other one", LATER, || {
                let nodes = lab.host("kopano").cluster_status()?.nodes;
                let n_reached = nodes.iter().filter(|node| node.is_reachable).count();
                expect(nodes.len() == 2 && n_reached == 2, || format!("{nodes:?}"))
            })?;
            expect(own_id(kerio)? != former, || "it goes on under its former id".to_owned())?;
            ban(kerio, n)?;
        }
        lists(lab.host("kerio"), &[1, 2, 3], &[])?;

        // Its voter is lost: it has no key of the authority and makes another one, in which the late voter can only
        // be let in by a token.
        lab.host_mut("kopano").kill_9();
        let kerio = lab.host("kerio");
        wait_for("nobody hears a leader", LATER, || {
            says(&kerio.cli(&["cluster", "recover"])?, "it makes a new one")
        })?;
        kerio.cli(&["cluster", "recover", "--yes"])?.expect_success()?;
        ban(kerio, 4)?;
        lab.host_mut("kopano").start()?;
        join(lab.host("kopano"), lab.host("kerio"), 2)?;
        wait_for("both have every ban", LATER, || lists(lab.host("kopano"), &[1, 2, 3, 4], &[]))
    })
}
