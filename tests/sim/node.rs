//! One host of the world: its log, its disk, its kernel, its clocks, and the process on it, which is the
//! real `Warden` and the real `BanList`.

use crate::clock::Clocks;
use crate::disk::Disk;
use crate::kernel::Kernel;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::ids::NodeId;
use bannkreis_core::node_clock::NodeClock;
use bannkreis_core::time::{Now, Timestamp};
use bannkreis_core::warden::Warden;
use std::net::IpAddr;

/// A hostile line in a node's log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The jail that will recognise it.
    pub(crate) jail: usize,
    /// Whom it is about.
    pub(crate) address: IpAddr,
    /// When it was written, by the host's wall clock: all that a reader can know.
    pub(crate) wall: Timestamp,
    /// When it was written, in true time: what the oracle knows.
    pub(crate) at_ms: u64,
}

/// A host.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) id: NodeId,
    pub(crate) clocks: Clocks,
    pub(crate) kernel: Kernel,
    pub(crate) disk: Disk,
    pub(crate) log: Vec<Line>,
    pub(crate) process: Option<Process>,
    /// Counts process starts, so that what was meant for an earlier process is recognised.
    pub(crate) start: u32,
    /// It applies nothing before this.
    pub(crate) lags_until_ms: u64,
    /// When its last process ended, in whatever way.
    pub(crate) died_at_ms: u64,
    /// When its wall clock last jumped.
    pub(crate) jumped_at_ms: u64,
    /// The jail that its configuration lacks at present.
    pub(crate) without: Option<usize>,
    /// When it last got a jail back, or began to read at the end of its log: nobody counts what was before.
    pub(crate) counts_since_ms: u64,
    /// When its warden last knew no leader.
    pub(crate) leaderless_at_ms: u64,
    /// The machine runs, whether the daemon does or not.
    pub(crate) powered: bool,
}

/// A question to the cluster that is answered by when it was stamped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeAsked {
    pub(crate) at_ms: u64,
    /// Where the answer stands in the log.
    pub(crate) index: Option<usize>,
}

/// The daemon.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) warden: Warden,
    pub(crate) list: BanList,
    /// The index of the last applied log entry.
    pub(crate) applied: usize,
    pub(crate) clock: NodeClock,
    /// It has asked the cluster what time it is, or has the answer.
    pub(crate) time_asked: Option<TimeAsked>,
    /// When it last stored the time, by its monotonic clock, if that was no guess.
    pub(crate) time_stored_ms: Option<u64>,
    /// The commit index it learned first from a leader.
    pub(crate) learned: Option<usize>,
    pub(crate) caught_up: bool,
    pub(crate) leader_known: bool,
    pub(crate) sources_open: bool,
    /// The next line to read.
    pub(crate) next_line: usize,
    /// Lines before this one were read by an earlier process.
    pub(crate) replayed_before: usize,
    pub(crate) read_planned: bool,
    pub(crate) sync_planned: bool,
    /// When the planned timer is due; older plans are void.
    pub(crate) timer_at_ms: u64,
    pub(crate) told_itself_at_ms: u64,
}

impl Node {
    /// What `Warden::step` is told at true time `now_ms`.
    pub(crate) fn now(&self, now_ms: u64) -> Now {
        let wall = self.clocks.wall(now_ms);
        match &self.process {
            Some(process) => process.clock.now(wall, self.clocks.boottime_ms(now_ms)),
            None => Now { cluster: wall, wall, estimated: true, from_known: false },
        }
    }

    /// Whether the daemon runs, has opened its sources and read them, and its worker has no repair open.
    pub(crate) fn is_ready(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.sources_open && process.next_line >= self.log.len())
            && !self.kernel.damaged
            && !self.kernel.dirty
    }

    /// The index of the last entry it has applied; 0 when it is down.
    pub(crate) fn applied(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.applied)
    }
}
