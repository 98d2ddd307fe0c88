//! When and whom a fault hits: by chance, from a seed that is printed, so that a failure can be tried again.
//!
//! The processes of a lab have times of their own: a seed chooses the faults again, and not every interleaving.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bannkreis_tests::failed::{Context, Result};
use bannkreis_tests::lab::whole_program::say;
use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// In the environment: the seed of a run that is to be repeated.
const SEED_VARIABLE: &str = "BANNKREIS_E2E_SEED";

/// A seeded source of chance.
pub(crate) struct Chance(TestRng);

impl Chance {
    /// From the environment's seed, or from the time of day.
    pub(crate) fn new() -> Result<Chance> {
        let seed = match number(SEED_VARIABLE)? {
            Some(seed) => seed,
            None => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos().into())
            }
        };
        say(&format!("faults by {SEED_VARIABLE}={seed}"));
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Ok(Chance(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)))
    }

    /// One of these numbers.
    pub(crate) fn of(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// Lets a random time pass, at most so long: the moment of a fault is part of the fault.
    pub(crate) fn let_pass(&mut self, at_most: Duration) {
        let at_most = u64::try_from(at_most.as_micros()).unwrap_or(u64::MAX);
        std::thread::sleep(Duration::from_micros(self.of(0..=at_most)));
    }
}

/// A number in the environment: how often, or which seed.
pub(crate) fn number(variable: &str) -> Result<Option<u64>> {
    let value = std::env::var(variable).ok();
    value.map(|text| text.parse().context(|| format!("{variable}={text}"))).transpose()
}
