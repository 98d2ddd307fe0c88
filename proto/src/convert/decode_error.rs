//! Why bytes were not decoded, and where in them the fault is.

/// Why bytes could not be turned into a value of `bannkreis-core`.
///
/// From the Raft log or a snapshot it means: stop applying. From a peer or an operator it means:
/// refuse. It never means: take a default.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no message of this kind at all.
    #[error("this is no {what} of bannkreis ({source}): it was cut off, damaged, or never was one")]
    Malformed {
        /// What it was taken for.
        what: &'static str,
        /// What prost says.
        source: prost::DecodeError,
    },
    /// It is longer than it may be, so nobody looked inside.
    #[error("a {what} of {found_bytes} bytes is too long: at most {max_bytes} are read")]
    TooLong {
        /// What it was taken for.
        what: &'static str,
        /// Its length.
        found_bytes: usize,
        /// The longest that is read.
        max_bytes: usize,
    },
    /// One field has no meaning that this release knows.
    #[error("`{path}` {what}")]
    Field {
        /// Which field, from the message's name down, e.g. `command.ops[3].ban.offender`.
        path: String,
        /// What is wrong with it: the rest of a sentence that begins with the field.
        what: String,
    },
    /// It belongs to a later release.
    #[error(
        "it is of level {found}, and this release reads up to level {readable}: upgrade bannkreis on this node"
    )]
    Level {
        /// The level it says it belongs to.
        found: u32,
        /// The highest level that this release reads.
        readable: u32,
    },
}

impl DecodeError {
    /// `what` is wrong with `path`.
    pub(crate) fn field(path: &str, what: impl Into<String>) -> DecodeError {
        DecodeError::Field { path: path.to_string(), what: what.into() }
    }

    /// The field is not there, or it is one of several that this release does not know: prost does
    /// not tell the two apart.
    pub(crate) fn missing(path: &str) -> DecodeError {
        DecodeError::field(path, "is missing, or of a kind that this release does not know")
    }

    /// The same fault, seen from the message around it.
    pub(crate) fn inside(self, outer: &str) -> DecodeError {
        match self {
            DecodeError::Field { path, what } => {
                let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
                DecodeError::Field { path: format!("{outer}{dot}{path}"), what }
            }
            whole @ (DecodeError::Malformed { .. }
            | DecodeError::TooLong { .. }
            | DecodeError::Level { .. }) => whole,
        }
    }
}

/// Says in which field a fault is.
pub(crate) trait Inside<T> {
    /// The same, seen from the message that has `field`.
    fn inside(self, field: &str) -> Result<T, DecodeError>;
}

impl<T> Inside<T> for Result<T, DecodeError> {
    fn inside(self, field: &str) -> Result<T, DecodeError> {
        self.map_err(|error| error.inside(field))
    }
}
