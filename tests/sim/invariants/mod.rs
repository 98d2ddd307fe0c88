//! The oracle: what clients know, and the promises that follow from it.
//!
//! It speaks client language: which lines were written where, what operators asked and what they were
//! answered, what a node's log says, which packets pass. It never sees commands. One promise is one
//! file here; this one keeps the facts and says when which promise is looked at: the cheap ones after
//! every step of a node, the others with every heartbeat, and all of them when the faults have stopped.

mod acknowledged_bans_survive;
mod bounded_memory;
mod expires_on_time;
mod firewall_converges;
mod never_block_the_protected;
mod never_weaker_than_alone;
mod no_ban_for_too_few_tries;
mod no_resurrection_after_unban;
mod no_verdict_but_protection_opens;
mod one_offence_escalates_once;
mod one_wrong_clock_changes_nothing;
mod private_stay_at_home;
mod quotas_hold;
mod replica_agreement;
mod snapshot_equals_replay;
mod tries_on_all_hosts_add_up;
mod undone_stays_undone;

use crate::host::SYNC_MS;
use crate::node::Line;
use crate::plan::{Order, Plan};
use crate::world::World;
use bannkreis_core::change::{BanKey, Outcome};
use bannkreis_core::event::{Notable, OverrideKind};
use bannkreis_core::ids::NodeId;
use bannkreis_core::settings::Settings;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{SECOND_MS, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Blocks may end this much before the client's arithmetic says: clocks differ by up to a second, and a
/// ban counts as covering what ends two seconds later.
pub(crate) const EARLY_MS: u64 = 5 * SECOND_MS;
/// Evidence this close to an unban may be judged either way.
pub(crate) const UNBAN_MARGIN_MS: u64 = 5 * SECOND_MS;

/// A line that somebody wrote into a log.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) node: usize,
    pub(crate) jail: usize,
    pub(crate) subnet: Subnet,
    pub(crate) at_ms: u64,
    /// Its node read it, and blocked, before it had heard of an unban. That voids the block by its place in
    /// the log, whatever the time: the lines are used up, and only further ones count.
    is_used_up: bool,
}

/// Something a node has to drop.
#[derive(Clone, Debug)]
pub(crate) struct Duty {
    pub(crate) node: usize,
    pub(crate) address: IpAddr,
    pub(crate) subnet: Subnet,
    pub(crate) port: u16,
    /// The jail; `None` for an operator's ban.
    pub(crate) jail: Option<usize>,
    /// The node whose log, or whose operator, is the reason.
    pub(crate) origin: usize,
    /// From the first line on.
    pub(crate) first_ms: u64,
    /// When its origin knew of it.
    known_at_ms: u64,
    /// Until then; `None`: for ever.
    pub(crate) until_ms: Option<u64>,
    /// The cluster has acknowledged it; nodes that have applied this entry know it.
    pub(crate) acknowledged: Option<usize>,
    /// The origin said that it keeps the block for itself, or that it was told to release.
    pub(crate) has_verdict: bool,
    /// It was seen to be dropped, and no stranger or power cut has emptied the kernel since.
    pub(crate) is_seen: bool,
}

/// What an operator has decided for one host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision {
    pub(crate) kind: OverrideKind,
    pub(crate) until_ms: u64,
    /// How much was committed when it was given.
    pub(crate) since_index: usize,
}

/// The facts.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) settings: Settings,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) duties: Vec<Duty>,
    /// Overrides by (node, offender).
    pub(crate) overrides: BTreeMap<(usize, usize), Decision>,
    /// When the last thing that a client knows of ends.
    latest_end_ms: u64,
    /// Offenders of whom a host that could only guess the time, by a wrong clock, has read.
    guessed: BTreeSet<Subnet>,
    /// When a node was first told lies about an innocent address, and what it had applied then, by (node, address, the one
    /// whose key was stolen).
    pub(crate) rogue_since: BTreeMap<(usize, Subnet, usize), (u64, usize)>,
    /// Offenders that were ever put on the allow list.
    allowed: Vec<Subnet>,
    /// When which node has forgotten what it had counted.
    pub(crate) forgot: Vec<(usize, u64)>,
    /// Long bans that one node alone has asked for, where quotas are small: with when each began.
    long_bans: BTreeMap<NodeId, BTreeSet<(BanKey, Timestamp)>>,
    /// How far cluster time was ahead of true time at most: what was blocked then may end that much early.
    pub(crate) ahead_ms: u64,
}

impl Oracle {
    /// One that knows nothing yet.
    pub(crate) fn new(plan: &Plan) -> Oracle {
        Oracle {
            settings: plan.settings,
            evidence: Vec::new(),
            duties: Vec::new(),
            overrides: BTreeMap::new(),
            latest_end_ms: 0,
            guessed: BTreeSet::new(),
            rogue_since: BTreeMap::new(),
            allowed: Vec::new(),
            forgot: Vec::new(),
            long_bans: BTreeMap::new(),
            ahead_ms: 0,
        }
    }

    /// When everything that was ever banned for a time must be over.
    pub(crate) fn ends_at_ms(&self) -> u64 {
        self.latest_end_ms
    }

    /// A line was written.
    pub(crate) fn line_written(&mut self, node: usize, jail: usize, address: IpAddr, at_ms: u64) {
        let subnet = self.settings.counting_subnet(Subnet::host(address));
        self.evidence.push(Evidence { node, jail, subnet, at_ms, is_used_up: false });
    }

    /// A node that has started finds a line that is older than findtime, by a wall clock that jumped meanwhile: nobody
    /// counts it again, a lone fail2ban neither. What its last process made of it stands if there was time to store that.
    pub(crate) fn line_outdated(&mut self, node: usize, line: &Line, died_at_ms: u64) {
        let subnet = self.settings.counting_subnet(Subnet::host(line.address));
        self.duties.retain(|duty| {
            let is_its = (duty.node, duty.origin, duty.jail) == (node, node, Some(line.jail));
            let is_stored = duty.known_at_ms + SYNC_MS < died_at_ms || duty.acknowledged.is_some();
            !is_its || duty.subnet != subnet || is_stored
        });
    }

    /// A node's kernel holds nothing any more.
    pub(crate) fn kernel_emptied(&mut self, node: usize) {
        self.duties.iter_mut().filter(|duty| duty.node == node).for_each(|duty| duty.is_seen = false);
    }

    /// A node has lost what it alone knew.
    pub(crate) fn forget_own(&mut self, node: usize, now_ms: u64) {
        self.forgot.push((node, now_ms));
        self.duties.retain(|duty| {
            duty.node != node || (duty.acknowledged.is_some() && duty.origin != node) || duty.jail.is_none()
        });
        self.kernel_emptied(node);
    }

    /// An operator decided for one host.
    pub(crate) fn overridden(&mut self, node: usize, offender: usize, decision: Option<Decision>) {
        match decision {
            Some(decision) => {
                self.ends(decision.until_ms);
                // What is released by will is blocked again when the daemon sees its end, not before.
                self.kernel_emptied(node);
                self.overrides.insert((node, offender), decision);
            }
            None => {
                self.overrides.remove(&(node, offender));
            }
        }
    }

    fn ends(&mut self, end_ms: u64) {
        self.latest_end_ms = self.latest_end_ms.max(end_ms);
    }
}

impl World {
    /// What is looked at after every step of a node.
    pub(crate) fn judge_node(&mut self, node: usize) {
        let now_ms = self.now_ms;
        self.nodes[node].kernel.set_now(now_ms);
        self.check_duties(node);
        self.check_protected(node);
    }

    /// What is looked at with every heartbeat.
    pub(crate) fn judge_always(&mut self) {
        let now_ms = self.now_ms;
        self.oracle.duties.retain(|duty| duty.until_ms.is_none_or(|until| until >= now_ms));
        for node in 0..self.nodes.len() {
            self.judge_node(node);
            self.check_unbanned(node);
            self.check_undone(node);
            self.check_private(node);
            self.check_noticed(node);
            if self.now_ms / 500 % 4 == node as u64 % 4 {
                self.check_expiry(node);
            }
        }
        self.check_time();
        if self.random.chance(20) {
            self.check_replicas();
            self.check_escalation();
            self.check_quotas();
        }
    }

    /// What must be true two minutes after the last fault.
    pub(crate) fn judge_converged(&mut self) {
        if self.broken.is_none() {
            self.check_replicas();
            self.check_escalation();
            self.check_quotas();
            self.check_convergence();
        }
    }

    /// What must be true when every ban is over.
    pub(crate) fn judge_drained(&mut self) {
        if self.broken.is_none() {
            self.check_replicas();
            self.check_escalation();
            self.check_memory();
        }
    }

    /// A node's log says something.
    pub(crate) fn told(&mut self, node: usize, notable: &Notable) {
        self.trace(format_args!("node {node} says {notable:?}"));
        match notable {
            Notable::Found { .. } => {}
            Notable::Ignored { .. } => self.coverage.hit("told: ignored"),
            Notable::Blocked { key, n_told, .. } => {
                self.check_tries(node, key);
                self.coverage.hit("told: blocked");
                if *n_told > 0 {
                    self.coverage.hit("told: blocked with what peers told");
                }
            }
            Notable::Settled { key } => {
                self.coverage.hit("told: settled");
                self.acknowledged(node, key);
            }
            Notable::Protected { key, .. } => {
                self.coverage.hit("told: protected");
                self.verdict_told(node, key);
            }
            Notable::KeptLocal { key, .. } => {
                self.coverage.hit("told: kept local");
                self.verdict_told(node, key);
            }
            Notable::OutboxFull { .. } => self.coverage.hit("told: outbox full"),
            Notable::LowTrustFull => self.coverage.hit("told: too much of low trust"),
            Notable::NoticesDropped { .. } => self.coverage.hit("told: notices dropped"),
        }
    }

    /// A node has read a line: when it was the last of enough lines, it must block now.
    pub(crate) fn line_was_read(&mut self, node: usize, line: &Line) {
        let subnet = self.plan.settings.counting_subnet(Subnet::host(line.address));
        let jail = &self.plan.jails[line.jail];
        let enough = usize::try_from(jail.max_retry).unwrap_or(1);
        let lines: Vec<u64> = self
            .oracle
            .evidence
            .iter()
            .filter(|seen| seen.node == node && seen.jail == line.jail && seen.subnet == subnet)
            .filter(|seen| seen.at_ms <= line.at_ms && !seen.is_used_up)
            .map(|seen| seen.at_ms)
            .collect();
        let longest_ms = jail.ban_time_max_ms().unwrap_or(0);
        self.oracle.ends(line.at_ms + longest_ms);
        let Some(&first_ms) = lines.len().checked_sub(enough).and_then(|n| lines.get(n)) else { return };
        // What was dated by a guess is dated again when a leader's word comes, as well as that goes.
        let is_guessed = self.nodes[node].process.as_ref().is_some_and(|process| process.clock.is_guessed());
        if is_guessed && self.plan.wrong_clock == Some(node) {
            self.oracle.guessed.insert(subnet);
        }
        let behind_ms = match self.plan.wrong_clock {
            Some(_) => self.raft.behind_ms_at(self.raft.last_index()),
            None => 0,
        };
        let early_ms = behind_ms + if is_guessed { 30 * SECOND_MS } else { 0 };
        let duty = Duty {
            node,
            address: line.address,
            subnet,
            port: jail.ports(node)[0],
            jail: Some(line.jail),
            origin: node,
            first_ms,
            known_at_ms: self.now_ms,
            until_ms: jail.ban_time_ms(1).map(|ms| (first_ms + ms).saturating_sub(early_ms)),
            acknowledged: None,
            has_verdict: false,
            is_seen: false,
        };
        let is_quick = line.at_ms - first_ms < 10 * SECOND_MS && self.nodes[node].jumped_at_ms < first_ms;
        let host = &self.nodes[node];
        let is_counted = host.without != Some(line.jail) && host.counts_since_ms < first_ms;
        let is_excused = self.is_excused(&duty);
        if is_excused {
            for seen in &mut self.oracle.evidence {
                let is_its = seen.node == node && seen.jail == line.jail && seen.subnet == subnet;
                seen.is_used_up |= is_its && seen.at_ms <= line.at_ms;
            }
        }
        if is_counted && is_quick && !self.is_never_blocked(node, line.address) && !is_excused {
            self.oracle.duties.retain(|known| {
                !(known.node == node
                    && known.origin == node
                    && known.jail == duty.jail
                    && known.subnet == subnet)
                    || known.acknowledged.is_some()
            });
            self.oracle.duties.push(duty);
            self.judge_node(node);
        }
    }

    /// Whether some operator's command, answered or not, may void this duty on this node.
    fn is_excused(&self, duty: &Duty) -> bool {
        self.oracle.allowed.iter().any(|allowed| allowed.contains(duty.subnet))
            || self.asks.iter().any(|ask| {
                self.lifts(&ask.order, duty)
                    && match ask.answered {
                        None => true,
                        Some((at_ms, _, index)) => {
                            duty.first_ms <= at_ms + UNBAN_MARGIN_MS
                                || self.nodes[duty.node].applied() < index
                        }
                    }
            })
    }

    /// Whether this order lets go what the duty is about.
    fn lifts(&self, order: &Order, duty: &Duty) -> bool {
        let counted =
            |offender: usize| self.plan.settings.counting_subnet(Subnet::host(self.plan.offenders[offender]));
        match order {
            Order::Unban { offender, jail } => {
                counted(*offender).contains(duty.subnet) && (jail.is_none() || *jail == duty.jail)
            }
            Order::UnbanNetwork { of_offender } => self.network_of(*of_offender).contains(duty.subnet),
            // What others have seen themselves is as true as before.
            Order::UnbanByNode { node } => duty.origin == *node,
            Order::Allow { offender, .. } => counted(*offender).contains(duty.subnet),
            Order::Ban { .. } | Order::Trust { .. } | Order::Disallow { .. } => false,
        }
    }

    /// An operator has asked for something.
    pub(crate) fn oracle_asked(&mut self, ask: usize) {
        let order = self.asks[ask].order.clone();
        let kept: Vec<Duty> =
            self.oracle.duties.iter().filter(|duty| !self.lifts(&order, duty)).cloned().collect();
        self.oracle.duties = kept;
        let counted = |world: &World, offender: usize| {
            world.plan.settings.counting_subnet(Subnet::host(world.plan.offenders[offender]))
        };
        match order {
            Order::Allow { offender, for_ms } => {
                let subnet = counted(self, offender);
                self.oracle.allowed.push(subnet);
                let end_ms = self.now_ms + for_ms;
                self.oracle.ends(end_ms);
            }
            Order::Ban { for_ms, .. } => {
                let end_ms = self.now_ms + for_ms + expires_on_time::ORDER_LATE_MS;
                self.oracle.ends(end_ms);
            }
            _ => {}
        }
    }

    /// An operator's command was answered.
    pub(crate) fn oracle_answered(&mut self, ask: usize) {
        let ask = self.asks[ask].clone();
        let (Order::Ban { offender, for_ms }, Some((_, Outcome::Done { .. }, index))) =
            (&ask.order, &ask.answered)
        else {
            return;
        };
        let address = self.plan.offenders[*offender];
        let behind_ms = self.raft.behind_ms_at(*index);
        for node in 0..self.nodes.len() {
            let duty = Duty {
                node,
                address,
                subnet: self.plan.settings.counting_subnet(Subnet::host(address)),
                port: 22,
                jail: None,
                origin: ask.via,
                first_ms: ask.asked_at_ms,
                known_at_ms: self.now_ms,
                until_ms: Some((ask.asked_at_ms + for_ms).saturating_sub(behind_ms)),
                acknowledged: Some(*index),
                has_verdict: false,
                is_seen: false,
            };
            // Lifted while the answer was on its way, or before it in the log: either is possible.
            let may_be_lifted = self.asks.iter().any(|other| {
                self.lifts(&other.order, &duty)
                    && other.answered.as_ref().is_none_or(|(at_ms, _, _)| *at_ms >= ask.asked_at_ms)
            });
            if !may_be_lifted && !self.is_excused(&duty) {
                self.oracle.duties.push(duty);
            }
        }
    }

    /// The jail of the plan with this name.
    pub(crate) fn jail_of(&self, key: &BanKey) -> Option<usize> {
        self.plan.jails.iter().position(|jail| jail.name == key.jail.as_str())
    }

    /// Whether some line about them was read by a host whose clock had jumped since it was written, or
    /// that knew the time only by a wall clock after a reboot: nobody can say when that was. A leader that stamps a year
    /// ahead takes the age from everything (docs/decisions/0009).
    pub(crate) fn is_misdated(&self, subnet: Subnet) -> bool {
        let mut evidence = self.oracle.evidence.iter().filter(|seen| seen.subnet == subnet);
        self.plan.stamps_wrongly.is_some()
            || self.oracle.guessed.contains(&subnet)
            || evidence.any(|seen| self.nodes[seen.node].jumped_at_ms > seen.at_ms)
    }

    /// The override on this node for an address, if one is in force. It ends by what its host knows of cluster time,
    /// which is behind for a while when nobody could read the clocks (docs/decisions/0011): then it ends that late.
    pub(crate) fn override_of(&self, node: usize, subnet: Subnet) -> Option<OverrideKind> {
        let is_about = |offender: usize| {
            self.plan.settings.counting_subnet(Subnet::host(self.plan.offenders[offender])) == subnet
        };
        // And whoever was led on goes slower until the others have come that far.
        let late_ms = |held: &Decision| self.raft.behind_ms_since(held.since_index) + self.plan.led_ms();
        let is_in_force = |held: &Decision| held.until_ms + EARLY_MS + late_ms(held) >= self.now_ms;
        let mut overrides = self.oracle.overrides.iter();
        overrides
            .find(|((host, offender), held)| *host == node && is_about(*offender) && is_in_force(held))
            .map(|(_, held)| held.kind)
    }
}
