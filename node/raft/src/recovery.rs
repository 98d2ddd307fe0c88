//! The first steps of a node into a new generation, on the disk: one file decides which life it is in, and
//! whatever is killed on the way is finished or forgotten by the next start.
//!
//! ```text
//! next-life/snapshots/…   the state it begins with              written and synced before anything else
//! identity                the new one, stage `recovering`        from here on it is the new life
//! before-<new id>/        raft/, snapshots/ and identity of before, kept for people
//! snapshots/              what was in next-life/
//! ```
//!
//! The new log is empty but for a note that everything up to the snapshot has been: see `start.rs`. Not for what
//! the state is (`bannkreis_core::generation`), nor for whether this may be done.

use crate::backup::first_log_id;
use crate::identity::{Identity, IdentityError, Stage};
use crate::options::SNAPSHOTS_DIR;
use crate::snapshot;
use crate::start::RAFT_DIR;
use crate::types::{Member, SnapshotMeta, StoredMembership};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::ids::{ClusterId, NodeId};
use openraft::Membership;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Holds what the next life begins with, until it has begun.
const NEXT_DIR: &str = "next-life";
/// So many former lives, and so many lost logs, are kept for people; the oldest goes.
const ARCHIVES_MAX: usize = 5;
/// What the directory of a former life is called before the id of the life that followed.
const ARCHIVE_PREFIX: &str = "before-";
/// The identity of before, in [`NEXT_DIR`] and then in the archive.
const IDENTITY_FILE: &str = "identity";

/// A step that failed, with its file.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A file or directory can not be read, written or moved.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The identity can not be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, RecoveryError> {
    result.map_err(|error| RecoveryError::Io { path: path.to_owned(), error })
}

/// Who a node will be in a new generation of `cluster`.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn identity_for(cluster: ClusterId, generation: u32) -> io::Result<Identity> {
    let fresh = Identity::for_joining(cluster, generation)?;
    Ok(Identity { stage: Stage::Recovering, ..fresh })
}

/// Prepares the state directory `dir` for a life as the only member of a new generation, with the state `list`,
/// which is in that generation already. The Raft log must be closed. When this fails, the directory still is what
/// it was. `address` and `name`: the node's own.
///
/// # Errors
/// The step that failed.
pub fn begin_generation(
    dir: &Path,
    identity: &Identity,
    list: &BanList,
    address: &str,
    name: &str,
) -> Result<(), RecoveryError> {
    let next = dir.join(NEXT_DIR);
    forget(&next)?;
    at(&next, fs::create_dir_all(&next))?;
    let last_log_id = Some(first_log_id(list, identity.node));
    let member = Member { address: address.to_owned(), name: name.to_owned(), is_demoted: false };
    let voters = vec![BTreeSet::from([identity.node.0])];
    let membership = Membership::new(voters, BTreeMap::from([(identity.node.0, member)]));
    let membership = at(&next, membership.map_err(io::Error::other))?;
    let meta = SnapshotMeta { last_log_id, last_membership: StoredMembership::new(last_log_id, membership) };
    let snapshots = next.join(SNAPSHOTS_DIR);
    at(&snapshots, snapshot::write(&snapshots, identity.generation, &meta, list))?;
    let (former, kept) = (dir.join(IDENTITY_FILE), next.join(IDENTITY_FILE));
    at(&former, fs::copy(&former, &kept))?;
    at(&kept, File::open(&kept).and_then(|file| file.sync_all()))?;
    for synced in [&next, dir] {
        at(synced, File::open(synced).and_then(|dir| dir.sync_all()))?;
    }
    identity.write(dir)?;
    Ok(())
}

/// Goes on with what [`begin_generation`] has begun, if it has got as far as the new identity; forgets it
/// otherwise. Every start calls it.
///
/// # Errors
/// The step that failed.
pub fn finish_generation(dir: &Path) -> Result<(), RecoveryError> {
    let next = dir.join(NEXT_DIR);
    let Some(identity) = Identity::read(dir)? else { return Ok(()) };
    if !next.exists() {
        return Ok(());
    }
    if identity.stage != Stage::Recovering {
        tracing::warn!("a new generation was not begun: this node goes on as it was");
        return forget(&next);
    }
    let archive = archive(dir, identity.node);
    at(&archive, fs::create_dir_all(&archive))?;
    // As long as its snapshots lie here, the new life has not begun, and what is in the places is the old one's.
    let snapshots = next.join(SNAPSHOTS_DIR);
    if snapshots.exists() {
        let moves = [(dir.join(RAFT_DIR), RAFT_DIR), (dir.join(SNAPSHOTS_DIR), SNAPSHOTS_DIR)];
        for (from, name) in moves {
            move_if_there(&from, &archive.join(name))?;
        }
        move_if_there(&next.join(IDENTITY_FILE), &archive.join(IDENTITY_FILE))?;
        move_if_there(&snapshots, &dir.join(SNAPSHOTS_DIR))?;
        at(dir, File::open(dir).and_then(|dir| dir.sync_all()))?;
        forget_oldest(dir, ARCHIVE_PREFIX);
    }
    forget(&next)
}

/// Where the log and the snapshots of before are kept when `node` goes on.
#[must_use]
pub fn archive(dir: &Path, node: NodeId) -> PathBuf {
    dir.join(format!("{ARCHIVE_PREFIX}{node}"))
}

/// Of the directories for people with this prefix, the newest stay.
pub fn forget_oldest(dir: &Path, prefix: &str) {
    let is_kept = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().filter(is_kept);
    let mut kept: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    kept.sort();
    let n_over = kept.len().saturating_sub(ARCHIVES_MAX);
    for (_, path) in kept.into_iter().take(n_over) {
        // They are for people: what can not be removed does no harm.
        if fs::remove_dir_all(&path).is_ok() {
            tracing::info!("{} is removed: {ARCHIVES_MAX} newer ones are kept", path.display());
        }
    }
}

fn move_if_there(from: &Path, to: &Path) -> Result<(), RecoveryError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => at(from, moved),
    }
}

fn forget(next: &Path) -> Result<(), RecoveryError> {
    match fs::remove_dir_all(next) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => at(next, removed),
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
