//! A backup, a fresh host, and a daemon that is killed while one life ends and another begins.

use std::fs;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::answers::Told;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;

use super::{LATER, ban, blocks, flood, generation, join, lists, nothing_came_through, says, unban};
use crate::inside::{in_lab, plan};

#[test]
fn a_backup_is_restored_on_a_fresh_host_and_the_others_join_it_again() -> Result<()> {
    let name = "recovery::backups::a_backup_is_restored_on_a_fresh_host_and_the_others_join_it_again";
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
fn a_daemon_killed_in_the_middle_of_a_new_life_has_one_life_or_the_other_and_every_ban() -> Result<()> {
    let name = "recovery::backups::a_daemon_killed_in_the_middle_of_a_new_life_has_one_life_or_the_other_and_every_ban";
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
