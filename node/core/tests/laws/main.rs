//! The laws of the pure core, each asked of many random inputs.
//!
//! Not for whole clusters: that is the simulation's (`tests/sim`).

mod announcing;
mod applying;
mod brought_along;
mod estimates;
mod flooding;
mod generated;
mod generations;
mod growing;
mod histories;
mod host;
mod judging;
mod known_offenders;
mod lifting;
mod low_trust;
mod not_shared;
mod overrides;
mod ports;
mod recidive;
mod reports;
mod rulesets;
mod snapshots;
mod subnet_maps;
mod time;
mod translated;
mod warden_model;
