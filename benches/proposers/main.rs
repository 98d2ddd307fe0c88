//! Bans per second that are committed, one in each proposal and many in each, and how long one proposer waits; then what a
//! million bans do to snapshots and to a restart, and what more members do to all of it.
//!
//! Three whole daemons in the lab of the end-to-end tests, with everything of production switched on: TLS, sled, nftables,
//! the warden, evidence. Only the proposers are the benchmark's own (`node.rs`), inside those processes, where the
//! daemon's warden proposes. Not for what operators' commands cost: that is `cluster`.

mod members;
mod million;

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitCode, Stdio};
use std::time::Duration;

use bannkreis_benches::sample::{beside_aim, ms};
use bannkreis_benches::{disk, round_trip};
use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::{Host, HostPlan};
use bannkreis_tests::lab::programs::program;
use bannkreis_tests::lab::whole_program::{self, say};
use bannkreis_tests::seeds::Tree;

const HOSTS: [&str; 3] = ["kopano", "kerio", "mx1"];
const N_PROPOSERS: usize = 256;
/// So many bans in each proposal, when they are grouped: as many as go into one entry.
const GROUP: u32 = 100;
const RUN_SECONDS: u32 = 5;
/// The best counts, because other work on the machine only ever slows down.
const N_ROUNDS: u32 = 2;
/// What is aimed at, in bans per second.
const SINGLE_MIN: f64 = 20_000.0;
const GROUPED_MIN: f64 = 60_000.0;
/// One proposer may wait for so many times an fdatasync and a round trip.
const WAIT_MAX: f64 = 2.5;
/// What has not happened by then will not.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    // The lab lies where cargo builds, on a disk: the system's directory for temporary files may be memory.
    whole_program::run("proposers", Path::new(env!("CARGO_TARGET_TMPDIR")), run)
}

fn run(directory: &Path) -> Result<()> {
    let mut lab = quiet_lab(directory, &HOSTS)?;
    let measured = measure(&mut lab, directory);
    if measured.is_err() {
        say(&lab.last_words());
    }
    measured?;
    drop(lab);
    members::measure(directory)
}

fn quiet_lab(directory: &Path, names: &[&'static str]) -> Result<Lab> {
    let plan = |name: &&'static str| HostPlan {
        name,
        tree: Tree::empty(),
        settings: String::new(),
        environment: Vec::new(),
    };
    Lab::build(directory, names.iter().map(plan).collect())
}

/// Starts the benchmark's nodes in the place of the daemons, which have formed a cluster.
fn start_nodes(lab: &mut Lab) -> Result<Vec<Node>> {
    // What one host may ban is bounded; here a few stand for a cluster that is being attacked by everybody.
    for quota in ["quota_per_minute=1000000", "quota_burst=1000000"] {
        lab.hosts()[0].cli(&["cluster", "settings", "set", quota])?.expect_success()?;
    }
    for host in lab.hosts_mut() {
        host.stop()?;
    }
    let nodes = lab.hosts().iter().map(Node::start).collect::<Result<Vec<Node>>>()?;
    nodes.into_iter().map(Node::ready).collect()
}

fn measure(lab: &mut Lab, directory: &Path) -> Result<()> {
    lab.form_cluster()?;
    let mut nodes = start_nodes(lab)?;
    let round_trip = round_trip::between(&lab.hosts()[0], &lab.hosts()[1])?.p50();
    let fdatasync = disk::fdatasync(directory, Duration::from_millis(2));
    let fdatasync = fdatasync.context(|| "cannot write".to_owned())?.p50();
    let mut first = u32::from(Ipv4Addr::new(1, 0, 0, 0));
    let mut alone = Vec::new();
    for n in 0..nodes.len() {
        alone.push(run_on(&mut nodes[n..=n], 1, 1, &mut first)?);
    }
    let mut n_bans: u64 = alone.iter().map(|outcome| outcome.n_bans).sum();
    let mut best = |nodes: &mut [Node], group, first: &mut u32| {
        let rounds = (0..N_ROUNDS).map(|_| run_on(nodes, N_PROPOSERS, group, first));
        let rounds = rounds.collect::<Result<Vec<Outcome>>>()?;
        n_bans += rounds.iter().map(|outcome| outcome.n_bans).sum::<u64>();
        rounds.into_iter().max_by(|a, b| a.per_second.total_cmp(&b.per_second)).ok_or_else(nothing)
    };
    let single = best(&mut nodes, 1, &mut first)?;
    let grouped = best(&mut nodes, GROUP, &mut first)?;

    say("three processes, TLS, sled, nftables; heartbeat 400 ms, elections after 1 to 2 s; quota lifted");
    say(&format!("fdatasync p50 {} ms, a round trip p50 {} ms", ms(fdatasync), ms(round_trip)));
    say(&format!("{:<44} {:>9} {:>9} {:>9} {:>6}", "committed", "bans/s", "p50", "p99", "busy"));
    for outcome in &alone {
        let place = if outcome.leads { "at the leader" } else { "at a follower" };
        row(&format!("one proposer, {place}"), outcome);
    }
    row(&format!("{N_PROPOSERS} proposers"), &single);
    row(&format!("{N_PROPOSERS} proposers, {GROUP} bans in each proposal"), &grouped);
    let aim = (fdatasync + round_trip).mul_f64(WAIT_MAX);
    let own = alone.iter().find(|outcome| outcome.leads).ok_or_else(nothing)?;
    judge("one proposer at the leader, p50", own.p50, aim);
    for (what, outcome, aim) in [("single", &single, SINGLE_MIN), ("grouped", &grouped, GROUPED_MIN)] {
        say(&format!("{what}: {:.2} of the aim of {aim:.0} bans/s", outcome.per_second / aim));
    }
    million::measure(lab, nodes, n_bans, &mut first)
}

fn row(what: &str, outcome: &Outcome) {
    let Outcome { per_second, p50, p99, n_busy, .. } = outcome;
    say(&format!("{what:<44} {per_second:>9.0} {:>9} {:>9} {n_busy:>6}", ms(*p50), ms(*p99)));
}

fn judge(what: &str, measured: Duration, aim: Duration) {
    say(&beside_aim(what, measured, aim));
}

/// What came of a run.
#[derive(Clone, Copy, Default)]
struct Outcome {
    n_bans: u64,
    per_second: f64,
    /// The longest of the nodes' own.
    p50: Duration,
    p99: Duration,
    longest: Duration,
    n_busy: u64,
    /// One of the nodes leads.
    leads: bool,
}

/// Has the proposers divided among the nodes, all at once.
fn run_on(nodes: &mut [Node], n_proposers: usize, group: u32, first: &mut u32) -> Result<Outcome> {
    let n_nodes = nodes.len();
    for (n, node) in nodes.iter_mut().enumerate() {
        let share = n_proposers / n_nodes + usize::from(n < n_proposers % n_nodes);
        node.tell(&format!("{share} {group} {RUN_SECONDS} {}", Ipv4Addr::from(*first)))?;
        *first += 1 << 22;
    }
    let mut whole = Outcome::default();
    for node in nodes {
        let own = node.outcome()?;
        whole.n_bans += own.n_bans;
        whole.per_second += own.per_second;
        whole.p50 = whole.p50.max(own.p50);
        whole.p99 = whole.p99.max(own.p99);
        whole.longest = whole.longest.max(own.longest);
        whole.n_busy += own.n_busy;
        whole.leads |= own.leads;
    }
    Ok(whole)
}

fn outcome(line: &str) -> Option<Outcome> {
    let mut words = line.split(' ');
    let n_bans: u32 = words.next()?.parse().ok()?;
    let mut micros = || Some(Duration::from_micros(words.next()?.parse().ok()?));
    let (p50, p99, longest) = (micros()?, micros()?, micros()?);
    let n_busy = words.next()?.parse().ok()?;
    let leads = words.next()? == "leads";
    let per_second = f64::from(n_bans) / f64::from(RUN_SECONDS);
    Some(Outcome { n_bans: n_bans.into(), per_second, p50, p99, longest, n_busy, leads })
}

fn nothing() -> Failed {
    Failed("nothing was measured".to_owned())
}

/// One process.
struct Node {
    name: &'static str,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Node {
    fn start(host: &Host) -> Result<Node> {
        let path = program("bench-node")?;
        let words = std::fs::File::options().append(true).create(true).open(host.file("words"));
        let words = words.context(|| "cannot write the node's words".to_owned())?;
        let spawned = host
            .netns()
            .command(&path.to_string_lossy())
            .arg(host.file("config.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(words)
            .spawn();
        let mut child = spawned.context(|| format!("cannot start {}", path.display()))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failed("it has no standard input and output".to_owned()));
        };
        Ok(Node { name: host.name(), child, orders, answers: BufReader::new(answers) })
    }

    fn ready(mut self) -> Result<Node> {
        let line = self.hear()?;
        expect(line == "ready", || format!("{} says: {line}", self.name))?;
        Ok(self)
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.orders, "{line}").context(|| format!("{} does not listen", self.name))
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context(|| format!("{} can not be heard", self.name))?;
        expect(!line.is_empty(), || format!("{} has ended", self.name))?;
        Ok(line.trim_end().to_owned())
    }

    fn outcome(&mut self) -> Result<Outcome> {
        let line = self.hear()?;
        outcome(&line).ok_or_else(|| Failed(format!("{} says: {line}", self.name)))
    }

    fn end(self) -> Result<()> {
        let Node { name, mut child, orders, .. } = self;
        // Its input ends.
        drop(orders);
        let status = child.wait().context(|| format!("{name} can not be waited for"))?;
        expect(status.success(), || format!("{name} ends with {status}"))
    }
}
