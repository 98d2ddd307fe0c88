//! How many bans a node may bring in: an integer token bucket in cluster time.
//!
//! A node over its quota is damped, not silenced: its bans still go everywhere, for a short time.
//! Which ban costs a token is decided in `ban_list.rs`.

use crate::settings::Settings;
use crate::time::{MINUTE_MS, Timestamp};

/// A node's bucket. Tokens are counted in thousandths, so that slow refills do not round to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Thousandths of tokens left at `at`.
    pub milli_tokens: u64,
    /// When that was.
    pub at: Timestamp,
    /// Live bans of this node that were cut short.
    pub n_damped: u32,
}

impl Quota {
    /// A rested node's bucket.
    #[must_use]
    pub fn full(settings: &Settings, now: Timestamp) -> Quota {
        Quota { milli_tokens: u64::from(settings.quota_burst) * 1_000, at: now, n_damped: 0 }
    }

    /// Thousandths of tokens at `now`.
    #[must_use]
    pub fn milli_tokens_at(&self, settings: &Settings, now: Timestamp) -> u64 {
        let passed_ms = u128::from(now.ms_since(self.at));
        let refill = passed_ms * u128::from(settings.quota_per_minute) * 1_000 / u128::from(MINUTE_MS);
        let capacity = u64::from(settings.quota_burst) * 1_000;
        u64::try_from(u128::from(self.milli_tokens) + refill).unwrap_or(u64::MAX).min(capacity)
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, settings: &Settings, now: Timestamp) -> bool {
        let available = self.milli_tokens_at(settings, now);
        let taken = available >= 1_000;
        self.milli_tokens = if taken { available - 1_000 } else { available };
        self.at = self.at.max(now);
        taken
    }
}
