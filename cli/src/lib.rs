//! The `bannkreis` command: asks a node over its control socket or from another host, and shows the answer to people as text
//! and to programs as JSON.
//!
//! It decides nothing and stores nothing. In the order of suggested reading: what can be typed, how a
//! command runs, what each one shows, and the parts they are made of.

pub mod args;
pub mod run;

pub mod commands;

pub mod client;
pub mod failure;
pub mod json;
pub mod keys;
pub mod remote;
pub mod state;
pub mod table;
pub mod text;
pub mod works_from;
