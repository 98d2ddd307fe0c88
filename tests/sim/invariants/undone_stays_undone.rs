//! **Undone stays undone**: whom only a node speaks of whose bans an operator has undone, no other node blocks, until that
//! node is trusted again: not by its late proposals, its late notices, nor what it goes on to see.

use crate::plan::Order;
use crate::world::World;
use bannkreis_core::change::Outcome;
use bannkreis_core::event::OverrideKind;
use bannkreis_core::subnet::Subnet;

pub(crate) const NAME: &str = "undone stays undone";

impl World {
    /// Looks at everybody of whom only such a node has logged anything.
    pub(crate) fn check_undone(&mut self, node: usize) {
        let host = &self.nodes[node];
        if host.process.as_ref().is_none_or(|process| !process.caught_up)
            || host.kernel.damaged
            || host.kernel.dirty
        {
            return;
        }
        let undone: Vec<usize> = (0..self.nodes.len())
            .filter(|origin| *origin != node && self.is_known_untrusted(node, *origin))
            .collect();
        if undone.is_empty() {
            return;
        }
        for offender in 0..self.plan.offenders.len() {
            let subnet = self.plan.settings.counting_subnet(Subnet::host(self.plan.offenders[offender]));
            let mut seen_by = self.oracle.evidence.iter().filter(|seen| seen.subnet == subnet);
            let is_theirs_alone = seen_by.all(|seen| undone.contains(&seen.node));
            let is_willed =
                |order: &Order| matches!(order, Order::Ban { offender: whom, .. } if *whom == offender);
            if !is_theirs_alone
                || self.asks.iter().any(|ask| is_willed(&ask.order))
                || self.override_of(node, subnet) == Some(OverrideKind::Block)
            {
                continue;
            }
            let kernel = &mut self.nodes[node].kernel;
            if kernel.remaining_ms(subnet).is_some() {
                let element = kernel.ruleset().elements.get(&subnet).cloned();
                let who = format!("only {undone:?} have seen {subnet}, and are not trusted");
                self.fail(NAME, format!("node {node} blocks {subnet}: {who}: {element:?}"));
                return;
            }
            self.coverage.hit("undone: looked at");
        }
    }

    /// Whether `node` has applied that `origin` is undone, and nobody may have trusted it since.
    fn is_known_untrusted(&self, node: usize, origin: usize) -> bool {
        let applied = self.nodes[node].applied();
        let undone = self.asks.iter().filter_map(|ask| match (&ask.order, &ask.answered) {
            (Order::UnbanByNode { node: whom }, Some((_, Outcome::Done { .. }, index))) => {
                (*whom == origin && applied >= *index).then_some(*index)
            }
            _ => None,
        });
        let Some(undone) = undone.max() else { return false };
        !self.asks.iter().any(|ask| {
            matches!(&ask.order, Order::Trust { node: whom } if *whom == origin)
                && ask.answered.as_ref().is_none_or(|(_, _, index)| *index > undone)
        })
    }
}
