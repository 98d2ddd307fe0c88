//! Who is banned again and again, a little on each host, is banned for long by one that has a jail for that and no log of
//! its own; also when that one was killed in between.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::HostPlan;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use crate::inside::{in_lab, plan, skip};

const GUEST: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 51));
const SOON: Duration = Duration::from_secs(15);

#[test]
fn who_comes_back_on_any_host_is_banned_for_long_on_all() -> Result<()> {
    let name = "recidive::who_comes_back_on_any_host_is_banned_for_long_on_all";
    let watching = Tree::empty().with("jail.local", "[recidive]\nenabled = true\nmaxretry = 3\n");
    let hosts = |_: &_| {
        vec![
            plan("mx1", seeds::strict_mail_relay("2s")),
            plan("mx2", seeds::strict_mail_relay("2s")),
            plan("watch", watching.clone()),
        ]
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        ban_for_a_moment(lab, "mx1")?;
        ban_for_a_moment(lab, "mx2")?;
        lab.host_mut("watch").kill_9();
        lab.leader()?;
        lab.host_mut("watch").start()?;
        lab.wait_whole()?;
        lab.host("mx1").append_log(seeds::MAIL_LOG, &[seeds::postfix_failure(GUEST)])?;
        wait_for("the third ban is one for long", SOON, || {
            let bans = lab.host("mx2").bans()?;
            expect(bans.iter().any(|ban| ban.jail == "recidive" && ban.is_committed), || format!("{bans:?}"))
        })?;
        wait_for("the short one is over", SOON, || {
            let bans = lab.host("mx1").bans()?;
            expect(bans.iter().all(|ban| ban.jail == "recidive"), || format!("{bans:?}"))
        })?;
        for host in ["mx1", "mx2", "watch"] {
            lab.attacker.expect_silent(&[(GUEST, lab.host(host).port(25, GUEST))])?;
        }
        let status = lab.host("watch").cli(&["status", "recidive"])?.expect_success()?.stdout;
        let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
        expect(
            status.contains("the bans of all other jails") && status.contains("together with other hosts"),
            || status,
        )?;
        let why = lab.host("mx1").cli(&["why", &GUEST.to_string()])?.expect_success()?.stdout;
        expect(why.contains("[postfix-sasl] Ban 203.0.113.51"), || why)
    })
}

#[test]
fn debians_own_jail_bans_after_its_count_and_counts_nothing_twice() -> Result<()> {
    let name = "recidive::debians_own_jail_bans_after_its_count_and_counts_nothing_twice";
    let Some(configuration) = std::env::var_os("BANNKREIS_FAIL2BAN_DIR").filter(|dir| !dir.is_empty()) else {
        return skip(name, "BANNKREIS_FAIL2BAN_DIR does not say where fail2ban is unpacked");
    };
    let tree = Tree::of(Path::new(&configuration))?
        .with("jail.d/defaults-debian.conf", "")
        .with(
            "jail.local",
            "[recidive]\nenabled = true\nmaxretry = 3\n\
             [postfix-sasl]\nenabled = true\nmaxretry = 1\nbantime = 2s\n",
        )
        .with_log(seeds::MAIL_LOG);
    // Its jail names the file that this node writes, too.
    let usual = plan("mx1", tree);
    let settings = format!("{}[log]\nfail2ban = \"/var/log/fail2ban.log\"\n", usual.settings);
    in_lab(
        name,
        |_| vec![HostPlan { settings, ..usual }],
        |lab| {
            lab.form_cluster()?;
            let host = lab.host("mx1");
            for n_bans in 1..=3 {
                host.append_log(seeds::MAIL_LOG, &[seeds::postfix_failure(GUEST)])?;
                wait_for("it is told", SOON, || {
                    let log = std::fs::read_to_string(host.file("log/fail2ban.log")).unwrap_or_default();
                    let n_told = log.matches("[postfix-sasl] Ban 203.0.113.51\n").count();
                    expect(n_told == n_bans, || log)
                })?;
                if n_bans < 3 {
                    wait_for("the short ban is over", SOON, || {
                        let bans = host.bans()?;
                        expect(bans.is_empty(), || format!("{bans:?}"))
                    })?;
                    next_second()?;
                }
            }
            wait_for("the third ban is one for long", SOON, || {
                let bans = host.bans()?;
                expect(bans.iter().any(|ban| ban.jail == "recidive" && ban.is_committed), || {
                    format!("{bans:?}")
                })
            })?;
            let why = host.cli(&["why", &GUEST.to_string()])?.expect_success()?.stdout;
            expect(why.contains("3 failures on mx1"), || why)
        },
    )
}

/// A line tells whole seconds, and one of the second in which a ban ended may be older than its end.
fn next_second() -> Result<()> {
    let ended_s = jiff::Timestamp::now().as_second();
    wait_for("the next second", SOON, || {
        expect(jiff::Timestamp::now().as_second() > ended_s, || "it is the same".to_owned())
    })
}

/// By what the host logs; then it is over.
fn ban_for_a_moment(lab: &Lab, host: &str) -> Result<()> {
    let host = lab.host(host);
    host.append_log(seeds::MAIL_LOG, &[seeds::postfix_failure(GUEST)])?;
    wait_for("the guest was banned, and is not any more", SOON, || {
        let entries = host.cli(&["history", &GUEST.to_string(), "--output", "json"])?.json()?.to_string();
        let (n_here, bans) = (entries.matches(r#""kind":"ended""#).count(), host.bans()?);
        let n_wanted = if host.name() == "mx1" { 1 } else { 2 };
        expect(n_here == n_wanted && bans.is_empty(), || format!("{entries} {bans:?}"))
    })
}
