//! `ban --local` and `unban --local`: what is decided for one host only.

use super::state_of;
use crate::args::{BanArgs, UnbanArgs};
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::text::{Style, Tone, shown};
use crate::works_from;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::BanTime;
use bannkreis_proto::v1::override_request::Length;
use bannkreis_proto::v1::{CommandOutcome, OverrideOrder, OverrideRequest, OverrideResponse, OverrideResult};
use serde_json::{Value, json};

/// Has addresses blocked on this host, or takes that back, and shows what came of it.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn ban(client: &mut Client, args: &BanArgs, style: &Style) -> Result<Shown, Failure> {
    let order = if args.end { OverrideOrder::EndBlock } else { OverrideOrder::Block };
    let reason = args.reason.as_deref();
    ask(client, request(order, &args.targets, args.length, reason, args.force)?, style).await
}

/// Has addresses let through on this host, or takes that back, and shows what came of it.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn unban(client: &mut Client, args: &UnbanArgs, style: &Style) -> Result<Shown, Failure> {
    let order = if args.end { OverrideOrder::EndRelease } else { OverrideOrder::Release };
    let reason = args.reason.as_deref();
    ask(client, request(order, &args.targets, args.length, reason, args.force)?, style).await
}

/// What is asked for.
pub(super) fn request(
    order: OverrideOrder,
    targets: &[Subnet],
    length: Option<BanTime>,
    reason: Option<&str>,
    force: bool,
) -> Result<OverrideRequest, Failure> {
    super::check_n_targets(targets.len())?;
    Ok(OverrideRequest {
        targets: targets.iter().map(ToString::to_string).collect(),
        order: order.into(),
        length: length.map(|length| match length {
            BanTime::Ms(ms) => Length::OverrideMs(ms),
            BanTime::Forever => Length::ForEver(true),
        }),
        reason: reason.unwrap_or_default().to_owned(),
        force,
        works_from: works_from::addresses(),
    })
}

async fn ask(client: &mut Client, request: OverrideRequest, style: &Style) -> Result<Shown, Failure> {
    answer(client, request).await.map(|answer| show(&answer, style))
}

/// Done twice it is done once: whoever gets no answer may ask again.
pub(super) async fn answer(
    client: &mut Client,
    request: OverrideRequest,
) -> Result<OverrideResponse, Failure> {
    let answer = client::within(client::ANSWER_TIMEOUT, client.r#override(request)).await;
    answer.map_err(|status| client::read_failure(&status))
}

/// Whether it was done as asked.
pub(super) fn is_done(result: &OverrideResult) -> bool {
    result.outcome() == CommandOutcome::Done
}

/// Shows an answer.
#[must_use]
pub fn show(answer: &OverrideResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let exit = if answer.results.iter().all(is_done) { Exit::Done } else { Exit::Refused };
    let name = shown(&state.name);
    let mut text = state::lines(&state, style);
    for result in &answer.results {
        let until = style.until(result.until_ms, state.now_ms);
        let what = match result.did.as_str() {
            "block" => format!("blocked on {name} only, {until}"),
            "release" => format!("let through on {name} only, {until}"),
            "end_block" => format!("not blocked on {name} by an operator's word any more"),
            "end_release" => format!("not let through on {name} by an operator's word any more"),
            _ => "refused".to_owned(),
        };
        let tone = if is_done(result) { Tone::Good } else { Tone::Bad };
        let why = if result.why.is_empty() { String::new() } else { format!(": {}", shown(&result.why)) };
        style.push_line(&mut text, tone, 0, &format!("{}: {what}{why}", shown(&result.target)));
    }
    let entry = |result: &OverrideResult| {
        json!({
            "target": result.target,
            "outcome": if is_done(result) { "done" } else { "refused" },
            "did": json::text(&result.did),
            "until_ms": result.until_ms,
            "why": json::text(&result.why),
        })
    };
    let json = json!({
        "exit_code": exit.code(),
        "state": json::state(&state),
        "results": answer.results.iter().map(entry).collect::<Value>(),
    });
    Shown { exit, text, json }
}
