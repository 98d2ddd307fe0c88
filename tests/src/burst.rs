//! Very many distinct offenders at one host, at once: the botnet that nobody saw coming. How long until all of them are
//! blocked on every host, and whether operators are answered meanwhile.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::failed::{Result, expect};
use crate::lab::Lab;
use crate::lab::wait::wait_for;
use crate::seeds;

/// Lines that are written at once.
const LINES_PER_WRITE: u32 = 500;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// From the first line on, until all of them were blocked on the host that logged them.
    pub here: Duration,
    /// Until all hosts had all of them on the list and in their kernels.
    pub everywhere: Duration,
    /// The slowest answer to `status` meanwhile.
    pub slowest_answer: Duration,
}

/// So many offenders fail once each at `host`, whose jail bans at the first failure.
///
/// # Errors
/// When not all of them are blocked everywhere after `at_most`.
pub fn of_offenders(lab: &Lab, host: &str, n_offenders: u32, at_most: Duration) -> Result<Course> {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
    let began = Instant::now();
    for offenders in (0..n_offenders).step_by(LINES_PER_WRITE as usize) {
        let some = offenders..(offenders + LINES_PER_WRITE).min(n_offenders);
        let lines: Vec<String> =
            some.map(|n| seeds::postfix_failure(IpAddr::from(Ipv4Addr::from(first + n)))).collect();
        lab.host(host).append_log(seeds::MAIL_LOG, &lines)?;
    }
    let mut slowest_answer = Duration::ZERO;
    let mut wait_for_all = |name: &str, wanted: [&str; 2]| {
        wait_for(&format!("{name} has all {n_offenders}"), at_most, || {
            let asked = Instant::now();
            let told = lab.host(name).cli(&["status", "--output", "json"])?.json()?;
            slowest_answer = slowest_answer.max(asked.elapsed());
            let number = |key: &str| told.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
            let found = wanted.map(number);
            expect(found == [u64::from(n_offenders); 2], || format!("{wanted:?} are {found:?}"))
        })
    };
    wait_for_all(host, ["n_blocked", "n_blocked"])?;
    let here = began.elapsed();
    for host in lab.hosts() {
        wait_for_all(host.name(), ["n_bans", "n_blocked"])?;
    }
    let everywhere = began.elapsed();
    Ok(Course { here, everywhere, slowest_answer })
}
