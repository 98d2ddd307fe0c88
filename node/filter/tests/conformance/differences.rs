//! The records that we judge differently on purpose, each with its reason; docs/filters.md has them too.

/// A line of a sample log that our filter judges differently.
pub(crate) struct Difference {
    /// The filter.
    pub(crate) filter: &'static str,
    /// The sample log.
    pub(crate) file: &'static str,
    /// The line's number there, from 1.
    pub(crate) line: usize,
    /// Why.
    pub(crate) reason: &'static str,
}

/// None: every labelled line of fail2ban 1.0.2 is judged as it is labelled.
pub(crate) const DIFFERENCES: [Difference; 0] = [];
