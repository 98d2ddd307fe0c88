//! **Expires on time**: no kernel holds anybody longer than the last line about them plus the longest ban
//! of its jail, an operator's word, or an override allow. That nothing is opened early is looked at with
//! what a node must drop.

use crate::network::NOTICE_DELAY_MS_MAX;
use crate::plan::{Order, is_innocent};
use crate::world::World;
use bannkreis_core::settings::Settings;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{MINUTE_MS, SECOND_MS};
use bannkreis_core::warden::NOTICE_MS;

pub(crate) const NAME: &str = "expires on time";

/// How much later than the client's arithmetic a block may end: what a proposal may be late, and what a
/// lagging node's clock may be behind.
const LATE_MS: u64 = 45 * SECOND_MS;
/// How late an operator's ban may still be committed.
pub(crate) const ORDER_LATE_MS: u64 = 5 * MINUTE_MS;

impl World {
    /// Looks at everything that `node`'s kernel holds.
    pub(crate) fn check_expiry(&mut self, node: usize) {
        let host = &self.nodes[node];
        // A clock guessed over a reboot is put right by the first leader, and what was refused is written again.
        let is_guessed = host.process.as_ref().is_none_or(|process| process.clock.is_guessed());
        if is_guessed || host.kernel.damaged || host.kernel.dirty {
            return;
        }
        for (subnet, element) in self.nodes[node].kernel.ruleset().elements {
            let Some(latest_ms) = self.latest_end(node, subnet) else { continue };
            if self.is_misdated(subnet) {
                continue;
            }
            if self.now_ms > latest_ms + LATE_MS {
                self.fail(
                    NAME,
                    format!("node {node} still blocks {subnet}, which ended at {latest_ms}: {element:?}"),
                );
                return;
            }
        }
    }

    /// When nothing that a client knows of can hold `subnet` any longer; `None`: never.
    fn latest_end(&self, node: usize, subnet: Subnet) -> Option<u64> {
        let settings: &Settings = &self.plan.settings;
        let counted = |offender: usize| settings.counting_subnet(Subnet::host(self.plan.offenders[offender]));
        let mut latest_ms = 0;
        // A peer's word alone blocks for a minute; while there is no leader, for as long as it goes on.
        if is_innocent(subnet) {
            let told = self.oracle.rogue_since.range((node, subnet, 0)..=(node, subnet, usize::MAX));
            let told_at = told.map(|(_, (at_ms, _))| *at_ms).max()?;
            let host = &self.nodes[node];
            let honoured_from = told_at.max(host.leaderless_at_ms);
            latest_ms = honoured_from + NOTICE_MS + NOTICE_DELAY_MS_MAX;
        }
        for seen in self.oracle.evidence.iter().filter(|seen| seen.subnet == subnet) {
            latest_ms = latest_ms.max(seen.at_ms + self.plan.jails[seen.jail].ban_time_max_ms()?);
        }
        for ask in &self.asks {
            if let Order::Ban { offender, for_ms } = ask.order
                && counted(offender) == subnet
            {
                latest_ms = latest_ms.max(ask.asked_at_ms + for_ms + ORDER_LATE_MS);
            }
        }
        for ((host, offender), held) in &self.oracle.overrides {
            if *host == node && counted(*offender) == subnet {
                latest_ms = latest_ms.max(held.until_ms);
            }
        }
        Some(latest_ms)
    }
}
