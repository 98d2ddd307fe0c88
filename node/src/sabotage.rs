//! For the proof that the demonstration can fail: one part of the way from a log line to a dropped packet
//! does nothing.
//!
//! Only in builds with the feature `sabotage`; in all others `is` is the constant `false`.

/// Whether `part` (`netlink`, `raft` or `filter`) is to do nothing.
#[cfg(feature = "sabotage")]
#[must_use]
pub fn is(part: &str) -> bool {
    use std::sync::OnceLock;
    static SABOTAGED: OnceLock<Option<String>> = OnceLock::new();
    SABOTAGED.get_or_init(|| std::env::var("BANNKREIS_SABOTAGE").ok()).as_deref() == Some(part)
}

/// Nothing is sabotaged in a build for use.
#[cfg(not(feature = "sabotage"))]
#[must_use]
pub const fn is(_part: &str) -> bool {
    false
}
