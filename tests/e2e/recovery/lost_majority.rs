//! The majority is gone for good, or had the wrong time: a survivor goes on, and who comes back late joins it.

use std::fs;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;

use super::{LATER, ban, blocks, flood, generation, join, lists, nothing_came_through, says, unban};
use crate::inside::{in_lab, plan};

#[test]
fn a_survivor_recovers_and_the_other_one_joins_it_and_a_late_one_disturbs_nobody() -> Result<()> {
    let name = "recovery::lost_majority::a_survivor_recovers_and_the_other_one_joins_it_and_a_late_one_disturbs_nobody";
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

#[test]
fn a_wrong_cluster_time_is_set_by_recovering_and_every_ban_keeps_what_is_left_of_it() -> Result<()> {
    let name = "recovery::lost_majority::a_wrong_cluster_time_is_set_by_recovering_and_every_ban_keeps_what_is_left_of_it";
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
