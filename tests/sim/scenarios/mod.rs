//! Named interleavings: those that break a naive ban-sharing cluster, each told as a short story in a world without
//! any other fault, and lived through with several seeds, for delays still differ. All promises are looked at
//! meanwhile, as in every world.
//!
//! Not for what chance finds: that is the rest of the simulation.

mod evidence_and_unbans;
mod nodes_that_were_away;
mod tries_and_bans;

use crate::clock::WORLD_BEGINS_MS;
use crate::plan::{Act, JailPlan, Order, Plan};
use crate::raft_log::Waiting;
use crate::world::{HEALING_MS, World};
use bannkreis_core::ban::Ban;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Op;
use bannkreis_core::history::PastBans;
use bannkreis_core::jail::BanPolicy;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, MINUTE_MS, SECOND_MS};

pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Jails of the worlds here, by what they do.
pub(crate) const SSH: usize = 0;
pub(crate) const WEB: usize = 2;
/// Bans for eight hours.
pub(crate) const LONG: usize = 3;

/// How many worlds each story is told in.
const SEEDS: u64 = 6;
/// Time for everybody to hear of everything.
const SETTLING_MS: u64 = 15 * SECOND_MS;
/// A story that is not over by then is none.
const LONGEST_MS: u64 = 24 * HOUR_MS;

/// A world in which only what the story says happens.
pub(crate) struct Story {
    pub(crate) world: World,
}

/// Tells the same story in several worlds of `n_nodes` nodes; `tune` may change their plan.
pub(crate) fn tell(n_nodes: usize, tune: impl Fn(&mut Plan), story: impl Fn(&mut Story)) {
    for seed in 0..SEEDS {
        let mut plan = Plan::quiet(n_nodes);
        let long = BanPolicy::fixed(BanTime::Ms(8 * HOUR_MS));
        plan.jails.push(JailPlan { name: "long", policy: long, ..plan.jails[SSH].clone() });
        plan.heals_at_ms = WORLD_BEGINS_MS + LONGEST_MS;
        tune(&mut plan);
        let mut world = World::new(plan, seed, false);
        world.begin();
        let mut told = Story { world };
        told.wait(SETTLING_MS);
        story(&mut told);
        told.check(seed);
        told.world.heal();
        told.wait(HEALING_MS);
        told.world.judge_converged();
        told.check(seed);
    }
}

impl Story {
    /// Lets time pass.
    pub(crate) fn wait(&mut self, ms: u64) {
        let end_ms = self.world.now_ms + ms;
        self.world.live_until(end_ms);
        self.world.now_ms = self.world.now_ms.max(end_ms);
    }

    /// Until everybody has heard of everything that can be heard.
    pub(crate) fn settle(&mut self) {
        self.wait(SETTLING_MS);
    }

    pub(crate) fn act(&mut self, act: Act) {
        self.world.act(act);
    }

    /// So many lines about an offender reach a node's log, in a second or two.
    pub(crate) fn attack(&mut self, node: usize, jail: usize, offender: usize, n_lines: u32) {
        self.act(Act::Attack { node, jail, offender, n_lines, in_flight: true });
        self.wait(2 * SECOND_MS);
    }

    pub(crate) fn order(&mut self, via: usize, order: Order) {
        self.act(Act::Order { via, order });
    }

    /// Nothing comes to this node or from it any more.
    pub(crate) fn cut_off(&mut self, node: usize) {
        self.world.partition(1 << node, false);
        self.wait(2 * SECOND_MS);
    }

    pub(crate) fn reconnect(&mut self) {
        self.world.reconnect();
        self.settle();
    }

    /// What this node asks of the leader, in its own words.
    pub(crate) fn propose(&mut self, node: usize, op: Op) {
        self.world.propose(node, vec![op], Waiting::Nobody);
        self.settle();
    }

    /// How often an operation stands in the log.
    pub(crate) fn n_committed(&self, op: &Op) -> usize {
        let commands = self.world.raft.committed.iter().filter_map(|entry| entry.command.as_ref());
        commands.flat_map(|command| &command.ops).filter(|committed| *committed == op).count()
    }

    pub(crate) fn newest(&self) -> BanView {
        self.world.raft.history.last().cloned().expect("the history begins with the empty list")
    }

    pub(crate) fn subnet(&self, offender: usize) -> Subnet {
        self.world.plan.settings.counting_subnet(Subnet::host(self.world.plan.offenders[offender]))
    }

    pub(crate) fn key(&self, offender: usize, jail: usize) -> BanKey {
        BanKey { subnet: self.subnet(offender), jail: self.world.plan.jails[jail].jail(0).name }
    }

    /// The ban that holds now, on the newest list.
    pub(crate) fn ban(&self, offender: usize, jail: usize) -> Option<Ban> {
        let newest = self.newest();
        newest.live(&self.key(offender, jail), newest.now()).cloned()
    }

    pub(crate) fn past(&self, offender: usize, jail: usize) -> Option<PastBans> {
        self.newest().past(&self.key(offender, jail))
    }

    /// Whether a node's kernel drops what the offender sends to a port of the jail there.
    pub(crate) fn drops(&mut self, node: usize, jail: usize, offender: usize) -> bool {
        let port = self.world.plan.jails[jail].ports(node)[0];
        let address = self.world.plan.offenders[offender];
        let kernel = &mut self.world.nodes[node].kernel;
        kernel.set_now(self.world.now_ms);
        kernel.drops(address, port)
    }

    /// The nodes whose kernels drop the offender at the jail's port.
    pub(crate) fn dropping(&mut self, jail: usize, offender: usize) -> Vec<usize> {
        (0..self.world.nodes.len()).filter(|node| self.drops(*node, jail, offender)).collect()
    }

    fn check(&self, seed: u64) {
        if let Some(broken) = &self.world.broken {
            panic!("in the world of seed {seed}, `{}` is broken: {}", broken.invariant, broken.how);
        }
    }
}
