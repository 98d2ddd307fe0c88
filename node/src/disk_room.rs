//! Room on the disk that `state_dir` is on: a reserve that is given up when the disk is full, so that a node can start
//! there and goes on deciding for a while; the warning before that; and what is left to do when that is used up too.
//!
//! ```text
//! 64 MiB left ─▶ people are warned
//!  4 MiB left ─▶ the reserve of 16 MiB is given up, and all goes on
//!  8 MiB left of it ─▶ the Raft log takes in nothing more (`RaftNode::set_room`), until there are 16 MiB again
//! ```
//!
//! Not for a write that fails all the same: that is `disk_failure`.

use bannkreis_raft::{RaftNode, rhythm};
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
/// With less left and no reserve, the log takes in nothing: the rest is for what this host must not forget.
const NO_ROOM_BELOW: u64 = 8 * MIB;
/// From so much on it takes in something again.
const ROOM_FROM: u64 = 16 * MIB;
/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The same while little is left: a disk fills quickly.
const TIGHT_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What a look has found.
#[derive(Debug, Default)]
pub struct Found {
    /// The reserve was given up now: a sentence.
    pub given_up: Option<String>,
    /// Less than [`TIGHT_BELOW`] is left.
    is_tight: bool,
    /// In bytes, while no reserve is kept.
    left_without_reserve: Option<u64>,
}

impl Found {
    /// Whether there is room for the log, when there `was` or was not before.
    fn has_room(&self, was: bool) -> bool {
        let least = if was { NO_ROOM_BELOW } else { ROOM_FROM };
        self.left_without_reserve.is_none_or(|left| left >= least)
    }
}

/// Makes the reserve where there is room, or gives it up where there is none.
///
/// # Errors
/// When the disk can not be asked, or the reserve can not be made or given up: a sentence.
pub fn look(state_dir: &Path) -> Result<Found, String> {
    let reserve = state_dir.join(NAME);
    let named = |what: &str, error: io::Error| format!("{}: {what}: {error}", reserve.display());
    let left = left_bytes(state_dir).map_err(|error| named("the room on the disk is not known", error))?;
    let is_tight = left < TIGHT_BELOW;
    let mut found = Found { is_tight, ..Found::default() };
    if left < GIVEN_UP_BELOW {
        match std::fs::remove_file(&reserve) {
            Ok(()) => found.given_up = Some(given_up(state_dir, left)),
            // It was given up before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => found.left_without_reserve = Some(left),
            Err(error) => return Err(named("the reserve can not be given up", error)),
        }
        return Ok(found);
    }
    if left >= TIGHT_BELOW + RESERVE_BYTES && !reserve.exists() {
        make(&reserve).map_err(|error| {
            // Half a reserve would count as one.
            let removed = std::fs::remove_file(&reserve).err().map(|error| format!(" ({error})"));
            named(&format!("no room is kept for a full disk{}", removed.unwrap_or_default()), error)
        })?;
    }
    if !reserve.exists() {
        found.left_without_reserve = Some(left);
    }
    Ok(found)
}

fn given_up(state_dir: &Path, left: u64) -> String {
    format!(
        "the disk of {} is full ({} MiB left): the {} MiB that this node had kept for that are free now; make room there, \
         or it stops deciding with the others when they are used up",
        state_dir.display(),
        left / MIB,
        RESERVE_BYTES / MIB
    )
}

/// Looks again and again, writes what is found into the log, the same error once, and tells the Raft log whether there
/// is room for it. Until the task is aborted.
pub async fn keep(state_dir: PathBuf, raft: RaftNode) {
    let (mut seldom, mut often) = (rhythm::every(LOOK_INTERVAL), rhythm::every(TIGHT_LOOK_INTERVAL));
    let mut told = None;
    let (mut is_tight, mut has_room) = (true, true);
    loop {
        if is_tight {
            often.tick().await
        } else {
            seldom.tick().await
        };
        let asked = state_dir.clone();
        let Ok(looked) = tokio::task::spawn_blocking(move || look(&asked)).await else { return };
        match looked {
            Ok(found) => {
                told = None;
                is_tight = found.is_tight;
                found.given_up.iter().for_each(|given_up| tracing::error!("{given_up}"));
                if found.has_room(has_room) == has_room {
                    continue;
                }
                has_room = !has_room;
                let lack = (!has_room).then(|| no_room(&state_dir));
                match &lack {
                    Some(lack) => tracing::error!("{lack}"),
                    None => tracing::info!("there is room again on the disk of {}", state_dir.display()),
                }
                raft.set_room(lack);
            }
            Err(why) if told.as_ref() != Some(&why) => {
                tracing::warn!("{why}");
                told = Some(why);
            }
            Err(_) => {}
        }
    }
}

fn no_room(state_dir: &Path) -> String {
    format!(
        "the disk of {} is full: this node takes in nothing of the cluster's log and leads nobody; it goes on blocking \
         by what it knows, by its own logs and by its peers' notices. Make room there, and nothing else is to be done",
        state_dir.display()
    )
}

/// Whether a daemon that is started anew would find room.
#[must_use]
pub fn has_room_to_start(state_dir: &Path) -> bool {
    left_bytes(state_dir).is_ok_and(|left| left >= ROOM_FROM)
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
    fn the_log_waits_until_there_is_clearly_room() {
        let left = |mib| Found { left_without_reserve: Some(mib * MIB), ..Found::default() };
        assert!(left(8).has_room(true) && !left(7).has_room(true));
        assert!(left(16).has_room(false) && !left(15).has_room(false));
        // With a reserve there is something to give up first.
        assert!(Found::default().has_room(true) && Found::default().has_room(false));
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
