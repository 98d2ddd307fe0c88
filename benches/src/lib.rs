//! What the benchmarks share: numbers out of measurements, what a process and the disk cost, and where the peer
//! is.
//!
//! Not for measuring: each benchmark is a program of its own beside this directory.

pub mod disk;
pub mod fail2ban;
pub mod process;
pub mod round_trip;
pub mod sample;
