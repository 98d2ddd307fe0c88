//! How much of each kind is read at most. What is above a bound is refused as a whole, by name.
//!
//! Bounds that have a meaning beyond decoding stand in `bannkreis-core`. Whoever writes keeps to
//! all of them: a leader that put more into the Raft log would stop every node.

/// An encoded command. The leader closes a batch before it grows beyond this.
pub const COMMAND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Encoded operations on their way to the leader: a quarter of a command, so that they always fit.
pub const OPS_BYTES_MAX: usize = 1024 * 1024;
/// Operations in a command, or on their way to the leader.
pub const OPS_MAX: usize = 16_384;
/// An encoded record of a snapshot.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An encoded notice or report.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// A command's signature.
pub const SIGNATURE_BYTES_MAX: usize = 512;
/// A text that a person wrote: a reason, a note, an author's name.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The sentence that says why an operator's command was refused.
pub const WHY_BYTES_MAX: usize = 4_096;
/// Entries of each kind in one import; whoever has more sends several.
pub const IMPORT_ENTRIES_MAX: usize = 4_096;
/// Clocks in one tick.
pub const READINGS_MAX: usize = 64;
/// Fields in one operation that changes settings.
pub const SETTINGS_MAX: usize = 64;
/// Jails in a node record.
pub const NODE_JAILS_MAX: usize = 1_024;
/// A host's name (RFC 1035 section 2.3.4).
pub const NODE_NAME_BYTES_MAX: usize = 255;
/// Nodes whose names an entry of the history keeps: the origins of a ban, and who ended it.
pub const STORED_NAMES_MAX: usize = 16;
/// A `host:port`.
pub const NODE_ADDRESS_BYTES_MAX: usize = 300;
/// All port ranges of a set of ports: as many of each of the 256 protocols as there may be.
pub(crate) const ALL_PORT_RANGES_MAX: usize = 256 * bannkreis_core::jail::PORT_RANGES_MAX;
