//! One ban of the replicated ban list: who asked for it, until when it holds, what it closes, and where it came from.
//!
//! Not for how it comes about, is extended or ends: that is `apply.rs`.

use crate::history::PastBans;
use crate::ids::{NodeId, Position};
use crate::jail::Ports;
use crate::judge::COVER_TOLERANCE_MS;
use crate::proposal::Claim;
use crate::time::{Timestamp, Until};
use smallvec::SmallVec;

/// A ban remembers this many origins; of more, those that want it longest.
pub const ORIGINS_MAX: usize = 8;

/// One live ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When it began, in cluster time.
    pub since: Timestamp,
    /// When it ends.
    pub until: Until,
    /// The how-manieth of this offender in this jail: 1 for the first.
    pub count: u32,
    /// The node whose quota made it shorter than wanted.
    pub damped_by: Option<NodeId>,
    /// Who asked for it, until when: at most [`ORIGINS_MAX`].
    pub origins: Origins,
    /// What it closes: the union over its origins.
    pub ports: Ports,
    /// Where in the log it stands: the key of its cold record.
    pub cause: Cause,
}

/// Nearly all bans have one: it stands in the ban itself.
pub type Origins = SmallVec<[Origin; 1]>;

/// A node that asked for a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node.
    pub node: NodeId,
    /// Until when it wants the ban.
    pub until: Until,
}

/// Where a ban came from: the operation that holds the evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    // Not a `Position`, which would leave room for nothing beside it.
    generation: u32,
    index: u64,
    op: u32,
}

impl Cause {
    /// The operation with this number, from 0 on, of a log entry.
    #[must_use]
    pub fn new(Position { generation, index }: Position, op: u32) -> Cause {
        Cause { generation, index, op }
    }

    /// The log entry.
    #[must_use]
    pub fn position(self) -> Position {
        Position { generation: self.generation, index: self.index }
    }

    /// The operation in it, from 0 on.
    #[must_use]
    pub fn op(self) -> u32 {
        self.op
    }
}

impl Ban {
    /// What is remembered of it once it ends at `end`.
    #[must_use]
    pub fn past(&self, end: Timestamp) -> PastBans {
        let origin = match self.origins[..] {
            [origin] => Some(origin.node),
            _ => None,
        };
        PastBans { count: self.count, last_since: self.since, last_end: end, origin }
    }

    /// Whether this ban holds all that `claim` asks for.
    #[must_use]
    pub fn covers(&self, claim: &Claim) -> bool {
        let held_until = match self.origins.iter().find(|origin| origin.node == claim.origin) {
            Some(origin) => origin.until,
            None if self.origins.len() >= ORIGINS_MAX => self.until,
            None => return false,
        };
        held_until.plus_ms(COVER_TOLERANCE_MS) >= claim.wanted_until && self.ports.covers(&claim.ports)
    }
}
