//! How long from a log line to the block: on the host that logged it, on its peers, and until all
//! three have it committed; and what an idle node costs.
//!
//! Whole daemons in the lab of the end-to-end tests, packets from outside, a real disk. The times of
//! the disk's own fdatasync stand in the same table: what is durable cannot be quicker.

mod commits;
mod idle;
mod packets;
mod peer;

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bannkreis_benches::sample::{Sample, beside_aim, ms};
use bannkreis_benches::{disk, round_trip};
use bannkreis_tests::failed::{Context, Result};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::HostPlan;
use bannkreis_tests::lab::whole_program::{self, say};
use bannkreis_tests::seeds;

/// What is aimed at on the host that logged the line: p50 in ms.
const SAME_HOST_MAX: Duration = Duration::from_micros(500);
/// What is aimed at on its peers, who are told in advance: half a round trip and so much besides, p50; and for the slowest
/// of a hundred a whole one, and so much.
const PEER_BESIDES: Duration = Duration::from_millis(1);
const PEER_SLOWEST_BESIDES: Duration = Duration::from_millis(5);
/// What is aimed at until all three have it: so many fdatasyncs, and so much besides.
const COMMIT_FDATASYNCS: u32 = 3;
const COMMIT_BESIDES: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    // The lab lies where cargo builds, on a disk: the system's directory for temporary files may be memory.
    whole_program::run("latency", Path::new(env!("CARGO_TARGET_TMPDIR")), run)
}

fn run(directory: &Path) -> Result<()> {
    let hosts = [("kopano", seeds::kopano()), ("kerio", seeds::kerio()), ("mx1", seeds::mail_relay())];
    let hosts =
        hosts.map(|(name, tree)| HostPlan { name, tree, settings: String::new(), environment: Vec::new() });
    let mut lab = Lab::build(directory, hosts.into())?;
    let measured = measure(&mut lab, directory);
    if measured.is_err() {
        say(&lab.last_words());
    }
    measured
}

fn measure(lab: &mut Lab, directory: &Path) -> Result<()> {
    lab.form_cluster()?;
    let mut idle = idle::costs_of_nodes(lab)?;
    idle.extend(peer::idle_cost(directory)?);
    let mut offenders = Offenders(0);
    let same = packets::until_silent(lab, "kerio", &mut offenders)?;
    let peer = packets::until_silent(lab, "mx1", &mut offenders)?;
    let round_trip = round_trip::between(lab.host("kerio"), lab.host("mx1"))?;
    let quick_disk = fdatasync(directory, Duration::ZERO)?;
    let disk = fdatasync(directory, commits::LINE_INTERVAL)?;
    let commit = commits::until_on_every_list(lab, &mut offenders)?;
    say(&format!("{:<42} {:>5} {:>9} {:>9}", "log line on kerio, in ms, until", "n", "p50", "p99"));
    row("no packet passes on kerio", &same);
    row("no packet passes on mx1", &peer);
    row("the first has it committed and applied", &commit.first);
    row("all three have it committed and applied", &commit.all_three);
    row("(one round trip between two hosts)", &round_trip);
    row("(one fdatasync of this disk, in that pace)", &disk);
    row("(one fdatasync of this disk, in a row)", &quick_disk);
    say(&format!("\n{:<42} {:>9} {:>12}", "idle, over 10 s", "RSS in MB", "CPU in %"));
    for cost in &idle {
        let megabytes = cost.rss_bytes as f64 / 1e6;
        say(&format!("{:<42} {megabytes:>9.1} {:>12.3}", cost.name, cost.cpu_share * 100.0));
    }
    say("");
    judge("p50 on the same host", same.p50(), SAME_HOST_MAX);
    judge("p50 on a peer", peer.p50(), round_trip.p50() / 2 + PEER_BESIDES);
    judge("p99 on a peer", peer.p99(), round_trip.p50() + PEER_SLOWEST_BESIDES);
    judge(
        "p50 until committed on all three",
        commit.all_three.p50(),
        disk.p50() * COMMIT_FDATASYNCS + COMMIT_BESIDES,
    );
    Ok(())
}

/// What one fdatasync costs where the nodes write.
fn fdatasync(directory: &Path, pause: Duration) -> Result<Sample> {
    disk::fdatasync(directory, pause).context(|| format!("cannot write below {}", directory.display()))
}

fn row(what: &str, sample: &Sample) {
    say(&format!("{what:<42} {:>5} {:>9} {:>9}", sample.n(), ms(sample.p50()), ms(sample.p99())));
}

fn judge(what: &str, measured: Duration, aim: Duration) {
    say(&beside_aim(what, measured, aim));
}

/// Addresses that have done nothing yet, one after the other.
struct Offenders(u16);

impl Offenders {
    fn next(&mut self) -> IpAddr {
        self.0 += 1;
        let [high, low] = self.0.to_be_bytes();
        IpAddr::from([198, 18, high, low])
    }
}
