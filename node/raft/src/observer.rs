//! What the daemon is told of the ban list: applied entries, installed snapshots.
//!
//! Not for reading the ban list at other times: that is `RaftNode::view`.

use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::Applied;
use bannkreis_core::command::Command;
use bannkreis_core::ids::Position;
use bannkreis_core::time::Timestamp;
use bytes::Bytes;
use std::sync::Arc;

/// Is told everything that happens to this node's ban list, in the order of the log.
///
/// Called on the task that applies entries: it must return at once, must not wait, and must not call
/// back into the node. By the time of a call, `RaftNode::view` gives the same view or a newer one;
/// proposers on this node get their answers after it.
pub trait Observer: Send + Sync + 'static {
    /// Entries were applied.
    fn applied(&mut self, batch: AppliedBatch);
    /// The state was replaced by a snapshot's. Also called once when the node starts, with the
    /// state of its newest snapshot, before newer entries are applied again.
    fn installed(&mut self, view: BanView);
    /// Gives what is called, on a thread that may wait, before a snapshot takes the place of all entries so far: they
    /// are not applied again after it, so what the observer keeps of them must be on the disk.
    fn keeping(&mut self) -> Keeping {
        Arc::new(|| ())
    }
}

/// Waits until what an observer was told of is on the disk, or can not be put there, which is the observer's to say.
pub type Keeping = Arc<dyn Fn() + Send + Sync>;

/// Entries that were applied together.
#[derive(Clone, Debug)]
pub struct AppliedBatch {
    /// The ban list after all of them.
    pub view: BanView,
    /// The entries that held a command, in order. May be empty: then only the position has moved.
    pub entries: Vec<AppliedEntry>,
}

/// One applied entry.
#[derive(Clone, Debug)]
pub struct AppliedEntry {
    /// Where it stands.
    pub position: Position,
    /// Cluster time after it.
    pub at: Timestamp,
    /// What the voters' clocks said, when this entry has brought it.
    pub median: Option<Timestamp>,
    /// What it held.
    pub command: Arc<Command>,
    /// The same, encoded.
    pub encoded: Bytes,
    /// What came of it.
    pub applied: Applied,
}

/// Observes nothing: for nodes of which only the view is asked, and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn applied(&mut self, _batch: AppliedBatch) {}
    fn installed(&mut self, _view: BanView) {}
}
