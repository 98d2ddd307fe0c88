//! What the benchmarks share: numbers out of measurements, and what a process costs.
//!
//! Not for measuring: each benchmark is a program of its own beside this directory.

pub mod process;
pub mod sample;
