//! Offences whose block was over before the cluster heard of them: without a leader an attacker comes back
//! again and again, and each time counts for the next ban.
//!
//! They wait in the outbox entry of the offence that followed, and are asked before it, one at a time and the
//! oldest first, so that each is judged with those before it in the history.

use super::Warden;
use crate::change::BanKey;
use crate::event::{Effect, OutboxEntry, SERVED_OFFENCES_MAX, ServedOffence};
use crate::judge::{NotSharedReason, Verdict};
use crate::time::{Now, Timestamp};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

impl OutboxEntry {
    /// When the oldest offence in it began.
    pub(super) fn first_offence(&self) -> Timestamp {
        self.served.first().map_or(self.first_failure, |offence| offence.first_failure)
    }

    /// How many offences it stands for.
    pub(super) fn n_offences(&self) -> u32 {
        u32::try_from(self.served.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The served offences for the entry of the next one: those of this entry and its own.
    pub(super) fn with_itself_served(&self) -> Vec<ServedOffence> {
        let too_many = (self.served.len() + 1).saturating_sub(SERVED_OFFENCES_MAX);
        let mut served = self.served[too_many..].to_vec();
        served.push(ServedOffence {
            first_failure: self.first_failure,
            last_failure: self.last_failure,
            failures: self.failures,
            line: self.evidence.last().map(|(_, line)| line.clone()).unwrap_or_default(),
        });
        served
    }

    /// What is asked next: its oldest offence, with its lines.
    pub(super) fn next_offence(&self) -> (Timestamp, Timestamp, u32, Vec<(Timestamp, String)>) {
        match self.served.first() {
            Some(served) => {
                let lines = vec![(served.last_failure, served.line.clone())];
                (served.first_failure, served.last_failure, served.failures, lines)
            }
            None => (self.first_failure, self.last_failure, self.failures, self.evidence.clone()),
        }
    }
}

impl Warden {
    /// Strikes out the served offences that the ban list has heard of, or will never take.
    pub(super) fn settle_served(&mut self, now: Now, key: &BanKey, effects: &mut Vec<Effect>) {
        let Some(entry) = self.outbox.get(key) else { return };
        if entry.served.is_empty() || now.estimated || self.view.position() < entry.basis {
            return;
        }
        let is_settled = |offence: &&ServedOffence| {
            let claim = self.claim_of(entry, offence.first_failure, offence.last_failure, now.cluster);
            let verdict = self.view.judge(&claim, now.cluster);
            matches!(
                verdict,
                Verdict::Covered | Verdict::Protected(_) | Verdict::NotShared(NotSharedReason::TooOld)
            )
        };
        let n_settled = entry.served.iter().take_while(is_settled).count();
        if n_settled > 0 {
            let entry = self.outbox.strike_served(key, n_settled, now.cluster);
            effects.push(Effect::StoreOutbox { key: key.clone(), entry: entry.map(Box::new) });
        }
    }
}
