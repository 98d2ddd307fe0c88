//! What carries notices between the hosts: each peer gets its own datagram, which may be lost, doubled,
//! late, or overtaken; and the links themselves, which partitions cut in one direction or in both.

use crate::plan::innocent;
use crate::raft_log::position;
use crate::world::{Happening, World};
use bannkreis_core::event::Event;
use bannkreis_core::jail::Ports;
use bannkreis_core::proposal::Notice;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::SECOND_MS;

/// A notice arrives within this or never.
pub(crate) const NOTICE_DELAY_MS_MAX: u64 = 20_000;

impl World {
    /// A node tells every peer.
    pub(crate) fn notify(&mut self, from: usize, notices: &[Notice]) {
        let faults = if self.healed { 0 } else { self.plan.notice_faults };
        for to in (0..self.nodes.len()).filter(|&to| to != from) {
            if !self.links[from][to] {
                continue;
            }
            if self.random.chance(faults) {
                self.coverage.hit("network: notice lost");
                continue;
            }
            let mut delay_ms = self.random.between(1, 20);
            if self.random.chance(faults) {
                self.coverage.hit("network: notice delayed");
                delay_ms += self.random.below(NOTICE_DELAY_MS_MAX - 20);
            }
            self.n_notices += 1;
            let number = self.n_notices;
            if self.random.chance(faults) {
                self.coverage.hit("network: notice doubled");
                let later = self.random.between(1, NOTICE_DELAY_MS_MAX);
                self.plan_in(later, Happening::Notices { to, notices: notices.to_vec(), number });
            }
            self.plan_in(delay_ms, Happening::Notices { to, notices: notices.to_vec(), number });
        }
    }

    /// A stolen key at work: a notice about somebody innocent, fresh every time.
    pub(crate) fn on_rogue(&mut self, node: usize, until_ms: u64) {
        if self.now_ms > until_ms || self.healed {
            return;
        }
        let notice = Notice {
            origin: self.nodes[node].id,
            basis: position(self.raft.last_index()),
            jail: self.plan.jails[0].jail(0).name,
            offender: Subnet::host(innocent()),
            last_failure_age_ms: 100,
            remaining_ms: Some(60 * SECOND_MS),
            ports: Ports::tcp(&[22]),
        };
        self.notify(node, &[notice]);
        self.plan_in(7 * SECOND_MS, Happening::Rogue { node, until_ms });
    }

    /// A datagram arrives.
    pub(crate) fn on_notices(&mut self, to: usize, notices: Vec<Notice>, number: u64) {
        if self.nodes[to].process.is_none() {
            return;
        }
        for notice in notices {
            let from = usize::try_from(notice.origin.0).unwrap_or(0);
            let last = self.last_notice.entry((from, to)).or_default();
            if *last > number {
                self.coverage.hit("network: notices overtook each other");
            }
            *last = (*last).max(number);
            if notice.offender == Subnet::host(innocent()) {
                self.oracle.rogue_since_ms.entry((to, from)).or_insert(self.now_ms);
            }
            self.step(to, Event::Noticed(notice));
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
    }
}
