//! What the voters' clocks say together: the time that no single one of them can move, nor slow down.
//!
//! A tick brings the clocks of those voters that the leader can reach, now these and now others, and one
//! of them may be wrong by a year. So each clock is also asked how much has passed since it was last read:
//! one that is always a year behind knows that as well as any other. Not for the leaders' stamps, which
//! are bounded by what comes out here (`apply.rs`).

use crate::ids::NodeId;
use crate::time::{SECOND_MS, Timestamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Clocks remembered at most; the one that was read longest ago is forgotten first.
pub const CLOCKS_MAX: usize = 64;
/// Clocks that are further behind than this were set back, or are wrong. Less is noise, which would add up.
const BEHIND_MAX_MS: u64 = SECOND_MS;

/// What a voter's clock said, and what time it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockRead {
    /// What it said.
    pub clock: Timestamp,
    /// Cluster time by all that were read with it.
    pub at: Timestamp,
}

impl ClockRead {
    /// What time it is when the same clock says `clock`; `None` when it was set back.
    fn carried_to(self, clock: Timestamp) -> Option<Timestamp> {
        (clock >= self.clock).then(|| self.at.plus_ms(clock.ms_since(self.clock)))
    }
}

/// What time it is by `readings`, which is never before `last`; `None` when there are none.
///
/// That is the lower median of the clocks. Where that is behind, it is the lower median of what each clock
/// makes of its own last reading: with one wrong clock of three, or one of two, time goes on.
pub(crate) fn time_by(
    readings: &[(NodeId, Timestamp)],
    known: &BTreeMap<NodeId, ClockRead>,
    last: Timestamp,
) -> Option<Timestamp> {
    let said = lower_median(readings.iter().map(|(_, clock)| *clock).collect())?;
    // One that was set back says nothing about what has passed. Of a clock that was never read before, nobody
    // knows more than what it says: when that is before `last`, it is behind, and nobody knows how long it was.
    let carried = readings
        .iter()
        .filter_map(|(node, clock)| match known.get(node) {
            Some(read) => read.carried_to(*clock),
            None => Some(*clock).filter(|clock| *clock >= last),
        })
        .collect();
    let carried = lower_median(carried).unwrap_or(last);
    let time = if carried.ms_since(said) > BEHIND_MAX_MS { carried } else { said };
    Some(time.max(last))
}

/// Remembers `readings`, which were made at `at`.
pub(crate) fn remember(
    known: &mut BTreeMap<NodeId, ClockRead>,
    readings: &[(NodeId, Timestamp)],
    at: Timestamp,
) {
    for &(node, clock) in readings {
        known.insert(node, ClockRead { clock, at });
    }
    while known.len() > CLOCKS_MAX {
        let oldest = known.iter().min_by_key(|(node, read)| (read.at, **node)).map(|(node, _)| *node);
        oldest.map(|node| known.remove(&node));
    }
}

fn lower_median(mut clocks: Vec<Timestamp>) -> Option<Timestamp> {
    clocks.sort_unstable();
    clocks.get(clocks.len().saturating_sub(1) / 2).copied()
}
