//! What a node believes that cluster time is, from its first moment on: an estimate while it has heard of
//! nothing that was stamped in its own lifetime, knowledge afterwards.
//!
//! Pure: whoever drives it reads the machine's clocks. Not for what a leader stamps commands with.

use crate::time::{ClusterClock, DAY_MS, MINUTE_MS, Now, Timestamp};

/// See [`is_time_due`].
const TIME_STORED_EVERY_MS: u64 = MINUTE_MS;

/// A node that boots alone believes its wall clock about at most so much time having passed.
const OFFLINE_MAX_MS: u64 = 30 * DAY_MS;

/// What time it was when something was last stored: see [`NodeClock::resumed`]. `B` names a boot of the
/// machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTime<B> {
    /// Cluster time.
    pub cluster: Timestamp,
    /// Wall clock.
    pub wall: Timestamp,
    /// CLOCK_BOOTTIME in ms.
    pub boottime_ms: u64,
    /// In which boot.
    pub boot: B,
    /// Cluster time went on from a wall clock: it was no more than a guess.
    pub guessed: bool,
}

/// Whether the time is to be stored by itself, when one that was no guess was stored last as the monotonic clock stood
/// at `stored_ms`: the time is stored with whatever else is, but what has passed since then is asked of this machine's
/// clock alone when the next process starts, and that may run too fast. A guess is not worth it.
#[must_use]
pub fn is_time_due(stored_ms: Option<u64>, boottime_ms: u64, is_guessed: bool) -> bool {
    let is_old = |stored_ms| boottime_ms.saturating_sub(stored_ms) >= TIME_STORED_EVERY_MS;
    !is_guessed && stored_ms.is_none_or(is_old)
}

/// See the module. Times of the monotonic clock are CLOCK_BOOTTIME's, in ms.
#[derive(Clone, Debug)]
pub struct NodeClock {
    /// What this node believes.
    believed: ClusterClock,
    /// What the log says, once something was applied.
    applied: Option<ClusterClock>,
    /// What the voters' clocks said, since they were last read.
    voters: Option<ClusterClock>,
    /// What this node believes goes on from a wall clock.
    guessed: bool,
    /// What this node believes goes on from a time that was known, by whatever clock.
    from_known: bool,
    estimated: bool,
}

impl NodeClock {
    /// Starts from what was stored, and from what the ban list has applied: whichever is later. In the same
    /// boot the monotonic clock goes on; after another one, or when nothing is stored, the wall clock must do,
    /// within bounds. The result is an estimate in any case, and after another boot a guess.
    #[must_use]
    pub fn resumed<B: PartialEq>(
        stored: Option<&StoredTime<B>>,
        applied: Timestamp,
        boot: &B,
        wall: Timestamp,
        boottime_ms: u64,
    ) -> NodeClock {
        let is_same_boot = stored.is_some_and(|stored| stored.boot == *boot);
        let now = match stored {
            Some(stored) if is_same_boot => {
                stored.cluster.plus_ms(boottime_ms.saturating_sub(stored.boottime_ms))
            }
            Some(stored) => stored.cluster.plus_ms(wall.ms_since(stored.wall).min(OFFLINE_MAX_MS)),
            None if applied > Timestamp::ZERO => wall.min(applied.plus_ms(OFFLINE_MAX_MS)),
            None => wall,
        };
        NodeClock {
            believed: ClusterClock::new(now.max(applied), boottime_ms),
            applied: None,
            voters: None,
            guessed: !is_same_boot || stored.is_none_or(|stored| stored.guessed),
            from_known: stored.is_some_and(|stored| !stored.guessed),
            estimated: true,
        }
    }

    /// An applied command's time: cluster time is at least that. `voters`: what the voters' clocks said
    /// together, when the command has brought it.
    pub fn observe(&mut self, applied: Timestamp, voters: Option<Timestamp>, boottime_ms: u64) {
        self.believed.observe(applied, boottime_ms);
        match &mut self.applied {
            Some(clock) => clock.observe(applied, boottime_ms),
            None => self.applied = Some(ClusterClock::new(applied, boottime_ms)),
        }
        if let Some(voters) = voters {
            self.voters = Some(ClusterClock::new(voters, boottime_ms));
            // Old readings, which a starting node applies again, say nothing about its clock.
            if !self.estimated {
                self.believed.compare(voters, boottime_ms);
            }
        }
    }

    /// Cluster time is no longer an estimate: something that was stamped just now has been applied. A guess
    /// gives way to what the log and the voters' clocks say, also when it was ahead of that; in the same boot
    /// the clock goes on, and slower where it ran ahead while no process compared it.
    pub fn settle(&mut self, boottime_ms: u64) {
        self.estimated = false;
        self.from_known = true;
        let is_guess = core::mem::take(&mut self.guessed);
        let known = self.applied.into_iter().chain(self.voters);
        match known.map(|clock| clock.now(boottime_ms)).max() {
            Some(now) if is_guess => self.believed = ClusterClock::new(now, boottime_ms),
            Some(now) => self.believed.compare(now, boottime_ms),
            None => {}
        }
    }

    /// What time it is, for a machine that is told so once per step.
    #[must_use]
    pub fn now(&self, wall: Timestamp, boottime_ms: u64) -> Now {
        let cluster = self.believed.now(boottime_ms);
        Now { cluster, wall, estimated: self.estimated, from_known: self.from_known }
    }

    /// Cluster time without any guess, for a leader that hears no majority's clocks: while this node only
    /// guesses, what the log says, carried on; nothing at all, when it says nothing.
    #[must_use]
    pub fn known(&self, boottime_ms: u64) -> Timestamp {
        let known = if self.guessed { self.applied } else { Some(self.believed) };
        known.map_or(Timestamp::ZERO, |clock| clock.now(boottime_ms))
    }

    /// Whether it goes on from a wall clock: the estimate may be far off.
    #[must_use]
    pub fn is_guessed(&self) -> bool {
        self.guessed
    }

    /// Whether it is an estimate still.
    #[must_use]
    pub fn is_estimated(&self) -> bool {
        self.estimated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp(1_700_000_000_000);
    const BOOTTIME_MS: u64 = 90_000_000;

    fn stored(cluster: u64, guessed: bool) -> StoredTime<&'static str> {
        let (wall, boottime_ms) = (WALL.minus_ms(3_600_000), BOOTTIME_MS - 5_000);
        StoredTime { cluster: Timestamp(cluster), wall, boottime_ms, boot: "a", guessed }
    }

    /// Given a time stored in boot `a`, what is believed at the start in this one.
    fn at_start(stored: &StoredTime<&'static str>, applied: u64, boot: &'static str) -> u64 {
        let clock = NodeClock::resumed(Some(stored), Timestamp(applied), &boot, WALL, BOOTTIME_MS);
        assert!(clock.is_estimated());
        clock.now(WALL, BOOTTIME_MS).cluster.0
    }

    #[test]
    fn in_the_same_boot_the_monotonic_clock_goes_on() {
        assert_eq!(at_start(&stored(1_000_000, false), 0, "a"), 1_005_000);
    }

    #[test]
    fn after_another_boot_the_wall_clock_must_do_but_not_for_more_than_a_month() {
        assert_eq!(at_start(&stored(1_000_000, false), 0, "b"), 4_600_000);
        let long_ago = StoredTime { wall: Timestamp::ZERO, ..stored(1_000_000, false) };
        assert_eq!(at_start(&long_ago, 0, "b"), 1_000_000 + OFFLINE_MAX_MS);
    }

    #[test]
    fn what_was_applied_is_never_undercut() {
        assert_eq!(at_start(&stored(5, false), 9_000_000, "a"), 9_000_000);
    }

    #[test]
    fn without_anything_stored_the_wall_clock_must_do_but_not_for_more_than_a_month() {
        let at_start = |applied| {
            let clock = NodeClock::resumed(None, applied, &"a", WALL, BOOTTIME_MS);
            clock.now(WALL, BOOTTIME_MS).cluster
        };
        assert_eq!(at_start(WALL.minus_ms(20_000)), WALL);
        assert_eq!(at_start(WALL.plus_ms(20_000)), WALL.plus_ms(20_000));
        assert_eq!(at_start(Timestamp(1)), Timestamp(1 + OFFLINE_MAX_MS));
        assert_eq!(at_start(Timestamp::ZERO), WALL);
    }

    #[test]
    fn an_estimate_that_was_ahead_gives_way_to_what_the_log_says() {
        let mut clock =
            NodeClock::resumed(Some(&stored(50_000_000, false)), Timestamp::ZERO, &"b", WALL, BOOTTIME_MS);
        clock.observe(Timestamp(1_000_000), None, BOOTTIME_MS);
        assert!(clock.now(WALL, BOOTTIME_MS).cluster >= Timestamp(50_000_000));
        assert!(clock.is_guessed());
        assert_eq!(clock.known(BOOTTIME_MS + 7), Timestamp(1_000_007), "no guess reaches the others");
        clock.settle(BOOTTIME_MS + 9);
        assert!(!clock.is_estimated() && !clock.is_guessed());
        assert_eq!(clock.now(WALL, BOOTTIME_MS + 9).cluster, Timestamp(1_000_009));
    }

    #[test]
    fn a_guess_gives_way_to_the_voters_clocks_when_the_log_is_older() {
        let mut clock = NodeClock::resumed::<&str>(None, Timestamp::ZERO, &"a", WALL, BOOTTIME_MS);
        clock.observe(Timestamp(1_000_000), Some(Timestamp(4_000_000)), BOOTTIME_MS);
        clock.settle(BOOTTIME_MS);
        assert_eq!(clock.now(WALL, BOOTTIME_MS).cluster, Timestamp(4_000_000));
    }

    #[test]
    fn a_clock_that_ran_ahead_while_the_process_was_away_waits_for_the_others() {
        let mut clock =
            NodeClock::resumed(Some(&stored(1_000_000, false)), Timestamp::ZERO, &"a", WALL, BOOTTIME_MS);
        // By this clock five seconds have passed, by the others' two.
        clock.observe(Timestamp(1_002_000), Some(Timestamp(1_002_000)), BOOTTIME_MS);
        clock.settle(BOOTTIME_MS);
        assert_eq!(clock.now(WALL, BOOTTIME_MS).cluster.0, 1_005_000, "it never runs backwards");
        assert_eq!(clock.now(WALL, BOOTTIME_MS + 30_000).cluster.0, 1_032_000);
        assert_eq!(clock.now(WALL, BOOTTIME_MS + 60_000).cluster.0, 1_062_000);
    }

    #[test]
    fn in_the_same_boot_time_goes_on_unless_it_was_a_guess_already() {
        let settled = |guessed| {
            let stored = stored(50_000_000, guessed);
            let mut clock = NodeClock::resumed(Some(&stored), Timestamp::ZERO, &"a", WALL, BOOTTIME_MS);
            clock.observe(Timestamp(1_000_000), None, BOOTTIME_MS);
            clock.settle(BOOTTIME_MS);
            clock.now(WALL, BOOTTIME_MS).cluster.0
        };
        assert_eq!(settled(false), 50_005_000, "it never runs backwards");
        assert_eq!(settled(true), 1_000_000);
    }
}
