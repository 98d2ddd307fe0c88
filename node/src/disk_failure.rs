//! A write to `state_dir` that has failed: this node takes no part any more, but goes on blocking by itself. What has failed
//! can only be opened anew by another process; so, as soon as the disk can be written again, the daemon ends, for the
//! service manager to start it.
//!
//! Ending at once would leave the host to what the kernel holds, for as long as the disk is broken. Not for a disk that
//! is only getting full: that is `disk_room`.

use crate::app::Lives;
use crate::disk_room;
use bannkreis_raft::rhythm;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether a write has failed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What is written to see whether the disk can be written: its name in `state_dir`, and how much.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 64 * 1024;

/// Ends when the daemon should, with the reason.
pub(crate) async fn follow(lives: Arc<Lives>) -> String {
    let mut looks = rhythm::every(LOOK_INTERVAL);
    let mut told = false;
    loop {
        looks.tick().await;
        let Some(why) = failure(&lives) else {
            told = false;
            continue;
        };
        let place = lives.config().state_dir.clone();
        if !std::mem::replace(&mut told, true) {
            tracing::error!("{}", sentence(&place, &why));
        }
        let probed = place.clone();
        let probed = tokio::task::spawn_blocking(move || can_be_written(&probed)).await;
        // A store that is written again by itself needs nobody.
        if matches!(probed, Ok(Ok(()))) && failure(&lives).is_some() {
            return format!(
                "a write to {} had failed ({why}), and it can be written again: bannkreisd ends, to be started anew",
                place.display()
            );
        }
    }
}

/// What people should know, while a write has failed.
pub(crate) fn warning(lives: &Lives) -> Option<String> {
    failure(lives).map(|why| sentence(&lives.config().state_dir, &why))
}

fn failure(lives: &Lives) -> Option<String> {
    let running = lives.current();
    running.raft.failure().or_else(|| running.store.error())
}

fn sentence(state_dir: &Path, why: &str) -> String {
    format!(
        "the disk of {} can not be written: {why}. This node takes no part any more; it goes on blocking by what it \
         knows, by its own logs and by its peers' notices. Make room there, or mend the disk; then bannkreisd ends by \
         itself, to be started anew",
        state_dir.display()
    )
}

/// Writes a little, and has it synced.
fn can_be_written(state_dir: &Path) -> io::Result<()> {
    if !disk_room::has_room_to_start(state_dir) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let probe = state_dir.join(PROBE);
    let written = File::create(&probe).and_then(|mut file| {
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_all()
    });
    // One that stays is written over by the next.
    written.and(fs::remove_file(&probe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_probed_by_writing() {
        let dir = tempfile::tempdir().expect("temporary directory");
        if disk_room::has_room_to_start(dir.path()) {
            can_be_written(dir.path()).expect("it can");
        }
        assert!(!dir.path().join(PROBE).exists());
        assert!(can_be_written(&dir.path().join("gone")).is_err());
        // Something that is no file is in its way.
        fs::create_dir(dir.path().join(PROBE)).expect("made");
        assert!(can_be_written(dir.path()).is_err());
    }
}
