//! What carries notices and reports between the hosts: each peer gets its own datagram, which may be lost, doubled,
//! late, or overtaken; and the links themselves, which partitions cut in one direction or in both.

use crate::plan::{N_INNOCENT, Order, innocent, is_innocent};
use crate::raft_log::position;
use crate::world::{Happening, World};
use bannkreis_core::event::Event;
use bannkreis_core::jail::Ports;
use bannkreis_core::proposal::{Notice, Report};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::SECOND_MS;

/// What one host tells another, to arrive or not.
#[derive(Clone, Debug)]
pub(crate) enum Datagram {
    Notices(Vec<Notice>),
    Reports(Vec<Report>),
}

impl Datagram {
    fn said(&self, of_notices: &'static str, of_reports: &'static str) -> &'static str {
        match self {
            Datagram::Notices(_) => of_notices,
            Datagram::Reports(_) => of_reports,
        }
    }
}

/// A datagram arrives within this or never.
pub(crate) const NOTICE_DELAY_MS_MAX: u64 = 20_000;

impl World {
    /// A node tells every peer, or one.
    pub(crate) fn tell(&mut self, from: usize, only: Option<usize>, datagram: &Datagram) {
        let faults = if self.healed { 0 } else { self.plan.notice_faults };
        for to in (0..self.nodes.len()).filter(|&to| to != from && only.is_none_or(|only| only == to)) {
            if !self.links[from][to] {
                continue;
            }
            if self.random.chance(faults) {
                self.coverage.hit(datagram.said("network: notice lost", "network: report lost"));
                continue;
            }
            let mut delay_ms = self.random.between(1, 20);
            if self.random.chance(faults) {
                self.coverage.hit(datagram.said("network: notice delayed", "network: report delayed"));
                delay_ms += self.random.below(NOTICE_DELAY_MS_MAX - 20);
            }
            self.n_datagrams += 1;
            let number = self.n_datagrams;
            if self.random.chance(faults) {
                self.coverage.hit(datagram.said("network: notice doubled", "network: report doubled"));
                let later = self.random.between(1, NOTICE_DELAY_MS_MAX);
                self.plan_in(later, Happening::Datagram { from, to, datagram: datagram.clone(), number });
            }
            self.plan_in(delay_ms, Happening::Datagram { from, to, datagram: datagram.clone(), number });
        }
    }

    /// A stolen key at work: notices about the innocent, fresh every time. The first of them is always named.
    pub(crate) fn on_rogue(&mut self, node: usize, until_ms: u64) {
        if self.now_ms > until_ms || self.healed {
            return;
        }
        let others = (0..3).map(|_| self.random.index(usize::from(N_INNOCENT)));
        let named: Vec<u8> = others.filter_map(|n| u8::try_from(n).ok()).collect();
        let notices = std::iter::once(0).chain(named).map(|n| Notice {
            origin: self.nodes[node].id,
            basis: position(self.raft.last_index()),
            jail: self.plan.jails[0].jail(0).name,
            offender: Subnet::host(innocent(n)),
            last_failure_age_ms: 100,
            remaining_ms: Some(60 * SECOND_MS),
            ports: Ports::tcp(&[22]),
        });
        let notices = Datagram::Notices(notices.collect());
        self.tell(node, None, &notices);
        self.plan_in(7 * SECOND_MS, Happening::Rogue { node, until_ms });
    }

    /// A datagram arrives.
    pub(crate) fn on_datagram(&mut self, from: usize, to: usize, datagram: Datagram, number: u64) {
        if self.nodes[to].process.is_none() {
            return;
        }
        let last = self.last_datagram.entry((from, to)).or_default();
        if *last > number {
            self.coverage.hit("network: datagrams overtook each other");
        }
        *last = (*last).max(number);
        match datagram {
            Datagram::Notices(notices) => {
                for notice in notices {
                    if is_innocent(notice.offender) {
                        self.told_lies(to, from, notice.offender);
                    }
                    self.step(to, Event::Noticed(notice));
                }
            }
            Datagram::Reports(reports) => self.step(to, Event::Reported(reports)),
        }
    }

    /// Notes when a host first heard, of a peer it knows, what is not true.
    fn told_lies(&mut self, to: usize, from: usize, about: Subnet) {
        let peer = self.nodes[from].id;
        if self.nodes[to].process.as_ref().is_none_or(|process| process.list.node(peer).is_none()) {
            return;
        }
        // Whoever is undone, or trusted again, after that is believed anew.
        let is_judged_since = |applied: usize| {
            let is_about = |order: &Order| match order {
                Order::UnbanByNode { node } | Order::Trust { node } => *node == from,
                _ => false,
            };
            let mut asks = self.asks.iter().filter(|ask| is_about(&ask.order));
            asks.any(|ask| ask.answered.as_ref().is_none_or(|(_, _, index)| *index > applied))
        };
        let key = (to, about, from);
        let known = self.oracle.rogue_since.get(&key).copied();
        // And what was dropped for want of a token may be honoured another time.
        let is_new =
            known.is_none_or(|(_, applied)| self.plan.has_small_quotas() || is_judged_since(applied));
        if is_new {
            self.oracle.rogue_since.insert(key, (self.now_ms, self.nodes[to].applied()));
        }
    }

    /// Those that can talk find each other: after a start, and when the links are whole again.
    pub(crate) fn reach(&mut self, from: usize, to: usize) {
        if from != to && self.links[from][to] {
            let delay_ms = self.random.between(1, 500);
            self.plan_in(delay_ms, Happening::Reached { from, to });
        }
    }

    /// Cuts the links between the nodes whose bit in `group` is set and the others: out of the group in
    /// any case, into it unless `one_way`.
    pub(crate) fn partition(&mut self, group: u32, one_way: bool) {
        self.trace(format_args!("partition {group:b}, one way: {one_way}"));
        self.coverage.hit(if one_way { "network: one-way partition" } else { "network: two-way partition" });
        let is_in = |node: usize| group >> node & 1 == 1;
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                if is_in(from) && !is_in(to) || !one_way && !is_in(from) && is_in(to) {
                    self.links[from][to] = false;
                }
            }
        }
    }

    /// All links are whole again.
    pub(crate) fn reconnect(&mut self) {
        self.trace(format_args!("all links are whole"));
        self.links.iter_mut().flatten().for_each(|link| *link = true);
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                self.reach(from, to);
            }
        }
    }
}
