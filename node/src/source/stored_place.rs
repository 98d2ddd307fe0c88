//! What a source has the local store keep, so that a later process goes on where this one stopped.
//!
//! Each kind of source has a form of its own; the first byte tells them apart.

use std::path::PathBuf;

/// A place in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlace {
    /// What it is stored under: a file's path, a pattern, or what a journal is asked for.
    pub name: PathBuf,
    /// Its stored form.
    pub bytes: Vec<u8>,
}
