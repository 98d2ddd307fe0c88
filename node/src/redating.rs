//! What this host alone remembers, when the cluster's time is set by a recovery: the outbox, the overrides and what
//! time it was move along, once, whatever is killed on the way.
//!
//! The length of the way lies in a file that names the node of the new life; that it was gone is stored together
//! with what was moved. Not for the ban list itself (`bannkreis_core::generation`).

use crate::local_store::{Batch, Key, LocalStore};
use crate::stored::{self, Kept};
use bannkreis_core::generation::TimeShift;
use bannkreis_core::ids::NodeId;
use bannkreis_core::node_clock::StoredTime;
use bannkreis_core::time::Timestamp;
use bannkreis_raft::Identity;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Says how far times are to be moved.
const FILE: &str = "new-time";
/// Under this name the store keeps for which node that was done last.
const DONE: &str = "redated";

/// What a recovery has set the time to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTime {
    /// From the old cluster time to the new one.
    pub shift: TimeShift,
    /// The new one, with this host's clocks at that moment.
    pub stored: StoredTime<String>,
}

/// Has times moved when this host lives as `node`.
///
/// # Errors
/// The disk's, with the file.
pub fn write(state_dir: &Path, node: NodeId, time: &NewTime) -> Result<(), String> {
    let path = state_dir.join(FILE);
    let text = format!(
        "{node}\n{}\n{}\n{}\n{}\n{}\n",
        time.shift.from.0, time.shift.to.0, time.stored.wall.0, time.stored.boottime_ms, time.stored.boot
    );
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        File::open(state_dir)?.sync_all()
    };
    write().map_err(|error: io::Error| format!("{}: {error}", path.display()))
}

fn read(state_dir: &Path) -> Result<Option<(String, NewTime)>, String> {
    let path = state_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let lines: Vec<&str> = text.lines().collect();
    let number = |n: usize| lines.get(n).and_then(|line| line.parse().ok());
    let time = || {
        let (from, to) = (Timestamp(number(1)?), Timestamp(number(2)?));
        let boot = (*lines.get(5)?).to_owned();
        let stored = StoredTime {
            cluster: to,
            wall: Timestamp(number(3)?),
            boottime_ms: number(4)?,
            boot,
            guessed: false,
        };
        Some(((*lines.first()?).to_owned(), NewTime { shift: TimeShift { from, to }, stored }))
    };
    // Half of it was written before the recovery began, which therefore never did.
    Ok(time())
}

/// Moves what was kept, if a recovery has set the time and it was not done yet. Before anything of it is used.
///
/// # Errors
/// When it can not be stored.
pub fn redate_kept(state_dir: &Path, kept: &mut Kept, store: &LocalStore) -> Result<(), String> {
    let Some((node, time)) = read(state_dir)? else { return forget(state_dir) };
    let identity = Identity::read(state_dir).map_err(|error| error.to_string())?;
    let is_this = identity.is_some_and(|identity| identity.node.to_string() == node);
    let done = store.meta(DONE).map_err(|error| error.to_string())?;
    if is_this && done.as_deref() != Some(node.as_bytes()) {
        let mut batch = Batch::new();
        for entry in &mut kept.outbox {
            entry.redate(|at| time.shift.of(at));
            stored::put_outbox(&mut batch, &entry.key, Some(entry)).map_err(|error| error.to_string())?;
        }
        for (subnet, decision) in &mut kept.overrides {
            decision.until = time.shift.of_end(decision.until);
            stored::put_override(&mut batch, *subnet, Some(decision)).map_err(|error| error.to_string())?;
        }
        stored::put_time(&mut batch, &time.stored).map_err(|error| error.to_string())?;
        batch.put(Key::Meta(DONE), node.into_bytes()).map_err(|error| error.to_string())?;
        store.commit(batch).and_then(|()| store.flush()).map_err(|error| error.to_string())?;
        kept.time = Some(time.stored);
    }
    forget(state_dir)
}

fn forget(state_dir: &Path) -> Result<(), String> {
    let path = state_dir.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::event::{Override, OverrideKind};
    use bannkreis_core::time::Until;
    use bannkreis_raft::identity_for;

    #[test]
    fn times_are_moved_once_for_the_node_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = LocalStore::open(dir.path()).unwrap();
        let identity = identity_for(bannkreis_core::ids::ClusterId([1; 16]), 2).unwrap();
        identity.write(dir.path()).unwrap();
        let time = NewTime {
            shift: TimeShift { from: Timestamp(1_000_000), to: Timestamp(5_000) },
            stored: StoredTime {
                cluster: Timestamp(5_000),
                wall: Timestamp(5_000),
                boottime_ms: 7,
                boot: "boot".to_owned(),
                guessed: false,
            },
        };
        let decision = |until| Override {
            kind: OverrideKind::Block,
            author: String::new(),
            reason: String::new(),
            until: Until::at(Timestamp(until)),
            estimated: false,
        };
        let subnet = "192.0.2.1".parse().unwrap();
        let mut batch = Batch::new();
        stored::put_override(&mut batch, subnet, Some(&decision(1_060_000))).unwrap();
        store.commit(batch).unwrap();
        let overrides = || stored::read(&store).unwrap().overrides;

        // Of another node's recovery, or half of one.
        write(dir.path(), NodeId(5), &time).unwrap();
        redate_kept(dir.path(), &mut stored::read(&store).unwrap(), &store).unwrap();
        fs::write(dir.path().join(FILE), identity.node.to_string()).unwrap();
        redate_kept(dir.path(), &mut stored::read(&store).unwrap(), &store).unwrap();
        assert_eq!(overrides(), [(subnet, decision(1_060_000))]);
        // Done, and done again by a start after one that was killed before the file was gone.
        for _ in 0..2 {
            write(dir.path(), identity.node, &time).unwrap();
            let mut kept = stored::read(&store).unwrap();
            redate_kept(dir.path(), &mut kept, &store).unwrap();
            assert_eq!(overrides(), [(subnet, decision(65_000))]);
            assert_eq!(kept.overrides, overrides());
            assert_eq!(stored::read(&store).unwrap().time, Some(time.stored.clone()));
            assert!(!dir.path().join(FILE).exists());
        }
    }
}
