//! `forget`: every node forgets what is over about somebody.

use super::{outcome, state_of};
use crate::args::ForgetArgs;
use crate::client::{self, Client, GRACE};
use crate::failure::Failure;
use crate::run::Shown;
use crate::text::Style;
use bannkreis_proto::v1::{CommandResult, ForgetRequest, ForgetResponse};
use std::time::Duration;

/// Asks, and shows the answer.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn run(client: &mut Client, args: &ForgetArgs, style: &Style) -> Result<Shown, Failure> {
    super::check_n_targets(args.targets.len())?;
    let id = args.waiting.id.map_or_else(outcome::new_command_id, Ok)?;
    let request = ForgetRequest {
        targets: args.targets.iter().map(ToString::to_string).collect(),
        reason: args.reason.clone().unwrap_or_default(),
        wait_ms: args.waiting.wait,
        command_id: format!("{id:032x}"),
    };
    let limit = Duration::from_millis(args.waiting.wait) + GRACE;
    let answer = client::within(limit, client.forget(request)).await;
    answer.map(|answer| show(&answer, style)).map_err(|status| client::write_failure(&status, id))
}

/// Shows an answer.
#[must_use]
pub fn show(answer: &ForgetResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let done = |_: &CommandResult| {
        "what is over is forgotten on every node within seconds, and on one that is down when it is back"
            .to_owned()
    };
    outcome::show("forget", &state, &answer.results, &[], done, style)
}
