//! The local machine: counts this host's failures, proposes bans, and says what this host's firewall
//! must hold so that it equals the ban list, the node's own blocks and its operator's overrides.
//!
//! `step` takes an event and the time, and appends effects; it does nothing else. The daemon's event
//! loop and the simulator both are a few lines around it.
//!
//! ```text
//!  Failures ─▶ tally ─(full)─▶ outbox ─▶ Propose ┄┄ leader ┄┄▶ Applied ─▶ settle ─┐
//!                                │  └──▶ Notify ┄┄ peers ┄┄▶ notices              │
//!                                ▼                              ▼                 ▼
//!                             render: overrides, bans, outbox, notices ─▶ Firewall deltas
//! ```

mod brought_along;
mod estimate;
mod failures;
mod low_trust;
mod notices;
mod outbox;
mod overrides;
mod positions;
mod reaching;
mod recidive;
mod render;
mod reports;
mod served;

pub use low_trust::{LOW_TRUST_BAN_MS_MAX, LOW_TRUST_BLOCKS_MAX};
pub use notices::{NOTICE_MS, NOTICES_PER_ORIGIN_MAX};
pub use outbox::{OUTBOX_MAX, PROPOSALS_PER_EFFECT_MAX};
pub use overrides::OVERRIDES_MAX;
pub use positions::REPLAY_BYTES_MAX;
pub use recidive::failure_of_ban;
pub use reports::{REPORT_BATCH_MAX, REPORT_BATCH_MS, RETOLD_MAX, TOLD_PER_PEER_MAX, ToldCount};

use crate::ban_list::BanView;
use crate::change::{BanKey, Change, Lift};
use crate::event::{Configuration, Effect, Event, OutboxEntry, Override};
use crate::failure::SourceId;
use crate::ids::NodeId;
use crate::jail::{Jail, JailName, Ports};
use crate::reach::Reach;
use crate::ruleset::{Chain, Ruleset};
use crate::subnet::Subnet;
use crate::subnet_map::SubnetMap;
use crate::tally::Tally;
use crate::time::{Now, SECOND_MS, Timestamp};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use brought_along::BroughtAlong;
use low_trust::LowTrust;
use notices::Notices;
use outbox::Outbox;
use positions::Positions;
use reports::Reports;

/// How often old counts are forgotten and ended allow entries noticed: fail2ban's own interval.
const TIDY_INTERVAL_MS: u64 = 5 * SECOND_MS;

/// Why something local must not be blocked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalProtection {
    /// An address of this host, its router or its name server.
    Own,
    /// A configured peer.
    Peer,
    /// `ignoreip` of one of this host's jails.
    IgnoreIp,
    /// An allow entry that this node brings along into a cluster.
    BroughtAlong,
}

/// What a jail has counted on this host since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JailCounts {
    /// Failures counted.
    pub n_failures: u64,
    /// Offenders that reached maxretry and were not blocked already.
    pub n_blocked: u64,
}

/// The local machine of one node.
#[derive(Debug)]
pub struct Warden {
    node: NodeId,
    view: BanView,
    jails: BTreeMap<JailName, Jail>,
    observe: bool,
    /// Before it is configured it does not know what it may block.
    configured: bool,
    /// The union of what this host's jails close: what `reach = guarded` closes here.
    guarded_ports: Ports,
    /// The jails whose failures are bans.
    counting_bans: Vec<JailName>,
    /// What nodes say of the reach of their jails, as it was rendered last.
    reaches: Vec<(NodeId, Vec<(JailName, Reach)>)>,
    local_protected: SubnetMap<LocalProtection>,
    tally: Tally,
    low_trust: LowTrust,
    outbox: Outbox,
    notices: Notices,
    reports: Reports,
    overrides: SubnetMap<Override>,
    /// What the node had in its former life, until the cluster holds it.
    brought_along: Option<BroughtAlong>,
    ruleset: Ruleset,
    /// When an element must be looked at again, because one of its sources ends.
    element_timers: BTreeSet<(Timestamp, Subnet)>,
    /// The timers of elements that are not looked at again just after their end, to take them out when they change.
    odd_timers: BTreeMap<Subnet, Timestamp>,
    /// What elements share: see `render.rs`.
    chains: BTreeSet<Chain>,
    leader_known: bool,
    caught_up: bool,
    /// Until then releases were kept from the firewall.
    has_withheld: bool,
    /// While the time is an estimate: see [`Now::estimated`].
    estimate: Option<estimate::Estimate>,
    /// The estimate was corrected after timeouts of the firewall had been worked out by it.
    has_old_timeouts: bool,
    /// Overrides that are over by an estimate, and kept until it is known better.
    ended_overrides: BTreeSet<Subnet>,
    tidied_at: Timestamp,
    positions: Positions,
    counts: BTreeMap<JailName, JailCounts>,
}

impl Warden {
    /// A warden of `node`, at the ban list `view`, with what was kept over a restart. It does nothing
    /// until it is configured.
    #[must_use]
    pub fn new(
        node: NodeId,
        view: BanView,
        kept: Vec<OutboxEntry>,
        overrides: Vec<(Subnet, Override)>,
    ) -> Warden {
        let mut held = SubnetMap::default();
        for (subnet, decision) in overrides {
            held.insert(subnet, decision);
        }
        Warden {
            node,
            view,
            jails: BTreeMap::new(),
            observe: false,
            configured: false,
            guarded_ports: Ports::none(),
            counting_bans: Vec::new(),
            reaches: Vec::new(),
            local_protected: SubnetMap::default(),
            tally: Tally::default(),
            low_trust: LowTrust::with(&kept),
            outbox: Outbox::with(kept),
            notices: Notices::default(),
            reports: Reports::default(),
            overrides: held,
            brought_along: None,
            ruleset: Ruleset::default(),
            element_timers: BTreeSet::new(),
            odd_timers: BTreeMap::new(),
            chains: BTreeSet::new(),
            leader_known: false,
            caught_up: false,
            has_withheld: false,
            estimate: None,
            has_old_timeouts: false,
            ended_overrides: BTreeSet::new(),
            tidied_at: Timestamp::ZERO,
            positions: Positions::default(),
            counts: BTreeMap::new(),
        }
    }

    /// Takes one event in and appends what is to be done about it.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        let settled = self.estimate.take_if(|_| !now.estimated);
        if let Some(estimate) = settled {
            self.on_time_settled(now, estimate, effects);
        }
        if now.estimated {
            self.on_estimated(now, effects);
        }
        self.on_event(now, event, effects);
        if settled.is_some() {
            // Nothing was settled by an estimate.
            self.settle_all(now, effects);
            self.send_due(now, effects);
        }
    }

    fn on_event(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Failures(failures) => {
                for failure in &failures {
                    self.on_failure(now, failure, effects);
                }
            }
            Event::PlaceKnownBetter { source } => {
                self.positions.stored_is_old(source);
                self.store_position(source, effects);
            }
            Event::ReadUpTo { source, position } => {
                self.positions.read_up_to(source, position);
                self.store_position(source, effects);
            }
            Event::LowTrust { source } => {
                self.low_trust.sources.insert(source);
            }
            Event::SourceClosed { source } => self.positions.close(source),
            Event::Applied { view, changes } => self.on_applied(now, view, &changes, effects),
            Event::Installed { view } => self.on_installed(now, view, effects),
            Event::CaughtUp => self.on_caught_up(now, effects),
            Event::Answered { keys, committed } => {
                for key in &keys {
                    self.outbox.answered(key, now.cluster, committed.is_some());
                    self.settle(now, key, effects);
                }
            }
            Event::Leader { known } => {
                let is_news = known && !self.leader_known;
                self.leader_known = known;
                if is_news {
                    self.outbox.all_due(now.cluster);
                    self.send_due(now, effects);
                }
            }
            Event::Noticed(notice) => self.on_notice(now, &notice, effects),
            Event::Reported(reports) => {
                for report in &reports {
                    self.on_reported(now, report, effects);
                }
            }
            Event::PeerReached(peer) => self.on_peer_reached(now, peer, effects),
            Event::Override { subnet, decision } => self.on_override(now, subnet, decision, effects),
            Event::BroughtAlong { former, formerly } => {
                self.on_brought_along(now, former, formerly, effects);
            }
            Event::Configured(configuration) => self.on_configured(now, configuration, effects),
            Event::FirewallDamaged => effects.push(Effect::ReplaceFirewall(self.ruleset.clone())),
            Event::Timer => self.on_timer(now, effects),
        }
    }

    /// When the next [`Event::Timer`] is due, in cluster time; `None` while nothing can change by
    /// time alone.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        let element = self.element_timers.first().map(|(at, _)| *at);
        let must_tidy = !self.tally.is_empty()
            || !self.low_trust.tally.is_empty()
            || !self.notices.is_empty()
            || !self.reports.is_empty()
            || !self.outbox.is_empty()
            || !self.view.allow_list().is_empty();
        let tidy = must_tidy.then(|| self.tidied_at.plus_ms(TIDY_INTERVAL_MS));
        let send = if self.leader_known && !self.observe { self.outbox.next_due() } else { None };
        let renew = if self.leader_known || self.observe { None } else { self.outbox.renew_due() };
        let override_end = self.next_override_end().map(|end| end.plus_ms(1));
        let report = self.reports.due();
        [element, tidy, send, renew, override_end, report].into_iter().flatten().min()
    }

    /// What the firewall should hold now.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// The ban list as of the last applied command.
    #[must_use]
    pub fn view(&self) -> &BanView {
        &self.view
    }

    /// Which node this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether everything that was committed when the node started has been applied.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// Whether it only counts and shows.
    #[must_use]
    pub fn is_observing(&self) -> bool {
        self.observe
    }

    /// This host's jails with what they have counted.
    pub fn jails(&self) -> impl Iterator<Item = (&Jail, JailCounts)> {
        self.jails.values().map(|jail| (jail, self.counts.get(&jail.name).copied().unwrap_or_default()))
    }

    /// The failures counted so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Proposals without a settled answer, and blocks that are this node's alone.
    pub fn outbox(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.outbox.entries()
    }

    /// How many blocks of this node wait for the cluster's answer, those of its former life included. A ban that was cut
    /// short for quota has its answer, and is asked about again near its end.
    #[must_use]
    pub fn n_waiting(&self, now: Timestamp) -> usize {
        let is_open =
            |entry: &&OutboxEntry| entry.local.is_none() && self.view.live(&entry.key, now).is_none();
        self.outbox().filter(is_open).count() + self.brought_along(now).count()
    }

    /// Peers' notices that block here now: which, from whom, until when.
    pub fn notices(&self, now: Timestamp) -> impl Iterator<Item = (&BanKey, NodeId, Timestamp)> {
        self.notices.live(now)
    }

    /// This host's overrides.
    #[must_use]
    pub fn overrides(&self) -> &SubnetMap<Override> {
        &self.overrides
    }

    fn on_applied(&mut self, now: Now, view: BanView, changes: &[Change], effects: &mut Vec<Effect>) {
        self.view = view;
        let mut judge_all = false;
        let mut render_all = false;
        for change in changes {
            match change {
                Change::Banned { key, .. }
                | Change::Damped { key, .. }
                | Change::Extended { key, .. }
                | Change::Shortened { key, .. }
                | Change::Remembered { key, .. } => {
                    self.settle(now, key, effects);
                    self.render(now.cluster, key.subnet, false, effects);
                    if matches!(change, Change::Banned { .. }) {
                        self.count_ban(now, key, effects);
                    }
                }
                Change::Unbanned { key, .. } => self.render(now.cluster, key.subnet, false, effects),
                Change::Lifted(lift) => self.on_lifted(now, lift, effects),
                Change::Distrusted { node } => {
                    self.reports.forget_origin(*node);
                    let released = self.notices.forget_origin(*node);
                    self.render_each(now.cluster, &released, effects);
                    judge_all |= *node == self.node;
                }
                Change::Trusted { node } => {
                    judge_all |= *node == self.node;
                }
                Change::Allowed(_) | Change::Disallowed { .. } => judge_all = true,
                Change::NodeChanged { .. } => {
                    judge_all = true;
                    render_all |= self.note_reaches();
                }
                Change::SettingsChanged => {
                    judge_all = true;
                    render_all = true;
                }
                Change::LevelRaised { .. } | Change::Forgotten { .. } => {}
            }
        }
        if judge_all {
            self.refresh_protection(now.cluster, effects);
            self.settle_all(now, effects);
        }
        if render_all {
            self.render_all(now.cluster, effects);
        }
        self.send_due(now, effects);
    }

    /// A snapshot says what holds, not what happened: what was lifted in between is replayed first.
    fn on_installed(&mut self, now: Now, view: BanView, effects: &mut Vec<Effect>) {
        let known = self.view.position();
        self.view = view;
        let lifts: Vec<Lift> = self
            .view
            .tombstones()
            .filter(|(_, _, tombstone)| tombstone.position > known)
            .map(|(target, voided, tombstone)| Lift {
                target,
                voided: voided.clone(),
                position: tombstone.position,
                at: tombstone.at,
            })
            .collect();
        for lift in &lifts {
            self.on_lifted(now, lift, effects);
        }
        self.note_reaches();
        self.refresh_protection(now.cluster, effects);
        self.settle_all(now, effects);
        self.render_all(now.cluster, effects);
        self.send_due(now, effects);
    }

    fn on_lifted(&mut self, now: Now, lift: &Lift, effects: &mut Vec<Effect>) {
        // A node that hears of an unban late has counted what came after it, and goes on counting that.
        let is_void = |wall| now.to_cluster(wall) <= lift.at;
        self.reports.lift(lift, self.node, is_void);
        if lift.voided.origin.is_none_or(|origin| origin == self.node) {
            for tally in [&mut self.tally, &mut self.low_trust.tally] {
                tally.forget_inside(lift.target, lift.voided.jail.as_ref(), is_void);
            }
        }
        let mut touched = self.notices.lift(lift, now.cluster);
        touched.extend(self.brought_along_inside(lift.target));
        for key in self.outbox.take_lifted(lift, self.node) {
            touched.push(key.subnet);
            effects.push(Effect::StoreOutbox { key, entry: None });
        }
        self.render_each(now.cluster, &touched, effects);
    }

    fn on_configured(&mut self, now: Now, configuration: Configuration, effects: &mut Vec<Effect>) {
        self.observe = configuration.observe;
        self.configured = true;
        self.jails = configuration.jails.into_iter().map(|jail| (jail.name.clone(), jail)).collect();
        let counting = self.jails.values().filter(|jail| jail.counts_bans);
        self.counting_bans = counting.map(|jail| jail.name.clone()).collect();
        self.guarded_ports = self.jails.values().fold(Ports::none(), |all, jail| all.union(&jail.ports));
        self.local_protected = SubnetMap::default();
        let ignored = self.jails.values().flat_map(|jail| &jail.ignore);
        for subnet in ignored {
            self.local_protected.insert(*subnet, LocalProtection::IgnoreIp);
        }
        for subnet in configuration.peers {
            self.local_protected.insert(subnet, LocalProtection::Peer);
        }
        for subnet in configuration.own {
            self.local_protected.insert(subnet, LocalProtection::Own);
        }
        self.protect_brought_along(now.cluster);
        self.refresh_protection(now.cluster, effects);
        self.settle_all(now, effects);
        self.render_all(now.cluster, effects);
        self.send_due(now, effects);
    }

    fn on_timer(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some(&(at, subnet)) = self.element_timers.first() {
            if at > now.cluster {
                break;
            }
            self.set_element_timer(subnet, None);
            self.render(now.cluster, subnet, false, effects);
        }
        self.end_overrides(now, effects);
        if now.cluster.ms_since(self.tidied_at) >= TIDY_INTERVAL_MS {
            self.tidied_at = now.cluster;
            let jails = &self.jails;
            let find_time_ms = |jail: &JailName| jails.get(jail).map_or(0, |jail| jail.find_time_ms);
            self.tally.forget_old(now.wall, find_time_ms);
            self.low_trust.tally.forget_old(now.wall, find_time_ms);
            self.reports.forget_old(now.wall, find_time_ms);
            self.notices.forget_old(now.cluster);
            // What an estimate takes for over may still hold: it blocks no longer, but is not forgotten.
            if !now.estimated {
                self.forget_ended_local(now.cluster, effects);
            }
            self.refresh_protection(now.cluster, effects);
            for source in self.positions.sources() {
                self.store_position(source, effects);
            }
        }
        self.send_due(now, effects);
        self.renew_notices(now, effects);
        self.tell_waiting(now, effects);
    }

    fn store_position(&mut self, source: SourceId, effects: &mut Vec<Effect>) {
        if let Some(position) = self.positions.next_to_store(source, self.tally.oldest(source)) {
            effects.push(Effect::StorePosition { source, position });
        }
    }
}
