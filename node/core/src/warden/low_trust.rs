//! What this host was told by whoever could pretend to be anybody: it blocks for a short while, here only, and is never
//! proposed, told to peers, or counted together with anything else.
//!
//! Such a block lives in the outbox, so that it outlasts a restart and is lifted as others are; whatever is known better
//! takes its place.

use super::{OutboxEntry, Warden};
use crate::change::BanKey;
use crate::event::{Effect, Notable};
use crate::failure::{Failure, SourceId};
use crate::jail::{BanPolicy, Jail};
use crate::judge::NotSharedReason;
use crate::subnet::Subnet;
use crate::tally::Tally;
use crate::time::{BanTime, HOUR_MS, Now, Until};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Nobody is blocked for longer on such words.
pub const LOW_TRUST_BAN_MS_MAX: u64 = HOUR_MS;
/// Nor are more than so many at once: a flood of invented addresses must not push out what is known better.
pub const LOW_TRUST_BLOCKS_MAX: usize = 10_000;

/// Of so many offenders it is counted: whoever invents addresses must not take the host's memory.
const LOW_TRUST_OFFENDERS_MAX: usize = 5 * LOW_TRUST_BLOCKS_MAX;

/// What is known of such sources.
#[derive(Debug)]
pub(super) struct LowTrust {
    pub(super) sources: BTreeSet<SourceId>,
    pub(super) tally: Tally,
    /// The blocks, by their ends.
    blocks: BTreeSet<(Until, BanKey)>,
    /// That there are too many was told.
    is_full: bool,
}

impl LowTrust {
    /// With the blocks that were kept over a restart.
    pub(super) fn with(kept: &[OutboxEntry]) -> LowTrust {
        let kept = kept.iter().filter(|entry| entry.is_of_low_trust());
        LowTrust {
            sources: BTreeSet::new(),
            tally: Tally::bounded(LOW_TRUST_OFFENDERS_MAX),
            blocks: kept.map(|entry| (entry.until, entry.key.clone())).collect(),
            is_full: false,
        }
    }

    /// Whether there is room for one more block.
    fn has_room(&mut self, now: Now) -> bool {
        while self.blocks.first().is_some_and(|(until, _)| until.is_over(now.cluster)) {
            self.blocks.pop_first();
        }
        // It is told again when it was no flood any more in between.
        self.is_full &= self.blocks.len() > LOW_TRUST_BLOCKS_MAX / 2;
        self.blocks.len() < LOW_TRUST_BLOCKS_MAX
    }
}

impl OutboxEntry {
    /// Whether it is a block on words of low trust.
    #[must_use]
    pub fn is_of_low_trust(&self) -> bool {
        self.local == Some(NotSharedReason::LowTrust)
    }
}

impl Warden {
    /// What this node knows of an offender by itself, without what it has from sources of low trust.
    pub(super) fn known(&self, key: &BanKey) -> Option<&OutboxEntry> {
        self.outbox.get(key).filter(|entry| !entry.is_of_low_trust())
    }

    /// A failure from a source of low trust, that nothing protects from.
    pub(super) fn on_low_trust(
        &mut self,
        now: Now,
        jail: &Jail,
        offender: Subnet,
        failure: &Failure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(count) = self.low_trust.tally.add(jail, offender, failure, 1, None) else { return };
        let key = BanKey { subnet: offender, jail: jail.name.clone() };
        let is_blocked = self.outbox.get(&key).is_some_and(|entry| !entry.until.is_over(now.cluster));
        if is_blocked || self.known(&key).is_some() || self.view.live(&key, now.cluster).is_some() {
            return;
        }
        // What is known better would have to go for it.
        let has_room = self.low_trust.has_room(now) && !self.outbox.is_full();
        if !has_room && !self.observe {
            if !core::mem::replace(&mut self.low_trust.is_full, true) {
                effects.push(Effect::Tell(Notable::LowTrustFull));
            }
            return;
        }
        self.counts.entry(jail.name.clone()).or_default().n_blocked += 1;
        if self.observe {
            return;
        }
        let ban_ms = match jail.policy.ban_time {
            BanTime::Ms(ms) => ms.min(LOW_TRUST_BAN_MS_MAX),
            BanTime::Forever => LOW_TRUST_BAN_MS_MAX,
        };
        let (first, last) = (now.to_cluster(count.first), now.to_cluster(count.last));
        let until = Until::at(last.min(now.cluster).plus_ms(ban_ms));
        let entry = OutboxEntry {
            key: key.clone(),
            basis: self.view.position(),
            first_failure: first,
            last_failure: last,
            failures: count.failures,
            contributors: Vec::new(),
            policy: BanPolicy::fixed(BanTime::Ms(ban_ms)),
            ports: jail.ports.clone(),
            until,
            evidence: count.evidence.into_iter().map(|(at, line)| (now.to_cluster(at), line)).collect(),
            local: Some(NotSharedReason::LowTrust),
            served: Vec::new(),
        };
        self.low_trust.blocks.insert((until, key));
        self.tell_blocked(&entry, 0, effects);
        self.put_outbox(now, entry, now.estimated, effects);
    }
}
