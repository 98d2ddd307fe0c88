//! **One wrong clock changes nothing**: of three and more clocks, one that is a minute or a year off, or
//! jumps, neither moves cluster time nor stops it. A leader that stamps wrongly gains a minute and no more.

use crate::plan::RUNAWAY_PPM;
use crate::world::World;
use bannkreis_core::time::SECOND_MS;

pub(crate) const NAME: &str = "one wrong clock changes nothing";

/// The honest clocks are at most half a second off, and drift a little.
const AHEAD_MS_MAX: u64 = 2 * SECOND_MS;
/// A leader whose clock runs away was alone for some minutes at most, and then waits for the voters' clocks.
/// A restart loses what it has waited since it last stored the time: then it may be ahead by what such a
/// clock gains in a whole world. What is promised is a minute.
const RUNAWAY_AHEAD_MS_MAX: u64 = 12 * SECOND_MS;
/// With a leader, cluster time is never further behind than one interval of ticks and a bit.
const BEHIND_MS_MAX: u64 = 40 * SECOND_MS;

impl World {
    /// Compares cluster time with true time.
    pub(crate) fn check_time(&mut self) {
        let Some(newest) = self.raft.history.last() else { return };
        let (cluster_ms, now_ms, n_bans) = (newest.now().0, self.now_ms, newest.n_bans());
        self.oracle.ahead_ms = self.oracle.ahead_ms.max(cluster_ms.saturating_sub(now_ms));
        let runs_away = self.plan.drifts_ppm.contains(&RUNAWAY_PPM);
        let ahead_ms_max = self.plan.led_ms() + if runs_away { RUNAWAY_AHEAD_MS_MAX } else { AHEAD_MS_MAX };
        if cluster_ms > now_ms + ahead_ms_max {
            self.fail(NAME, format!("cluster time is {} ms ahead", cluster_ms - now_ms));
        }
        let has_time = n_bans > 0 && self.now_ms > self.plan.heals_at_ms + BEHIND_MS_MAX;
        if has_time && cluster_ms + BEHIND_MS_MAX < now_ms {
            self.fail(NAME, format!("cluster time is {} ms behind", now_ms - cluster_ms));
        }
    }
}
