//! What the tests of whole programs share: the lab of network namespaces, and the story that the
//! demonstration tells and the end-to-end tests check.
//!
//! Not for the tests themselves: those are the targets of this crate (`e2e`, `sim`, `tidy`). Nothing
//! here is published.

pub mod burst;
pub mod failed;
pub mod lab;
pub mod seeds;
pub mod story;
