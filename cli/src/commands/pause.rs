//! `pause`: this host lets everybody through for a while. It is an override for all addresses, given and taken back by
//! the same call as `unban --local`.

use super::local;
use super::state_of;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::text::{Style, Tone, shown};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::BanTime;
use bannkreis_proto::v1::{OverrideOrder, OverrideResponse};
use serde_json::json;

/// Opens this host for `length`, or closes it again; shows what came of it.
///
/// # Errors
/// When there is no answer, or the request is refused.
pub async fn run(
    client: &mut Client,
    length: Option<BanTime>,
    reason: Option<&str>,
    style: &Style,
) -> Result<Shown, Failure> {
    let order = if length.is_some() { OverrideOrder::Release } else { OverrideOrder::EndRelease };
    let everybody = [Subnet::all_v4(), Subnet::all_v6()];
    let request = local::request(order, &everybody, length, reason, length.is_some())?;
    let answer = local::answer(client, request).await?;
    Ok(show(&answer, length.is_some(), style))
}

/// Shows an answer.
#[must_use]
pub fn show(answer: &OverrideResponse, is_paused: bool, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let refused = answer.results.iter().find(|result| !local::is_done(result));
    let until_ms = answer.results.first().and_then(|result| result.until_ms);
    let name = shown(&state.name);
    let mut text = state::lines(&state, style);
    let (tone, line) = match (refused, is_paused) {
        (Some(result), _) => {
            (Tone::Bad, format!("{}: refused: {}", shown(&result.target), shown(&result.why)))
        }
        (None, true) => {
            let until = style.until(until_ms, state.now_ms);
            let line = format!(
                "{name} lets everybody through {until}; it goes on counting, and other hosts go on blocking. \
                 `bannkreis pause --end` blocks again"
            );
            (Tone::Good, line)
        }
        (None, false) => (Tone::Good, format!("{name} blocks what is banned again")),
    };
    style.push_line(&mut text, tone, 0, &line);
    let exit = if refused.is_none() { Exit::Done } else { Exit::Refused };
    let json = json!({
        "exit_code": exit.code(),
        "state": json::state(&state),
        "is_paused": is_paused && refused.is_none(),
        "until_ms": until_ms,
        "why": refused.map(|result| result.why.clone()),
    });
    Shown { exit, text, json }
}
