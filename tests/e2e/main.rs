//! Whole daemons on hosts of their own, with real firewalls, real packets and kill -9.
//!
//! Each test has a lab for itself, in namespaces that belong to a process of its own: they can run at
//! the same time, need no root where user namespaces are allowed, and leave nothing behind. Where
//! neither is possible a test says `SKIPPED:` and why.
//!
//! In the order of suggested reading: how a test gets inside, whether the lab can be believed, what is
//! promised, and what it survives.

mod inside;
mod iptables;
mod joining;
mod journal;
mod lab_itself;

mod articles;
mod bad_configuration;
mod disk_full;
mod emergency;
mod emptied_kernel;
mod expiry;
mod second_look;
mod story;

mod all_killed;
mod all_lines;
mod api_server;
mod brought_along;
mod by_lease;
mod catch_up;
mod certificates;
mod chance;
mod chaos;
mod containers;
mod counted_together;
mod damaged_files;
mod dead_disk;
mod fail2ban_log;
mod history;
mod leader_kills;
mod lists;
mod many_offenders;
mod members;
mod minority;
mod operators;
mod operators_load;
mod orders;
mod other_users;
mod own_addresses;
mod pair;
mod polling;
mod power_cut;
mod random_kills;
mod readiness;
mod recidive;
mod recovery;
mod sync_order;
mod syslog;
mod witness;
