//! A histogram by powers of two, in place of the crate of the same name.
//!
//! openraft keeps statistics of its batch sizes with that crate, which fills 27 MB of tables at its first
//! use: more than all the rest of an idle node. This one has what openraft calls and no tables. It is put
//! in by `[patch.crates-io]` in the workspace's Cargo.toml; nothing of ours uses it, and it goes as soon
//! as the original computes only the table that it needs.

use std::fmt;
use std::marker::PhantomData;

/// One count for each number of significant bits, 0 to 64.
const BUCKETS: usize = 65;

/// How often values of each magnitude were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    /// The original tells several periods of time apart by this; openraft does not use it.
    periods: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl<T> Histogram<T> {
    /// Nothing recorded.
    #[must_use]
    pub fn new() -> Histogram<T> {
        Histogram { counts: [0; BUCKETS], periods: PhantomData }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value `n` times.
    pub fn record_n(&mut self, value: u64, n: u64) {
        let count = &mut self.counts[(u64::BITS - value.leading_zeros()) as usize];
        *count = count.saturating_add(n);
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    /// The largest value of the magnitude that `fraction` of all values do not exceed; 0 when there
    /// are none.
    #[must_use]
    pub fn percentile(&self, fraction: f64) -> u64 {
        // Approximate by nature: a count beyond 2^53 may be off by one.
        let wanted = (self.total() as f64 * fraction).ceil() as u64;
        let mut seen = 0u64;
        for (bits, count) in (0u32..).zip(&self.counts) {
            seen = seen.saturating_add(*count);
            if seen >= wanted.max(1) {
                return 1u64.checked_shl(bits).map_or(u64::MAX, |end| end - 1);
            }
        }
        0
    }

    /// The percentiles that openraft prints.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

/// Some percentiles of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// 0.1 % of the values are at most this.
    pub p0_1: u64,
    /// 1 %.
    pub p1: u64,
    /// 5 %.
    pub p5: u64,
    /// 10 %.
    pub p10: u64,
    /// Half of them.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values, p50 {}, p99 {}", self.samples, self.p50, self.p99)
    }
}

/// Several histograms with their names, to be printed under each other.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    rows: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    /// No rows.
    #[must_use]
    pub fn new() -> AsciiChart {
        AsciiChart::default()
    }

    /// With one more row.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "the original's signature")]
    pub fn add<T>(mut self, name: impl Into<String>, histogram: Histogram<T>) -> AsciiChart {
        self.rows.push((name.into(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_by_magnitude() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile(0.5), 0);
        (0..90).for_each(|_| histogram.record(5));
        histogram.record_n(1_000, 9);
        histogram.record(u64::MAX);
        let stats = histogram.percentile_stats();
        assert_eq!(
            (stats.samples, stats.p50, stats.p90, stats.p99, stats.p99_9),
            (100, 7, 7, 1_023, u64::MAX)
        );
        assert_eq!(
            AsciiChart::new().add("sizes", histogram).to_string(),
            "sizes: 100 values, p50 7, p99 1023\n"
        );
    }
}
