//! Waiting for something to become true, with a deadline and a sentence for when it does not.
//!
//! There is no bare sleep in the tests: whoever waits says for what and how long at most.

use std::time::{Duration, Instant};

use crate::failed::{Failed, Result};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Looks until there is an answer; after `at_most` it fails with what the last look saw.
///
/// # Errors
/// `what` did not become true in time; the last look's reason stands behind it.
pub fn wait_for<T>(what: &str, at_most: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(reason) if began.elapsed() >= at_most => {
                return Err(Failed(format!("{what}: not within {} ms: {reason}", at_most.as_millis())));
            }
            Err(_) => std::thread::sleep(LOOK_INTERVAL),
        }
    }
}
