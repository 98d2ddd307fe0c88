//! Messages over loopback TCP: to a node that judges each of them, and to an rsyslog that only writes them to a file.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bannkreis_benches::process;
use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::rsyslog::{self, Rsyslog};
use bannkreis_tests::lab::wait::wait_for;

use crate::node::Node;
use crate::say;

const N_MESSAGES: u64 = 1_000_000;
/// One in so many is a failure.
const HOSTILE_ONE_IN: u64 = 100;
/// All have come by then.
const COME_MAX: Duration = Duration::from_secs(120);
/// What is aimed at.
const PER_SECOND_AIM: f64 = 50_000.0;

/// What it took.
struct Took {
    wall: Duration,
    cpu: Duration,
}

pub(crate) fn run() -> Result<()> {
    let here = to_node()?;
    let aim = if per_second(here.wall) >= PER_SECOND_AIM { "met" } else { "MISSED" };
    say(&format!(
        "  {N_MESSAGES} syslog messages over TCP, each judged by sshd's jail: {:.0}/s, {:.2} us of CPU each, none lost \
         (aim {PER_SECOND_AIM}/s: {aim})",
        per_second(here.wall),
        here.cpu.as_secs_f64() * 1e6 / N_MESSAGES as f64,
    ));
    match rsyslog::unpacked() {
        Ok(unpacked) => {
            let there = to_rsyslog(&unpacked)?;
            say(&format!(
                "  rsyslog, which writes them to a file: {:.0}/s, {:.2} us of CPU each; ratio of CPU {:.2}",
                per_second(there.wall),
                there.cpu.as_secs_f64() * 1e6 / N_MESSAGES as f64,
                here.cpu.as_secs_f64() / there.cpu.as_secs_f64(),
            ));
        }
        Err(why) => say(&format!("  SKIPPED: rsyslog: {why}")),
    }
    Ok(())
}

fn per_second(wall: Duration) -> f64 {
    N_MESSAGES as f64 / wall.as_secs_f64()
}

fn to_node() -> Result<Took> {
    let directory = tempfile::tempdir().context(|| "cannot make a directory".to_owned())?;
    let to = free_port()?;
    let jails = "[sshd]\nenabled = true\nmaxretry = 1000000\nlogpath = syslog://?program=sshd\n";
    let node = Node::start(directory.path(), jails, &format!("[syslog]\ntcp = \"{to}\"\n"))?;
    measured(to, node.pid(), || {
        let n_lines = node.n_lines("sshd")?;
        expect(n_lines == N_MESSAGES, || format!("{n_lines} have come"))
    })
}

fn to_rsyslog(unpacked: &std::path::Path) -> Result<Took> {
    let directory = tempfile::tempdir().context(|| "cannot make a directory".to_owned())?;
    let to = free_port()?;
    let file = directory.path().join("all.log");
    let config = format!(
        "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{}\")\n*.* {}\n",
        to.port(),
        file.display()
    );
    let rsyslog = Rsyslog::start(unpacked, None, directory.path(), &config)?;
    let n_bytes: usize = (0..N_MESSAGES).map(|n| line(n).len() + 1).sum();
    measured(to, rsyslog.pid(), || {
        let held = fs::metadata(&file).map(|facts| facts.len()).unwrap_or(0);
        expect(held >= n_bytes as u64, || format!("{held} bytes of {n_bytes} are written"))
    })
}

/// Sends them all, and waits until they have come.
fn measured(to: SocketAddr, pid: u32, have_come: impl FnMut() -> Result<()>) -> Result<Took> {
    let gone = || "the process can not be looked at".to_owned();
    let mut stream = wait_for("somebody listens", Duration::from_secs(10), || {
        TcpStream::connect(to).context(|| "nobody does".to_owned())
    })?;
    let before = process::cpu(pid).context(gone)?;
    let began = Instant::now();
    let mut piece = Vec::new();
    for n in 0..N_MESSAGES {
        let message = format!("<38>{}", line(n));
        piece.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
        if piece.len() > 64 * 1024 || n + 1 == N_MESSAGES {
            stream.write_all(&piece).context(|| "cannot send".to_owned())?;
            piece.clear();
        }
    }
    wait_for("all have come", COME_MAX, have_come)?;
    let wall = began.elapsed();
    Ok(Took { wall, cpu: process::cpu(pid).context(gone)?.saturating_sub(before) })
}

fn line(n: u64) -> String {
    let what = if n.is_multiple_of(HOSTILE_ONE_IN) {
        format!("Failed password for bob from 198.51.{}.{} port 51234 ssh2", n / 256 % 256, n % 256)
    } else {
        format!("pam_unix(sshd:session): session opened for user alice by (uid={n})")
    };
    format!("Nov 22 05:30:08 mx1 sshd[{}]: {what}", 1_000 + n % 50_000)
}

fn free_port() -> Result<SocketAddr> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.context(|| "no port is free".to_owned())
}
