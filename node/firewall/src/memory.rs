//! The firewall that blocks nothing and remembers everything.
//!
//! For `backend = "none"`, for the simulator (which lets it fail and lose its table), and as the
//! plain statement of what the kernel's rules must amount to: `tests/suite` asks both the same
//! questions. Not for speed with many prefix lengths, and no clock of its own: its timeouts run by
//! the time it is told.

use crate::lease::lease_ms;
use crate::{CHAINS_MAX, ChainCounter, Firewall, FirewallError, Held};
use bannkreis_core::jail::{Ports, Protocol};
use bannkreis_core::ruleset::{Chain, Element, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A packet, as far as a firewall looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// The port it goes to; without meaning when the protocol has no ports.
    pub port: u16,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Passes,
    /// It is dropped, and this chain counts it.
    Dropped(Chain),
}

/// An element and the end of its timeout.
#[derive(Clone, Debug)]
struct Slot {
    element: Element,
    expires: Timestamp,
}

/// The in-memory firewall.
#[derive(Clone, Debug, Default)]
pub struct MemoryFirewall {
    now: Timestamp,
    slots: BTreeMap<Subnet, Slot>,
    protected: BTreeSet<Subnet>,
    dropped: BTreeMap<Chain, u64>,
    lost: bool,
    n_calls_to_refuse: u32,
    n_deltas_until_refusal: Option<usize>,
}

impl MemoryFirewall {
    /// An empty one, at time zero.
    #[must_use]
    pub fn new() -> MemoryFirewall {
        MemoryFirewall::default()
    }

    /// Lets time pass: timeouts that end before `now` are over. Time never runs backwards here.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.slots.retain(|_, slot| slot.expires >= self.now);
    }

    /// What it holds, without what is over.
    #[must_use]
    pub fn ruleset(&self) -> Ruleset {
        Ruleset {
            elements: self.slots.iter().map(|(subnet, slot)| (*subnet, slot.element.clone())).collect(),
            protected: self.protected.clone(),
        }
    }

    /// What would become of `packet` now; a drop is counted. Of several elements that drop it, the
    /// one with the longest prefix counts.
    pub fn verdict(&mut self, packet: Packet) -> Verdict {
        let source = Subnet::host(packet.source);
        let around = |len| source.widened_to(len);
        if (0..=source.max_prefix_len()).any(|len| self.protected.contains(&around(len))) {
            return Verdict::Passes;
        }
        let dropping = (0..=source.max_prefix_len()).rev().find_map(|len| {
            let slot = self.slots.get(&around(len))?;
            closes(&slot.element.chain.ports, packet).then(|| slot.element.chain.clone())
        });
        match dropping {
            Some(chain) => {
                *self.dropped.entry(chain.clone()).or_default() += 1;
                Verdict::Dropped(chain)
            }
            None => Verdict::Passes,
        }
    }

    /// The next `n_calls` calls of `apply` and `replace` are refused as busy, without effect.
    pub fn fail_next(&mut self, n_calls: u32) {
        self.n_calls_to_refuse = n_calls;
    }

    /// The next `apply` executes its first `n_deltas` deltas and is then refused as busy: what a
    /// crash or a refusal between two transactions looks like. A shorter list is not disturbed.
    pub fn fail_after(&mut self, n_deltas: usize) {
        self.n_deltas_until_refusal = Some(n_deltas);
    }

    /// A stranger flushes the ruleset: nothing is held, and every `apply` is answered with
    /// [`FirewallError::Lost`] until the next `replace`.
    pub fn lose(&mut self) {
        self.slots.clear();
        self.protected.clear();
        self.lost = true;
    }

    fn refuse(&mut self, doing: &str) -> Result<(), FirewallError> {
        if self.n_calls_to_refuse == 0 {
            return Ok(());
        }
        self.n_calls_to_refuse -= 1;
        Err(injected(doing))
    }

    fn execute(&mut self, delta: &FirewallDelta) {
        match delta {
            FirewallDelta::Block { subnet, element, .. } => match lease_ms(element.until, self.now) {
                Some(ms) => {
                    let slot = Slot { element: element.clone(), expires: self.now.plus_ms(ms) };
                    self.slots.insert(*subnet, slot);
                }
                None => {
                    self.slots.remove(subnet);
                }
            },
            FirewallDelta::Release { subnet } => {
                self.slots.remove(subnet);
            }
            FirewallDelta::Protect { subnet } => {
                self.protected.insert(*subnet);
            }
            FirewallDelta::Unprotect { subnet } => {
                self.protected.remove(subnet);
            }
        }
    }
}

impl Firewall for MemoryFirewall {
    fn about(&self) -> String {
        "nothing is blocked on this host".to_owned()
    }

    fn name(&self) -> &'static str {
        "none"
    }

    fn apply(&mut self, now: Timestamp, deltas: &[FirewallDelta]) -> Result<(), FirewallError> {
        self.set_now(now);
        self.refuse("changing elements")?;
        if self.lost {
            return Err(FirewallError::Lost { doing: "changing elements".to_owned() });
        }
        let n_deltas = self.n_deltas_until_refusal.take().unwrap_or(usize::MAX);
        for delta in deltas.iter().take(n_deltas) {
            self.execute(delta);
        }
        if n_deltas < deltas.len() { Err(injected("changing elements")) } else { Ok(()) }
    }

    fn replace(&mut self, now: Timestamp, wanted: &Ruleset) -> Result<(), FirewallError> {
        self.set_now(now);
        self.refuse("replacing the ruleset")?;
        self.lost = false;
        self.slots.clear();
        self.protected.clone_from(&wanted.protected);
        for (subnet, element) in &wanted.elements {
            let element = element.clone();
            self.execute(&FirewallDelta::Block { subnet: *subnet, element, is_new: true });
        }
        if self.dropped.len() > CHAINS_MAX {
            let in_use: BTreeSet<&Chain> = self.slots.values().map(|slot| &slot.element.chain).collect();
            self.dropped.retain(|chain, _| in_use.contains(chain));
        }
        Ok(())
    }

    fn lookup(&mut self, subnet: Subnet) -> Result<Option<Held>, FirewallError> {
        Ok(self.slots.get(&subnet).map(|slot| Held {
            chain: Some(slot.element.chain.clone()),
            remaining_ms: slot.expires.ms_since(self.now),
        }))
    }

    fn inherits(&self, _: Subnet) -> bool {
        // It begins empty.
        false
    }

    fn inherits_any(&self) -> bool {
        false
    }

    fn counters(&mut self) -> Result<Vec<ChainCounter>, FirewallError> {
        // It sees no bytes.
        let counter =
            |(chain, &packets): (&Chain, &u64)| ChainCounter { chain: chain.clone(), packets, bytes: 0 };
        Ok(self.dropped.iter().map(counter).collect())
    }

    fn intact(&mut self) -> Result<bool, FirewallError> {
        Ok(!self.lost)
    }
}

/// A failure that was asked for.
fn injected(doing: &str) -> FirewallError {
    FirewallError::Busy { doing: doing.to_owned(), why: "an injected failure".to_owned() }
}

/// Whether `ports` are closed to `packet`. A protocol without ports is closed as a whole.
fn closes(ports: &Ports, packet: Packet) -> bool {
    let Some(ranges) = ports.ranges() else { return true };
    ranges.iter().any(|range| {
        range.protocol == packet.protocol
            && (!packet.protocol.has_ports() || (range.first..=range.last).contains(&packet.port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::jail::JailName;
    use bannkreis_core::time::Until;

    fn block(text: &str) -> FirewallDelta {
        let chain = Chain { jail: JailName::operator(), ports: Ports::whole_host() };
        FirewallDelta::Block {
            subnet: text.parse().unwrap(),
            element: Element { chain, until: Until::FOREVER },
            is_new: true,
        }
    }

    #[test]
    fn refuses_as_often_as_it_was_told() {
        let mut firewall = MemoryFirewall::new();
        firewall.fail_next(2);
        let deltas = [block("192.0.2.1")];
        assert!(matches!(firewall.apply(Timestamp(1), &deltas), Err(FirewallError::Busy { .. })));
        assert!(matches!(
            firewall.replace(Timestamp(1), &Ruleset::default()),
            Err(FirewallError::Busy { .. })
        ));
        assert_eq!(firewall.ruleset(), Ruleset::default());
        firewall.apply(Timestamp(1), &deltas).unwrap();
        assert_eq!(firewall.ruleset().elements.len(), 1);
    }

    #[test]
    fn stops_half_way_once() {
        let mut firewall = MemoryFirewall::new();
        firewall.fail_after(1);
        let deltas = [block("192.0.2.1"), block("192.0.2.2")];
        assert!(firewall.apply(Timestamp(1), &deltas).is_err());
        assert_eq!(firewall.ruleset().elements.len(), 1);
        firewall.apply(Timestamp(1), &deltas).unwrap();
        assert_eq!(firewall.ruleset().elements.len(), 2);
    }

    #[test]
    fn a_lost_table_is_rebuilt_by_replace_only() {
        let mut firewall = MemoryFirewall::new();
        firewall.lose();
        assert!(!firewall.intact().unwrap());
        let lost = firewall.apply(Timestamp(1), &[block("192.0.2.1")]);
        assert!(matches!(lost, Err(FirewallError::Lost { .. })));
        firewall.replace(Timestamp(1), &Ruleset::default()).unwrap();
        assert!(firewall.intact().unwrap());
        firewall.apply(Timestamp(1), &[block("192.0.2.1")]).unwrap();
    }
}
