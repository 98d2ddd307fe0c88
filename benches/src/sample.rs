//! Many measurements of one thing, and the few numbers that tell of them.

use std::time::Duration;

/// Measurements of one thing, sorted.
#[derive(Clone, Debug)]
pub struct Sample {
    sorted: Vec<Duration>,
}

impl Sample {
    /// A sample of these measurements.
    ///
    /// # Panics
    /// When there are none: nothing can be said about nothing.
    #[must_use]
    pub fn new(mut measured: Vec<Duration>) -> Sample {
        assert!(!measured.is_empty(), "a sample has at least one measurement");
        measured.sort_unstable();
        Sample { sorted: measured }
    }

    /// How many there are.
    #[must_use]
    pub fn n(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest measurement that at least so many percent of all do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.n() * percent.min(100)).div_ceil(100);
        self.sorted[rank.max(1) - 1]
    }

    /// Half of the measurements are not larger.
    #[must_use]
    pub fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// Ninety-nine of a hundred are not larger.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.percentile(99)
    }
}

/// What was measured beside what is aimed at, for people.
#[must_use]
pub fn beside_aim(what: &str, measured: Duration, aim: Duration) -> String {
    let ratio = measured.as_secs_f64() / aim.as_secs_f64();
    format!("{what}: {} ms, {ratio:.2} of the aim of {} ms", ms(measured), ms(aim))
}

/// Milliseconds with three decimal places.
#[must_use]
pub fn ms(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements() {
        let sample = Sample::new((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(sample.n(), 200);
        assert_eq!(sample.p50(), Duration::from_millis(100));
        assert_eq!(sample.p99(), Duration::from_millis(198));
        assert_eq!(Sample::new(vec![Duration::from_millis(7)]).p99(), Duration::from_millis(7));
        assert_eq!(ms(Duration::from_micros(1_234)), "1.234");
    }
}
