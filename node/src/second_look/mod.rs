//! A second look at failures before the warden hears of them: whose name is that (`usedns`), and does a command
//! excuse it (`ignorecommand`)?
//!
//! Both questions are slow and their answers come from elsewhere, so neither is asked on the sources' thread:
//! a few threads ask, and a source's position waits for them, so that a restart reads again what was not
//! decided. Not for `ignoreip`, which the warden compares at once. In the order of suggested reading: which
//! positions wait, how a name becomes addresses, how a command is run and its answers remembered, the threads.

mod commands;
mod held_positions;
mod names;
mod run_command;
mod threads;

pub use commands::{ANSWERS_MAX, Commands};
pub use names::{ADDRESSES_PER_NAME_MAX, CachedNames, NAMES_MAX, SystemNames};
pub use run_command::COMMAND_TIME_MAX;
pub use threads::{QUESTIONS_MAX, SecondLook, Tell};

use bannkreis_core::jail::JailName;
use bannkreis_filter::filter::UseDns;
use bannkreis_filter::ignore_command::IgnoreCommand;

/// What a jail wants to know of its failures.
#[derive(Clone, Debug)]
pub struct JailQuestions {
    /// The jail.
    pub jail: JailName,
    /// `usedns`: whether names are looked up, and whether that is worth a warning.
    pub use_dns: UseDns,
    /// `ignorecommand`.
    pub ignore_command: Option<IgnoreCommand>,
}
