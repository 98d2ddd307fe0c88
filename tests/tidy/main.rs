//! The house rules that matter, as tests: layers, names, sizes, unfinished work, and the map.
//!
//! It reads the repository as text and builds nothing. Taste is not here: what a formatter or
//! clippy can judge is theirs, and the rest is settled between people. A rule that fails prints
//! every place that breaks it, so that one run is enough to put the house in order.
//!
//! In the order of suggested reading:

mod code;
mod layers;
mod map;
mod names;
mod planted;
mod sources;
mod tree;
