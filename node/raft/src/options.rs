//! What the daemon gives a node to live on: places, clocks, its way to peers, Raft's times.

use crate::cluster_time::BoottimeMs;
use crate::level::Release;
use crate::observer::Observer;
use crate::peer::Connect;
use crate::proposer::Readings;
use bannkreis_core::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where snapshots are, in the state directory.
pub(crate) const SNAPSHOTS_DIR: &str = "snapshots";
/// Raft's times. Heartbeats must be well below half the shortest election time, and that ten times
/// above a slow fsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of the leader, in ms.
    pub heartbeat_ms: u64,
    /// A follower that hears nothing waits at least this long before it stands for election, in ms.
    pub election_min_ms: u64,
    /// And at most this long, in ms. Also how long a leader's lease lasts.
    pub election_max_ms: u64,
    /// A voter that has been silent for so long is dead, and a learner may take its place, in ms: longer than a reboot
    /// takes.
    pub dead_after_ms: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_ms: 400,
            election_min_ms: 1_000,
            election_max_ms: 2_000,
            dead_after_ms: 10 * 60 * 1_000,
        }
    }
}

impl Timing {
    pub(crate) fn election_max(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }
}

/// Where the log is kept.
#[derive(Clone, Debug, Default)]
pub enum Store {
    /// In sled under `raft/` in the state directory, durably.
    #[default]
    Sled,
    /// In memory: gone with the process. For tests.
    Memory,
    /// On a disk of the simulation.
    #[cfg(test)]
    #[allow(private_interfaces, reason = "it is built for this crate's tests only")]
    Simulated(crate::simulated::SimulatedDisk),
}

/// Everything a node needs.
pub struct RaftOptions {
    /// The state directory: `identity`, `raft/` and `snapshots/` are in it.
    pub dir: PathBuf,
    /// Where peers reach this node: `host:port`.
    pub advertise: String,
    /// This host's name, for people.
    pub name: String,
    /// Makes connections to peers.
    pub connect: Arc<dyn Connect>,
    /// A monotonic clock that counts suspend, in ms.
    pub clock: BoottimeMs,
    /// This host's wall clock: read instead of `readings` when those are empty.
    pub wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The clocks of all voters that can be reached, this node's included.
    pub readings: Readings,
    /// Is told what is applied.
    pub observer: Box<dyn Observer>,
    /// Raft's times.
    pub timing: Timing,
    /// Where the log is kept.
    pub store: Store,
    /// What is read of the log: the default, but for tests.
    pub release: Release,
}
