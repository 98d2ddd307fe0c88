//! What the cluster knows about each of its nodes, as the node itself tells it.

use crate::ids::NodeId;
use crate::jail::{JailName, Ports};
use crate::reach::Reach;
use crate::subnet::Subnet;
use alloc::string::String;
use alloc::vec::Vec;

/// A node names at most this many own addresses.
pub const NODE_ADDRESSES_MAX: usize = 64;

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeRole {
    /// Reads logs, blocks, and votes when there is room among the voters.
    #[default]
    Full,
    /// Votes only: the third vote of a pair. No logs, no firewall.
    Witness,
}

/// A node about itself. Only a node's own record is accepted from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRecord {
    /// Which node.
    pub node: NodeId,
    /// Its host's name, for people.
    pub name: String,
    /// Where peers reach it: `host:port`.
    pub address: String,
    /// SHA-256 of its public key; empty in insecure mode.
    pub key_fingerprint: Vec<u8>,
    /// Its own addresses: never banned anywhere.
    pub own: Vec<Subnet>,
    /// Its routers: never banned anywhere.
    pub gateways: Vec<Subnet>,
    /// Its name servers: never banned anywhere.
    pub resolvers: Vec<Subnet>,
    /// Its enabled jails and what they close.
    pub jails: Vec<(JailName, Ports)>,
    /// What bans of its jails close on other nodes, where that is not what the cluster's setting says. From level
    /// [`LEVEL_REACHES`](crate::command::LEVEL_REACHES) on.
    pub reaches: Vec<(JailName, Reach)>,
    /// The highest level it can read.
    pub level_max: u32,
    /// What it does.
    pub role: NodeRole,
}

impl NodeRecord {
    /// Every subnet that this record protects.
    pub fn protected(&self) -> impl Iterator<Item = Subnet> + '_ {
        self.own.iter().chain(&self.gateways).chain(&self.resolvers).copied()
    }
}
