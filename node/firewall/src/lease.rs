//! How an end in cluster time becomes a timeout that the firewall runs down by itself.
//!
//! Not for which clock is right: the caller says what time it is.

use bannkreis_core::time::{DAY_MS, Timestamp, Until};

/// What is blocked for ever is blocked for 30 days at a time: longer than any daemon should be dead,
/// and short enough that a forgotten table heals. The caller blocks again before it is over.
pub const PERMANENT_LEASE_MS: u64 = 30 * DAY_MS;

/// No timeout is shorter: the kernel counts in jiffies of up to 10 ms, and a timeout that rounds to
/// zero jiffies would mean *never*. So a block may end up to this much late.
pub const LEASE_MS_MIN: u64 = 20;

/// No timeout is longer: a hundred years, well inside what the kernel can count (about 584 years,
/// beyond which it refuses). An end further away than that is reached by blocking again.
pub const LEASE_MS_MAX: u64 = 36_525 * DAY_MS;

/// The timeout for something that ends at `until`, or `None` when it is over at `now`.
#[must_use]
pub fn lease_ms(until: Until, now: Timestamp) -> Option<u64> {
    if until.is_over(now) {
        return None;
    }
    Some(match until.remaining_ms(now) {
        Some(remaining_ms) => remaining_ms.clamp(LEASE_MS_MIN, LEASE_MS_MAX),
        None => PERMANENT_LEASE_MS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases() {
        let now = Timestamp(1_000_000);
        for (until, expected) in [
            (Until::at(Timestamp(999_999)), None),
            (Until::at(now), Some(LEASE_MS_MIN)),
            (Until::at(Timestamp(1_000_021)), Some(21)),
            (Until::at(Timestamp(u64::MAX)), Some(LEASE_MS_MAX)),
            (Until::FOREVER, Some(PERMANENT_LEASE_MS)),
        ] {
            assert_eq!(lease_ms(until, now), expected, "{until:?}");
        }
    }
}
