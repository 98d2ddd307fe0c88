//! A ban ends when it ends: on every host, on time, also where no daemon is alive.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use crate::inside::{in_lab, plan, three_quiet_hosts};

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 66));
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 66, 0, 0, 0, 1));
const SOON: Duration = Duration::from_secs(3);
/// The times in a syslog line are whole seconds, so a ban is up to one shorter than its length.
const SYSLOG_STEP: Duration = Duration::from_secs(1);
/// A ban of a test, in seconds.
const BAN: Duration = Duration::from_secs(4);
/// What the end may be late: a second for timers, a second for this machine.
const LATE_MAX: Duration = Duration::from_secs(2);

#[test]
fn expiry_lifts_everywhere() -> Result<()> {
    let hosts = |_: &_| {
        vec![
            plan("kopano", Tree::empty()),
            plan("kerio", Tree::empty()),
            plan("mx1", seeds::strict_mail_relay("4s")),
        ]
    };
    in_lab("expiry::expiry_lifts_everywhere", hosts, |lab| {
        lab.form_cluster()?;
        let written = Instant::now();
        let lines = [seeds::postfix_failure(V4), seeds::postfix_failure(V6)];
        lab.host("mx1").append_log(seeds::MAIL_LOG, &lines)?;
        lab.attacker.wait_silent(&mail(lab), SOON)?;
        lab.attacker.wait_open(&mail(lab), BAN + LATE_MAX)?;
        let lasted = written.elapsed();
        expect(lasted >= BAN - SYSLOG_STEP, || format!("it was over after {lasted:?}"))?;
        expect(lasted <= BAN + LATE_MAX, || format!("it lasted {lasted:?}"))?;
        for host in lab.hosts() {
            wait_for(&format!("{} lists nothing", host.name()), LATE_MAX, || {
                let bans = host.bans()?;
                expect(bans.is_empty(), || format!("{bans:?}"))
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_ban_ends_on_time_although_every_daemon_is_dead() -> Result<()> {
    in_lab("expiry::a_ban_ends_on_time_although_every_daemon_is_dead", three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        let asked = Instant::now();
        let addresses = [V4, V6].map(|address| address.to_string());
        lab.host("kerio").cli(&["ban", &addresses[0], &addresses[1], "--for", "4s"])?.expect_success()?;
        for host in lab.hosts_mut() {
            host.kill_9();
        }
        lab.attacker.expect_silent(&mail(lab))?;
        lab.attacker.wait_open(&mail(lab), BAN + LATE_MAX)?;
        let lasted = asked.elapsed();
        expect(lasted >= BAN, || format!("it was over after {lasted:?}"))?;
        expect(lasted <= BAN + LATE_MAX, || format!("it lasted {lasted:?}"))
    })
}

fn mail(lab: &Lab) -> Vec<(IpAddr, SocketAddr)> {
    let hosts = lab.hosts().iter();
    hosts.flat_map(|host| [V4, V6].map(|source| (source, host.port(25, source)))).collect()
}
