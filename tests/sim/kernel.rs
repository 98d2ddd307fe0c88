//! A node's firewall and the worker before it, as in the daemon: deltas in order, refused calls answered
//! by a repair, a stranger's flush noticed within half a second.
//!
//! The elements live in the real `MemoryFirewall`. Its timeouts run by the kernel's own clock, not by
//! cluster time, so a block whose lease was computed by a wrong clock ends when a kernel would end it.

use bannkreis_core::jail::Protocol;
use bannkreis_core::ruleset::{Element, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Timestamp, Until};
use bannkreis_firewall::memory::{Packet, Verdict};
use bannkreis_firewall::{Firewall, FirewallError, MemoryFirewall};
use std::net::IpAddr;

/// The first pause after a refused repair; it doubles up to [`RETRY_LAST_MS`].
const RETRY_FIRST_MS: u64 = 20;
/// The longest pause.
const RETRY_LAST_MS: u64 = 5_000;

/// What the worker wants after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing.
    Nothing,
    /// Tell the warden, after this pause, that the firewall is damaged.
    Repair { pause_ms: u64 },
    /// Make the refused calls again, after this pause.
    Again { pause_ms: u64 },
    /// The firewall is whole again.
    Repaired,
}

/// The kernel's tables and the worker that writes them.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    firewall: MemoryFirewall,
    /// The worker has asked for the whole ruleset and waits for it.
    pub(crate) damaged: bool,
    /// Something is missing from the tables that the worker knows, or will soon know, to be missing.
    pub(crate) dirty: bool,
    /// The worker has begun with something in the tables.
    inherits: bool,
    retry_ms: u64,
    /// Deltas of a call that was refused as busy, and those that came after it.
    waiting: Vec<FirewallDelta>,
}

impl Kernel {
    /// An empty one.
    pub(crate) fn new() -> Kernel {
        Kernel {
            firewall: MemoryFirewall::new(),
            damaged: false,
            dirty: false,
            inherits: false,
            retry_ms: RETRY_FIRST_MS,
            waiting: Vec::new(),
        }
    }

    /// The worker's process ended: what it knew is gone, the tables stay.
    pub(crate) fn worker_died(&mut self) {
        self.damaged = false;
        self.inherits = self.firewall.ruleset() != Ruleset::default();
        self.retry_ms = RETRY_FIRST_MS;
        self.waiting.clear();
    }

    /// The worker applies `deltas`; `cluster` is what its node takes for cluster time. `additive`: the
    /// node has not caught up since its start, so what an earlier process has left is extended and never cut short.
    pub(crate) fn apply(
        &mut self,
        now_ms: u64,
        cluster: Timestamp,
        deltas: &[FirewallDelta],
        additive: bool,
    ) -> Wish {
        if self.damaged {
            return Wish::Nothing;
        }
        let is_waiting = !self.waiting.is_empty();
        self.waiting.extend(deltas.iter().map(|delta| match delta {
            FirewallDelta::Block { subnet, element, is_new } => FirewallDelta::Block {
                subnet: *subnet,
                element: timed(element, now_ms, cluster),
                is_new: *is_new,
            },
            other => other.clone(),
        }));
        if is_waiting { Wish::Nothing } else { self.try_waiting(now_ms, additive) }
    }

    /// The worker makes the calls that wait.
    pub(crate) fn try_waiting(&mut self, now_ms: u64, additive: bool) -> Wish {
        self.firewall.set_now(Timestamp(now_ms));
        let mut deltas = self.waiting.clone();
        if additive && self.inherits {
            self.extend(now_ms, &mut deltas);
        }
        match self.firewall.apply(Timestamp(now_ms), &deltas) {
            Ok(()) => {
                self.waiting.clear();
                self.retry_ms = RETRY_FIRST_MS;
                self.dirty = false;
                Wish::Nothing
            }
            Err(FirewallError::Busy { .. }) => {
                // The same call again, later: it is idempotent.
                self.dirty = true;
                Wish::Again { pause_ms: self.pause() }
            }
            Err(_) => self.damage(),
        }
    }

    /// Joins blocks with what is held for the same subnet, in the order in which they will be executed.
    fn extend(&mut self, now_ms: u64, deltas: &mut [FirewallDelta]) {
        let mut held = self.firewall.ruleset();
        for delta in deltas {
            if let FirewallDelta::Block { subnet, element, .. } = delta
                && let Some(known) = held.elements.get(subnet)
                && !known.until.is_over(Timestamp(now_ms))
            {
                *element = element.joined(known);
            }
            held.apply(delta);
        }
    }

    /// The worker puts `ruleset` in the place of everything.
    pub(crate) fn replace(&mut self, now_ms: u64, cluster: Timestamp, ruleset: &Ruleset) -> Wish {
        let mut wanted = ruleset.clone();
        for element in wanted.elements.values_mut() {
            *element = timed(element, now_ms, cluster);
        }
        match self.firewall.replace(Timestamp(now_ms), &wanted) {
            Ok(()) => {
                let was_damaged = std::mem::take(&mut self.damaged);
                self.dirty = false;
                self.inherits = false;
                self.retry_ms = RETRY_FIRST_MS;
                self.waiting.clear();
                if was_damaged { Wish::Repaired } else { Wish::Nothing }
            }
            Err(_) => self.damage(),
        }
    }

    /// The worker is told what the tables should hold and nothing else. `is_exact`: what was sent so far amounts to that.
    pub(crate) fn settle(
        &mut self,
        now_ms: u64,
        cluster: Timestamp,
        ruleset: &Ruleset,
        is_exact: bool,
    ) -> Wish {
        if is_exact && !self.damaged && !self.inherits {
            return Wish::Nothing;
        }
        self.replace(now_ms, cluster, ruleset)
    }

    /// The worker looks whether a stranger was there.
    pub(crate) fn check(&mut self) -> Wish {
        match self.firewall.intact() {
            Ok(true) => Wish::Nothing,
            _ if self.damaged => Wish::Nothing,
            _ => self.damage(),
        }
    }

    fn damage(&mut self) -> Wish {
        self.dirty = true;
        self.waiting.clear();
        let pause_ms = if self.damaged { self.pause() } else { 0 };
        self.damaged = true;
        Wish::Repair { pause_ms }
    }

    /// The pause before the next try: it doubles every time.
    fn pause(&mut self) -> u64 {
        let pause_ms = self.retry_ms;
        self.retry_ms = (self.retry_ms * 2).min(RETRY_LAST_MS);
        pause_ms
    }

    /// A stranger flushes everything.
    pub(crate) fn flush(&mut self) {
        self.firewall.lose();
        self.dirty = true;
    }

    /// The next `n_calls` calls are refused.
    pub(crate) fn refuse(&mut self, n_calls: u32) {
        self.firewall.fail_next(n_calls);
    }

    /// The next call that has more than `n_deltas` stops after them.
    pub(crate) fn stop_half_way(&mut self, n_deltas: usize) {
        self.firewall.fail_after(n_deltas);
    }

    /// Lets its timeouts run.
    pub(crate) fn set_now(&mut self, now_ms: u64) {
        self.firewall.set_now(Timestamp(now_ms));
    }

    /// What it holds, with ends in true time.
    pub(crate) fn ruleset(&self) -> Ruleset {
        self.firewall.ruleset()
    }

    /// How long exactly this element still lives, if it is there.
    pub(crate) fn remaining_ms(&mut self, subnet: Subnet) -> Option<u64> {
        self.firewall.lookup(subnet).ok().flatten().map(|held| held.remaining_ms)
    }

    /// Whether an element for exactly `subnet` closes this TCP port: quicker to ask than a packet's fate,
    /// and implies a drop unless something protects.
    pub(crate) fn closes(&mut self, subnet: Subnet, port: u16) -> bool {
        let held = self.firewall.lookup(subnet).ok().flatten();
        held.and_then(|held| held.chain).is_some_and(|chain| {
            chain.ports.ranges().is_none_or(|ranges| {
                ranges.iter().any(|range| {
                    range.protocol == Protocol::TCP && (range.first..=range.last).contains(&port)
                })
            })
        })
    }

    /// Whether a packet from `source` to this TCP port is dropped.
    pub(crate) fn drops(&mut self, source: IpAddr, port: u16) -> bool {
        let packet = Packet { source, protocol: Protocol::TCP, port };
        matches!(self.firewall.verdict(packet), Verdict::Dropped(_))
    }
}

/// The element with its end in the kernel's time instead of cluster time.
fn timed(element: &Element, now_ms: u64, cluster: Timestamp) -> Element {
    let until = match element.until.end() {
        None => element.until,
        Some(end) if end < cluster => Until::at(Timestamp(now_ms.saturating_sub(1))),
        Some(end) => Until::at(Timestamp(now_ms).plus_ms(end.ms_since(cluster))),
    };
    Element { chain: element.chain.clone(), until }
}
