//! What bannkreis means: bans, failures and time, and the two pure machines that decide.
//!
//! Nothing here touches a file, a socket, a clock, a thread or a regular expression. In the order
//! of suggested reading:
#![no_std]

extern crate alloc;

pub mod allow_list;
pub mod apply;
pub mod ban;
pub mod ban_list;
pub mod change;
pub mod command;
pub mod event;
pub mod event_id;
pub mod failure;
pub mod generation;
pub mod harmless;
pub mod history;
pub mod ids;
pub mod jail;
pub mod judge;
pub mod log_block;
pub mod node_clock;
pub mod node_record;
mod op_digest;
mod operator;
pub mod outcomes;
pub mod proposal;
pub mod quota;
pub mod reach;
pub mod record;
pub mod ruleset;
pub mod settings;
pub mod shards;
mod sorted_map;
pub mod subnet;
pub mod subnet_map;
pub mod tally;
pub mod time;
pub mod voters_clocks;
pub mod warden;
