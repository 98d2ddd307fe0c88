//! The one place that asks the machine what time it is.
//!
//! Wall clock for log lines and for the cluster's readings, CLOCK_BOOTTIME for everything that passes,
//! cluster time from what was applied last. Not for deciding anything by them.
//!
//! For tests of days in seconds there is one aid: when the environment names a file in
//! `BANNKREIS_CLOCK_FILE`, the number of milliseconds in it is added to both clocks, and read again
//! whenever it changes. The daemon says at start that it is in use.

use crate::borders::Clock;
use bannkreis_core::node_clock::{NodeClock, StoredTime};
use bannkreis_core::time::{Now, Timestamp};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Names the file with the offset for tests.
pub const CLOCK_FILE_VARIABLE: &str = "BANNKREIS_CLOCK_FILE";

/// This machine's clocks, and cluster time.
pub struct SystemClock {
    cluster: Mutex<NodeClock>,
    offset_file: Option<PathBuf>,
}

impl SystemClock {
    /// A clock that knows nothing of the cluster yet: its time is an estimate, the wall clock's.
    #[must_use]
    pub fn new() -> SystemClock {
        let offset_file = std::env::var_os(CLOCK_FILE_VARIABLE).map(PathBuf::from);
        let (wall, boottime_ms) = (wall(offset_file.as_ref()), boottime_ms(offset_file.as_ref()));
        let cluster = NodeClock::resumed(None, Timestamp::ZERO, &"", wall, boottime_ms);
        SystemClock { cluster: Mutex::new(cluster), offset_file }
    }

    /// The file that shifts this clock, if a test has named one.
    #[must_use]
    pub fn offset_file(&self) -> Option<&PathBuf> {
        self.offset_file.as_ref()
    }

    /// Starts cluster time: see [`NodeClock::resumed`]. `boot_id`: /proc/sys/kernel/random/boot_id.
    pub fn resume(&self, stored: Option<&StoredTime<String>>, applied: Timestamp, boot_id: &String) {
        *self.lock() = NodeClock::resumed(stored, applied, boot_id, self.wall(), self.boottime_ms());
    }

    /// An applied command's time: see [`NodeClock::observe`].
    pub fn observe(&self, applied: Timestamp, voters: Option<Timestamp>) {
        self.lock().observe(applied, voters, self.boottime_ms());
    }

    /// Cluster time is no longer an estimate: see [`NodeClock::settle`].
    pub fn settle(&self) {
        self.lock().settle(self.boottime_ms());
    }

    /// Cluster time without any guess: see [`NodeClock::known`].
    #[must_use]
    pub fn known(&self) -> Timestamp {
        self.lock().known(self.boottime_ms())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, NodeClock> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall(offset_file: Option<&PathBuf>) -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    Timestamp(ms).plus_ms(offset_ms(offset_file))
}

fn boottime_ms(offset_file: Option<&PathBuf>) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, and the clock exists on every Linux since 2.6.39.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) } != 0;
    assert!(!failed, "CLOCK_BOOTTIME is there on every supported kernel");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let milliseconds = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    (seconds * 1_000 + milliseconds).saturating_add(offset_ms(offset_file))
}

fn offset_ms(offset_file: Option<&PathBuf>) -> u64 {
    let text = offset_file.and_then(|path| std::fs::read_to_string(path).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        wall(self.offset_file.as_ref())
    }

    fn boottime_ms(&self) -> u64 {
        boottime_ms(self.offset_file.as_ref())
    }

    fn now(&self) -> Now {
        self.lock().now(self.wall(), self.boottime_ms())
    }

    fn is_guessed(&self) -> bool {
        self.lock().is_guessed()
    }
}
