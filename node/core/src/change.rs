//! What an applied command has changed, in the order of the replicated log: what the warden, the
//! event log and the audit act on.

use crate::allow_list::AllowEntry;
use crate::ban::Ban;
use crate::ids::{CommandId, NodeId, Position};
use crate::jail::JailName;
use crate::subnet::Subnet;
use crate::time::{Timestamp, Until};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// A ban is known by whom it bans and in which jail.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BanKey {
    /// Who.
    pub subnet: Subnet,
    /// In which jail.
    pub jail: JailName,
}

/// Why a ban ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnbanReason {
    /// Its time was over.
    Expired,
    /// An operator lifted it.
    Operator,
    /// The address came onto the allow list.
    Allowed,
    /// The node that brought it in was struck out.
    ByNode,
    /// A node announced the address as its own.
    OwnAddress,
}

/// One change of the ban list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new ban.
    Banned {
        /// Which.
        key: BanKey,
        /// Until when.
        until: Until,
        /// The how-manieth of this offender in this jail.
        count: u32,
        /// Whose evidence.
        origin: NodeId,
    },
    /// A new ban, or a renewed one, cut short because its origin is over its quota.
    Damped {
        /// Which.
        key: BanKey,
        /// Until when.
        until: Until,
        /// Whose evidence.
        origin: NodeId,
    },
    /// A live ban got a later end, more ports, or another origin.
    Extended {
        /// Which.
        key: BanKey,
        /// Until when.
        until: Until,
        /// Whose evidence.
        origin: NodeId,
    },
    /// A ban that was over already when it was committed: history only.
    Remembered {
        /// Which.
        key: BanKey,
        /// Whose evidence.
        origin: NodeId,
        /// From when, and until when it would have been.
        span: (Timestamp, Timestamp),
        /// The how-manieth of this offender in this jail.
        count: u32,
    },
    /// A ban ended.
    Unbanned {
        /// Which.
        key: BanKey,
        /// Why.
        reason: UnbanReason,
        /// As it was. It is not kept anywhere else.
        ban: Box<Ban>,
        /// When: its own end, or now if that would come later.
        end: Timestamp,
    },
    /// An origin was struck out of a ban that others still hold.
    Shortened {
        /// Which.
        key: BanKey,
        /// Until when.
        until: Until,
    },
    /// Somebody was let go by will: whatever a warden holds against `target` from before is void.
    Lifted(Lift),
    /// A node is no longer trusted: what it says is not shared.
    Distrusted {
        /// The node.
        node: NodeId,
    },
    /// A node is trusted again.
    Trusted {
        /// The node.
        node: NodeId,
    },
    /// The allow list got an entry.
    Allowed(AllowEntry),
    /// The allow list lost an entry.
    Disallowed {
        /// Its subnet.
        subnet: Subnet,
    },
    /// A node told something new about itself.
    NodeChanged {
        /// The node.
        node: NodeId,
    },
    /// What is over about this and all inside it is forgotten.
    Forgotten {
        /// About whom.
        target: Subnet,
    },
    /// Replicated settings changed.
    SettingsChanged,
    /// The level was raised.
    LevelRaised {
        /// The level that counts from now on.
        level: u32,
    },
}

/// Which evidence against somebody is void since a lift.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Voided {
    /// That of this jail; `None`: of all.
    pub jail: Option<JailName>,
    /// That of this node, whose word is not believed any more; `None`: of all.
    pub origin: Option<NodeId>,
}

impl Voided {
    /// Whether what `origin` holds against somebody in `jail` is void.
    #[must_use]
    pub fn covers(&self, jail: &JailName, origin: NodeId) -> bool {
        self.jail.as_ref().is_none_or(|only| only == jail) && self.origin.is_none_or(|only| only == origin)
    }
}

/// Somebody was let go: until this place in the log, at this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lift {
    /// Everything inside this.
    pub target: Subnet,
    /// Which evidence.
    pub voided: Voided,
    /// Where in the log.
    pub position: Position,
    /// When, in cluster time.
    pub at: Timestamp,
}

impl Lift {
    /// Whether it voids what `origin` holds against this offender in this jail.
    #[must_use]
    pub fn covers(&self, offender: Subnet, jail: &JailName, origin: NodeId) -> bool {
        self.target.contains(offender) && self.voided.covers(jail, origin)
    }
}

/// What came of an operator's command; kept, so that a retry gets the first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; so many bans or entries were affected.
    Done {
        /// Bans lifted, made or changed, or entries changed.
        n_affected: u32,
    },
    /// Not done, and why.
    Refused {
        /// A sentence for the operator.
        why: String,
    },
}

/// What came of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// A proposal was judged.
    Judged(crate::judge::Verdict),
    /// An operator's command has its outcome.
    Operator {
        /// Which command.
        command_id: CommandId,
        /// What came of it.
        outcome: Outcome,
    },
    /// Housekeeping.
    Silent,
}

/// What came of a command: one result per operation, and all changes in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One per operation.
    pub results: Vec<OpResult>,
    /// In order.
    pub changes: Vec<Change>,
    /// Which changes each operation has made: those before this number, and not before the one of the operation
    /// before it.
    pub changes_end: Vec<usize>,
    /// Operators' commands that were given before, by the numbers of their operations.
    pub retries: Vec<usize>,
}
