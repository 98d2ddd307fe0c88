//! The ideal ordered log: what Raft promises, without Raft. Entries are committed in one order, on a
//! majority, and never lost; everything before that may be lost, doubled, delayed, or answered with
//! "unknown", and the leader changes.
//!
//! The leader stamps entries with its own idea of cluster time and writes ticks with the clocks of the
//! voters it can reach, as the real proposer does; it never writes one without a majority of them.

mod election;

use crate::node::TimeAsked;
use crate::world::{Happening, World};
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::change::{BanKey, OpResult};
use bannkreis_core::command::{Command, LEVEL, Op};
use bannkreis_core::event::Event;
use bannkreis_core::ids::{NodeId, Position};
use bannkreis_core::time::{ClusterClock, DAY_MS, SECOND_MS, Timestamp};
use std::sync::Arc;

/// Entries that a node applies in one go.
const ENTRIES_PER_BATCH_MAX: usize = 8;
/// The leader reads the voters' clocks this often.
const TICK_INTERVAL_MS: u64 = 20 * SECOND_MS;
/// What was committed and applied so soon after it was asked for says what time it is.
const SETTLE_WITHIN_MS: u64 = SECOND_MS;
/// A proposal without an answer is given up after this.
const ANSWER_TIMEOUT_MS: u64 = 5 * SECOND_MS;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    Nobody,
    /// A warden, about these proposals.
    Warden {
        node: usize,
        start: u32,
        keys: Vec<BanKey>,
    },
    /// A client's order.
    Client {
        ask: usize,
    },
    /// A node that wants to know what time it is.
    Time {
        node: usize,
        start: u32,
        asked_at_ms: u64,
    },
}

/// One entry; `None` is a leader's blank one.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) command: Option<Arc<Command>>,
}

#[derive(Clone, Debug)]
struct Appended {
    entry: Entry,
    waiting: Waiting,
}

#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) node: usize,
    pub(crate) start: u32,
    pub(crate) term: u64,
    appended: Vec<Appended>,
    tick_asked_at_ms: u64,
    /// What the voters' clocks said in this term.
    voters: Option<ClusterClock>,
    /// A majority is slow to store what the leader has appended: nothing is committed before this.
    slow_until_ms: u64,
}

/// See the module.
pub(crate) struct RaftLog {
    pub(crate) committed: Vec<Entry>,
    /// The ban list after every entry; the first one is the empty list.
    pub(crate) history: Vec<BanView>,
    reference: BanList,
    /// How far cluster time was behind true time, by entry.
    pub(crate) behind_ms: Vec<u64>,
    pub(crate) leader: Option<Leader>,
    /// What a deposed leader had appended: some of it may still be committed.
    orphaned: Vec<Entry>,
    term: u64,
    pub(crate) leaderless_until_ms: u64,
}

/// What the voters' clocks say, as apply reads them.
fn lower_median(readings: &[(NodeId, Timestamp)]) -> Timestamp {
    let mut clocks: Vec<Timestamp> = readings.iter().map(|(_, clock)| *clock).collect();
    clocks.sort_unstable();
    clocks.get(clocks.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// The position of the entry with this index.
pub(crate) fn position(index: usize) -> Position {
    Position { generation: 0, index: index as u64 }
}

impl RaftLog {
    /// The empty log of a new cluster.
    pub(crate) fn new(list: &BanList) -> RaftLog {
        RaftLog {
            committed: Vec::new(),
            history: vec![list.view()],
            reference: list.clone(),
            behind_ms: vec![0],
            leader: None,
            orphaned: Vec::new(),
            term: 0,
            leaderless_until_ms: 0,
        }
    }

    /// How far cluster time may have been behind when the entry with this index, or one not long before
    /// it, was committed: after an outage, two clocks of which one is wrong can only follow slowly.
    pub(crate) fn behind_ms_at(&self, index: usize) -> u64 {
        let recent = &self.behind_ms[index.saturating_sub(20)..=index];
        recent.iter().copied().max().unwrap_or(0)
    }

    /// How far cluster time was behind at most when anything after the entry with this index was committed.
    pub(crate) fn behind_ms_since(&self, index: usize) -> u64 {
        self.behind_ms.iter().skip(index + 1).copied().max().unwrap_or(0)
    }

    /// The index of the last committed entry.
    pub(crate) fn last_index(&self) -> usize {
        self.committed.len()
    }
}

impl World {
    /// What happens every heartbeat: leaders fall and rise, time is read, entries travel.
    pub(crate) fn beat_raft(&mut self) {
        if self.raft.leader.is_some() && !self.leader_is_good() {
            self.depose();
        }
        let may_elect = self.now_ms >= self.raft.leaderless_until_ms || self.healed;
        if self.raft.leader.is_none()
            && may_elect
            && self.random.chance(if self.healed { 1_000 } else { 250 })
        {
            self.elect();
        }
        for node in 0..self.nodes.len() {
            self.tell_leader(node);
        }
        self.tick();
        self.commit();
        for node in 0..self.nodes.len() {
            self.replicate(node);
        }
    }

    /// The leader reads the voters' clocks at first and then while anything can expire, and sweeps while it
    /// is at it.
    fn tick(&mut self) {
        let Some(leader) = &self.raft.leader else { return };
        let is_first = leader.tick_asked_at_ms == 0;
        let Some(process) = &self.nodes[leader.node].process else { return };
        let can_expire = process.list.n_bans() > 0 || !process.list.allow_list().is_empty() || !self.healed;
        if (is_first || can_expire) && self.append_tick(is_first) {
            let n_sweeps = if self.now_ms.is_multiple_of(3) { 64 } else { 4 };
            self.append((0..n_sweeps).map(|_| Op::Sweep).collect(), Waiting::Nobody);
        }
    }

    /// The leader writes a tick when the last one is long enough ago, and a majority can be asked.
    fn append_tick(&mut self, is_first: bool) -> bool {
        let Some(leader) = &mut self.raft.leader else { return false };
        let node = leader.node;
        let Some(process) = &self.nodes[node].process else { return false };
        let stamp = self.nodes[node].now(self.now_ms).cluster;
        let last_tick = process.list.last_tick();
        // While one is on its way there is no need for another.
        let is_waiting = self.now_ms < leader.tick_asked_at_ms + 2 * SECOND_MS;
        let is_due = stamp.ms_since(last_tick) >= TICK_INTERVAL_MS
            || process.list.now().ms_since(last_tick) >= TICK_INTERVAL_MS;
        let voters = self.reachable(node);
        if is_waiting || !(is_first || is_due) || voters.len() < self.quorum() {
            return false;
        }
        let readings: Vec<_> = voters
            .iter()
            .map(|&voter| (self.nodes[voter].id, self.nodes[voter].clocks.wall(self.now_ms)))
            .collect();
        let boottime_ms = self.nodes[node].clocks.boottime_ms(self.now_ms);
        if let Some(leader) = &mut self.raft.leader {
            leader.tick_asked_at_ms = self.now_ms;
            leader.voters = Some(ClusterClock::new(lower_median(&readings), boottime_ms));
        }
        self.append(vec![Op::Tick { readings }], Waiting::Nobody);
        true
    }

    /// A node sends operations to the leader it knows.
    pub(crate) fn propose(&mut self, node: usize, ops: Vec<Op>, waiting: Waiting) {
        let faults = if self.healed { 0 } else { self.plan.proposal_faults };
        let knows = self.nodes[node].process.as_ref().is_some_and(|process| process.leader_known);
        let Some(leader) = self.raft.leader.as_ref().filter(|_| knows) else {
            self.later_answer(waiting, None, 50);
            return;
        };
        let (to, term) = (leader.node, leader.term);
        if to != node && !(self.links[node][to] && self.links[to][node]) {
            self.later_answer(waiting, None, ANSWER_TIMEOUT_MS);
            return;
        }
        if self.random.chance(faults) {
            self.coverage.hit("log: proposal lost");
            self.later_answer(waiting, None, ANSWER_TIMEOUT_MS);
            return;
        }
        let mut delay_ms = if to == node { 1 } else { self.random.between(1, 30) };
        if self.random.chance(faults) {
            self.coverage.hit("log: proposal delayed");
            delay_ms += self.random.below(8_000);
        }
        if self.random.chance(faults) {
            self.coverage.hit("log: proposal doubled");
            let later = delay_ms + self.random.below(5_000);
            self.plan_in(later, Happening::Proposed { term, ops: ops.clone(), waiting: Waiting::Nobody });
        }
        self.plan_in(delay_ms, Happening::Proposed { term, ops, waiting });
    }

    /// Operations arrive at whoever led when they were sent.
    pub(crate) fn on_proposed(&mut self, term: u64, ops: Vec<Op>, waiting: Waiting) {
        let leads = self.leader_is_good();
        // What is written first in a term is a tick.
        let takes = |leader: &Leader| leads && leader.term == term && leader.tick_asked_at_ms > 0;
        if !self.raft.leader.as_ref().is_some_and(takes) {
            return self.later_answer(waiting, None, 10);
        }
        // In a quiet cluster time is not read: before anything new is written it is, so that a node that
        // only estimates it gets to know.
        self.append_tick(false);
        self.append(ops, waiting);
        if !self.healed && self.random.chance(self.plan.slow_quorums) {
            self.coverage.hit("log: quorum is slow");
            let slow_until_ms = self.now_ms + self.random.below(8_000);
            if let Some(leader) = &mut self.raft.leader {
                leader.slow_until_ms = slow_until_ms;
            }
        }
        self.plan_in(2, Happening::Commit);
    }

    fn append(&mut self, ops: Vec<Op>, waiting: Waiting) {
        let Some(leader) = &self.raft.leader else { return };
        let Some(process) = &self.nodes[leader.node].process else { return };
        let boottime_ms = self.nodes[leader.node].clocks.boottime_ms(self.now_ms);
        // A leader that only guesses the time goes on from what the log and its tick say.
        let known = process.clock.known(boottime_ms);
        let at = leader.voters.map_or(known, |voters| known.max(voters.now(boottime_ms)));
        let is_wrong = self.plan.stamps_wrongly == Some(leader.node) && !self.healed;
        let at = if is_wrong { at.plus_ms(365 * DAY_MS) } else { at };
        if is_wrong {
            self.coverage.hit("clock: leader stamps wrongly");
        }
        let command = Command { at, level: LEVEL, ops, signed_by: None, signature: Vec::new() };
        let entry = Entry { command: Some(Arc::new(command)) };
        if let Some(leader) = &mut self.raft.leader {
            leader.appended.push(Appended { entry, waiting });
        }
    }

    /// A majority stores nothing before this: what is proposed is appended, and waits.
    pub(crate) fn hold_commits_until(&mut self, at_ms: u64) {
        if let Some(leader) = &mut self.raft.leader {
            leader.slow_until_ms = at_ms;
        }
    }

    /// Commits what the leader has, as long as a majority hears it.
    pub(crate) fn commit(&mut self) {
        if !self.leader_is_good() {
            return;
        }
        let Some(leader) = &mut self.raft.leader else { return };
        if self.now_ms < leader.slow_until_ms && !self.healed {
            return;
        }
        let node = leader.node;
        let appended = std::mem::take(&mut leader.appended);
        if appended.is_empty() {
            return;
        }
        for Appended { entry, waiting } in appended {
            let index = self.raft.last_index() + 1;
            let results = match &entry.command {
                Some(command) => self.raft.reference.apply(position(index), command).results,
                None => {
                    self.raft.reference.skip(position(index));
                    Vec::new()
                }
            };
            self.trace(format_args!("committed {index}: {:?}", entry.command));
            self.raft.committed.push(entry);
            self.raft.history.push(self.raft.reference.view());
            self.raft.behind_ms.push(self.now_ms.saturating_sub(self.raft.reference.now().0));
            self.answer(waiting, Some((index, results)));
        }
        self.replicate(node);
        for other in 0..self.nodes.len() {
            if other != node {
                let delay_ms = self.random.between(1, 40);
                self.plan_in(delay_ms, Happening::Replicate { node: other });
            }
        }
    }

    /// The answer to a proposal sets out; it may be lost or turned into "unknown".
    fn answer(&mut self, waiting: Waiting, committed: Option<(usize, Vec<OpResult>)>) {
        let faults = if self.healed { 0 } else { self.plan.proposal_faults };
        if matches!(waiting, Waiting::Nobody) {
            return;
        }
        if self.random.chance(faults) {
            self.coverage.hit("log: answer never came");
            return;
        }
        if self.random.chance(faults) {
            self.coverage.hit("log: answered unknown");
            self.later_answer(waiting, None, ANSWER_TIMEOUT_MS);
            return;
        }
        let delay_ms = self.random.between(1, 30);
        self.later_answer(waiting, committed, delay_ms);
    }

    fn later_answer(&mut self, waiting: Waiting, committed: Option<(usize, Vec<OpResult>)>, delay_ms: u64) {
        if !matches!(waiting, Waiting::Nobody) {
            self.plan_in(delay_ms, Happening::Answered { waiting, committed });
        }
    }

    /// An answer arrives.
    pub(crate) fn on_answered(&mut self, waiting: Waiting, committed: Option<(usize, Vec<OpResult>)>) {
        match waiting {
            Waiting::Nobody => {}
            Waiting::Warden { node, start, keys } => {
                if self.nodes[node].process.is_some() && self.nodes[node].start == start {
                    let committed = committed.map(|(index, _)| position(index));
                    self.step(node, Event::Answered { keys, committed });
                }
            }
            Waiting::Client { ask } => self.on_order_answered(ask, committed),
            Waiting::Time { node, start, asked_at_ms } => {
                let host = &mut self.nodes[node];
                let Some(process) = host.process.as_mut().filter(|_| host.start == start) else { return };
                let asked = process.time_asked.take_if(|asked| asked.at_ms == asked_at_ms);
                if let (Some(asked), Some((index, _))) = (asked, committed) {
                    process.time_asked = Some(TimeAsked { index: Some(index), ..asked });
                    self.settle_time(node);
                }
            }
        }
    }

    /// A node gets entries, or a snapshot when it is far behind.
    pub(crate) fn replicate(&mut self, node: usize) {
        let Some(leader) = self.raft.leader.as_ref().map(|leader| leader.node) else { return };
        let is_linked = leader == node || (self.links[leader][node] && self.links[node][leader]);
        if !is_linked || (self.now_ms < self.nodes[node].lags_until_ms && !self.healed) {
            return;
        }
        let last = self.raft.last_index();
        let lag = self.plan.snapshot_lag;
        let Some(process) = &mut self.nodes[node].process else { return };
        let learned = *process.learned.get_or_insert(last);
        if process.applied < last {
            if last - process.applied > lag && leader != node {
                self.install(node, last);
            } else {
                let to = last.min(process.applied + ENTRIES_PER_BATCH_MAX);
                self.apply_entries(node, to);
                self.settle_time(node);
                if to < last {
                    self.plan_in(5, Happening::Replicate { node });
                }
            }
        }
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.applied >= learned && !process.caught_up {
            process.caught_up = true;
            self.step(node, Event::CaughtUp);
        }
    }

    /// Applies entries up to the one with index `to`, and hands the changes to the warden.
    pub(crate) fn apply_entries(&mut self, node: usize, to: usize) {
        let boottime_ms = self.nodes[node].clocks.boottime_ms(self.now_ms);
        let Some(process) = &mut self.nodes[node].process else { return };
        let mut changes = Vec::new();
        for index in process.applied + 1..=to {
            let Some(command) = &self.raft.committed[index - 1].command else {
                process.list.skip(position(index));
                continue;
            };
            let before = process.list.last_tick();
            changes.extend(process.list.apply(position(index), command).changes);
            let voters = Some(process.list.last_tick()).filter(|voters| *voters != before);
            process.clock.observe(process.list.now(), voters, boottime_ms);
        }
        process.applied = to;
        let view = process.list.view();
        self.nodes[node].disk.committed_written = to;
        self.step(node, Event::Applied { view, changes });
    }

    /// A node that has caught up asks the cluster what time it is, as the daemon does.
    pub(crate) fn ask_time(&mut self, node: usize) {
        let (now_ms, start) = (self.now_ms, self.nodes[node].start);
        let Some(process) = &mut self.nodes[node].process else { return };
        let is_open = |asked: TimeAsked| asked.index.is_some() || now_ms < asked.at_ms + ANSWER_TIMEOUT_MS;
        if process.caught_up && process.clock.is_estimated() && !process.time_asked.is_some_and(is_open) {
            process.time_asked = Some(TimeAsked { at_ms: now_ms, index: None });
            self.propose(node, vec![Op::Sweep], Waiting::Time { node, start, asked_at_ms: now_ms });
        }
    }

    /// What was asked for not long ago and has been applied was stamped in between.
    fn settle_time(&mut self, node: usize) {
        let boottime_ms = self.nodes[node].clocks.boottime_ms(self.now_ms);
        let Some(process) = &mut self.nodes[node].process else { return };
        let is_answered = |asked: &mut TimeAsked| asked.index.is_some_and(|index| process.applied >= index);
        let Some(asked) = process.time_asked.take_if(is_answered) else { return };
        if process.clock.is_estimated() && self.now_ms <= asked.at_ms + SETTLE_WITHIN_MS {
            process.clock.settle(boottime_ms);
            self.step(node, Event::Timer);
        }
    }

    /// A snapshot takes the place of everything a node had.
    fn install(&mut self, node: usize, index: usize) {
        self.coverage.hit("log: snapshot installed");
        self.trace(format_args!("node {node} installs the snapshot at {index}"));
        let records: Vec<_> = self.raft.history[index].records().collect();
        let mut list = BanList::new(self.plan.settings);
        for record in &records {
            list.restore(record.clone());
        }
        let boottime_ms = self.nodes[node].clocks.boottime_ms(self.now_ms);
        let host = &mut self.nodes[node];
        host.disk.snapshot = (index, records);
        host.disk.committed_written = index;
        host.disk.committed_synced = index;
        let Some(process) = &mut host.process else { return };
        process.clock.observe(list.now(), None, boottime_ms);
        process.applied = index;
        let view = list.view();
        process.list = list;
        self.step(node, Event::Installed { view });
    }
}
