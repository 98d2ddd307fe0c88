//! One file per command: what it asks, and how it shows the answer. The `show` functions are pure, so that
//! golden tests need no daemon.

pub mod allow;
pub mod ban;
pub mod bans;
pub mod check;
pub mod cluster;
pub mod export;
pub mod firewall;
pub mod forget;
pub mod history;
pub mod import;
pub mod local;
pub mod members;
pub mod outcome;
pub mod pause;
pub mod pki;
pub mod recovery;
pub mod regex;
pub mod settings;
pub mod status;
pub mod token;
pub mod unban;
pub mod why;

use crate::args::TARGETS_MAX;
use crate::failure::{Exit, Failure};
use bannkreis_proto::v1::NodeState;

/// The state in an answer. A daemon always sends one.
fn state_of(state: Option<&NodeState>) -> NodeState {
    state.cloned().unwrap_or_default()
}

/// One call takes only so many targets.
fn check_n_targets(n_targets: usize) -> Result<(), Failure> {
    if n_targets <= TARGETS_MAX {
        return Ok(());
    }
    let message =
        format!("{n_targets} targets are too many for one command: name at most {TARGETS_MAX} at once");
    Err(Failure::new(Exit::Usage, message))
}
