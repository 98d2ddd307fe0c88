//! fail2ban's language: configuration text and log lines in, jails and failures out.
//!
//! Nothing here reads a clock or looks up a name, and nothing but [`this_host`] opens a file. The node passes
//! a [`tree`] of configuration files, the time and the lines. In the order of suggested reading:

pub mod action;
pub mod base;
pub mod growth;
pub mod jail_config;
mod jail_options;
pub mod reading;
pub mod services;
pub mod time_text;
pub mod tree;
pub mod unsupported;

pub mod this_host;

pub mod definition;
pub mod ini;
pub mod interpolate;
pub mod merged;
pub mod parameters;
pub mod tags;

pub mod connection;
pub mod date;
pub mod encoding;
pub mod filter;
pub mod judged;
pub mod pattern;
pub mod regex_tags;
pub mod translate;
