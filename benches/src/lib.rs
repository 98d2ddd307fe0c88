//! What the benchmarks share: numbers out of measurements.
//!
//! Not for measuring: each benchmark is a program of its own beside this directory.

pub mod sample;
