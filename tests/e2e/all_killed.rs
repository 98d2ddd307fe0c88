//! Everything dies at once and comes back: no ban is lost, and no packet gets through meanwhile.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::flood::Flood;
use bannkreis_tests::lab::host::HostPlan;
use bannkreis_tests::lab::listeners::COUNTING_PORT;
use bannkreis_tests::lab::wait::wait_for;

use crate::inside::{QUICK_RAFT, in_lab, skip, three_quiet_hosts};
use crate::iptables::missing_program;

/// Banned addresses that flood.
const N_BANNED: u8 = 200;
/// Somebody who is not banned: proof that the flood arrives where it may.
const CUSTOMER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));
/// For what takes milliseconds, and for what takes an election.
const SOON: Duration = Duration::from_secs(5);
const AFTER_ELECTION: Duration = Duration::from_secs(20);
/// Packets that are sent while nobody is alive, and again after all are back.
const PACKETS_MIN: u64 = 5_000;

#[test]
fn all_killed_at_once_come_back_with_every_ban_and_let_no_packet_through() -> Result<()> {
    let name = "all_killed::all_killed_at_once_come_back_with_every_ban_and_let_no_packet_through";
    in_lab(name, three_quiet_hosts, nothing_is_lost)
}

#[test]
fn with_iptables_all_killed_at_once_let_no_packet_through() -> Result<()> {
    let name = "all_killed::with_iptables_all_killed_at_once_let_no_packet_through";
    if let Some(program) = missing_program() {
        return skip(name, &format!("the program `{program}` is missing"));
    }
    let settings = format!("backend = \"iptables\"\n{QUICK_RAFT}");
    let with_iptables = |plan: HostPlan| HostPlan { settings: settings.clone(), ..plan };
    in_lab(name, |path| three_quiet_hosts(path).into_iter().map(with_iptables).collect(), nothing_is_lost)
}

fn nothing_is_lost(lab: &mut Lab) -> Result<()> {
    lab.form_cluster()?;
    let banned: Vec<IpAddr> = (1..=N_BANNED).map(|last| IpAddr::from([203, 0, 113, last])).collect();
    let wanted: BTreeSet<String> = banned.iter().map(ToString::to_string).collect();
    let mut command = vec!["ban", "--for", "1h"];
    command.extend(wanted.iter().map(String::as_str));
    lab.host("kopano").cli(&command)?.expect_success()?;
    for host in lab.hosts() {
        let pairs: Vec<_> = banned.iter().map(|from| (*from, host.port(25, *from))).collect();
        lab.attacker.wait_silent(&pairs, SOON)?;
    }

    let counting: Vec<_> = lab.hosts().iter().map(|host| host.port(COUNTING_PORT, CUSTOMER)).collect();
    let control = Flood::start(lab.attacker.netns(), &[CUSTOMER], &counting)?;
    let flood = Flood::start(lab.attacker.netns(), &banned, &counting)?;
    go_on_sending(&flood)?;

    for host in lab.hosts_mut() {
        host.kill_9();
    }
    go_on_sending(&flood)?;
    for host in lab.hosts_mut() {
        host.launch()?;
    }
    for host in lab.hosts_mut() {
        host.wait_ready()?;
    }
    lab.wait_whole()?;
    for host in lab.hosts() {
        wait_for(&format!("{} lists every ban", host.name()), AFTER_ELECTION, || {
            let listed = committed(&host.bans()?);
            expect(listed == wanted, || format!("it lists {} of {}", listed.len(), wanted.len()))
        })?;
    }
    go_on_sending(&flood)?;
    expect_only_the_customer(lab, &control)
}

fn go_on_sending(flood: &Flood) -> Result<()> {
    let until = flood.n_sent() + PACKETS_MIN;
    wait_for("packets are sent", AFTER_ELECTION, || {
        expect(flood.n_sent() >= until, || format!("{} of {until}", flood.n_sent()))
    })
}

fn expect_only_the_customer(lab: &Lab, control: &Flood) -> Result<()> {
    for host in lab.hosts() {
        let mut counted = host.listeners().counted();
        let of_customer = counted.remove(&CUSTOMER).unwrap_or(0);
        expect(counted.is_empty(), || format!("banned packets got through on {}: {counted:?}", host.name()))?;
        // The customer's packets prove that the counting works. Some may be lost when a buffer is full.
        let sent_here = control.n_sent() / lab.hosts().len() as u64;
        expect(of_customer * 2 >= sent_here, || {
            format!("of {sent_here} packets of a customer {of_customer} arrived on {}", host.name())
        })?;
    }
    Ok(())
}
