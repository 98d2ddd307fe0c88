//! The bannkreis daemon as a library: the parts that perform I/O, and their assembly.
//!
//! In the order of suggested reading: what the parts promise each other; the adapters, which do not know
//! each other; one life of the node, from its start to its stop; the daemon around it.

pub mod borders;

pub mod admissions;
pub mod config;
pub mod control;
pub mod host;
pub mod kubernetes;
pub mod local_store;
pub mod pki;
pub mod second_look;
pub mod source;
pub mod wire;

pub mod ban_ends;
pub mod by_lease;
pub mod clock;
pub mod configuring;
pub mod emergency;
pub mod event_loop;
pub mod evidence;
pub mod fail2ban_log;
pub mod filter_sink;
pub mod firewall_worker;
pub mod given_up;
pub mod history;
pub mod housekeeping;
pub mod ignored_names;
pub mod joining;
pub mod log_file;
mod memory;
pub mod notify;
pub mod open_files;
mod open_sources;
pub mod outlets;
pub mod raft_observer;
pub mod readiness;
pub mod recidive;
pub mod recovering;
pub mod redating;
pub mod retention;
pub mod running;
pub mod sabotage;
pub mod security;
pub mod spectating;
pub mod startup;
pub mod stored;
pub mod told;
pub mod vital_threads;
pub mod way_in;

pub mod app;
mod disk_failure;
pub mod disk_room;
pub mod door;
