//! Room on the disk that `state_dir` is on: a reserve that is given up when the disk is full, so that a node can start
//! there and goes on deciding for a while, and the warning before that.
//!
//! Not for a write that fails all the same: whoever writes says so.

use bannkreis_raft::rhythm;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its name in `state_dir`.
const NAME: &str = "reserve";
const MIB: u64 = 1024 * 1024;
/// So much is kept.
const RESERVE_BYTES: u64 = 16 * MIB;
/// With less left, it is given up.
const GIVEN_UP_BELOW: u64 = 4 * MIB;
/// With so much left, it is made, also again; with less, people are warned.
const TIGHT_BELOW: u64 = 64 * MIB;
/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Makes the reserve where there is room, or gives it up where there is none. Says what it has given up, for people.
///
/// # Errors
/// When the disk can not be asked, or the reserve can not be made or given up: a sentence.
pub fn look(state_dir: &Path) -> Result<Option<String>, String> {
    let reserve = state_dir.join(NAME);
    let named = |what: &str, error: io::Error| format!("{}: {what}: {error}", reserve.display());
    let left = left_bytes(state_dir).map_err(|error| named("the room on the disk is not known", error))?;
    if left < GIVEN_UP_BELOW {
        return match std::fs::remove_file(&reserve) {
            Ok(()) => Ok(Some(format!(
                "the disk of {} is full ({} MiB left): the {} MiB that this node had kept for that are free now; make \
                 room there, or it stops deciding with the others when they are used up",
                state_dir.display(),
                left / MIB,
                RESERVE_BYTES / MIB
            ))),
            // It was given up before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named("the reserve can not be given up", error)),
        };
    }
    if left >= TIGHT_BELOW + RESERVE_BYTES && !reserve.exists() {
        make(&reserve).map_err(|error| {
            // Half a reserve would count as one.
            let removed = std::fs::remove_file(&reserve).err().map(|error| format!(" ({error})"));
            named(&format!("no room is kept for a full disk{}", removed.unwrap_or_default()), error)
        })?;
    }
    Ok(None)
}

/// Looks again and again, and writes what is found into the log, the same error once. Until the task is aborted.
pub async fn keep(state_dir: PathBuf) {
    let mut looks = rhythm::every(LOOK_INTERVAL);
    let mut told = None;
    loop {
        looks.tick().await;
        let state_dir = state_dir.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || look(&state_dir)).await else { return };
        match found {
            Ok(Some(given_up)) => tracing::error!("{given_up}"),
            Ok(None) => told = None,
            Err(why) if told.as_ref() != Some(&why) => {
                tracing::warn!("{why}");
                told = Some(why);
            }
            Err(_) => {}
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

/// Takes the room. Where a file system can not promise it, it is written.
fn make(reserve: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(reserve)?;
    match fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => io::copy(&mut io::repeat(0).take(RESERVE_BYTES), &mut file).map(drop),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_kept_is_said_with_its_place() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join(NAME)).expect("made");
        // A directory is no reserve, and is not taken for a file that could be given up.
        assert!(make(&dir.path().join(NAME)).is_err());
        let gone = dir.path().join("gone");
        let why = look(&gone).expect_err("there is no such disk");
        assert!(why.contains("gone/reserve: the room on the disk is not known"), "{why}");
        assert_eq!(warning(&gone), None);
    }

    #[test]
    fn the_reserve_takes_its_room() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("temporary directory");
        let reserve = dir.path().join(NAME);
        make(&reserve).expect("there is room");
        let facts = std::fs::metadata(&reserve).expect("it is there");
        assert_eq!((facts.len(), facts.mode() & 0o777), (RESERVE_BYTES, 0o600));
        assert!(facts.blocks() * 512 >= RESERVE_BYTES, "only {} blocks", facts.blocks());
    }
}
