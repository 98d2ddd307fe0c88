//! What the replicated ban list costs with a million bans: time per applied ban, time for a view, memory per ban.
//!
//! The list is filled and changed as on a node: commands of some hundred proposals, and after each of them a view that
//! somebody keeps until the next one. Not for what consensus, disk and kernel cost: those are the other benchmarks.

use std::fs;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::command::{Command, LEVEL, Op};
use bannkreis_core::event::{Configuration, Event};
use bannkreis_core::ids::{NodeId, Position};
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::proposal::{EvidenceLine, Proposal};
use bannkreis_core::settings::Settings;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Now, SECOND_MS, Timestamp};
use bannkreis_core::warden::Warden;

const BANS: u32 = 1_000_000;
/// Proposals in one command, as a busy leader batches them.
const BATCH: u32 = 500;
/// Bans whose time is taken, once the list is full, in each round. The best round counts, because other work on the
/// machine only ever slows down.
const MEASURED: u32 = 10_000;
const N_ROUNDS: u32 = 5;
const BEGIN: Timestamp = Timestamp(1_700_000_000_000);
const NOW: Now = Now::known(BEGIN, BEGIN);
const NODE: NodeId = NodeId(1);

/// What is aimed at.
const APPLY_MAX: Duration = Duration::from_micros(2);
const VIEW_MAX: Duration = Duration::from_micros(50);
const BYTES_MAX: f64 = 400.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "a benchmark is there to be read")]
fn say(text: &str) {
    println!("{text}");
}

/// A list that is changed, with the view that the last reader holds, and perhaps the warden that follows it.
struct Node {
    list: BanList,
    held: BanView,
    index: u64,
    warden: Option<Warden>,
}

impl Node {
    fn new() -> Node {
        let settings = Settings { quota_burst: u32::MAX, ..Settings::at_birth([1; 16]) };
        let list = BanList::new(settings);
        let mut node = Node { held: list.view(), list, index: 0, warden: None };
        let record = NodeRecord { node: NODE, ..NodeRecord::default() };
        node.apply(vec![Op::Tick { readings: vec![(NODE, BEGIN)] }, Op::NodeSeen(record)]);
        node
    }

    fn apply(&mut self, ops: Vec<Op>) {
        self.index += 1;
        let command = Command { at: BEGIN, level: LEVEL, ops, signed_by: None, signature: Vec::new() };
        let position = Position { generation: 0, index: self.index };
        let applied = self.list.apply(position, &command);
        self.held = self.list.view();
        if let Some(warden) = &mut self.warden {
            let event = Event::Applied { view: self.held.clone(), changes: applied.changes };
            warden.step(NOW, event, &mut Vec::new());
        }
    }

    fn with_warden(mut self) -> Node {
        let mut warden = Warden::new(NODE, self.held.clone(), Vec::new(), Vec::new());
        for event in [Event::Configured(Configuration::default()), Event::CaughtUp] {
            warden.step(NOW, event, &mut Vec::new());
        }
        self.warden = Some(warden);
        self
    }

    fn ban(&mut self, offenders: std::ops::Range<u32>) -> Duration {
        let mut spent = Duration::ZERO;
        for first in offenders.clone().step_by(BATCH as usize) {
            let ops: Vec<Op> = (first..(first + BATCH).min(offenders.end)).map(proposal).collect();
            let began = Instant::now();
            self.apply(ops);
            spent += began.elapsed();
        }
        spent
    }
}

fn proposal(n: u32) -> Op {
    let jail = ["sshd", "postfix", "dovecot", "kopano-webapp"][(n % 4) as usize];
    // Offenders come from anywhere: neighbours would share shards of the list.
    let [a, b, c, d] = (0x0b00_0000 + n.wrapping_mul(0x9e37_79b1) % 0x4000_0000).to_be_bytes();
    Op::Ban(Proposal {
        origin: NODE,
        basis: Position { generation: 0, index: 1 },
        jail: JailName::new(jail).unwrap_or_else(|_| JailName::operator()),
        offender: Subnet::host(IpAddr::from([a, b, c, d])),
        first_failure_age_ms: 10,
        last_failure_age_ms: 10,
        failures: 5,
        contributors: Vec::new(),
        policy: BanPolicy::fixed(BanTime::Ms(3_600 * SECOND_MS)),
        ports: Ports::tcp(&[25, 465, 587]),
        evidence: vec![EvidenceLine { age_ms: 10, text: "a line".to_owned() }],
    })
}

fn run() -> Result<(), String> {
    // What was freed once is used again: each figure for memory comes from a process of its own.
    match std::env::args().nth(1).as_deref() {
        Some("list-alone") => return fill(Node::new()),
        Some("with-warden") => return fill(Node::new().with_warden()),
        _ => {}
    }
    let alone = bytes_of("list-alone")?;
    let with_warden = bytes_of("with-warden")?;

    let mut node = Node::new();
    node.ban(0..BANS);
    let rounds = (0..N_ROUNDS).map(|round| BANS + round * MEASURED);
    let apply = rounds.map(|first| node.ban(first..first + MEASURED) / MEASURED).min().unwrap_or_default();
    let views = 1_000;
    let began = Instant::now();
    for _ in 0..views {
        node.held = node.list.view();
    }
    let view = began.elapsed() / views;

    say(&format!("{:<44} {:>10}", "one of 1,000,000 held bans, in bytes", "RSS"));
    say(&format!("{:<44} {alone:>10.0}", "on the ban list"));
    say(&format!("{:<44} {:>10.0}", "in the warden: its element, its timer", with_warden - alone));
    say(&format!(
        "all told: {with_warden:.0} bytes, {:.2} of the aim of {BYTES_MAX:.0}",
        with_warden / BYTES_MAX
    ));
    judge("one ban applied, a view held", apply, APPLY_MAX);
    judge("a view", view, VIEW_MAX);
    Ok(())
}

/// Fills the list and says how many bytes of memory one ban takes.
fn fill(mut node: Node) -> Result<(), String> {
    let before = rss_bytes()?;
    node.ban(0..BANS);
    say(&((rss_bytes()? - before) / u64::from(BANS)).to_string());
    Ok(())
}

fn bytes_of(what: &str) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = std::process::Command::new(program).arg(what).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("{what} says `{text}`"))
}

fn judge(what: &str, measured: Duration, aim: Duration) {
    let ratio = measured.as_secs_f64() / aim.as_secs_f64();
    let (measured, aim) = (measured.as_secs_f64() * 1e6, aim.as_secs_f64() * 1e6);
    say(&format!("{what}: {measured:.2} µs, {ratio:.2} of the aim of {aim:.0} µs"));
}

fn rss_bytes() -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| "there is no VmRSS".to_owned())
}
