//! A node whose log is lost: it may have forgotten what it voted for, so its id is never used again. It goes on
//! under a new id that nobody knows yet, with its newest snapshot, and looks on until it is taken in.
//!
//! ```text
//! spectator          who it was, and why it is none any more
//! lost-<old id>/     the damaged log, kept for people
//! identity           the new id
//! ```
//!
//! Written in this order, so that a start that is killed on the way does it again. Not for being taken in
//! (`membership.rs`, and the daemon), nor for going on alone (`recovery.rs`).

use crate::handle::RaftNode;
use crate::identity::{Identity, parse_node_id};
use crate::recovery::forget_oldest;
use crate::start::{RAFT_DIR, StartError};
use bannkreis_core::ids::NodeId;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::PoisonError;

/// The note's name in the state directory.
const FILE: &str = "spectator";
/// What the directory of a lost log is called before the id that it had.
const LOST_PREFIX: &str = "lost-";
/// The note is three lines; what is longer is cut.
const WHY_BYTES_MAX: usize = 1_024;

/// A node that looks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spectator {
    /// Who it was.
    pub former: NodeId,
    /// Why it is none any more, as a sentence.
    pub why: String,
}

impl Spectator {
    /// The note in `dir`, if it is about `node`.
    pub(crate) fn read(dir: &Path, node: NodeId) -> Option<Spectator> {
        Spectator::read_any(dir).filter(|(_, new)| *new == node).map(|(note, _)| note)
    }

    /// The note in `dir`, and which node it is about.
    fn read_any(dir: &Path) -> Option<(Spectator, NodeId)> {
        let text = fs::read_to_string(dir.join(FILE)).ok()?;
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name).map(str::to_owned);
        let former = parse_node_id(&field("former = ")?)?;
        let new = parse_node_id(&field("node = ")?)?;
        let why = field("why = ")?;
        Some((Spectator { former, why }, new))
    }

    fn write(&self, dir: &Path, node: NodeId) -> io::Result<()> {
        let why: String = self.why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let end = why.char_indices().map(|(at, _)| at).find(|at| *at > WHY_BYTES_MAX).unwrap_or(why.len());
        let temporary = dir.join(format!("{FILE}.tmp"));
        let mut file = File::create(&temporary)?;
        writeln!(file, "former = {}\nnode = {node}\nwhy = {}", self.former, &why[..end])?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }
}

/// Puts the log of `lost` aside and gives the node a new id.
pub(crate) fn retire(dir: &Path, lost: &Identity, why: String) -> Result<Identity, StartError> {
    let failed = |path: &Path, error| StartError::Storage { path: path.to_owned(), error };
    let fresh = Identity::for_joining(lost.cluster, lost.generation).map_err(|error| failed(dir, error))?;
    tracing::error!(
        "the Raft log of node {} is lost: {why}. It goes on as a spectator under the new id {}: it protects this \
         host, and asks to be taken in again",
        lost.node,
        fresh.node
    );
    // The first reason is the right one: a start that was killed here finds no log at all.
    let why = Spectator::read_any(dir)
        .filter(|(note, _)| note.former == lost.node)
        .map_or(why, |(note, _)| note.why);
    let note = Spectator { former: lost.node, why };
    note.write(dir, fresh.node).map_err(|error| failed(&dir.join(FILE), error))?;
    let (log, aside) = (dir.join(RAFT_DIR), dir.join(format!("{LOST_PREFIX}{}", lost.node)));
    match fs::rename(&log, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&log, error)),
    }
    fresh.write(dir)?;
    forget_oldest(dir, LOST_PREFIX);
    Ok(fresh)
}

impl RaftNode {
    /// What this node lost, while it is no member for that.
    #[must_use]
    pub fn spectator(&self) -> Option<Spectator> {
        self.inner.spectator.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is a member again: it looks on no more.
    ///
    /// # Errors
    /// When the note can not be removed.
    pub fn is_taken_in(&self) -> io::Result<()> {
        let mut held = self.inner.spectator.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            return Ok(());
        }
        match fs::remove_file(self.inner.dir.join(FILE)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        *held = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_by_the_node_that_it_is_about_and_by_no_other() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Spectator::read(dir.path(), NodeId(5)).is_none());
        let note = Spectator { former: NodeId(7), why: "a disk\nthat lies".to_string() };
        note.write(dir.path(), NodeId(5)).unwrap();
        let read = Spectator::read(dir.path(), NodeId(5)).unwrap();
        assert_eq!((read.former, read.why.as_str()), (NodeId(7), "a disk that lies"));
        assert!(Spectator::read(dir.path(), NodeId(6)).is_none());
        let long = Spectator { why: "ä".repeat(5_000), ..note };
        long.write(dir.path(), NodeId(5)).unwrap();
        assert!(Spectator::read(dir.path(), NodeId(5)).unwrap().why.len() < 2_000);
    }

    #[test]
    fn retiring_may_be_interrupted_anywhere_and_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let lost = Identity::founding().unwrap();
        fs::create_dir(dir.path().join(RAFT_DIR)).unwrap();
        lost.write(dir.path()).unwrap();
        let first = retire(dir.path(), &lost, "garbage".to_string()).unwrap();
        // As if it had died before the new identity was there.
        lost.write(dir.path()).unwrap();
        assert!(Spectator::read(dir.path(), lost.node).is_none());
        let second = retire(dir.path(), &lost, "missing".to_string()).unwrap();
        assert_ne!(first.node, second.node);
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(second));
        let note = Spectator::read(dir.path(), second.node).unwrap();
        assert_eq!((note.former, note.why.as_str()), (lost.node, "garbage"));
        assert!(dir.path().join(format!("lost-{}", lost.node)).exists());
    }
}
