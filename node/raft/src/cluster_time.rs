//! Cluster time as this node knows it: what the last applied entry said, carried on by the monotonic
//! clock the daemon has given. A leader stamps commands with it.

use bannkreis_core::time::{ClusterClock, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};

/// A clock that counts suspend, in ms: CLOCK_BOOTTIME of clock_gettime(2), or a test's.
pub type BoottimeMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Cluster time between applied entries.
pub(crate) struct ClusterTime {
    boottime_ms: BoottimeMs,
    clock: Mutex<ClusterClock>,
}

impl ClusterTime {
    /// Starts at the beginning of time; the first applied entry says more.
    pub(crate) fn new(boottime_ms: BoottimeMs) -> ClusterTime {
        let clock = ClusterClock::new(Timestamp::ZERO, boottime_ms());
        ClusterTime { boottime_ms, clock: Mutex::new(clock) }
    }

    /// The monotonic clock itself, in ms.
    pub(crate) fn boottime_ms(&self) -> u64 {
        (self.boottime_ms)()
    }

    /// What time it is in the cluster.
    pub(crate) fn now(&self) -> Timestamp {
        let boottime_ms = self.boottime_ms();
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).now(boottime_ms)
    }

    /// Takes over the time that an applied entry or a snapshot has brought.
    pub(crate) fn observe(&self, applied: Timestamp) {
        let boottime_ms = self.boottime_ms();
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).observe(applied, boottime_ms);
    }

    /// Waits for the voters' clocks, when it is ahead of what an applied entry says of them.
    pub(crate) fn compare(&self, median: Timestamp) {
        let boottime_ms = self.boottime_ms();
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).compare(median, boottime_ms);
    }
}
