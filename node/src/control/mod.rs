//! The operator's doors: gRPC `bannkreis.v1.Control` on a unix socket and on the nodes' port, and what it needs of
//! the daemon.
//!
//! Knows nothing of Raft, the firewall, sources or files: all of that is behind [`NodeApi`], which the
//! assembly implements. Not for the texts and tables that people see: those are the `bannkreis` command's.
//!
//! In the order of suggested reading: the trait here, then [`inspection`] (what the warden knows),
//! `service` (each call) and the files it hands them to, `answers` (from core types to messages),
//! `history` and `told_commands` (what was), `forgetting` (that nobody tells it any more), `advice` (what an operator
//! should do), `enforcement` (who enforces what), `remaining` (what an unban leaves), `guards` (whom a ban must not hit),
//! `allowing`, `overrides` (this host only), `settings`, `members`, `tokens`, `keys`, `recovery`, `peer` (who asks, and
//! what they may), `strangers` (who may ask nothing), [`socket`] and [`remote`] (where the doors are).

mod advice;
mod allowing;
mod answers;
mod bans;
mod closing;
mod commands;
mod enforcement;
mod firewall;
mod forgetting;
mod guards;
pub mod history;
mod importing;
pub mod inspection;
mod keys;
mod members;
mod overrides;
mod peer;
mod recovery;
mod remaining;
pub mod remote;
mod service;
mod settings;
pub mod socket;
mod status;
mod strangers;
#[cfg(test)]
mod tests;
mod tokens;
mod told_commands;
mod why;

pub use bannkreis_raft::BackupFacts;
pub use history::{HistoryFact, HistoryFound, HistoryWish};
pub use inspection::{About, Inspection};
pub use peer::{Groups, Peer, Role};
pub use recovery::{NewLife, NewTime, RecoverWish};
pub use socket::{ControlSocket, SocketError};

use bannkreis_core::ban::Cause;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::OpResult;
use bannkreis_core::command::Op;
use bannkreis_core::event::Override;
use bannkreis_core::ids::{ClusterId, NodeId, Operator, Position};
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Now, Timestamp};
use bannkreis_firewall::ChainCounter;
use std::fs::File;

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
    async fn inspect(&self, about: About) -> Option<Inspection>;

    /// Asks the firewall. The error is a sentence.
    async fn firewall(&self) -> Result<FirewallFacts, String>;

    /// Takes these operator's decisions for this host only, or takes them back, and returns when the kernel does so
    /// and the disk has them. The error is a sentence; what it is about may hold until the next restart.
    async fn override_here(&self, decisions: Vec<(Subnet, Option<Override>)>) -> Result<(), String>;

    /// Writes these operations, in one command. They carry their ids, so calling it again with the same ones
    /// is safe. Waits for the answer at most some seconds by itself.
    async fn propose(&self, ops: Vec<Op>) -> Result<Committed, ProposeFailure>;

    /// What was proposed or commanded at this place of the Raft log, if it is kept here.
    async fn cold_record(&self, cause: Cause) -> Option<ColdRecord>;

    /// The newest of what is kept here of bans that are over and of operators' commands. The error is a sentence.
    async fn history(&self, wish: HistoryWish) -> Result<HistoryFound, String>;

    /// Joins the cluster that this `host:port` belongs to, and returns when this node is a member and has
    /// asked for its bans to be taken over; `token` lets it in, and may be empty where none is needed. The error is
    /// a sentence with cause and remedy.
    async fn join(&self, host_port: &str, token: &str) -> Result<(), String>;

    /// A new join token, which the cluster does not know yet. The error is a sentence.
    fn make_token(&self) -> Result<NewToken, String>;

    /// A backup of this node's replicated state, in a file that stands at its beginning and is gone when it is
    /// closed. The error is a sentence.
    async fn back_up(&self, with_keys: bool) -> Result<(BackupFacts, File), String>;

    /// A file to put a backup into that comes in: gone when it is closed. The error is a sentence.
    fn spool(&self) -> Result<File, String>;

    /// What this backup is. The error says what is wrong with it.
    async fn check_backup(&self, file: File) -> Result<BackupFacts, String>;

    /// Says what replacing this node's state by that of the backup means, and does it when it is confirmed. The
    /// error is a sentence.
    async fn restore(&self, file: File, is_confirmed: bool) -> Result<(BackupFacts, NewLife), String>;

    /// Says what going on as a cluster of one means, and does it when it is confirmed. The error is a sentence.
    async fn recover(&self, wish: RecoverWish) -> Result<NewLife, String>;

    /// How this node proves who it is. The error is a sentence.
    fn keys(&self) -> Result<KeyFacts, String>;

    /// Has this node's certificate made anew. The error is a sentence.
    async fn renew_certificate(&self) -> Result<(), String>;

    /// Makes a certificate for a person, for the key that signed `request` (DER). The error is a sentence.
    async fn issue_certificate(
        &self,
        role: Role,
        name: String,
        request: Vec<u8>,
        days: u32,
    ) -> Result<IssuedCertificate, String>;

    /// Has the leader carry out an order about a member. Carrying it out twice changes nothing more.
    async fn order(&self, order: MemberOrder, by: &Operator) -> Result<(), OrderFailure>;

    /// Leaves the cluster, and returns when this node goes on alone with all bans; `force`: whatever the cluster
    /// says. The error is a sentence with cause and remedy.
    async fn leave(&self, by: Operator, force: bool) -> Result<(), String>;
}

/// How a node proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// `own`, `files` or `insecure`.
    pub mode: &'static str,
    /// It can sign for the cluster.
    pub has_authority: bool,
    /// Its certificate; `None` in insecure mode.
    pub own: Option<CertificateFacts>,
    /// Whom it believes.
    pub authorities: Vec<CertificateFacts>,
    /// When it renews its own; `None` when others do that.
    pub renew_at: Option<Timestamp>,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The common name.
    pub subject: String,
    /// `node`, `admin`, `operator`, `viewer`, or nothing.
    pub role: &'static str,
    /// The issuer's common name.
    pub issuer: String,
    /// SHA-256 of its public key.
    pub fingerprint: String,
    /// Its serial number.
    pub serial: String,
    /// The DNS names that it holds for.
    pub names: Vec<String>,
    /// From when it counts.
    pub not_before: Timestamp,
    /// Until when it counts.
    pub not_after: Timestamp,
}

/// A new certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// In PEM.
    pub certificate_pem: String,
    /// The authority's, in PEM.
    pub authority_pem: String,
    /// What it says.
    pub facts: CertificateFacts,
}

/// An order about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberOrder {
    /// It is no member any more, and its key is out.
    Remove(NodeId),
    /// It votes.
    Promote(NodeId),
    /// It votes no more, until it is promoted.
    Demote(NodeId),
    /// Another node leads.
    Lead {
        /// The one that led when the order was given.
        from: Option<NodeId>,
        /// The one that is to lead; `None`: any other.
        to: Option<NodeId>,
    },
}

impl MemberOrder {
    /// Whom it is about.
    #[must_use]
    pub fn node(self) -> Option<NodeId> {
        match self {
            MemberOrder::Remove(node) | MemberOrder::Promote(node) | MemberOrder::Demote(node) => Some(node),
            MemberOrder::Lead { to, .. } => to,
        }
    }
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderFailure {
    /// Given again, it may be.
    NotNow {
        /// A sentence.
        why: String,
    },
    /// It will not be.
    Refused {
        /// A sentence.
        why: String,
    },
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

/// What a host's firewall says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirewallFacts {
    /// How often it was found damaged since the daemon's start.
    pub n_repairs: u64,
    /// Why it refuses at present, if it does.
    pub error: Option<String>,
    /// What it has dropped.
    pub chains: Vec<ChainCounter>,
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
    /// How it blocks: `nftables`, `iptables` or `none`.
    pub backend: &'static str,
    /// The same with why it is so, where the rules are and what it uses of the kernel: for people.
    pub firewall: String,
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
    /// Searches that its filters gave up at their limit of steps, by jail, where there are any.
    pub given_up: Vec<(JailName, u64)>,
    /// Why it takes no part in its cluster, and what to type: a sentence.
    pub apart: Option<String>,
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
