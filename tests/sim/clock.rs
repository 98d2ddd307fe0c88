//! A node's clocks: a wall clock with skew, drift and jumps, and a monotonic one with drift.
//!
//! The simulation alone knows true time; nodes know only these.

use bannkreis_core::time::Timestamp;

/// True time when every world begins: some day in 2023.
pub(crate) const WORLD_BEGINS_MS: u64 = 1_700_000_000_000;

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    /// How far the wall clock is ahead of true time, without drift.
    pub(crate) skew_ms: i64,
    /// How much faster than true time both run, in parts per million.
    pub(crate) drift_ppm: i64,
    /// When the machine booted, in true time.
    pub(crate) booted_at_ms: u64,
    /// Counts boots.
    pub(crate) boot: u32,
}

impl Clocks {
    /// The wall clock at true time `now_ms`.
    pub(crate) fn wall(&self, now_ms: u64) -> Timestamp {
        let drifted = self.drift(now_ms.saturating_sub(WORLD_BEGINS_MS));
        Timestamp(now_ms.saturating_add_signed(self.skew_ms).saturating_add_signed(drifted))
    }

    /// CLOCK_BOOTTIME at true time `now_ms`.
    pub(crate) fn boottime_ms(&self, now_ms: u64) -> u64 {
        let passed_ms = now_ms.saturating_sub(self.booted_at_ms);
        passed_ms.saturating_add_signed(self.drift(passed_ms))
    }

    fn drift(&self, passed_ms: u64) -> i64 {
        i64::try_from(passed_ms).unwrap_or(0) * self.drift_ppm / 1_000_000
    }
}
