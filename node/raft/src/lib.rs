//! bannkreis' replicated log: openraft fixed to our types, its store, its network on tonic, and a small
//! handle for the daemon in which nothing of openraft shows.
//!
//! It knows when a command is committed and in which order; it does not know what a ban is good for, nor
//! the daemon's ports, certificates, configuration or firewall. In the order of suggested reading:
//!
//! - [`options`]: what a node lives on; [`handle`]: the node as the daemon holds it; `start`: how it
//!   comes to life; [`status`] and [`progress`]: what it says about itself
//! - [`observer`], `state_machine`, [`snapshot`]: committed entries become the ban list, the ban list
//!   becomes a file
//! - [`level`]: what a release reads of the log, and what becomes of a node that can not; `room`: what becomes of one
//!   whose disk is full
//! - `forward`, `outgoing`, [`proposer`], `flight`, `housekeeping`: how operations get into the log
//! - [`membership`], [`identity`], [`import`]: joining, and what a node takes along
//! - [`backup`], [`recovery`], `log_tail`, [`spectator`], [`apart`]: a copy in one file; a new generation, and what
//!   it takes along; a node that has lost its log; a node whose cluster goes on without it
//! - `autopilot`, `voters`: which voters there should be, and making it so
//! - [`peer`], `standing`, `network`, [`server`]: nodes among themselves
//! - `log_store`, `log_writer`, `disk`, `sled_disk`, [`dead_disk`]: the log, durably
//! - `types`, `cluster_time`, `random`, `beside`, [`rhythm`]: what all of these stand on

pub mod options;

pub mod handle;
mod start;

pub mod progress;
pub mod status;

pub mod observer;
mod state_machine;

pub mod snapshot;

pub mod level;
mod room;

mod flight;
mod forward;
mod housekeeping;
mod outgoing;
pub mod proposer;

pub mod identity;
pub mod import;
pub mod membership;

pub mod apart;
pub mod backup;
mod log_tail;
pub mod recovery;
pub mod spectator;

mod autopilot;
pub mod orders;
mod voters;

mod network;
pub mod peer;
pub mod server;
mod standing;

pub mod dead_disk;
mod disk;
mod log_store;
mod log_writer;
mod sled_disk;

mod beside;
pub mod cluster_time;
mod random;
pub mod rhythm;
mod types;

#[cfg(test)]
mod simulated;

pub use apart::Apart;
pub use backup::{AuthorityPem, Backup, BackupFacts, read_backup};
pub use handle::RaftNode;
pub use identity::{Identity, IdentityError, Stage};
pub use import::import_ops;
pub use level::Release;
pub use log_tail::with_log_tail;
pub use membership::{JoinError, JoinInfo, join_info};
pub use observer::{AppliedBatch, AppliedEntry, Keeping, NoObserver, Observer};
pub use options::{RaftOptions, Store, Timing};
pub use orders::{Order, OrderError};
pub use peer::{Connect, ConnectError, KeyFingerprint, NotAdmitted, Peer, Role};
pub use progress::Progress;
pub use proposer::{ProposeError, Proposed};
pub use recovery::{RecoveryError, begin_generation, forget_oldest, identity_for};
pub use server::RaftService;
pub use snapshot::damaged_snapshots;
pub use spectator::Spectator;
pub use standing::Standing;
pub use start::StartError;
pub use status::{Decided, MemberStatus, RaftStatus};

#[cfg(test)]
mod golden_tests;
