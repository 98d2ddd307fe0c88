//! What the firewall costs, by backend and beside what fail2ban's actions do: a ban, a whole ruleset, a packet that passes,
//! a packet that is dropped, memory of the kernel.
//!
//! Everything happens in network namespaces of its own. Times are CPU time: of this thread, in which netlink and the
//! packets' whole way are function calls, or of the programs that are run. Not for what a ban costs before it comes here.

mod bans;
mod packets;

use std::process::ExitCode;
use std::time::Duration;

use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::ruleset::{Chain, Element, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{HOUR_MS, Timestamp, Until};
use bannkreis_firewall::iptables::{Hook, Iptables, Variant};
use bannkreis_firewall::nftables::{Nftables, Sizes};
use bannkreis_firewall::{ELEMENTS_MAX, Firewall};
use bannkreis_tests::failed::{Context, Result};
use bannkreis_tests::lab::netns::Netns;

/// Cluster time stands still: nothing ends while it is measured.
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// How a firewall is opened.
type Open = fn() -> Result<Box<dyn Firewall>>;

/// What is measured.
const BACKENDS: [(&str, Open); 3] =
    [("nftables", nftables), ("nftables in one map", in_one_map), ("ipset", ipset)];

fn nftables() -> Result<Box<dyn Firewall>> {
    nftables_with(Sizes::default())
}

/// However many bans there are.
fn in_one_map() -> Result<Box<dyn Firewall>> {
    nftables_with(Sizes { undivided_max: usize::MAX, ..Sizes::default() })
}

fn nftables_with(sizes: Sizes) -> Result<Box<dyn Firewall>> {
    let opened = Nftables::open_with(sizes).map_err(|error| error.to_string());
    Ok(Box::new(opened.map_err(bannkreis_tests::failed::Failed)?))
}

fn ipset() -> Result<Box<dyn Firewall>> {
    let opened =
        Iptables::open_as(Hook::Raw, Variant::Legacy, ELEMENTS_MAX).map_err(|error| error.to_string());
    Ok(Box::new(opened.map_err(bannkreis_tests::failed::Failed)?))
}

/// The `n`-th offender: all over four networks of length 8, no two alike.
fn offender(n: u32) -> Subnet {
    Subnet::host((0x0b00_0000 + n.wrapping_mul(0x9e37_79b1) % 0x0400_0000).to_be_bytes().into())
}

fn element() -> Element {
    let ports = Ports::tcp(&[22, 25, 80, 443, 465, 587, 993]);
    let jail = JailName::new("sshd").unwrap_or_else(|_| JailName::operator());
    Element { chain: Chain { jail, ports }, until: Until::at(NOW.plus_ms(24 * HOUR_MS)) }
}

fn block(n: u32) -> FirewallDelta {
    FirewallDelta::Block { subnet: offender(n), element: element(), is_new: true }
}

/// The first `n` offenders, blocked.
fn ruleset(n: u32) -> Ruleset {
    Ruleset { elements: (0..n).map(|n| (offender(n), element())).collect(), ..Ruleset::default() }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why.to_string());
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "a benchmark is there to be read")]
fn say(text: &str) {
    println!("{text}");
}

fn run() -> Result<()> {
    if let Err(why) = Netns::create() {
        say(&format!("SKIPPED: benchmark firewall: {why}"));
        return Ok(());
    }
    bans::measure().context(|| "bans".to_owned())?;
    packets::measure().context(|| "packets".to_owned())
}
