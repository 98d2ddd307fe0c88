//! The operator's door: gRPC `bannkreis.v1.Control` on a unix socket, and what it needs of the daemon.
//!
//! Knows nothing of Raft, the firewall, sources or files: all of that is behind [`NodeApi`], which the
//! assembly implements. Not for the texts and tables that people see: those are the `bannkreis` command's.
//!
//! In the order of suggested reading: the trait here, then [`inspection`] (what the warden knows),
//! `service` (each call) and the files it hands them to, `answers` (from core types to messages),
//! `advice` (what an operator should do), `enforcement` (who enforces what), `remaining` (what an unban leaves), `tokens`, `peer` (who asks), [`socket`] (where the door is).

mod advice;
mod answers;
mod bans;
mod commands;
mod enforcement;
pub mod inspection;
mod peer;
mod remaining;
mod service;
pub mod socket;
mod status;
#[cfg(test)]
mod tests;
mod tokens;
mod why;

pub use inspection::Inspection;
pub use peer::{Peer, Role};
pub use socket::{ControlSocket, SocketError};

use bannkreis_core::ban_list::{BanView, Cause};
use bannkreis_core::change::OpResult;
use bannkreis_core::command::Op;
use bannkreis_core::ids::{ClusterId, NodeId, Position};
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Now, Timestamp};

/// What the control service asks of the daemon. All of it may be called from any task, at any time, and
/// none of it may block a thread for longer than a few microseconds: what takes longer is `async`.
#[tonic::async_trait]
pub trait NodeApi: Send + Sync + 'static {
    /// The ban list as applied here.
    fn view(&self) -> BanView;

    /// Wall clock and cluster time.
    fn now(&self) -> Now;

    /// This node by itself.
    fn node(&self) -> NodeFacts;

    /// This node among others.
    fn cluster(&self) -> ClusterFacts;

    /// Asks the warden: [`Inspection::of`] on the warden's thread. `about` as there. `None` when the daemon
    /// is stopping.
    async fn inspect(&self, about: Option<Subnet>) -> Option<Inspection>;

    /// Writes these operations, in one command. They carry their ids, so calling it again with the same ones
    /// is safe. Waits for the answer at most some seconds by itself.
    async fn propose(&self, ops: Vec<Op>) -> Result<Committed, ProposeFailure>;

    /// What was proposed or commanded at this place of the Raft log, if it is kept here.
    async fn cold_record(&self, cause: Cause) -> Option<ColdRecord>;

    /// Joins the cluster that this `host:port` belongs to, and returns when this node is a member and has
    /// asked for its bans to be taken over; `token` lets it in, and may be empty where none is needed. The error is
    /// a sentence with cause and remedy.
    async fn join(&self, host_port: &str, token: &str) -> Result<(), String>;

    /// A new join token, which the cluster does not know yet. The error is a sentence.
    fn make_token(&self) -> Result<NewToken, String>;
}

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    /// For whoever joins.
    pub text: String,
    /// For the cluster.
    pub hash: Vec<u8>,
}

/// Operations that were committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where they stand.
    pub position: Position,
    /// One per operation.
    pub results: Vec<OpResult>,
}

/// Why there is no answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposeFailure {
    /// It may or may not be written: the same operations may be proposed again.
    Unknown {
        /// A sentence.
        why: String,
    },
    /// Nothing was written; later it may work.
    NotNow {
        /// A sentence.
        why: String,
    },
    /// Nothing was written, and asking again does not help.
    Refused {
        /// A sentence.
        why: String,
    },
}

/// What is kept of an operation beside the ban list.
#[derive(Clone, Debug, PartialEq)]
pub struct ColdRecord {
    /// The leader's stamp, in cluster time: ages in the operation count back from it.
    pub at: Timestamp,
    /// The operation.
    pub op: Op,
}

/// A node by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its id.
    pub node: NodeId,
    /// Its host's name.
    pub name: String,
    /// It counts and shows, but blocks nothing.
    pub observe: bool,
    /// It votes and stores only: no logs, no firewall.
    pub is_witness: bool,
    /// How it blocks: `nftables` or `none`.
    pub backend: &'static str,
    /// Milliseconds since the daemon's start.
    pub uptime_ms: u64,
    /// What its firewall holds: everything up to here.
    pub enforced: Position,
    /// What the operator must know, one sentence each, the gravest first: storage errors, a firewall that
    /// refuses, sources that can not be read.
    pub warnings: Vec<String>,
    /// Why it does not follow the Raft log any further, with the remedy.
    pub halted: Option<String>,
    /// What its jails read.
    pub sources: Vec<SourceFacts>,
}

/// A watched source of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFacts {
    /// The jail that reads it. A source that two jails read is named twice.
    pub jail: JailName,
    /// Its path.
    pub name: String,
    /// Lines read since the daemon's start.
    pub n_lines: u64,
    /// Why nothing can be read from it at the moment.
    pub error: Option<String>,
}

/// A node among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Counts recoveries.
    pub generation: u32,
    /// Raft's term.
    pub term: u64,
    /// The leader, when one was heard within an election timeout.
    pub leader: Option<NodeId>,
    /// Since when no leader with a majority is known, in cluster time.
    pub no_quorum_since: Option<Timestamp>,
    /// All members, this node included.
    pub members: Vec<MemberFacts>,
    /// What the leader has decided of itself, as far as it has told this node.
    pub decisions: Vec<DecisionFacts>,
}

/// What the leader does, or waits for, without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionFacts {
    /// `voters`, `leader` or `level`.
    pub about: String,
    /// In one word.
    pub step: String,
    /// Why, as a sentence.
    pub why: String,
}

/// A member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberFacts {
    /// Its id.
    pub node: NodeId,
    /// Its host's name.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Whether it votes.
    pub is_voter: bool,
    /// Whether it was heard within the last seconds; true for this node itself.
    pub is_reachable: bool,
    /// How long ago it was heard; `None` for this node itself and for one that was never heard.
    pub heard_ms_ago: Option<u64>,
    /// How far it has applied the Raft log, when it has said so.
    pub applied: Option<Position>,
    /// How far its firewall is, when it has said so.
    pub enforced: Option<Position>,
    /// Whether it blocks at all: not a witness, not an observer, not `backend = none`, as far as known.
    pub is_enforcing: bool,
    /// Its wall clock minus cluster time, in ms, when it has said so.
    pub clock_ahead_ms: Option<i64>,
    /// Overrides it has, when it has said so.
    pub n_overrides: u64,
}
