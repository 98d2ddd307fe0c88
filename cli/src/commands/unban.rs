//! `unban`: lifts bans on all nodes.

use super::{outcome, state_of};
use crate::args::UnbanArgs;
use crate::client::{self, Client, GRACE};
use crate::failure::Failure;
use crate::run::Shown;
use crate::text::{Style, counted};
use bannkreis_proto::v1::{CommandResult, UnbanRequest, UnbanResponse};
use std::time::Duration;

/// Asks, and shows the answer.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn run(client: &mut Client, args: &UnbanArgs, style: &Style) -> Result<Shown, Failure> {
    super::check_n_targets(args.targets.len())?;
    let id = args.waiting.id.map_or_else(outcome::new_command_id, Ok)?;
    let request = UnbanRequest {
        targets: args.targets.iter().map(ToString::to_string).collect(),
        all: args.all,
        by_node: args.by_node.clone().unwrap_or_default(),
        jail: args.jail.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: args.reason.clone().unwrap_or_default(),
        wait_ms: args.waiting.wait,
        command_id: format!("{id:032x}"),
    };
    let limit = Duration::from_millis(args.waiting.wait) + GRACE;
    let answer = client::within(limit, client.unban(request)).await;
    answer.map(|answer| show(&answer, style)).map_err(|status| client::write_failure(&status, id))
}

/// Shows an answer.
#[must_use]
pub fn show(answer: &UnbanResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let done = |result: &CommandResult| match result.n_affected {
        0 if result.n_remaining > 0 => "no ban of its own to lift".to_owned(),
        0 => "was not banned".to_owned(),
        n => format!("unbanned ({} lifted)", counted(n, "ban", "bans")),
    };
    let mut shown = outcome::show("unban", &state, &answer.results, &answer.enforcement, done, style);
    shown.text.push_str(&outcome::overriding_lines(&state, &answer.enforcement, style));
    shown
}
