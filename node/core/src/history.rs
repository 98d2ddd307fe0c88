//! What is remembered of bans that are over: how often, and when the last one ended. Escalation
//! reads it; people read the cold records.

use crate::time::Timestamp;

/// The ended bans of one (subnet, jail).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PastBans {
    /// How many there were.
    pub count: u32,
    /// When the last one began.
    pub last_since: Timestamp,
    /// When the last one ended: by time, or when it was lifted.
    pub last_end: Timestamp,
}
