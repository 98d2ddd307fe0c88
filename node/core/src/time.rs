//! Points in time and the lengths between them, as integers in milliseconds.
//!
//! Nothing in this crate reads a clock: every function that needs the time is told it. What a
//! `Timestamp` counts from is the Unix epoch; whose clock it was read from (this host's wall clock,
//! or the cluster's agreed time) is said by the name of the field that holds it.

use core::fmt;

/// One second in milliseconds.
pub const SECOND_MS: u64 = 1_000;
/// One minute in milliseconds.
pub const MINUTE_MS: u64 = 60 * SECOND_MS;
/// One hour in milliseconds.
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
/// One day in milliseconds.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// Milliseconds since the Unix epoch. Arithmetic saturates: a hostile or broken clock can be wrong,
/// but it can not overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The beginning: before everything.
    pub const ZERO: Timestamp = Timestamp(0);

    /// This time, `ms` milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// This time, `ms` milliseconds earlier, but never before the epoch.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 when `earlier` is not earlier.
    #[must_use]
    pub const fn ms_since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// How long a ban or a block lasts: until a time, or for ever, which is later than every time and never a sum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Until(
    // In milliseconds, as a time; `u64::MAX` is for ever. A million bans have two each.
    u64,
);

impl Until {
    /// It ends when somebody ends it.
    pub const FOREVER: Until = Until(u64::MAX);

    /// It ends at this time. The last one there is stands for those that could not be told from for ever.
    #[must_use]
    pub const fn at(end: Timestamp) -> Until {
        Until(if end.0 == u64::MAX { u64::MAX - 1 } else { end.0 })
    }

    /// When it ends; `None`: never by itself.
    #[must_use]
    pub fn end(self) -> Option<Timestamp> {
        (self != Until::FOREVER).then_some(Timestamp(self.0))
    }

    /// Whether it is over at `now`. The last millisecond still belongs to the ban.
    #[must_use]
    pub fn is_over(self, now: Timestamp) -> bool {
        self.end().is_some_and(|end| end < now)
    }

    /// What is left of it at `now` in milliseconds; `None` means forever.
    #[must_use]
    pub fn remaining_ms(self, now: Timestamp) -> Option<u64> {
        Some(self.end()?.ms_since(now))
    }

    /// This end, moved `ms` milliseconds later; forever stays forever.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Until {
        self.end().map_or(self, |end| Until::at(end.plus_ms(ms)))
    }
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end() {
            Some(end) => write!(f, "until {end:?}"),
            None => f.write_str("for ever"),
        }
    }
}

/// A length of a ban: what a jail's `bantime` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BanTime {
    /// This many milliseconds.
    Ms(u64),
    /// fail2ban's `bantime = -1`.
    Forever,
}

impl BanTime {
    /// The end of a ban of this length that began at `start`.
    #[must_use]
    pub fn from(self, start: Timestamp) -> Until {
        match self {
            BanTime::Ms(ms) => Until::at(start.plus_ms(ms)),
            BanTime::Forever => Until::FOREVER,
        }
    }
}

/// The time as a machine is told it, once per step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Cluster time as this node knows it: the last applied `now` plus what has passed since.
    pub cluster: Timestamp,
    /// This host's wall clock. Log lines are dated by it; nothing is banned until by it.
    pub wall: Timestamp,
    /// True after a boot without a leader: `cluster` is a guess that may let things expire, but
    /// settles nothing.
    pub estimated: bool,
    /// `cluster` goes on from a time that was known: where only the way from then to now is estimated, lines of
    /// before are dated rightly all the same, whatever the wall clock has done on that way.
    pub from_known: bool,
}

impl Now {
    /// A time that is known.
    #[must_use]
    pub const fn known(cluster: Timestamp, wall: Timestamp) -> Now {
        Now { cluster, wall, estimated: false, from_known: true }
    }

    /// An event dated `wall` by this host, in cluster time. Events from the future count as now.
    #[must_use]
    pub fn to_cluster(&self, wall: Timestamp) -> Timestamp {
        self.cluster.minus_ms(self.wall.ms_since(wall))
    }
}

/// A clock that is further ahead of the voters' than this goes slower until it is not.
const AHEAD_MAX_MS: u64 = SECOND_MS;
/// By one part in so many.
const SLOWING: u64 = 10;

/// Cluster time between two applied entries: the last applied `now`, carried on by a monotonic
/// clock that counts suspend (CLOCK_BOOTTIME, clock_gettime(2)). It never runs backwards; where the
/// monotonic clock runs too fast, it waits for the voters' clocks by going slower.
#[derive(Clone, Copy, Debug)]
pub struct ClusterClock {
    base: Timestamp,
    base_boottime_ms: u64,
    /// How far it was ahead at the base.
    ahead_ms: u64,
}

impl ClusterClock {
    /// Starts at `now`, read when the monotonic clock stood at `boottime_ms`.
    #[must_use]
    pub const fn new(now: Timestamp, boottime_ms: u64) -> ClusterClock {
        ClusterClock { base: now, base_boottime_ms: boottime_ms, ahead_ms: 0 }
    }

    /// Cluster time when the monotonic clock stands at `boottime_ms`.
    #[must_use]
    pub const fn now(&self, boottime_ms: u64) -> Timestamp {
        let passed_ms = boottime_ms.saturating_sub(self.base_boottime_ms);
        let slow_ms = passed_ms / SLOWING;
        let held_back_ms = if slow_ms < self.ahead_ms { slow_ms } else { self.ahead_ms };
        self.base.plus_ms(passed_ms - held_back_ms)
    }

    /// Takes over an applied `now` when it is ahead; a replicated time behind ours is old news.
    pub fn observe(&mut self, applied: Timestamp, boottime_ms: u64) {
        if applied > self.now(boottime_ms) {
            *self = ClusterClock::new(applied, boottime_ms);
        }
    }

    /// Compares itself with what the voters' clocks have just said together. A node that is late in applying
    /// that takes itself for ahead: it is slower by a tenth until news come.
    pub fn compare(&mut self, voters: Timestamp, boottime_ms: u64) {
        let now = self.now(boottime_ms);
        let ahead_ms = now.ms_since(voters);
        *self = ClusterClock {
            base: now,
            base_boottime_ms: boottime_ms,
            ahead_ms: if ahead_ms > AHEAD_MAX_MS { ahead_ms } else { 0 },
        };
    }
}
