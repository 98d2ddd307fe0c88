//! What a closed log holds beyond what its node has applied. A leader that died may have acknowledged any of it: whoever
//! gives the log up for a new generation, or for another cluster, takes it along, and what was not acknowledged does no
//! harm.
//!
//! Not for a running node: that waits to be told what is committed.

use crate::disk::Disk;
use crate::identity::Identity;
use crate::sled_disk::SledDisk;
use crate::start::RAFT_DIR;
use crate::types::{Entry, decode, invalid};
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::ids::Position;
use bannkreis_proto::convert::decode_command;
use openraft::EntryPayload;
use std::io;
use std::path::Path;

/// So many entries are read at a time.
const PORTION_ENTRIES: u64 = 64;

/// `applied` with all that the log in the state directory `dir` has after it. The log must be closed. Blocks on the
/// disk.
///
/// # Errors
/// When the log can not be read, or has an entry that this release can not.
pub fn with_log_tail(dir: &Path, applied: BanView) -> io::Result<BanView> {
    let path = dir.join(RAFT_DIR);
    let identity = Identity::read(dir).map_err(|error| invalid(&error.to_string()))?;
    let Some(identity) = identity.filter(|_| path.exists()) else { return Ok(applied) };
    let mut disk = SledDisk::open(&path)?;
    let indices = disk.load()?.indices;
    // A view that is of another life than the log, or before every entry.
    let is_same = applied.position().generation == identity.generation;
    let first = if is_same { applied.position().index + 1 } else { 0 };
    let mut next = first.max(indices.start);
    if next >= indices.end {
        return Ok(applied);
    }
    let mut list = BanView::unwrap_or_clone(applied);
    let reader = disk.reader();
    while next < indices.end {
        let end = indices.end.min(next + PORTION_ENTRIES);
        for (index, bytes) in reader.read(next..end)? {
            let entry: Entry = decode(&bytes)?;
            apply(&mut list, Position { generation: identity.generation, index }, &entry)?;
        }
        next = end;
    }
    tracing::info!("{} entries of the log that were not applied yet are taken along", indices.end - first);
    Ok(list.view())
}

fn apply(list: &mut BanList, position: Position, entry: &Entry) -> io::Result<()> {
    match &entry.payload {
        EntryPayload::Blank | EntryPayload::Membership(_) => list.skip(position),
        EntryPayload::Normal(payload) => {
            let command = decode_command(&payload.0);
            let command = command
                .map_err(|error| invalid(&format!("log entry {position} can not be applied: {error}")))?;
            list.apply(position, &command);
        }
    }
    Ok(())
}
