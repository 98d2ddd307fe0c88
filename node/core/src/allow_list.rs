//! The allow list: what operators have said must never be banned.

use crate::ids::NodeId;
use crate::subnet::Subnet;
use crate::time::Until;
use alloc::string::String;

/// The allow list holds at most this many entries; more are refused by name.
pub const ALLOW_ENTRIES_MAX: usize = 10_000;

/// One entry: who, why, by whom, until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowEntry {
    /// Never banned, nor anything inside it.
    pub subnet: Subnet,
    /// For people.
    pub note: String,
    /// Who put it there.
    pub author: String,
    /// Through which node.
    pub node: NodeId,
    /// When it ends.
    pub until: Until,
}
