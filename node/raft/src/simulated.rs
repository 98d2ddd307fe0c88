//! The simulation of whole nodes: openraft, our store, our network code and tonic as they are, on disks and a network
//! that are faulty as a seed decides, with a clock that moves when nothing is left to do.
//!
//! ```text
//! seed ──▶ plan ──▶ faults ──▶ hosts (node + disk + clock) ◀── network ──▶ hosts
//!                                ▲ ask         │ show
//!                              clients ──▶ oracle: what was acknowledged, what must be true
//! ```
//!
//! `BANNKREIS_NET_SEEDS` says how many seeds are run, `BANNKREIS_NET_SEED` runs one of them and prints what happens in
//! it, `BANNKREIS_NET_EXPECT` names a promise and ends the run with the first seed that breaks it (for planted bugs).
//! Each world has a process of its own: a seed must give the same world whatever was run before it.
//!
//! Not for what a ban means: the simulation in `tests/sim` is for that, and knows nothing of Raft.

mod chance;
mod clients;
mod disk;
mod faults;
mod host;
mod network;
mod oracle;
mod plan;
#[path = "../../../tests/sim/random.rs"]
mod random;
mod runs;
mod scenarios;
mod world;

pub(crate) use chance::is_here;
pub(crate) use disk::SimulatedDisk;
