//! The world: true time, a queue of what is going to happen, the hosts, and what carries messages
//! between them. Everything here is decided by the seed.

use crate::coverage::Coverage;
use crate::invariants::Oracle;
use crate::network::Datagram;
use crate::node::Node;
use crate::plan::{Act, Plan};
use crate::raft_log::{RaftLog, Waiting};
use crate::random::Random;
use crate::{client::Ask, clock::WORLD_BEGINS_MS};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::OpResult;
use bannkreis_core::command::Op;
use bannkreis_core::event::Event;
use bannkreis_core::time::{MINUTE_MS, SECOND_MS};
use std::collections::BTreeMap;
use std::fmt::{Arguments, Write as _};

/// Leaders send heartbeats, and everything is looked at, this often.
const BEAT_MS: u64 = 500;
/// While the world only waits for the last bans to end.
const SLOW_BEAT_MS: u64 = 5 * SECOND_MS;
/// After the faults have stopped, everything has to agree within this.
pub(crate) const HEALING_MS: u64 = 2 * MINUTE_MS;

/// Tries on all hosts together must have led to a ban within this.
const ALL_HOSTS_MS: u64 = 10 * SECOND_MS;

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    Beat,
    Act(Act),
    Start { node: usize },
    Read { node: usize, start: u32 },
    Written { node: usize, jail: usize, address: std::net::IpAddr, in_flight: bool },
    Timer { node: usize, start: u32, due_ms: u64 },
    Sync { node: usize, start: u32 },
    Repair { node: usize, start: u32 },
    CallAgain { node: usize, start: u32 },
    CheckFirewall { node: usize },
    Datagram { from: usize, to: usize, datagram: Datagram, number: u64 },
    Reached { from: usize, to: usize },
    Proposed { term: u64, ops: Vec<Op>, waiting: Waiting },
    Commit,
    Answered { waiting: Waiting, committed: Option<(usize, Vec<OpResult>)> },
    Replicate { node: usize },
    Retry { ask: usize },
    Rogue { node: usize, until_ms: u64 },
    Reconnect,
}

/// A promise was broken.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) invariant: &'static str,
    pub(crate) how: String,
}

/// See the module.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now_ms: u64,
    pub(crate) random: Random,
    pub(crate) nodes: Vec<Node>,
    /// `links[a][b]`: what `a` sends reaches `b`.
    pub(crate) links: Vec<Vec<bool>>,
    pub(crate) raft: RaftLog,
    pub(crate) asks: Vec<Ask>,
    pub(crate) oracle: Oracle,
    pub(crate) coverage: Coverage,
    /// All faults have stopped.
    pub(crate) healed: bool,
    pub(crate) broken: Option<Broken>,
    /// The number of the last datagram that arrived, by (from, to).
    pub(crate) last_datagram: BTreeMap<(usize, usize), u64>,
    pub(crate) n_datagrams: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    n_planned: u64,
    hash: u64,
    is_loud: bool,
    draining: bool,
}

/// What a world left behind.
pub(crate) struct Verdict {
    pub(crate) broken: Option<Broken>,
    pub(crate) coverage: Coverage,
    pub(crate) trace_hash: u64,
}

/// Lives through the world of `seed`. A panic in what is simulated is a broken promise too.
pub(crate) fn run(seed: u64, is_loud: bool) -> Verdict {
    std::panic::catch_unwind(|| live_through(seed, is_loud)).unwrap_or_else(|_| Verdict {
        broken: Some(Broken { invariant: "nothing panics", how: "see the message above".to_owned() }),
        coverage: Coverage::default(),
        trace_hash: 0,
    })
}

fn live_through(seed: u64, is_loud: bool) -> Verdict {
    let plan = Plan::new(seed);
    let mut world = World::new(plan, seed, is_loud);
    world.live();
    Verdict { broken: world.broken, coverage: world.coverage, trace_hash: world.hash }
}

impl World {
    pub(crate) fn new(plan: Plan, seed: u64, is_loud: bool) -> World {
        let list = BanList::new(plan.settings);
        let n_nodes = plan.n_nodes;
        let mut world = World {
            now_ms: WORLD_BEGINS_MS,
            random: Random::new(seed),
            nodes: (0..n_nodes).map(|index| Node::new(index, &plan)).collect(),
            links: vec![vec![true; n_nodes]; n_nodes],
            raft: RaftLog::new(&list),
            asks: Vec::new(),
            oracle: Oracle::new(&plan),
            coverage: Coverage::default(),
            healed: false,
            broken: None,
            last_datagram: BTreeMap::new(),
            n_datagrams: 0,
            queue: BTreeMap::new(),
            n_planned: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            is_loud,
            draining: false,
            plan,
        };
        let skews_ms = world.plan.skews_ms.clone();
        world.trace(format_args!("the world of seed {seed}, with wall clocks off by {skews_ms:?} ms"));
        world
    }

    /// All nodes start, and what the plan says is going to happen.
    pub(crate) fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.plan_in(node as u64, Happening::Start { node });
        }
        for (at, act) in std::mem::take(&mut self.plan.acts) {
            self.plan_at(at, Happening::Act(act));
        }
        self.plan_in(10, Happening::Beat);
    }

    fn live(&mut self) {
        self.begin();
        let heals_at_ms = self.plan.heals_at_ms;
        self.live_until(heals_at_ms);
        self.heal();
        self.live_until(heals_at_ms + HEALING_MS);
        self.judge_converged();
        self.attack_all_hosts_once();
        self.live_until(heals_at_ms + HEALING_MS + ALL_HOSTS_MS);
        self.judge_tries_added_up();
        let ends_at_ms = self.oracle.ends_at_ms().max(self.now_ms) + 15 * MINUTE_MS;
        self.draining = true;
        self.live_until(ends_at_ms);
        self.judge_drained();
    }

    /// Lets everything happen that is due until then.
    pub(crate) fn live_until(&mut self, end_ms: u64) {
        while self.broken.is_none() {
            let Some(next) = self.queue.first_entry() else { return };
            let at = next.key().0;
            if at > end_ms {
                return;
            }
            let happening = next.remove();
            self.now_ms = at;
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Beat => {
                self.beat_raft();
                self.beat_nodes();
                self.judge_always();
                self.plan_in(if self.draining { SLOW_BEAT_MS } else { BEAT_MS }, Happening::Beat);
            }
            Happening::Act(act) => self.act(act),
            Happening::Start { node } => self.start(node),
            Happening::Read { node, start } => self.read(node, start),
            Happening::Written { node, jail, address, in_flight } => {
                self.write_line(node, jail, address, in_flight);
            }
            Happening::Timer { node, start, due_ms } => self.on_timer(node, start, due_ms),
            Happening::Sync { node, start } => self.sync(node, start),
            Happening::Repair { node, start } => {
                if self.nodes[node].start == start {
                    self.step(node, Event::FirewallDamaged);
                }
            }
            Happening::CallAgain { node, start } => self.call_again(node, start),
            Happening::CheckFirewall { node } => self.check_firewall(node),
            Happening::Datagram { from, to, datagram, number } => {
                self.on_datagram(from, to, datagram, number);
            }
            Happening::Reached { from, to } => {
                if self.nodes[to].process.is_some() {
                    let peer = self.nodes[to].id;
                    self.step(from, Event::PeerReached(peer));
                }
            }
            Happening::Proposed { term, ops, waiting } => self.on_proposed(term, ops, waiting),
            Happening::Commit => self.commit(),
            Happening::Answered { waiting, committed } => self.on_answered(waiting, committed),
            Happening::Replicate { node } => self.replicate(node),
            Happening::Retry { ask } => self.send_order(ask),
            Happening::Rogue { node, until_ms } => self.on_rogue(node, until_ms),
            Happening::Reconnect => self.reconnect(),
        }
    }

    /// Plans something `delay_ms` from now.
    pub(crate) fn plan_in(&mut self, delay_ms: u64, happening: Happening) {
        self.plan_at(self.now_ms + delay_ms, happening);
    }

    fn plan_at(&mut self, at_ms: u64, happening: Happening) {
        self.n_planned += 1;
        self.queue.insert((at_ms, self.n_planned), happening);
    }

    /// Notes what happens: into the trace's hash always, to the terminal in a replay.
    #[allow(clippy::print_stdout, reason = "a replay is there to be read")]
    pub(crate) fn trace(&mut self, what: Arguments<'_>) {
        let mut hasher = Hasher(self.hash);
        let _ = write!(hasher, "{} {what}", self.now_ms);
        self.hash = hasher.0;
        if self.is_loud {
            let passed_ms = self.now_ms - WORLD_BEGINS_MS;
            println!("{:>5}.{:03}  {what}", passed_ms / 1_000, passed_ms % 1_000);
        }
    }

    /// A promise is broken: the world ends here.
    pub(crate) fn fail(&mut self, invariant: &'static str, how: String) {
        self.trace(format_args!("BROKEN {invariant}: {how}"));
        self.broken.get_or_insert(Broken { invariant, how });
    }
}

/// FNV-1a over everything that is written to it.
struct Hasher(u64);

impl std::fmt::Write for Hasher {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
