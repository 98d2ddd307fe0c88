//! **No resurrection after unban**: once an operator's unban is answered, no node that has applied it
//! drops them again because of lines from before, however late those lines, their proposals or their
//! notices arrive.

use super::UNBAN_MARGIN_MS;
use crate::plan::Order;
use crate::world::World;
use bannkreis_core::event::OverrideKind;
use bannkreis_core::subnet::Subnet;

pub(crate) const NAME: &str = "no resurrection after unban";

impl World {
    /// Looks at everybody who was let go and has done nothing since.
    pub(crate) fn check_unbanned(&mut self, node: usize) {
        let host = &self.nodes[node];
        let applied = host.applied();
        if host.process.as_ref().is_none_or(|process| !process.caught_up)
            || host.kernel.damaged
            || host.kernel.dirty
        {
            return;
        }
        for offender in 0..self.plan.offenders.len() {
            let address = self.plan.offenders[offender];
            let subnet = self.plan.settings.counting_subnet(Subnet::host(address));
            let let_go = self.asks.iter().filter_map(|ask| {
                let is_about = match &ask.order {
                    Order::Unban { offender: whom, jail: None } => *whom == offender,
                    Order::UnbanNetwork { of_offender } => self.network_of(*of_offender).contains(subnet),
                    _ => false,
                };
                let (_, _, index) = ask.answered.as_ref()?;
                (is_about && applied >= *index).then_some(ask.asked_at_ms)
            });
            let Some(asked_at_ms) = let_go.max() else { continue };
            if self.has_new_reason(node, offender, subnet, asked_at_ms) {
                continue;
            }
            let kernel = &mut self.nodes[node].kernel;
            if kernel.remaining_ms(subnet).is_some() {
                let element = kernel.ruleset().elements.get(&subnet).cloned();
                self.fail(NAME, format!("node {node} blocks {subnet}, let go at {asked_at_ms}: {element:?}"));
                return;
            }
        }
    }

    /// Whether something that happened since, or about then, may block this offender again.
    fn has_new_reason(&self, node: usize, offender: usize, subnet: Subnet, asked_at_ms: u64) -> bool {
        let mut lines = self.oracle.evidence.iter().filter(|seen| seen.subnet == subnet);
        // A clock that jumped misdates what it reads.
        let is_new = lines.any(|seen| {
            seen.at_ms + UNBAN_MARGIN_MS > asked_at_ms || self.nodes[seen.node].jumped_at_ms > seen.at_ms
        });
        let is_banned_again = self.asks.iter().any(|ask| {
            matches!(&ask.order, Order::Ban { offender: whom, .. } if *whom == offender)
                && (ask.asked_at_ms > asked_at_ms
                    || ask.answered.as_ref().is_none_or(|(at_ms, _, _)| *at_ms > asked_at_ms))
        });
        is_new || is_banned_again || self.override_of(node, subnet) == Some(OverrideKind::Block)
    }
}
