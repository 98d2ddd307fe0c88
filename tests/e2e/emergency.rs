//! Opening a host when its daemon can not: `pause` while it works, `bannkreisd --flush` and `--release` when it is dead or
//! hangs, all without a quorum.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::programs::program;
use bannkreis_tests::lab::wait::wait_for;
use rustix::process::{Pid, Signal, kill_process};

use crate::inside::{in_lab, three_quiet_hosts};

const SOON: Duration = Duration::from_secs(10);
const LOCKED_OUT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 71));
const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 72));

fn ssh(host: &Host, address: IpAddr) -> [(IpAddr, SocketAddr); 1] {
    [(address, host.port(22, address))]
}

/// Runs `bannkreisd` with these arguments on a host: whether it did what it should, and what it says.
pub(crate) fn daemon(host: &Host, arguments: &[&str]) -> Result<(bool, String)> {
    let run = || {
        let output = Command::new(program("bannkreisd")?).args(arguments).output();
        output.context(|| format!("cannot run bannkreisd {arguments:?}"))
    };
    let output = host.netns().run(run)?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// Bans both everywhere.
fn ban_both(lab: &mut Lab) -> Result<()> {
    lab.form_cluster()?;
    lab.host("kopano").cli(&["ban", &LOCKED_OUT.to_string(), &ATTACKER.to_string()])?.expect_success()?;
    for host in lab.hosts() {
        lab.attacker.wait_silent(&ssh(host, LOCKED_OUT), SOON)?;
        lab.attacker.wait_silent(&ssh(host, ATTACKER), SOON)?;
    }
    Ok(())
}

#[test]
fn a_host_is_paused_through_restarts_and_without_a_quorum() -> Result<()> {
    in_lab("emergency::a_host_is_paused_through_restarts_and_without_a_quorum", three_quiet_hosts, |lab| {
        ban_both(lab)?;
        for name in ["kerio", "mx1"] {
            lab.host_mut(name).kill_9();
        }
        let kopano = lab.host("kopano");
        let told = kopano.cli(&["pause", "1h", "--reason", "who is that?"])?.expect_success()?;
        expect(told.stdout.contains("lets everybody through"), || told.stdout.clone())?;
        lab.attacker.wait_open(&ssh(kopano, LOCKED_OUT), SOON)?;
        // The others' kernels go on by themselves.
        lab.attacker.expect_silent(&ssh(lab.host("mx1"), LOCKED_OUT))?;
        lab.host_mut("kopano").kill_9();
        lab.attacker.expect_open(&ssh(lab.host("kopano"), ATTACKER))?;
        lab.host_mut("kopano").launch()?;
        wait_for("status says that it is paused", SOON, || {
            let status = lab.host("kopano").cli(&["status"])?.stdout;
            expect(status.contains("PAUSED"), || status.clone())
        })?;
        lab.attacker.expect_open(&ssh(lab.host("kopano"), ATTACKER))?;
        lab.host("kopano").cli(&["pause", "--end"])?.expect_success()?;
        lab.attacker.wait_silent(&ssh(lab.host("kopano"), ATTACKER), SOON)?;
        // It also ends by itself.
        lab.host("kopano").cli(&["pause", "3s"])?.expect_success()?;
        lab.attacker.wait_open(&ssh(lab.host("kopano"), ATTACKER), SOON)?;
        lab.attacker.wait_silent(&ssh(lab.host("kopano"), ATTACKER), SOON)
    })
}

#[test]
fn a_dead_daemons_firewall_is_opened() -> Result<()> {
    in_lab("emergency::a_dead_daemons_firewall_is_opened", three_quiet_hosts, |lab| {
        ban_both(lab)?;
        lab.host_mut("kerio").kill_9();
        let kerio = lab.host("kerio");
        let (is_done, said) = daemon(kerio, &["--release", &LOCKED_OUT.to_string()])?;
        expect(is_done && said.contains("passes on this host"), || said)?;
        lab.attacker.wait_open(&ssh(kerio, LOCKED_OUT), SOON)?;
        lab.attacker.expect_silent(&ssh(kerio, ATTACKER))?;
        let (is_done, said) = daemon(kerio, &["--flush"])?;
        expect(is_done && said.contains("nobody is blocked"), || said)?;
        lab.attacker.wait_open(&ssh(kerio, ATTACKER), SOON)?;
        let (is_done, said) = daemon(kerio, &["--flush"])?;
        expect(is_done && said.contains("nothing of bannkreis"), || said)?;
        // What the cluster has banned is blocked again by the next daemon.
        lab.host_mut("kerio").start()?;
        lab.attacker.wait_silent(&ssh(lab.host("kerio"), ATTACKER), SOON)
    })
}

#[test]
fn a_daemon_that_hangs_is_ended_only_when_that_is_said() -> Result<()> {
    in_lab("emergency::a_daemon_that_hangs_is_ended_only_when_that_is_said", three_quiet_hosts, |lab| {
        ban_both(lab)?;
        let kopano = lab.host("kopano");
        let pid = kopano.pid().unwrap_or_default();
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.ok_or_else(|| Failed("no daemon runs".to_owned()))?;
        kill_process(process, Signal::STOP).context(|| "cannot stop the daemon".to_owned())?;
        let (is_done, said) = daemon(kopano, &["--flush"])?;
        if is_done {
            // A kernel without owned tables keeps nobody from them.
            return lab.attacker.wait_open(&ssh(kopano, LOCKED_OUT), SOON);
        }
        expect(said.contains(&format!("process {pid}")) && said.contains("--kill"), || said)?;
        lab.attacker.expect_silent(&ssh(kopano, LOCKED_OUT))?;
        let (is_done, said) = daemon(kopano, &["--flush", "--kill"])?;
        expect(is_done && said.contains("was ended"), || said)?;
        lab.attacker.wait_open(&ssh(kopano, LOCKED_OUT), SOON)
    })
}
