//! What the benchmarks share: numbers out of measurements, what a process costs, and where the peer is.
//!
//! Not for measuring: each benchmark is a program of its own beside this directory.

pub mod fail2ban;
pub mod process;
pub mod sample;
