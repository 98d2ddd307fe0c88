//! A node that was down learns what it missed: the bans and the unbans of the others, and the lines of
//! its own logs, each at the time that it was written.

use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use jiff::{SignedDuration, Timestamp};

use crate::inside::{in_lab, plan};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_node_that_was_down_catches_up() -> Result<()> {
    let hosts = |_: &_| {
        vec![plan("kopano", Tree::empty()), plan("kerio", seeds::kerio()), plan("mx1", seeds::mail_relay())]
    };
    in_lab("catch_up::a_node_that_was_down_catches_up", hosts, |lab| {
        let [kept, lifted, missed, missed_by_log] =
            [1, 2, 3, 4].map(|last| IpAddr::from([198, 51, 100, last]));
        let text = |address: IpAddr| address.to_string();
        lab.form_cluster()?;
        lab.host("kopano").cli(&["ban", &text(kept), &text(lifted), "--for", "1h"])?.expect_success()?;
        lab.attacker.wait_silent(&[kept, lifted].map(|from| (from, lab.host("mx1").port(25, from))), SOON)?;

        lab.host_mut("mx1").kill_9();
        // Whoever led may have been the dead one.
        lab.leader()?;
        let done = lab.host("kopano").cli(&["--output", "json", "ban", &text(missed), "--for", "1h"])?;
        expect(done.is_done(), || format!("the ban was not done: {}", done.stdout))?;
        let done = lab.host("kerio").cli(&["--output", "json", "unban", &text(lifted)])?;
        expect(done.is_done(), || format!("the unban was not done: {}", done.stdout))?;
        lab.host("kerio").append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(missed_by_log)])?;
        wait_for("kopano lists the spammer", SOON, || {
            let listed = committed(&lab.host("kopano").bans()?);
            expect(listed.contains(&text(missed_by_log)), || format!("{listed:?}"))
        })?;

        lab.host_mut("mx1").start()?;
        let mx1 = lab.host("mx1");
        lab.attacker
            .wait_silent(&[kept, missed, missed_by_log].map(|from| (from, mx1.port(25, from))), SOON)?;
        lab.attacker.wait_open(&[(lifted, mx1.port(25, lifted))], SOON)?;
        wait_for("mx1 lists what kopano lists", SOON, || {
            let (here, there) = (committed(&mx1.bans()?), committed(&lab.host("kopano").bans()?));
            expect(here == there && here.len() == 3, || format!("{here:?} and {there:?}"))
        })
    })
}

#[test]
fn lines_of_the_time_when_it_was_down_count_as_old_as_they_are() -> Result<()> {
    let name = "catch_up::lines_of_the_time_when_it_was_down_count_as_old_as_they_are";
    in_lab(
        name,
        |_| vec![plan("kopano", seeds::kopano())],
        |lab| {
            lab.form_cluster()?;
            lab.host_mut("kopano").stop()?;
            // fail2ban's default findtime is 10 minutes.
            let [long_ago, lately, just_now] = [1, 2, 3].map(|last| IpAddr::from([198, 51, 100, last]));
            let ages = [(long_ago, 120), (lately, 4), (just_now, 0)];
            for (client, minutes) in ages {
                let at = Timestamp::now()
                    .checked_sub(SignedDuration::from_mins(minutes))
                    .context(|| "a clock before 1970".to_owned())?;
                let lines = vec![seeds::kopano_failure_at(at, client, "bob"); 5];
                lab.host("kopano").append_log(seeds::APACHE_ERROR_LOG, &lines)?;
            }
            lab.host_mut("kopano").start()?;
            let kopano = lab.host("kopano");
            let listed = wait_for("the last line is read", SOON, || {
                let bans = kopano.bans()?;
                expect(committed(&bans).contains(&just_now.to_string()), || format!("{bans:?}"))?;
                Ok(bans)
            })?;
            let until_of = |client: IpAddr| {
                let ban = listed.iter().find(|ban| ban.subnet == client.to_string());
                ban.and_then(|ban| ban.until_ms).unwrap_or(0)
            };
            expect(until_of(long_ago) == 0, || format!("lines of two hours ago banned: {listed:?}"))?;
            // A ban begins with the last failure, so this one is nearly half over.
            let earlier_ms = until_of(just_now).saturating_sub(until_of(lately));
            expect(earlier_ms.abs_diff(240_000) < 10_000, || format!("{earlier_ms} ms: {listed:?}"))
        },
    )
}

#[test]
fn a_node_that_dies_right_after_its_first_start_misses_no_line() -> Result<()> {
    let name = "catch_up::a_node_that_dies_right_after_its_first_start_misses_no_line";
    in_lab(
        name,
        |_| vec![plan("kopano", seeds::kopano())],
        |lab| {
            let [before, meanwhile] = [1, 2].map(|last| IpAddr::from([198, 51, 100, last]));
            let kopano = lab.host_mut("kopano");
            let tries = |client| vec![seeds::kopano_failure_at(Timestamp::now(), client, "bob"); 5];
            kopano.append_log(seeds::APACHE_ERROR_LOG, &tries(before))?;
            // Ready means that the places where the logs begin are on the disk already.
            kopano.start()?;
            kopano.kill_9();
            kopano.append_log(seeds::APACHE_ERROR_LOG, &tries(meanwhile))?;
            kopano.start()?;
            wait_for("the line written while it was dead has banned", SOON, || {
                let listed = committed(&kopano.bans()?);
                expect(listed == [meanwhile.to_string()].into(), || format!("{listed:?}"))
            })
        },
    )
}
