//! The one place that asks the machine what time it is.
//!
//! Wall clock for log lines and for the cluster's readings, CLOCK_BOOTTIME for everything that passes,
//! cluster time from what was applied last. Not for deciding anything by them.
//!
//! For tests of days in seconds there is one aid: when the environment names a file in
//! `BANNKREIS_CLOCK_FILE`, the number of milliseconds in it is added to both clocks, and read again
//! whenever it changes. The daemon says at start that it is in use.

use crate::borders::Clock;
use bannkreis_core::time::{ClusterClock, DAY_MS, Now, Timestamp};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Names the file with the offset for tests.
pub const CLOCK_FILE_VARIABLE: &str = "BANNKREIS_CLOCK_FILE";
/// A node that boots alone believes its wall clock about at most so much time having passed.
const OFFLINE_MAX_MS: u64 = 30 * DAY_MS;

/// What time it was when something was last stored: see [`SystemClock::resume`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTime {
    /// Cluster time.
    pub cluster: Timestamp,
    /// Wall clock.
    pub wall: Timestamp,
    /// CLOCK_BOOTTIME in ms.
    pub boottime_ms: u64,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
    /// Cluster time went on from a wall clock: it was no more than a guess.
    pub guessed: bool,
}

/// Cluster time, from where it is known.
struct Clocks {
    /// What this node believes.
    believed: ClusterClock,
    /// What the log says, once something was applied.
    applied: Option<ClusterClock>,
    /// What the voters' clocks said, since they were last read.
    voters: Option<ClusterClock>,
    /// What this node believes goes on from a wall clock.
    guessed: bool,
}

/// This machine's clocks, and cluster time.
pub struct SystemClock {
    cluster: Mutex<Clocks>,
    estimated: AtomicBool,
    offset_file: Option<PathBuf>,
}

impl SystemClock {
    /// A clock that knows nothing of the cluster yet: its time is an estimate, the wall clock's.
    #[must_use]
    pub fn new() -> SystemClock {
        let offset_file = std::env::var_os(CLOCK_FILE_VARIABLE).map(PathBuf::from);
        let clock = SystemClock {
            cluster: Mutex::new(Clocks {
                believed: ClusterClock::new(Timestamp::ZERO, 0),
                applied: None,
                voters: None,
                guessed: true,
            }),
            estimated: AtomicBool::new(true),
            offset_file,
        };
        let base = ClusterClock::new(clock.wall(), clock.boottime_ms());
        clock.lock().believed = base;
        clock
    }

    /// The file that shifts this clock, if a test has named one.
    #[must_use]
    pub fn offset_file(&self) -> Option<&PathBuf> {
        self.offset_file.as_ref()
    }

    /// Starts cluster time from what was stored, and from what the ban list has applied: whichever is
    /// later. In the same boot the monotonic clock goes on; after another one the wall clock must do,
    /// within bounds. The result is an estimate in any case, and after another boot a guess.
    pub fn resume(&self, stored: Option<&StoredTime>, applied: Timestamp, boot_id: &str) {
        let (wall, boottime_ms) = (self.wall(), self.boottime_ms());
        let stored_now = stored.map(|stored| {
            let passed_ms = if stored.boot_id == boot_id {
                boottime_ms.saturating_sub(stored.boottime_ms)
            } else {
                wall.ms_since(stored.wall).min(OFFLINE_MAX_MS)
            };
            stored.cluster.plus_ms(passed_ms)
        });
        let known = stored_now.into_iter().chain((applied > Timestamp::ZERO).then_some(applied)).max();
        let mut cluster = self.lock();
        cluster.believed = ClusterClock::new(known.unwrap_or(wall), boottime_ms);
        cluster.guessed = stored.is_none_or(|stored| stored.guessed || stored.boot_id != boot_id);
    }

    /// An applied command's time: cluster time is at least that. `median`: what the voters' clocks said,
    /// when the command has brought it.
    pub fn observe(&self, applied: Timestamp, median: Option<Timestamp>) {
        let boottime_ms = self.boottime_ms();
        let is_estimated = self.estimated.load(Ordering::Acquire);
        let mut cluster = self.lock();
        cluster.believed.observe(applied, boottime_ms);
        match &mut cluster.applied {
            Some(clock) => clock.observe(applied, boottime_ms),
            None => cluster.applied = Some(ClusterClock::new(applied, boottime_ms)),
        }
        if let Some(median) = median {
            cluster.voters = Some(ClusterClock::new(median, boottime_ms));
            // Old readings, which a starting node applies again, say nothing about its clock.
            if !is_estimated {
                cluster.believed.compare(median, boottime_ms);
            }
        }
    }

    /// Cluster time is no longer an estimate: something that was stamped in this process's lifetime has
    /// been applied. A guess gives way to what the log and the voters' clocks say, also when it was ahead of
    /// that; in the same boot the clock was right, and goes on.
    pub fn settle(&self) {
        let boottime_ms = self.boottime_ms();
        let mut cluster = self.lock();
        if std::mem::take(&mut cluster.guessed) {
            let known = cluster.applied.into_iter().chain(cluster.voters);
            if let Some(now) = known.map(|clock| clock.now(boottime_ms)).max() {
                cluster.believed = ClusterClock::new(now, boottime_ms);
            }
        }
        self.estimated.store(false, Ordering::Release);
    }

    /// Cluster time without any guess, for a leader that hears no majority's clocks: while this node only
    /// guesses, what the log says, carried on.
    #[must_use]
    pub fn known(&self) -> Timestamp {
        let boottime_ms = self.boottime_ms();
        let cluster = self.lock();
        let applied = cluster.applied.filter(|_| cluster.guessed);
        applied.unwrap_or(cluster.believed).now(boottime_ms)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Clocks> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offset_ms(&self) -> u64 {
        let text = self.offset_file.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Timestamp(ms).plus_ms(self.offset_ms())
    }

    fn boottime_ms(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a timespec of ours, and the clock exists on every Linux since 2.6.39.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) } != 0;
        assert!(!failed, "CLOCK_BOOTTIME is there on every supported kernel");
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let milliseconds = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
        (seconds * 1_000 + milliseconds).saturating_add(self.offset_ms())
    }

    fn now(&self) -> Now {
        let boottime_ms = self.boottime_ms();
        let cluster = self.lock().believed.now(boottime_ms);
        Now { cluster, wall: self.wall(), estimated: self.estimated.load(Ordering::Acquire) }
    }

    fn is_guessed(&self) -> bool {
        self.lock().guessed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Given a time stored with this boot id and these clocks, expect cluster time at or soon after.
    fn check(stored: &StoredTime, applied: u64, boot_id: &str, expected_ms: u64) {
        let clock = SystemClock::new();
        clock.resume(Some(stored), Timestamp(applied), boot_id);
        let now = clock.now();
        assert!(now.estimated);
        assert!(now.cluster.0 >= expected_ms, "{} is before {expected_ms}", now.cluster.0);
        assert!(now.cluster.0 < expected_ms + 60_000, "{} is long after {expected_ms}", now.cluster.0);
    }

    #[test]
    fn in_the_same_boot_the_monotonic_clock_goes_on() {
        let clock = SystemClock::new();
        let stored = StoredTime {
            cluster: Timestamp(1_000_000),
            wall: Timestamp::ZERO,
            boottime_ms: clock.boottime_ms().saturating_sub(5_000),
            boot_id: "a".to_owned(),
            guessed: false,
        };
        check(&stored, 0, "a", 1_005_000);
    }

    #[test]
    fn after_another_boot_the_wall_clock_must_do_but_not_for_more_than_a_month() {
        let clock = SystemClock::new();
        let an_hour_ago = clock.wall().minus_ms(3_600_000);
        let stored = |wall| StoredTime {
            cluster: Timestamp(1_000_000),
            wall,
            boottime_ms: 0,
            boot_id: "a".to_owned(),
            guessed: false,
        };
        check(&stored(an_hour_ago), 0, "b", 4_600_000);
        check(&stored(Timestamp::ZERO), 0, "b", 1_000_000 + OFFLINE_MAX_MS);
    }

    #[test]
    fn an_estimate_that_was_ahead_gives_way_to_what_the_log_says() {
        let clock = SystemClock::new();
        let stored = StoredTime {
            cluster: Timestamp(50_000_000),
            wall: Timestamp::ZERO,
            boottime_ms: u64::MAX,
            boot_id: "a".into(),
            guessed: false,
        };
        clock.resume(Some(&stored), Timestamp::ZERO, "b");
        clock.observe(Timestamp(1_000_000), None);
        assert!(clock.now().cluster >= Timestamp(50_000_000));
        assert!(clock.is_guessed());
        assert!(clock.known() < Timestamp(1_060_000), "no guess reaches the others");
        clock.settle();
        assert!(!clock.now().estimated && !clock.is_guessed());
        assert!(clock.now().cluster < Timestamp(1_060_000));
    }

    #[test]
    fn a_guess_gives_way_to_the_voters_clocks_when_the_log_is_older() {
        let clock = SystemClock::new();
        clock.resume(None, Timestamp::ZERO, "a");
        clock.observe(Timestamp(1_000_000), Some(Timestamp(4_000_000)));
        clock.settle();
        let now = clock.now().cluster;
        assert!(now >= Timestamp(4_000_000) && now < Timestamp(4_060_000), "{now}");
    }

    #[test]
    fn in_the_same_boot_time_goes_on_unless_it_was_a_guess_already() {
        let stored = |guessed| StoredTime {
            cluster: Timestamp(50_000_000),
            wall: Timestamp::ZERO,
            boottime_ms: u64::MAX,
            boot_id: "a".into(),
            guessed,
        };
        let settled = |guessed| {
            let clock = SystemClock::new();
            clock.resume(Some(&stored(guessed)), Timestamp::ZERO, "a");
            clock.observe(Timestamp(1_000_000), None);
            clock.settle();
            clock.now().cluster
        };
        assert!(settled(false) >= Timestamp(50_000_000), "it never runs backwards");
        assert!(settled(true) < Timestamp(1_060_000));
    }

    #[test]
    fn what_was_applied_is_never_undercut() {
        let stored = StoredTime {
            cluster: Timestamp(5),
            wall: Timestamp::ZERO,
            boottime_ms: u64::MAX,
            boot_id: "a".into(),
            guessed: false,
        };
        check(&stored, 9_000, "a", 9_000);
    }
}
