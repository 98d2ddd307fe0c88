//! One suite for every firewall: what passes and what does not is asked of each in its own way.
//!
//! - `probe.rs`: how the suite asks: [`probe::Probe`];
//! - `cases.rs`: the suite itself, written once;
//! - `in_memory.rs`: asked by computing;
//! - `in_kernel.rs`: asked by sending real packets between two network namespaces (`lab.rs`), which
//!   have no names and vanish with the test. Needs root, or a kernel that lets a user make namespaces
//!   of its own; without either it says that it is skipped;
//! - `law.rs`: the law of the ruleset: `diff(a, b)` applied to `a` is `b`;
//! - `flood.rs`, `traffic.rs`, `adoption.rs`, `limits.rs`, `strangers.rs`: what only a kernel has.

mod adoption;
mod cases;
mod flood;
mod in_kernel;
mod in_memory;
mod lab;
mod law;
mod limits;
mod probe;
mod strangers;
mod traffic;
