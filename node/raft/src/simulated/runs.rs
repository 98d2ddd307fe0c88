//! Many worlds, one after the other and two at a time: each in a process of its own, so that it is the same whatever
//! was lived before. The process is this test program again, told to live one seed's world.

use super::oracle::Broken;
use super::world::{self, Verdict};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Seeds in a normal run.
const SEEDS: u64 = 60;
/// After so many broken seeds the run ends.
const FAILURES_MAX: usize = 5;
/// Worlds that are lived at once.
const PROCESSES_MAX: usize = 8;
/// With it a process lives one world.
const ONE: &str = "BANNKREIS_NET_WORLD";
/// And with this one it prints what happens in it.
const PRINTS: &str = "BANNKREIS_NET_PRINTS";

/// What must have happened at least once in a normal run: a kind of fault that never strikes proves nothing.
const MUST_HAPPEN: [&str; 29] = [
    "checked: lead",
    "checked: same position",
    "client: banned",
    "client: its node died",
    "client: no answer",
    "client: no leader",
    "client: unbanned",
    "client: unknown outcome",
    "clock: jump",
    "disk: slow",
    "disk: unsynced writes lost",
    "log: purged",
    "log: snapshot written",
    "network: connections reset",
    "network: one-way partition",
    "network: partition",
    "network: slow and lossy",
    "node: all without power",
    "node: begins with a snapshot",
    "node: joined again",
    "node: killed",
    "node: leader crashed",
    "node: power lost",
    "node: snapshot taken over",
    "node: turned coat",
    "operator: demote",
    "operator: lead",
    "operator: promote",
    "operator: remove",
];

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{name} is `{text}`, which is no number")))
}

fn report(seed: u64, broken: &Broken) -> String {
    let Broken { promise, how } = broken;
    format!("seed {seed} broke `{promise}`: {how}\nreplay: BANNKREIS_NET_SEED={seed} make sim-net")
}

/// A world that needs longer than this hangs, in seconds of real time.
const WORLD_SECONDS_MAX: u32 = 600;
/// Nothing in the product panics, whatever happens to it.
const NO_PANIC: &str = "nothing panics";

/// Lives the world of one seed, in this process.
fn live(seed: u64, prints: bool) -> Verdict {
    static PANIC: Mutex<Option<String>> = Mutex::new(None);
    // A task's panic would end the task and nothing else.
    std::panic::set_hook(Box::new(|panic| {
        PANIC.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| panic.to_string());
    }));
    // Memory, if there is such a place: syncs of real files are of no interest here.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = dir.path().to_owned();
    let lived = std::thread::spawn(move || world::run(seed, &path, prints)).join();
    let how = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut verdict = lived.unwrap_or_default();
    verdict.broken = how.map(|how| Broken { promise: NO_PANIC.to_owned(), how }).or(verdict.broken);
    verdict
}

#[test]
#[ignore = "lives the world that BANNKREIS_NET_WORLD names, for the other tests"]
fn one_world() {
    let seed = variable(ONE).unwrap();
    // SAFETY: it only sets a timer, whose signal ends this process, which is here for nothing else.
    unsafe { libc::alarm(WORLD_SECONDS_MAX) };
    let verdict = live(seed, std::env::var_os(PRINTS).is_some());
    println!();
    verdict.happened.iter().for_each(|(kind, n)| println!("happened\t{n}\t{kind}"));
    println!("trace\t{}", verdict.trace_hash);
    if let Some(Broken { promise, how }) = verdict.broken {
        println!("broken\t{promise}\t{}", how.replace(['\n', '\t'], " "));
    }
}

/// Lives the world of one seed in a process of its own, and prints what happens in it or not.
fn live_apart(seed: u64, prints: bool) -> Verdict {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "simulated::runs::one_world", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ONE, seed.to_string());
    if prints {
        command.env(PRINTS, "1");
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut verdict = Verdict::default();
    let mut has_ended = false;
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["happened", n, kind] => drop(verdict.happened.insert(kind.to_owned(), n.parse().unwrap())),
            ["trace", hash] => (verdict.trace_hash, has_ended) = (hash.parse().unwrap(), true),
            ["broken", promise, how] => {
                verdict.broken = Some(Broken { promise: promise.to_owned(), how: how.to_owned() });
            }
            _ if prints => println!("{line}"),
            _ => {}
        }
    }
    if !has_ended {
        let how = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        verdict.broken = Some(Broken { promise: "a world ends".to_owned(), how });
    }
    verdict
}

#[test]
fn seeds_keep_every_promise() {
    if let Some(seed) = variable("BANNKREIS_NET_SEED") {
        let verdict = live_apart(seed, true);
        println!("trace {:016x}", verdict.trace_hash);
        if let Some(broken) = &verdict.broken {
            panic!("{}", report(seed, broken));
        }
        return;
    }
    let n_seeds = variable("BANNKREIS_NET_SEEDS").unwrap_or(SEEDS);
    let expected = std::env::var("BANNKREIS_NET_EXPECT").ok();
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let total = Mutex::new((BTreeMap::<String, u64>::new(), Vec::<(u64, Broken)>::new()));
    let n_processes = std::thread::available_parallelism().map_or(1, usize::from).min(PROCESSES_MAX);
    std::thread::scope(|scope| {
        for _ in 0..n_processes {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= n_seeds {
                        return;
                    }
                    let verdict = live_apart(seed, false);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    for (kind, n) in verdict.happened {
                        *total.0.entry(kind).or_default() += n;
                    }
                    if let Some(broken) = verdict.broken {
                        let is_expected = expected.as_ref() == Some(&broken.promise);
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
    let (happened, mut broken) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{n_seeds} seeds in {:.1} s", began.elapsed().as_secs_f64());
    happened.iter().for_each(|(kind, n)| println!("{n:>10}  {kind}"));
    broken.sort_by_key(|(seed, _)| *seed);
    let reports: Vec<String> = broken.iter().map(|(seed, broken)| report(*seed, broken)).collect();
    assert!(reports.is_empty(), "{}", reports.join("\n"));
    let missing: Vec<&str> = MUST_HAPPEN.into_iter().filter(|kind| !happened.contains_key(*kind)).collect();
    assert!(n_seeds < SEEDS || missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..3 {
        let (first, second) = (live_apart(seed, false), live_apart(seed, false));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_eq!(first.happened, second.happened, "seed {seed}");
    }
}
