//! How far a node that was down has caught up: what the firewall's restart rule asks.
//!
//! A commit index from before the restart does not count: something newer may be committed. What
//! counts is what a leader has said in the lifetime of this process (alone: what this node has
//! committed itself).

use crate::level::Halted;
use crate::types::{Metrics, Raft};
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::Arc;
use tokio::sync::watch;

/// How far this node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The highest commit index learned in the lifetime of this process.
    pub learned: Option<u64>,
    /// The last applied index.
    pub applied: Option<u64>,
    /// Once true, always true: the view has contained everything that was committed when this node was
    /// told so for the first time, and everything it may have applied before it was restarted.
    pub is_caught_up: bool,
}

impl Progress {
    /// The next state. `log_end` is the last index that was in the log when the node started.
    fn next(self, metrics: &Metrics, log_end: Option<u64>) -> Progress {
        let learned = metrics.cluster_committed.map(|log_id| log_id.index);
        let applied = metrics.last_applied.map(|log_id| log_id.index);
        // A tail that was never committed may have been replaced by a shorter one.
        let own = log_end.min(metrics.last_log_index);
        let is_caught_up = self.is_caught_up || (learned.is_some() && learned >= own && applied >= learned);
        Progress { learned, applied, is_caught_up }
    }
}

/// Follows openraft until it ends.
pub(crate) async fn follow(
    raft: Raft,
    log_end: Option<u64>,
    halted: Arc<Halted>,
    progress: watch::Sender<Progress>,
) {
    let mut metrics = raft.metrics();
    drop(raft);
    loop {
        let current = metrics.borrow_watched().clone();
        progress.send_if_modified(|progress| {
            // What openraft believes to be applied was passed over.
            let next = if halted.is_set() { *progress } else { progress.next(&current, log_end) };
            std::mem::replace(progress, next) != next
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}
