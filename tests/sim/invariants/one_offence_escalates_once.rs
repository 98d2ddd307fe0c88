//! **One offence escalates once**: however often its proposal is retried, doubled, delayed, or made by
//! several hosts at once, an offence raises the count that makes the next ban longer by one.

use super::EARLY_MS;
use crate::world::World;
use bannkreis_core::change::BanKey;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::SECOND_MS;
use std::collections::BTreeMap;

pub(crate) const NAME: &str = "one offence escalates once";

/// Times on the way differ by at most this.
const MARGIN_MS: u64 = EARLY_MS + 25 * SECOND_MS;

impl World {
    /// Compares the counts that `bans` and `history` show with what was written into the logs.
    pub(crate) fn check_escalation(&mut self) {
        let Some(newest) = self.raft.history.last().cloned() else { return };
        let mut counts: BTreeMap<BanKey, u32> = BTreeMap::new();
        for (key, ban) in newest.bans() {
            counts.insert(key.clone(), ban.count);
        }
        for (key, past) in newest.pasts() {
            let count = counts.entry(key.clone()).or_default();
            *count = (*count).max(past.count);
        }
        for (key, count) in counts {
            let Some(jail) = self.jail_of(&key) else { continue };
            if self.is_misdated(key.subnet) || self.is_told_misdated(jail, key.subnet) {
                continue;
            }
            let n_offences = self.offences(jail, key.subnet);
            if count > n_offences {
                let (ban, past) = (newest.ban(&key), newest.past(&key));
                let how = format!("{key:?} counts {count} after {n_offences} offences: {ban:?}, {past:?}");
                self.fail(NAME, how);
                return;
            }
        }
    }

    /// Whether a host whose clock has jumped since may have been told of a line: it remembers when that was by its wall
    /// clock, as with its own lines, for a count takes both together.
    fn is_told_misdated(&self, jail: usize, subnet: Subnet) -> bool {
        let counting = self.plan.jails[jail].nodes.iter();
        let jumped_at_ms = counting.map(|node| self.nodes[*node].jumped_at_ms).max().unwrap_or(0);
        let mut evidence = self.oracle.evidence.iter();
        evidence.any(|seen| (seen.jail, seen.subnet) == (jail, subnet) && jumped_at_ms > seen.at_ms)
    }

    /// How many offences a client can see at most: enough lines on one host, or on all hosts together, after the ban
    /// that the last ones gave must have ended.
    fn offences(&self, jail: usize, subnet: Subnet) -> u32 {
        let plan = &self.plan.jails[jail];
        let settings = &self.plan.settings;
        let full_ms = plan.ban_time_ms(1).unwrap_or(u64::MAX / 2);
        // Where quotas are small, a ban may end that early.
        let is_damping = self.plan.has_small_quotas();
        let ban_ms = if is_damping { full_ms.min(settings.damped_ms) } else { full_ms };
        let mut lifts: Vec<u64> = Vec::new();
        for ask in &self.asks {
            let duty = super::Duty {
                node: 0,
                address: subnet.address(),
                subnet,
                port: 0,
                jail: Some(jail),
                origin: usize::MAX,
                first_ms: 0,
                known_at_ms: 0,
                until_ms: None,
                acknowledged: None,
                has_verdict: false,
                is_seen: false,
            };
            let is_by_node = matches!(ask.order, crate::plan::Order::UnbanByNode { .. });
            if is_by_node || self.lifts(&ask.order, &duty) {
                lifts.push(ask.asked_at_ms);
            }
        }
        let mut lines: Vec<(u64, usize)> = self
            .oracle
            .evidence
            .iter()
            .filter(|seen| seen.jail == jail && seen.subnet == subnet)
            .map(|seen| (seen.at_ms, seen.node))
            .collect();
        lines.sort_unstable();
        // By host; and by all of them together, of what came after the last offence.
        let mut n_lines: BTreeMap<Option<usize>, (u32, u64)> = BTreeMap::new();
        let (mut n_offences, mut ends_at_ms) = (0, 0_u64);
        for (at_ms, node) in lines {
            let weight = plan.weight_at_most(n_offences);
            for counted_by in [Some(node), None] {
                let (n, first_ms) = n_lines.entry(counted_by).or_insert((0, at_ms));
                if counted_by.is_none() && *first_ms + MARGIN_MS <= ends_at_ms {
                    *n = 0;
                }
                if *n == 0 {
                    *first_ms = at_ms;
                }
                *n += weight;
                if *n < plan.max_retry {
                    continue;
                }
                *n = 0;
                // A node that forgot what it had counted takes other lines together than one that did not.
                let forgot = self.oracle.forgot.iter().any(|&(who, when)| who == node && when <= at_ms);
                let was_lifted = forgot || lifts.iter().any(|&lift_ms| lift_ms <= at_ms + MARGIN_MS);
                if n_offences == 0 || was_lifted || *first_ms + MARGIN_MS > ends_at_ms {
                    n_offences += 1;
                    ends_at_ms = at_ms.saturating_add(ban_ms);
                } else if at_ms - *first_ms < EARLY_MS {
                    ends_at_ms = ends_at_ms.max(at_ms.saturating_add(ban_ms));
                }
            }
        }
        n_offences
    }
}
