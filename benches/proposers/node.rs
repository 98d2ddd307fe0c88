//! One node of the benchmark of proposers: the whole daemon but for the operator's door, and in it whoever proposes.
//!
//! usage: bench-node CONFIG. It says `ready` when it knows a leader, and then answers each line that it reads:
//! `PROPOSERS GROUP SECONDS FIRST` is a run, and comes to `BANS P50 P99 LONGEST BUSY leads|follows` (in microseconds; BUSY: how
//! often it was told to come back); `snapshot` has one written, and comes to the microseconds that it took; `role` comes to
//! `leads` or `follows`. Not for measuring anything else: its caller is the benchmark.

use std::io::{self, BufRead, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bannkreis_benches::sample::Sample;
use bannkreis_core::command::Op;
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::proposal::{EvidenceLine, Proposal};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, HOUR_MS};
use bannkreis_node::config::NodeConfig;
use bannkreis_node::host::HostFacts;
use bannkreis_node::running::{Lasting, Running};
use bannkreis_node::startup;
use bannkreis_raft::{ProposeError, RaftNode};
use tokio::sync::watch;

/// What a line of a log is as evidence.
const LINE: &str =
    "Nov 30 10:00:00 mx1 sshd[4711]: Failed password for invalid user admin from 192.0.2.1 port 40022 ssh2";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // As the daemon's own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(run()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where the daemon's words go.
            let _ = writeln!(io::stderr(), "bench-node: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Error> {
    let path = std::env::args_os().nth(1).ok_or("usage: bench-node CONFIG")?;
    let host = HostFacts::read();
    let environment = |name: &str| std::env::var_os(name);
    let config = NodeConfig::load(Some(Path::new(&path)), &environment, &host.hostname)?;
    let lasting = Lasting {
        store: Arc::new(startup::open_store(&config.state_dir)?),
        admissions: Arc::default(),
        door: Arc::default(),
        is_whole: watch::Sender::new(true),
    };
    let running = Running::start(&config, &host, &lasting).await?;
    while running.raft.leader().is_none() {
        // Shows in no view.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    say("ready")?;
    loop {
        let read = tokio::task::spawn_blocking(|| io::stdin().lock().lines().next().transpose());
        let Some(line) = read.await?? else { break };
        if line == "snapshot" {
            say(&snapshot(&running.raft).await.as_micros().to_string())?;
            continue;
        }
        if line == "role" {
            say(role(&running.raft))?;
            continue;
        }
        let wish = Wish::of(&line).ok_or_else(|| format!("not understood: {line}"))?;
        say(&propose(&running.raft, wish).await?)?;
    }
    running.stop().await;
    Ok(())
}

fn role(raft: &RaftNode) -> &'static str {
    if raft.is_leader() { "leads" } else { "follows" }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// One run.
#[derive(Clone, Copy)]
struct Wish {
    n_proposers: usize,
    /// So many bans in each proposal.
    group: u32,
    length: Duration,
    /// The first address; those of other nodes and runs are elsewhere.
    first: u32,
}

impl Wish {
    fn of(line: &str) -> Option<Wish> {
        let mut words = line.split(' ');
        let n_proposers = words.next()?.parse().ok()?;
        let group = words.next()?.parse().ok()?;
        let length = Duration::from_secs(words.next()?.parse().ok()?);
        let first = u32::from(words.next()?.parse::<Ipv4Addr>().ok()?);
        Some(Wish { n_proposers, group, length, first })
    }
}

/// Has a snapshot written of all that is applied now.
async fn snapshot(raft: &RaftNode) -> Duration {
    let (applied, began) = (raft.status().applied, Instant::now());
    while raft.status().snapshot < applied {
        // It stops waiting after a while.
        raft.save_snapshot().await;
    }
    began.elapsed()
}

async fn propose(raft: &RaftNode, wish: Wish) -> Result<String, Error> {
    let next = Arc::new(AtomicU32::new(wish.first));
    let until = Instant::now() + wish.length;
    let proposers: Vec<_> = (0..wish.n_proposers)
        .map(|_| {
            let (raft, next) = (raft.clone(), next.clone());
            tokio::spawn(async move {
                let (mut times, mut n_busy) = (Vec::new(), 0_u64);
                while Instant::now() < until {
                    let first = next.fetch_add(wish.group, Ordering::Relaxed);
                    let ops = (first..first + wish.group).map(|bits| ban(&raft, bits)).collect();
                    let began = Instant::now();
                    match raft.propose(ops).await {
                        Ok(_) => times.push(began.elapsed()),
                        Err(ProposeError::Busy { .. }) => n_busy += 1,
                        Err(error) => return Err(error),
                    }
                }
                Ok((times, n_busy))
            })
        })
        .collect();
    let (mut times, mut n_busy) = (Vec::new(), 0);
    for proposer in proposers {
        let (own, busy) = proposer.await??;
        times.extend(own);
        n_busy += busy;
    }
    let sample = Sample::new(times);
    let n_bans = sample.n() * wish.group as usize;
    let [p50, p99, longest] = [50, 99, 100].map(|percent| sample.percentile(percent).as_micros());
    Ok(format!("{n_bans} {p50} {p99} {longest} {n_busy} {}", role(raft)))
}

fn ban(raft: &RaftNode, bits: u32) -> Op {
    Op::Ban(Proposal {
        origin: raft.node_id(),
        basis: raft.view().position(),
        jail: JailName::new("sshd").unwrap_or_else(|_| JailName::operator()),
        offender: Subnet::from(std::net::IpAddr::V4(Ipv4Addr::from(bits))),
        first_failure_age_ms: 1_000,
        last_failure_age_ms: 1,
        failures: 5,
        contributors: Vec::new(),
        policy: BanPolicy::fixed(BanTime::Ms(HOUR_MS)),
        ports: Ports::whole_host(),
        evidence: vec![EvidenceLine { age_ms: 1, text: LINE.to_owned() }],
    })
}
