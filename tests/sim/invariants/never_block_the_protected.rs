//! **Never block the protected**: packets from the nodes' own addresses, their router, loopback, this
//! host's `ignoreip`, and whatever an operator was told is on the allow list, always pass.

use super::EARLY_MS;
use crate::plan::{Order, gateway, ignored_on, own_address};
use crate::world::World;
use bannkreis_core::change::Outcome;
use std::net::IpAddr;

pub(crate) const NAME: &str = "never block the protected";

impl World {
    /// Whether this address must pass on this node at all times.
    pub(crate) fn is_never_blocked(&self, node: usize, address: IpAddr) -> bool {
        address.is_loopback()
            || address == gateway()
            || ignored_on(node) == Some(address)
            || (0..self.nodes.len()).any(|peer| own_address(peer) == address)
    }

    /// Looks at everything that must pass on `node`.
    pub(crate) fn check_protected(&mut self, node: usize) {
        let mut protected: Vec<IpAddr> = (0..self.nodes.len()).map(own_address).collect();
        protected.extend([gateway(), IpAddr::from([127, 0, 0, 1])]);
        protected.extend(ignored_on(node));
        let host = &self.nodes[node];
        // Between a refused call and the repair the kernel may be behind.
        if host.process.is_some() && !host.kernel.damaged && !host.kernel.dirty {
            protected.extend(self.allowed_on(node));
        }
        for address in protected {
            let subnet = self.plan.settings.counting_subnet(address.into());
            let kernel = &mut self.nodes[node].kernel;
            if kernel.remaining_ms(subnet).is_some()
                && [22, 443, 25].iter().any(|&port| kernel.drops(address, port))
            {
                self.fail(NAME, format!("node {node} blocks {address}"));
                return;
            }
        }
    }

    /// What operators know to be on the allow list, on a node that has applied it.
    fn allowed_on(&self, node: usize) -> Vec<IpAddr> {
        let applied = self.nodes[node].applied();
        let guessed = self.nodes[node].process.as_ref().is_some_and(|process| process.clock.is_guessed());
        self.asks
            .iter()
            .filter_map(|ask| match (&ask.order, &ask.answered) {
                (Order::Allow { offender, for_ms }, Some((_, Outcome::Done { .. }, index))) => {
                    let is_live =
                        !guessed && self.now_ms + EARLY_MS + self.plan.led_ms() < ask.asked_at_ms + for_ms;
                    // A later entry for the same address takes the place of this one, shorter or not.
                    let is_taken_back = self.asks.iter().any(|other| match &other.order {
                        Order::Disallow { offender: same } => same == offender,
                        Order::Allow { offender: same, .. } => same == offender && other.id > ask.id,
                        _ => false,
                    });
                    (applied >= *index && is_live && !is_taken_back).then(|| self.plan.offenders[*offender])
                }
                _ => None,
            })
            .collect()
    }
}
