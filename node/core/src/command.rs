//! What stands in the replicated log: a command, stamped by the leader, with the operations that
//! `BanList::apply` executes.
//!
//! The wire form is `proto/bannkreis/v1/ban.proto`. A new operation, or a new meaning of an old one,
//! belongs to a new [`LEVEL`]: nodes that can not read it must stop, not guess.

use crate::allow_list::AllowEntry;
use crate::history::PastBans;
use crate::ids::{NodeId, Operator};
use crate::jail::{BanPolicy, JailName, Ports};
use crate::node_record::NodeRecord;
use crate::proposal::Proposal;
use crate::settings::Setting;
use crate::subnet::Subnet;
use crate::time::{BanTime, Timestamp, Until};
use alloc::string::String;
use alloc::vec::Vec;

/// The highest replicated level that this release can read and write.
pub const LEVEL: u32 = 2;
/// The level at which every cluster begins, whatever its nodes can read.
pub const LEVEL_FIRST: u32 = 1;
/// From this level on, what is over can be forgotten.
pub const LEVEL_FORGETTING: u32 = 2;
/// From this level on, a node says what bans of its jails close elsewhere.
pub const LEVEL_REACHES: u32 = 2;

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Command {
    /// The leader's stamp: cluster time as it knew it. Apply believes it only within bounds.
    pub at: Timestamp,
    /// The level these operations belong to.
    pub level: u32,
    /// What to do, in order.
    pub ops: Vec<Op>,
    /// Whose key signed the batch; none until entries are signed.
    pub signed_by: Option<NodeId>,
    /// The signature; empty until entries are signed.
    pub signature: Vec<u8>,
}

/// One operation on the ban list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A node's proposal.
    Ban(Proposal),
    /// An operator bans.
    OperatorBan {
        /// Who, where, why.
        operator: Operator,
        /// Whom.
        target: Subnet,
        /// In which jail.
        jail: JailName,
        /// For how long from now on.
        ban_time: BanTime,
        /// What to close.
        ports: Ports,
        /// Even if it is wide.
        force: bool,
    },
    /// An operator lifts bans.
    Unban {
        /// Who, where, why.
        operator: Operator,
        /// Whose bans.
        selection: UnbanSelection,
    },
    /// An operator puts an entry on the allow list.
    Allow {
        /// Who, where, why.
        operator: Operator,
        /// The entry.
        entry: AllowEntry,
    },
    /// An operator takes an entry off the allow list. Bans that it lifted do not come back.
    Disallow {
        /// Who, where, why.
        operator: Operator,
        /// The entry's subnet, exactly.
        subnet: Subnet,
    },
    /// Bans, allow entries and history of another ban list, merged by maximum.
    Import {
        /// Who, where, why.
        operator: Operator,
        /// Live bans.
        bans: Vec<ImportedBan>,
        /// Allow entries.
        allow: Vec<AllowEntry>,
        /// Ended bans.
        history: Vec<ImportedHistory>,
    },
    /// An operator trusts a node again after `unban --by-node`.
    Trust {
        /// Who, where, why.
        operator: Operator,
        /// The node.
        node: NodeId,
    },
    /// The clocks of all voters that the leader can reach.
    Tick {
        /// Who says what time it is.
        readings: Vec<(NodeId, Timestamp)>,
    },
    /// Frees what is over. Changes no outcome.
    Sweep,
    /// A node tells about itself.
    NodeSeen(NodeRecord),
    /// A node is out, at once.
    Revoke {
        /// Who, where, why.
        operator: Operator,
        /// The node.
        node: NodeId,
        /// It went in peace: its key may come back under another id. Otherwise the key is out with it.
        keeps_key: bool,
    },
    /// A join token was made or used up.
    Token {
        /// Who, where, why.
        operator: Operator,
        /// SHA-256 of the token; the token itself is never stored.
        hash: Vec<u8>,
        /// When it ends; `Timestamp::ZERO` takes it back.
        expires: Timestamp,
    },
    /// Replicated settings, one field each.
    Settings {
        /// Who, where, why.
        operator: Operator,
        /// The fields with their new values.
        fields: Vec<Setting>,
    },
    /// From the next entry on, this level counts.
    RaiseLevel {
        /// The new level.
        level: u32,
    },
    /// What is over about somebody is forgotten, by the ban list and by every node's history.
    Forget {
        /// Who, where, why.
        operator: Operator,
        /// About whom: this, and all inside it.
        target: Subnet,
    },
}

impl Op {
    /// The level that it belongs to: where the cluster's is lower, some node can not read it.
    #[must_use]
    pub fn level(&self) -> u32 {
        // One that is added belongs to a new level, and is named here.
        match self {
            Op::Forget { .. } => LEVEL_FORGETTING,
            Op::NodeSeen(record) if !record.reaches.is_empty() => LEVEL_REACHES,
            _ => LEVEL_FIRST,
        }
    }

    /// Who gave this command, if it is an operator's.
    #[must_use]
    pub fn operator(&self) -> Option<&Operator> {
        match self {
            Op::OperatorBan { operator, .. }
            | Op::Unban { operator, .. }
            | Op::Allow { operator, .. }
            | Op::Disallow { operator, .. }
            | Op::Import { operator, .. }
            | Op::Trust { operator, .. }
            | Op::Revoke { operator, .. }
            | Op::Token { operator, .. }
            | Op::Settings { operator, .. }
            | Op::Forget { operator, .. } => Some(operator),
            Op::Ban(_) | Op::Tick { .. } | Op::Sweep | Op::NodeSeen(_) | Op::RaiseLevel { .. } => None,
        }
    }

    /// The same, to change it.
    pub fn operator_mut(&mut self) -> Option<&mut Operator> {
        match self {
            Op::OperatorBan { operator, .. }
            | Op::Unban { operator, .. }
            | Op::Allow { operator, .. }
            | Op::Disallow { operator, .. }
            | Op::Import { operator, .. }
            | Op::Trust { operator, .. }
            | Op::Revoke { operator, .. }
            | Op::Token { operator, .. }
            | Op::Settings { operator, .. }
            | Op::Forget { operator, .. } => Some(operator),
            Op::Ban(_) | Op::Tick { .. } | Op::Sweep | Op::NodeSeen(_) | Op::RaiseLevel { .. } => None,
        }
    }
}

/// Which bans an unban lifts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnbanSelection {
    /// All inside the target, in all jails or in one.
    Target {
        /// Bans of this subnet and inside it; a host of IPv6 means its counting prefix.
        target: Subnet,
        /// Only in this jail.
        jail: Option<JailName>,
    },
    /// All, in all jails or in one.
    All {
        /// Only in this jail.
        jail: Option<JailName>,
    },
    /// What one node has brought in: it is struck out of every ban and no longer trusted.
    ByNode {
        /// The node.
        node: NodeId,
        /// Only bans that began at or after this time.
        since: Timestamp,
    },
}

/// A live ban taken over from another ban list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedBan {
    /// Who.
    pub subnet: Subnet,
    /// In which jail.
    pub jail: JailName,
    /// When it began.
    pub since: Timestamp,
    /// When it ends.
    pub until: Until,
    /// The how-manieth it is.
    pub count: u32,
    /// What it closes.
    pub ports: Ports,
    /// How long that jail bans, for the record.
    pub policy: BanPolicy,
    /// A line that says why.
    pub note: String,
}

/// What is known of ended bans, taken over from another ban list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedHistory {
    /// Who.
    pub subnet: Subnet,
    /// In which jail.
    pub jail: JailName,
    /// How often, and until when.
    pub past: PastBans,
}
