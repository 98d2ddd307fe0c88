//! fail2ban's language: configuration text and log lines in, jails and failures out.
//!
//! Nothing here reads a clock or looks up a name, and nothing but [`this_host`] opens a file. The node passes
//! a [`tree`] of configuration files, the time and the lines. In the order of suggested reading:

pub mod action;
pub mod action_text;
pub mod base;
pub mod formula;
pub mod growth;
pub mod host_name;
pub mod ignore_command;
pub mod jail_config;
mod jail_options;
pub mod jail_text;
pub mod journal;
pub mod journal_match;
pub mod reading;
pub mod services;
pub mod time_text;
pub mod tree;
pub mod unsupported;

pub mod this_host;

pub mod container_lines;
pub mod container_path;
pub mod definition;
pub mod ini;
pub mod interpolate;
pub mod merged;
pub mod parameters;
pub mod syslog_path;
pub mod tags;

pub mod connection;
pub mod date;
pub mod encoding;
pub mod engine;
pub mod facts;
pub mod filter;
mod further_texts;
pub mod group_name;
pub mod groups;
mod joined_groups;
pub mod judged;
pub mod line_digest;
pub mod log_filters;
pub mod multiline;
mod offender;
mod passes;
pub mod pattern;
pub mod pattern_list;
pub mod prefilter;
mod recognise;
pub mod regex_tags;
pub mod rules;
pub mod translate;
pub mod trial;
