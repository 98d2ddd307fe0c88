//! The simulation: whole clusters of the real `Warden` and the real `BanList` in a world that is faulty
//! everywhere, decided by a seed, and an oracle that knows only what clients know.
//!
//! `BANNKREIS_SIM_SEEDS` says how many seeds are run, `BANNKREIS_SIM_SEED` runs one of them and prints
//! what happens in it, `BANNKREIS_SIM_EXPECT` names a promise and ends the run with the first seed that
//! breaks it (for planted bugs). Not for the Raft protocol and the daemon's threads: the tiers above are.

mod client;
mod clock;
mod coverage;
mod disk;
mod firewall_worker;
mod host;
mod invariants;
mod kernel;
mod network;
mod node;
mod plan;
mod raft_log;
mod random;
mod scenarios;
mod world;

use coverage::Coverage;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Seeds in a normal run.
const SEEDS: u64 = 1_000;
/// With fewer seeds than this, not every kind of fault need have happened.
const SEEDS_FOR_COVERAGE: u64 = 1_000;
/// After so many broken seeds the run ends.
const FAILURES_MAX: usize = 5;
/// Worlds are independent, so some are lived at once; each alone is single-threaded.
const THREADS_MAX: usize = 8;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{name} is `{text}`, which is no number")))
}

fn report(seed: u64, broken: &world::Broken) -> String {
    format!(
        "seed {seed} broke `{}`: {}\nreplay: BANNKREIS_SIM_SEED={seed} make sim",
        broken.invariant, broken.how
    )
}

#[test]
fn seeds_keep_every_promise() {
    if let Some(seed) = variable("BANNKREIS_SIM_SEED") {
        let verdict = world::run(seed, true);
        println!("trace {:016x}", verdict.trace_hash);
        if let Some(broken) = &verdict.broken {
            panic!("{}", report(seed, broken));
        }
        return;
    }
    let n_seeds = variable("BANNKREIS_SIM_SEEDS").unwrap_or(SEEDS);
    let expected = std::env::var("BANNKREIS_SIM_EXPECT").ok();
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let total = Mutex::new((Coverage::default(), Vec::<(u64, world::Broken)>::new()));
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= n_seeds {
                        return;
                    }
                    let verdict = world::run(seed, false);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.0.add(&verdict.coverage);
                    if let Some(broken) = verdict.broken {
                        let is_expected = expected.as_deref() == Some(broken.invariant);
                        total.1.push((seed, broken));
                        // A few failures say as much as a thousand.
                        if is_expected || (expected.is_none() && total.1.len() >= FAILURES_MAX) {
                            next.store(n_seeds, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let (coverage, mut broken) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{n_seeds} seeds in {:.1} s", began.elapsed().as_secs_f64());
    coverage.lines().for_each(|line| println!("{line}"));
    broken.sort_by_key(|(seed, _)| *seed);
    let reports: Vec<String> = broken.iter().map(|(seed, broken)| report(*seed, broken)).collect();
    assert!(reports.is_empty(), "{}", reports.join("\n"));
    let missing = coverage.missing();
    assert!(n_seeds < SEEDS_FOR_COVERAGE || missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in 0..5 {
        let (first, second) = (world::run(seed, false), world::run(seed, false));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
    }
}
