//! **Private offenders stay at home**: where the cluster's setting is to keep them at their origin, whoever attacks from a
//! private address is blocked by the hosts that have logged it and by no other, for there it may be somebody else.

use crate::plan::Order;
use crate::world::World;
use bannkreis_core::event::OverrideKind;
use bannkreis_core::judge::is_private;
use bannkreis_core::settings::PrivateOffenders;
use bannkreis_core::subnet::Subnet;

pub(crate) const NAME: &str = "private offenders stay at home";

impl World {
    /// Looks at every private offender who has left no line on this node.
    pub(crate) fn check_private(&mut self, node: usize) {
        if self.plan.settings.private_offenders != PrivateOffenders::Origin {
            return;
        }
        for offender in 0..self.plan.offenders.len() {
            let subnet = self.plan.settings.counting_subnet(Subnet::host(self.plan.offenders[offender]));
            let is_willed =
                |order: &Order| matches!(order, Order::Ban { offender: whom, .. } if *whom == offender);
            let mut evidence = self.oracle.evidence.iter();
            if !is_private(subnet)
                || evidence.any(|seen| seen.node == node && seen.subnet == subnet)
                || self.asks.iter().any(|ask| is_willed(&ask.order))
                || self.override_of(node, subnet) == Some(OverrideKind::Block)
            {
                continue;
            }
            self.coverage.hit("private: looked at");
            if self.nodes[node].kernel.remaining_ms(subnet).is_some() {
                self.fail(NAME, format!("node {node} blocks {subnet} without a line of its own"));
                return;
            }
        }
    }
}
