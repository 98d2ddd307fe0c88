//! Timers that fall together: whatever a node does again and again, it does at the same moments, so that an idle
//! machine is woken once for all of it. Not for deadlines, nor for pauses after something that failed.

use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Where all of them are counted from.
static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Ticks at once, and from then on at the whole multiples of `period` since this process began. Ticks that nobody
/// waited for are left out.
///
/// # Panics
/// When `period` is zero.
#[must_use]
pub fn every(period: Duration) -> Interval {
    let now = Instant::now();
    let mut ticks = interval_at(last_beat(*BEGAN.get_or_init(|| now), now, period), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// The last whole multiple of `period` since `began` that is not after `now`.
fn last_beat(began: Instant, now: Instant, period: Duration) -> Instant {
    let into_period = now.saturating_duration_since(began).as_nanos() % period.as_nanos();
    now - Duration::from_nanos(u64::try_from(into_period).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_that_were_started_at_different_times_fall_together() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let period = Duration::from_millis(500);
        for (now_ms, last_ms) in [(0, 0), (180, 0), (499, 0), (500, 500), (1_730, 1_500)] {
            assert_eq!(last_beat(began, at(now_ms), period), at(last_ms), "{now_ms} ms after the beginning");
        }
    }
}
