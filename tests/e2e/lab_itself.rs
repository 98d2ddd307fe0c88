//! The lab tells the truth: what nothing closes is open, what is closed is silent, and the time at
//! which that happened is the time at which it happened. A measure that cannot fail measures nothing.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::attacker::Outcome;
use bannkreis_tests::lab::flood::Flood;
use bannkreis_tests::lab::listeners::{COUNTING_PORT, SERVICE_PORTS};
use bannkreis_tests::lab::netns::Netns;
use bannkreis_tests::lab::syn_probe::SynProbe;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;

use crate::inside::{in_lab, plan};

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 5, 0, 0, 0, 7));
const PATIENCE: Duration = Duration::from_millis(150);

#[test]
fn open_refused_and_silent_are_told_apart() -> Result<()> {
    in_lab(
        "lab_itself::open_refused_and_silent_are_told_apart",
        |_| vec![plan("a", Tree::empty())],
        |lab| {
            for source in [V4, V6] {
                let host = lab.host("a");
                let pairs: Vec<_> =
                    SERVICE_PORTS.iter().map(|port| (source, host.port(*port, source))).collect();
                lab.attacker.expect_open(&pairs)?;
                let nothing = [(source, host.port(9_999, source))];
                expect(lab.attacker.attempt(&nothing, PATIENCE)? == [Outcome::Refused], || {
                    "not refused".to_owned()
                })?;
                expect(lab.attacker.expect_silent(&pairs).is_err(), || {
                    "an open port passed for silent".to_owned()
                })?;
                close(host.netns(), source)?;
                lab.attacker.expect_silent(&pairs)?;
            }
            Ok(())
        },
    )
}

#[test]
fn a_silence_is_dated_to_the_packet() -> Result<()> {
    in_lab(
        "lab_itself::a_silence_is_dated_to_the_packet",
        |_| vec![plan("a", Tree::empty())],
        |lab| {
            for source in [V4, V6] {
                let destination = lab.host("a").port(443, source);
                let pace = Duration::from_micros(200);
                let at_most = Duration::from_secs(3);
                let probe = SynProbe::start(lab.attacker.netns(), source, destination, pace, at_most)?;
                wait_for("an answer", at_most, || probe.expect_answered())?;
                let before = Instant::now();
                close(lab.host("a").netns(), source)?;
                let took = before.elapsed();
                let silent = probe.finish()?.silent_after(before)?;
                let slack = Duration::from_millis(20);
                expect(silent <= took + slack, || format!("{silent:?} is long after {took:?}"))?;
            }
            // Without any rule there is no silence to be dated.
            let (source, destination) = (IpAddr::from([198, 51, 100, 1]), lab.host("a").port(443, V4));
            let at_most = Duration::from_millis(200);
            let probe = SynProbe::start(
                lab.attacker.netns(),
                source,
                destination,
                Duration::from_millis(1),
                at_most,
            )?;
            let dated = probe.finish()?.silent_after(Instant::now());
            expect(dated.is_err(), || "an open port passed for silent".to_owned())
        },
    )
}

#[test]
fn packets_that_get_through_are_counted() -> Result<()> {
    in_lab(
        "lab_itself::packets_that_get_through_are_counted",
        |_| vec![plan("a", Tree::empty())],
        |lab| {
            let counted = |lab: &Lab, source: IpAddr| {
                lab.host("a").listeners().counted().get(&source).copied().unwrap_or(0)
            };
            let destinations = [V4, V6].map(|source| lab.host("a").port(COUNTING_PORT, source));
            close(lab.host("a").netns(), V6)?;
            let flood = Flood::start(lab.attacker.netns(), &[V4, V6], &destinations)?;
            wait_for("packets", Duration::from_secs(3), || {
                expect(counted(lab, V4) >= 10, || format!("{} of {}", counted(lab, V4), flood.n_sent()))
            })?;
            expect(counted(lab, V6) == 0, || "a dropped packet was counted".to_owned())
        },
    )
}

/// Drops everything from the source, by hand: by the routing policy, which is asked before the table of
/// local addresses, once that has made room. It closes as silently as a firewall.
fn close(netns: &Netns, source: IpAddr) -> Result<()> {
    let family = if source.is_ipv4() { "-4" } else { "-6" };
    netns.ip_with(
        &[family],
        &format!("rule add pref 10 lookup local\nrule del pref 0\nrule add pref 1 from {source} blackhole\n"),
    )
}
