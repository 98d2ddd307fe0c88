//! Room on the disk that `state_dir` is on: a reserve that is given up when the disk is full, so that a node can start
//! there and goes on deciding for a while, and the warning before that.
//!
//! Not for a write that fails all the same: whoever writes says so.

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open, statvfs};
use rustix::process::geteuid;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its name in `state_dir`.
const NAME: &str = "reserve";
const MIB: u64 = 1024 * 1024;
/// So much is kept: tens of thousands of commands for the Raft log.
const RESERVE_BYTES: u64 = 16 * MIB;
/// With less left, it is given up.
const GIVEN_UP_BELOW: u64 = 4 * MIB;
/// With so much left, it is made, also again; with less, people are warned.
const TIGHT_BELOW: u64 = 64 * MIB;
/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Makes the reserve where there is room, or gives it up where there is none. Says what it has given up, for people.
pub fn look(state_dir: &Path) -> Option<String> {
    let reserve = state_dir.join(NAME);
    let left = left_bytes(state_dir).ok()?;
    if left < GIVEN_UP_BELOW {
        // One that is not there is none to give up.
        std::fs::remove_file(&reserve).ok()?;
        let (left, reserve) = (left / MIB, RESERVE_BYTES / MIB);
        return Some(format!(
            "the disk of {} is full ({left} MiB left): the {reserve} MiB that this node had kept for that are free now; \
             make room there, or it stops deciding with the others when they are used up",
            state_dir.display()
        ));
    }
    if left >= TIGHT_BELOW + RESERVE_BYTES
        && !reserve.exists()
        && let Err(error) = make(&reserve)
    {
        tracing::debug!("{}: no reserve is kept: {error}", reserve.display());
        let _ = std::fs::remove_file(&reserve);
    }
    None
}

/// Looks again and again. Until the task is aborted.
pub async fn keep(state_dir: PathBuf) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let state_dir = state_dir.clone();
        if let Ok(Some(why)) = tokio::task::spawn_blocking(move || look(&state_dir)).await {
            tracing::error!("{why}");
        }
    }
}

/// What people should know: little is left.
#[must_use]
pub fn warning(state_dir: &Path) -> Option<String> {
    let left = left_bytes(state_dir).ok().filter(|left| *left < TIGHT_BELOW)?;
    Some(format!(
        "only {} MiB are left on the disk of {}: make room there before it is full",
        left / MIB,
        state_dir.display()
    ))
}

/// What this process may still write there: statvfs(3).
fn left_bytes(state_dir: &Path) -> io::Result<u64> {
    let disk = statvfs(state_dir)?;
    let blocks = if geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
    Ok(blocks.saturating_mul(disk.f_frsize))
}

/// Takes the room, and writes nothing into it.
fn make(reserve: &Path) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = open(reserve, flags, Mode::RUSR | Mode::WUSR)?;
    fallocate(file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
    Ok(())
}
