//! Running a host: start and crash, reading the log, steps of the warden and what becomes of their
//! effects, in the daemon's own order: the kernel first, then peers and leader, then the disk.

use crate::clock::{Clocks, WORLD_BEGINS_MS};
use crate::disk::{Disk, StoredTime, Write};
use crate::kernel::Kernel;
use crate::network::Datagram;
use crate::node::{Line, Node, Process};
use crate::plan::{FIND_TIME_MS, Plan, gateway, own_address, wrong_skew};
use crate::raft_log::{Waiting, position};
use crate::world::{Happening, World};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::{LEVEL, Op};
use bannkreis_core::event::{Configuration, Effect, Event};
use bannkreis_core::event_id::LineDigest;
use bannkreis_core::failure::{Failure, SourceId, SourcePosition};
use bannkreis_core::ids::NodeId;
use bannkreis_core::node_clock::{NodeClock, is_time_due};
use bannkreis_core::node_record::{NodeRecord, NodeRole};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::SECOND_MS;
use bannkreis_core::warden::Warden;
use std::net::IpAddr;

/// The bytes of one line in a log.
const LINE_BYTES: u64 = 100;
/// What is written is synced this long after.
pub(crate) const SYNC_MS: u64 = 900;
/// The store writes a snapshot file every so many entries.
const SNAPSHOT_ENTRIES: usize = 25;

impl Node {
    /// A host as it is when the world begins: booted a while ago, and nothing on it.
    pub(crate) fn new(index: usize, plan: &Plan) -> Node {
        let drift_ppm = plan.drifts_ppm[index];
        Node {
            index,
            id: NodeId(100 + index as u64),
            clocks: Clocks {
                skew_ms: plan.skews_ms[index],
                drift_ppm,
                booted_at_ms: WORLD_BEGINS_MS - 1_000 * (1 + index as u64),
                boot: 1,
            },
            kernel: Kernel::new(),
            disk: Disk::formatted(BanList::new(plan.settings).records().collect()),
            log: Vec::new(),
            process: None,
            start: 0,
            lags_until_ms: 0,
            died_at_ms: 0,
            jumped_at_ms: 0,
            without: None,
            counts_since_ms: 0,
            leaderless_at_ms: 0,
            powered: true,
        }
    }
}

impl World {
    /// The daemon starts: what it keeps is in the kernel before the sources are opened, leader or not.
    pub(crate) fn start(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let host = &mut self.nodes[node];
        if host.process.is_some() {
            return;
        }
        if !host.powered {
            host.powered = true;
            host.clocks.boot += 1;
            host.clocks.booted_at_ms = now_ms;
            // A machine whose battery is empty wakes up in any year.
            if self.plan.wrong_clock == Some(node) && !self.healed && self.random.chance(500) {
                host.clocks.skew_ms = wrong_skew(&mut self.random);
                host.jumped_at_ms = now_ms;
                self.coverage.hit("clock: wild after a reboot");
            }
        }
        host.start += 1;
        if host.without.take().is_some() {
            host.counts_since_ms = now_ms;
        }
        // A process that starts has forgotten what an earlier one had honoured.
        self.oracle.rogue_since.retain(|(told, _, _), _| *told != node);
        let mut list = BanList::new(self.plan.settings);
        let (snapshot_index, records) = host.disk.snapshot.clone();
        for record in records {
            list.restore(record);
        }
        let committed = host.disk.committed_synced.max(snapshot_index);
        // The replay of the log comes before the warden, or the warden watches it.
        let watches_replay = host.start.is_multiple_of(2);
        let mut applied = snapshot_index;
        if !watches_replay {
            for index in snapshot_index + 1..=committed {
                match &self.raft.committed[index - 1].command {
                    Some(command) => {
                        list.apply(position(index), command);
                    }
                    None => list.skip(position(index)),
                }
            }
            applied = committed;
        }
        let local = host.disk.local();
        let kept = local.outbox.values().cloned().collect();
        let overrides = local.overrides.iter().map(|(subnet, held)| (*subnet, held.clone())).collect();
        let next_line = usize::try_from(local.position.0 / LINE_BYTES).unwrap_or(0);
        let clock = NodeClock::resumed(
            local.time.as_ref(),
            list.now(),
            &host.clocks.boot,
            host.clocks.wall(now_ms),
            host.clocks.boottime_ms(now_ms),
        );
        let guessed = clock.is_guessed();
        let warden = Warden::new(host.id, list.view(), kept, overrides);
        let is_first = host.start == 1;
        host.process = Some(Process {
            warden,
            list,
            applied,
            clock,
            time_asked: None,
            time_stored_ms: None,
            learned: None,
            caught_up: false,
            leader_known: false,
            sources_open: false,
            next_line,
            replayed_before: 0,
            read_planned: false,
            sync_planned: false,
            timer_at_ms: u64::MAX,
            told_itself_at_ms: 0,
        });
        if guessed && !is_first {
            self.coverage.hit("clock: estimated");
        }
        if !is_first && self.raft.leader.is_none() {
            self.coverage.hit("node: restarted without a leader");
        }
        if applied < self.raft.last_index() && !is_first {
            self.coverage.hit("node: restarted on an older view");
        }
        self.trace(format_args!("node {node} starts at {applied}, reads from line {next_line}"));
        let configuration = self.configuration(node);
        self.step(node, Event::Configured(configuration));
        if watches_replay && committed > snapshot_index {
            self.apply_entries(node, committed);
        }
        let host = &mut self.nodes[node];
        let (start, n_lines) = (host.start, host.log.len());
        if let Some(process) = &mut host.process {
            process.sources_open = true;
            process.read_planned = true;
            process.replayed_before = n_lines;
            if process.next_line < n_lines {
                self.coverage.hit("node: lines read again");
            }
        }
        self.plan_in(1, Happening::Read { node, start });
        for peer in 0..self.nodes.len() {
            self.reach(node, peer);
            self.reach(peer, node);
        }
    }

    fn configuration(&self, node: usize) -> Configuration {
        let without = self.nodes[node].without;
        let jails = self.plan.jails.iter().enumerate().filter(|(n, _)| without != Some(*n));
        let jails = jails.map(|(_, jail)| jail).filter(|jail| jail.nodes.contains(&node));
        Configuration {
            jails: jails.map(|jail| jail.jail(node)).collect(),
            own: vec![Subnet::host(own_address(node)), Subnet::host(gateway())],
            peers: (0..self.nodes.len()).map(|peer| Subnet::host(own_address(peer))).collect(),
            observe: false,
        }
    }

    /// The configuration is read again. While a jail is not in it, its lines count for nothing.
    pub(crate) fn reload(&mut self, node: usize, without: Option<usize>) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.trace(format_args!("node {node} reads its configuration again, without {without:?}"));
        self.coverage.hit("node: reloaded without a jail");
        self.nodes[node].without = without;
        self.nodes[node].counts_since_ms = self.now_ms;
        self.oracle.forgot.push((node, self.now_ms));
        let configuration = self.configuration(node);
        self.step(node, Event::Configured(configuration));
    }

    /// The process ends, and what it kept for itself is lost: proposals without an answer, overrides, places
    /// in logs. The daemon begins anew at their ends; what the cluster knows is not concerned.
    pub(crate) fn corrupt(&mut self, node: usize, down_ms: u64) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.crash(node, false, down_ms);
        self.coverage.hit("disk: local store lost");
        let now_ms = self.now_ms;
        let host = &mut self.nodes[node];
        let end = SourcePosition(host.log.len() as u64 * LINE_BYTES);
        host.disk.lose_local(end);
        host.counts_since_ms = now_ms;
        self.oracle.forget_own(node, now_ms);
    }

    /// Whatever was on a node's disk is gone, under a daemon that does not run. Its kernel is as it was.
    pub(crate) fn wipe(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let host = &mut self.nodes[node];
        host.disk = Disk::formatted(BanList::new(self.plan.settings).records().collect());
        let end = SourcePosition(host.log.len() as u64 * LINE_BYTES);
        host.disk.lose_local(end);
        host.counts_since_ms = now_ms;
        self.oracle.forget_own(node, now_ms);
    }

    /// The process ends; with `power`, the machine does too, and the kernel forgets.
    pub(crate) fn crash(&mut self, node: usize, power: bool, down_ms: u64) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.trace(format_args!("node {node} {}", if power { "loses power" } else { "is killed" }));
        self.coverage.hit(if power { "node: power lost" } else { "node: killed" });
        let n_unsynced = self.nodes[node].disk.n_unsynced();
        let n_kept = self.random.index(n_unsynced + 1);
        if n_kept < n_unsynced {
            self.coverage.hit("disk: unsynced write lost");
        }
        let host = &mut self.nodes[node];
        host.process = None;
        host.died_at_ms = self.now_ms;
        host.disk.crash(n_kept);
        host.kernel.worker_died();
        if power {
            host.powered = false;
            host.kernel = Kernel::new();
            self.oracle.kernel_emptied(node);
        }
        if self.raft.leader.as_ref().is_some_and(|leader| leader.node == node) {
            self.depose();
        }
        self.plan_in(down_ms, Happening::Start { node });
    }

    /// A hostile line reaches a node's log. What the firewall drops can not fail at a jail, but what was
    /// `in_flight` can.
    pub(crate) fn write_line(&mut self, node: usize, jail: usize, address: IpAddr, in_flight: bool) {
        let now_ms = self.now_ms;
        let host = &mut self.nodes[node];
        host.kernel.set_now(now_ms);
        let port = self.plan.jails[jail].ports(node)[0];
        if !in_flight && host.kernel.drops(address, port) {
            return;
        }
        let wall = host.clocks.wall(now_ms);
        host.log.push(Line { jail, address, wall, at_ms: now_ms });
        self.oracle.line_written(node, jail, address, now_ms);
        let host = &mut self.nodes[node];
        let start = host.start;
        if let Some(process) = &mut host.process
            && !process.read_planned
        {
            process.read_planned = true;
            let delay_ms = self.random.between(1, 200);
            self.plan_in(delay_ms, Happening::Read { node, start });
        }
    }

    /// The daemon reads what is new in the log.
    pub(crate) fn read(&mut self, node: usize, start: u32) {
        let host = &mut self.nodes[node];
        let Some(process) = host.process.as_mut().filter(|_| host.start == start) else { return };
        process.read_planned = false;
        let from = process.next_line.min(host.log.len());
        let replayed_before = process.replayed_before;
        process.next_line = host.log.len();
        // As the daemon's filter does: what is read again counts only within findtime, by the clock of now.
        let oldest = host.clocks.wall(self.now_ms).minus_ms(FIND_TIME_MS);
        let lines = host.log.iter().cloned().enumerate().skip(from);
        let (outdated, lines): (Vec<_>, Vec<_>) =
            lines.partition(|(n, line)| *n < replayed_before && line.wall < oldest);
        outdated.iter().for_each(|(_, line)| self.oracle.line_outdated(node, line, host.died_at_ms));
        let failures: Vec<Failure> = lines
            .iter()
            .map(|(n, line)| {
                let jail = self.plan.jails[line.jail].jail(node).name;
                Failure {
                    jail,
                    offender: Subnet::host(line.address),
                    at: line.wall,
                    evidence: "failed password".to_owned(),
                    line: LineDigest::default(),
                    user: None,
                    source: SourceId(0),
                    position: SourcePosition(*n as u64 * LINE_BYTES),
                    replayed: *n < replayed_before,
                }
            })
            .collect();
        let position = SourcePosition(host.log.len() as u64 * LINE_BYTES);
        if !failures.is_empty() {
            self.trace(format_args!("node {node} reads {} lines from {from}", failures.len()));
            self.step(node, Event::Failures(failures));
        }
        self.step(node, Event::ReadUpTo { source: SourceId(0), position });
        for (_, line) in lines {
            self.line_was_read(node, &line);
        }
    }

    /// One step of a node's warden.
    pub(crate) fn step(&mut self, node: usize, event: Event) {
        let now_ms = self.now_ms;
        let host = &mut self.nodes[node];
        let now = host.now(now_ms);
        let Some(process) = &mut host.process else { return };
        let is_timer = matches!(event, Event::Timer);
        let mut effects = Vec::new();
        process.warden.step(now, event, &mut effects);
        let spins = is_timer && process.warden.next_timer().is_some_and(|due| due <= now.cluster);
        if spins {
            let due = process.warden.next_timer();
            self.fail(
                "bounded memory",
                format!("node {node}'s timer is due at {due:?} again at {}", now.cluster),
            );
        }
        let touches_firewall = effects.iter().any(|effect| {
            matches!(effect, Effect::Firewall(_) | Effect::ReplaceFirewall(_) | Effect::SettleFirewall { .. })
        });
        self.carry_out(node, effects);
        self.plan_timer(node);
        if touches_firewall {
            self.judge_node(node);
        }
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let now_ms = self.now_ms;
        let now = self.nodes[node].now(now_ms);
        let mut deltas = Vec::new();
        let mut later = Vec::new();
        for effect in effects {
            match effect {
                Effect::Firewall(delta) => deltas.push(delta),
                Effect::ReplaceFirewall(ruleset) => {
                    self.apply_deltas(node, &std::mem::take(&mut deltas));
                    let wish = self.nodes[node].kernel.replace(now_ms, now.cluster, &ruleset);
                    self.grant(node, wish);
                }
                Effect::SettleFirewall { ruleset, is_exact } => {
                    self.apply_deltas(node, &std::mem::take(&mut deltas));
                    let wish = self.nodes[node].kernel.settle(now_ms, now.cluster, &ruleset, is_exact);
                    self.grant(node, wish);
                }
                other => later.push(other),
            }
        }
        self.apply_deltas(node, &deltas);
        let mut batch = Vec::new();
        for effect in later {
            match effect {
                Effect::Firewall(_) | Effect::ReplaceFirewall(_) | Effect::SettleFirewall { .. } => {}
                Effect::Notify(notices) => self.tell(node, None, &Datagram::Notices(notices)),
                Effect::Report { to, reports } => {
                    let only = to.and_then(|to| self.nodes.iter().position(|host| host.id == to));
                    self.tell(node, only, &Datagram::Reports(reports));
                }
                Effect::Propose(proposals) => {
                    let keys = proposals
                        .iter()
                        .map(|proposal| BanKey { subnet: proposal.offender, jail: proposal.jail.clone() })
                        .collect();
                    let start = self.nodes[node].start;
                    let ops = proposals.into_iter().map(Op::Ban).collect();
                    self.propose(node, ops, Waiting::Warden { node, start, keys });
                }
                Effect::StoreOutbox { key, entry } => batch.push(Write::Outbox(key, entry)),
                Effect::StoreOverride { subnet, decision } => batch.push(Write::Override(subnet, decision)),
                Effect::StorePosition { position, .. } => batch.push(Write::Position(position)),
                Effect::Tell(notable) => self.told(node, &notable),
            }
        }
        let host = &mut self.nodes[node];
        let Some(process) = &mut host.process else { return };
        let (boottime_ms, guessed) = (host.clocks.boottime_ms(now_ms), process.clock.is_guessed());
        if !batch.is_empty() || is_time_due(process.time_stored_ms, boottime_ms, guessed) {
            process.time_stored_ms = (!guessed).then_some(boottime_ms);
            // What an operator decided for this host is synced before the answer.
            let is_override = batch.iter().any(|write| matches!(write, Write::Override(..)));
            let (cluster, wall, boot) = (now.cluster, now.wall, host.clocks.boot);
            batch.push(Write::Time(StoredTime { cluster, wall, boottime_ms, boot, guessed }));
            host.disk.write(batch);
            if is_override {
                host.disk.sync();
            }
        }
        self.plan_sync(node);
    }

    fn plan_timer(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let host = &mut self.nodes[node];
        let cluster = host.now(now_ms).cluster;
        let start = host.start;
        let Some(process) = &mut host.process else { return };
        let Some(due) = process.warden.next_timer() else { return };
        let due_ms = now_ms.saturating_add(due.ms_since(cluster).max(1));
        // An earlier plan stands: it will look again.
        if process.timer_at_ms <= due_ms && process.timer_at_ms > now_ms {
            return;
        }
        process.timer_at_ms = due_ms;
        self.plan_in(due_ms - now_ms, Happening::Timer { node, start, due_ms });
    }

    pub(crate) fn on_timer(&mut self, node: usize, start: u32, due_ms: u64) {
        let host = &mut self.nodes[node];
        let Some(process) = host.process.as_mut().filter(|_| host.start == start) else { return };
        if process.timer_at_ms == due_ms {
            process.timer_at_ms = u64::MAX;
            self.step(node, Event::Timer);
        }
    }

    fn plan_sync(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        let start = host.start;
        let needs_sync = host.disk.is_dirty() || host.disk.committed_synced < host.disk.committed_written;
        let Some(process) = &mut host.process else { return };
        if needs_sync && !process.sync_planned {
            process.sync_planned = true;
            self.plan_in(SYNC_MS, Happening::Sync { node, start });
        }
    }

    pub(crate) fn sync(&mut self, node: usize, start: u32) {
        let host = &mut self.nodes[node];
        let Some(process) = host.process.as_mut().filter(|_| host.start == start) else { return };
        process.sync_planned = false;
        host.disk.sync();
        if process.applied >= host.disk.snapshot.0 + SNAPSHOT_ENTRIES {
            host.disk.snapshot = (process.applied, process.list.records().collect());
        }
    }

    /// What daemons do by themselves: ask what time it is, and tell the cluster who they are.
    pub(crate) fn beat_nodes(&mut self) {
        for node in 0..self.nodes.len() {
            self.ask_time(node);
            let now_ms = self.now_ms;
            let starts_at = if self.plan.late_records && node > 0 { 40 * SECOND_MS } else { 0 };
            let host = &mut self.nodes[node];
            let (index, id) = (host.index, host.id);
            let is_witness = self.plan.has_witness && index + 1 == self.plan.n_nodes;
            let Some(process) = &mut host.process else { continue };
            let is_due = now_ms >= process.told_itself_at_ms + 3 * SECOND_MS;
            let is_late = now_ms < WORLD_BEGINS_MS + starts_at;
            if process.list.node(id).is_some() || !process.leader_known || !is_due || is_late {
                continue;
            }
            process.told_itself_at_ms = now_ms;
            let jails = self.plan.jails.iter().filter(|jail| jail.nodes.contains(&node));
            let record = NodeRecord {
                node: id,
                name: format!("node{index}"),
                address: format!("node{index}:7420"),
                key_fingerprint: Vec::new(),
                own: vec![Subnet::host(own_address(index))],
                gateways: vec![Subnet::host(gateway())],
                resolvers: Vec::new(),
                reaches: Vec::new(),
                jails: jails.map(|jail| (jail.jail(index).name, jail.jail(index).ports)).collect(),
                level_max: LEVEL,
                role: if is_witness { NodeRole::Witness } else { NodeRole::Full },
            };
            self.propose(node, vec![Op::NodeSeen(record)], Waiting::Nobody);
        }
    }
}
