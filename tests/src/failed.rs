//! How the lab says that something went wrong: one sentence for a person.
//!
//! Nobody reacts to these errors but by telling them, so there are no kinds of them.

use std::fmt;

/// What went wrong, with the values that matter.
pub struct Failed(pub String);

/// A result whose error is a sentence.
pub type Result<T> = std::result::Result<T, Failed>;

impl Failed {
    /// The same error, said of `what` was being done.
    #[must_use]
    pub fn while_doing(self, what: &str) -> Failed {
        Failed(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// A test that returns an error shows it in this form.
impl fmt::Debug for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Says of an error what was being done.
pub trait Context<T> {
    /// The value, or a sentence that begins with `what`.
    ///
    /// # Errors
    /// The error itself, as text behind `what`.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failed(format!("{}: {error}", what())))
    }
}

/// Fails with the sentence unless the condition holds.
///
/// # Errors
/// The sentence.
pub fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Failed(otherwise())) }
}
