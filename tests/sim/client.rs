//! The people and machines outside: attackers, operators with their retries, strangers who flush
//! firewalls, and the hands that pull plugs. They know only what a client can know.

use crate::clock::WORLD_BEGINS_MS;
use crate::invariants::Decision;
use crate::plan::{Act, Order, RUNAWAY_PPM};
use crate::raft_log::Waiting;
use crate::world::{HEALING_MS, Happening, World};
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::change::{OpResult, Outcome};
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::event::{Event, Override, OverrideKind};
use bannkreis_core::ids::{CommandId, Operator};
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, SECOND_MS, Until};

/// An operator repeats a command whose answer did not come after this.
const RETRY_MS: u64 = 2 * SECOND_MS;
/// An operator gives up after this, with the outcome unknown.
const GIVE_UP_MS: u64 = 60 * SECOND_MS;

/// A command that an operator has given.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) id: CommandId,
    pub(crate) via: usize,
    pub(crate) order: Order,
    pub(crate) op: Op,
    pub(crate) asked_at_ms: u64,
    /// When it was answered, with what, and where it stands in the log.
    pub(crate) answered: Option<(u64, Outcome, usize)>,
}

impl World {
    /// Something planned happens.
    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Attack { node, jail, offender, n_lines, in_flight } => {
                let address = self.plan.offenders[offender];
                for n in 0..u64::from(n_lines) {
                    self.plan_in(n * 300, Happening::Written { node, jail, address, in_flight });
                }
            }
            Act::Spoof { node, jail, address, n_lines } => {
                for n in 0..u64::from(n_lines) {
                    self.plan_in(n * 100, Happening::Written { node, jail, address, in_flight: true });
                }
            }
            Act::Order { via, order } => self.give_order(via, order),
            Act::Override { node, offender, release, for_ms } => {
                let kind = if release { OverrideKind::Release } else { OverrideKind::Block };
                self.override_on(node, offender, Some((kind, for_ms)));
            }
            Act::EndOverride { node, offender } => self.override_on(node, offender, None),
            Act::Crash { node, power, down_ms } => self.crash(node, power, down_ms),
            Act::Corrupt { node, down_ms } => self.corrupt(node, down_ms),
            Act::Reload { node, without } => self.reload(node, without),
            Act::Partition { group, one_way, for_ms } => {
                self.partition(group, one_way);
                self.plan_in(for_ms, Happening::Reconnect);
            }
            Act::Leaderless { for_ms } => {
                self.coverage.hit("log: leaderless period");
                self.raft.leaderless_until_ms = self.now_ms + for_ms;
                self.depose();
            }
            Act::NewLeader => self.depose(),
            Act::Lag { node, for_ms } => {
                self.coverage.hit("log: node lags");
                self.nodes[node].lags_until_ms = self.now_ms + for_ms;
            }
            Act::Flush { node } => {
                self.coverage.hit("firewall: flushed by a stranger");
                self.trace(format_args!("somebody flushes the firewall of node {node}"));
                self.nodes[node].kernel.flush();
                self.oracle.kernel_emptied(node);
                self.plan_check(node);
            }
            Act::Refuse { node, n_calls } => {
                self.coverage.hit("firewall: call refused");
                self.nodes[node].kernel.refuse(n_calls);
            }
            Act::StopHalfWay { node, n_deltas } => {
                self.coverage.hit("firewall: stopped half-way");
                self.nodes[node].kernel.stop_half_way(n_deltas);
            }
            Act::Rogue { node, for_ms } => {
                self.coverage.hit("network: rogue notices");
                let until_ms = self.now_ms + for_ms;
                self.on_rogue(node, until_ms);
            }
            Act::Jump { node, by_ms } => {
                self.coverage.hit("clock: jump");
                self.trace(format_args!("the wall clock of node {node} is off by {by_ms} ms now"));
                self.nodes[node].clocks.skew_ms = by_ms;
                self.nodes[node].jumped_at_ms = self.now_ms;
            }
        }
    }

    /// All faults stop: every machine runs, every link is whole, every leader can lead.
    pub(crate) fn heal(&mut self) {
        self.trace(format_args!("all faults stop"));
        for &skew_ms in &self.plan.skews_ms {
            if skew_ms >= 60_000 {
                self.coverage.hit("clock: far ahead");
            } else if skew_ms <= -60_000 {
                self.coverage.hit("clock: far behind");
            }
        }
        if self.plan.drifts_ppm.iter().any(|ppm| ppm.abs() == RUNAWAY_PPM) {
            self.coverage.hit("clock: runs away");
        }
        if self.plan.has_witness {
            self.coverage.hit("node: witness");
        }
        self.healed = true;
        self.reconnect();
        for node in 0..self.nodes.len() {
            self.nodes[node].lags_until_ms = 0;
            self.nodes[node].kernel.refuse(0);
            if self.nodes[node].process.is_none() {
                self.plan_in(1, Happening::Start { node });
            }
        }
    }

    fn give_order(&mut self, via: usize, order: Order) {
        let now_ms = self.now_ms;
        let ask = self.asks.len();
        let id = CommandId(ask as u128 + 1);
        let operator = Operator {
            command_id: id,
            node: self.nodes[via].id,
            author: "alice".to_owned(),
            reason: String::new(),
        };
        let host = |offender: usize| Subnet::host(self.plan.offenders[offender]);
        let op = match &order {
            Order::Ban { offender, for_ms } => Op::OperatorBan {
                operator,
                target: self.plan.settings.counting_subnet(host(*offender)),
                jail: JailName::operator(),
                ban_time: BanTime::Ms(*for_ms),
                ports: Ports::whole_host(),
                force: false,
            },
            Order::Unban { offender, jail } => Op::Unban {
                operator,
                selection: UnbanSelection::Target {
                    target: host(*offender),
                    jail: jail.map(|jail| self.plan.jails[jail].jail(0).name),
                },
            },
            Order::UnbanNetwork { of_offender } => Op::Unban {
                operator,
                selection: UnbanSelection::Target { target: self.network_of(*of_offender), jail: None },
            },
            Order::UnbanByNode { node } => Op::Unban {
                operator,
                selection: UnbanSelection::ByNode {
                    node: self.nodes[*node].id,
                    since: bannkreis_core::time::Timestamp::ZERO,
                },
            },
            Order::Trust { node } => Op::Trust { operator, node: self.nodes[*node].id },
            Order::Allow { offender, for_ms } => Op::Allow {
                entry: AllowEntry {
                    subnet: self.plan.settings.counting_subnet(host(*offender)),
                    note: String::new(),
                    author: "alice".to_owned(),
                    node: operator.node,
                    until: Until::at(self.nodes[via].now(now_ms).cluster.plus_ms(*for_ms)),
                },
                operator,
            },
            Order::Disallow { offender } => {
                Op::Disallow { operator, subnet: self.plan.settings.counting_subnet(host(*offender)) }
            }
        };
        self.coverage.hit(match &order {
            Order::Ban { .. } => "operator: ban",
            Order::Unban { .. } => "operator: unban",
            Order::UnbanNetwork { .. } => "operator: unban of a network",
            Order::UnbanByNode { .. } => "operator: unban by node",
            Order::Trust { .. } => "operator: trust",
            Order::Allow { .. } => "operator: allow",
            Order::Disallow { .. } => "operator: disallow",
        });
        // A daemon that is down takes no orders.
        if self.nodes[via].process.is_none() {
            return;
        }
        self.trace(format_args!("an operator asks node {via}: {order:?}"));
        self.asks.push(Ask { id, via, order, op, asked_at_ms: now_ms, answered: None });
        self.oracle_asked(ask);
        self.send_order(ask);
    }

    /// The network that an operator means when one attacker of it is known.
    pub(crate) fn network_of(&self, offender: usize) -> Subnet {
        let host = Subnet::host(self.plan.offenders[offender]);
        host.widened_to(if host.is_v4() { 24 } else { 48 })
    }

    /// Sends a command, again if need be.
    pub(crate) fn send_order(&mut self, ask: usize) {
        let Ask { via, ref op, asked_at_ms, ref answered, .. } = self.asks[ask];
        if answered.is_some() {
            return;
        }
        if self.now_ms > asked_at_ms + GIVE_UP_MS {
            return self.ask_what_came_of(ask);
        }
        if self.now_ms > asked_at_ms {
            self.coverage.hit("operator: retried");
        }
        if self.nodes[via].process.is_some() {
            self.propose(via, vec![op.clone()], Waiting::Client { ask });
        }
        self.plan_in(RETRY_MS, Happening::Retry { ask });
    }

    /// The outcome of a command is unknown: the operator asks what came of it, but gives it no more.
    fn ask_what_came_of(&mut self, ask: usize) {
        let newest = self.raft.history.last().cloned();
        let outcome = newest.and_then(|list| list.outcome(self.asks[ask].id).cloned());
        if let Some(outcome) = outcome {
            self.asks[ask].answered = Some((self.now_ms, outcome, self.raft.last_index()));
            self.oracle_answered(ask);
        } else if self.now_ms < self.plan.heals_at_ms + HEALING_MS {
            self.plan_in(RETRY_MS, Happening::Retry { ask });
        }
    }

    /// A command is answered; "unknown" is no answer.
    pub(crate) fn on_order_answered(&mut self, ask: usize, committed: Option<(usize, Vec<OpResult>)>) {
        let Some((index, results)) = committed else { return };
        let Some(OpResult::Operator { outcome, .. }) = results.into_iter().next() else { return };
        if self.asks[ask].answered.is_none() {
            self.trace(format_args!("order {ask} is answered: {outcome:?} at {index}"));
            self.asks[ask].answered = Some((self.now_ms, outcome, index));
            self.oracle_answered(ask);
        }
    }

    fn override_on(&mut self, node: usize, offender: usize, decision: Option<(OverrideKind, u64)>) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.coverage.hit("operator: override");
        let subnet = self.plan.settings.counting_subnet(Subnet::host(self.plan.offenders[offender]));
        let cluster = self.nodes[node].now(self.now_ms).cluster;
        self.trace(format_args!("override on node {node} for {subnet}: {decision:?}"));
        let (now_ms, since_index) = (self.now_ms, self.raft.last_index());
        let until = |(kind, for_ms)| Decision { kind, until_ms: now_ms + for_ms, since_index };
        self.oracle.overridden(node, offender, decision.map(until));
        let decision = decision.map(|(kind, for_ms)| Override {
            kind,
            author: "bob".to_owned(),
            reason: format!("since {}", self.now_ms - WORLD_BEGINS_MS),
            until: Until::at(cluster.plus_ms(for_ms)),
            estimated: false,
        });
        self.step(node, Event::Override { subnet, decision });
    }
}
