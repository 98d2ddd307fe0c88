//! Dates in log lines: where they stand, and what time they mean.
//!
//! `tokens` writes `%Y-%m-%d` as a regular expression, `template` is one compiled format,
//! `templates` is the list of formats that are tried when a filter names none, `detector` chooses
//! among them line by line, and `convert` makes a point in time of what was found.

pub mod convert;
pub mod dates;
pub mod detector;
pub mod glance;
mod last_place;
mod repeated;
mod runs;
pub mod template;
pub mod templates;
pub mod tokens;
pub mod zones;
