//! `ban`: puts bans on the cluster's ban list.

use super::{outcome, state_of};
use crate::args::BanArgs;
use crate::client::{self, Client, GRACE};
use crate::failure::Failure;
use crate::run::Shown;
use crate::text::{Style, counted};
use crate::works_from;
use bannkreis_core::time::BanTime;
use bannkreis_proto::v1::ban_request::Length;
use bannkreis_proto::v1::{BanRequest, BanResponse};
use std::time::Duration;

/// Asks, and shows the answer.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn run(client: &mut Client, args: &BanArgs, style: &Style) -> Result<Shown, Failure> {
    super::check_n_targets(args.targets.len())?;
    let id = args.waiting.id.map_or_else(outcome::new_command_id, Ok)?;
    let request = BanRequest {
        targets: args.targets.iter().map(ToString::to_string).collect(),
        jail: args.jail.as_ref().map(ToString::to_string).unwrap_or_default(),
        length: args.length.map(|length| match length {
            BanTime::Ms(ms) => Length::BanTimeMs(ms),
            BanTime::Forever => Length::ForEver(true),
        }),
        reason: args.reason.clone().unwrap_or_default(),
        force: args.force,
        wait_ms: args.waiting.wait,
        command_id: format!("{id:032x}"),
        works_from: works_from::addresses(),
    };
    let limit = Duration::from_millis(args.waiting.wait) + GRACE;
    let answer = client::within(limit, client.ban(request)).await;
    answer.map(|answer| show(&answer, style)).map_err(|status| client::write_failure(&status, id))
}

/// Shows an answer.
#[must_use]
pub fn show(answer: &BanResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let done = |result: &bannkreis_proto::v1::CommandResult| match result.n_affected {
        0 => "was banned already".to_owned(),
        1 => "banned".to_owned(),
        n => format!("banned ({})", counted(n, "ban", "bans")),
    };
    let mut shown = outcome::show("ban", &state, &answer.results, &answer.enforcement, done, style);
    shown.text.push_str(&outcome::overriding_lines(&state, &answer.enforcement, style));
    shown
}
