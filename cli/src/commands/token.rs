//! `token create`, `token list` and `token revoke`.

use super::state_of;
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::table::{Column, Table};
use crate::text::{Style, Tone, length, shown};
use bannkreis_proto::v1::{
    CommandOutcome, CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse,
    NodeState, RevokeTokenRequest, RevokeTokenResponse, TokenStatus,
};
use serde_json::{Value, json};

/// So many digits of an id are shown to people: enough to name it.
const ID_DIGITS: usize = 12;

/// Has a token made, and shows it.
///
/// # Errors
/// When there is no answer, or it is refused.
pub async fn create(client: &mut Client, ttl_ms: u64, style: &Style) -> Result<Shown, Failure> {
    let answer =
        client::within(client::ANSWER_TIMEOUT, client.create_token(CreateTokenRequest { ttl_ms })).await;
    answer.map(|answer| show_created(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Asks for the tokens that count, and shows them.
///
/// # Errors
/// When there is no answer.
pub async fn list(client: &mut Client, style: &Style) -> Result<Shown, Failure> {
    let answer = client::within(client::ANSWER_TIMEOUT, client.list_tokens(ListTokensRequest {})).await;
    answer.map(|answer| show_list(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Has a token taken back, and shows that.
///
/// # Errors
/// When there is no answer, or it is refused.
pub async fn revoke(client: &mut Client, id: &str, style: &Style) -> Result<Shown, Failure> {
    let request = RevokeTokenRequest { id: id.to_owned() };
    let answer = client::within(client::ANSWER_TIMEOUT, client.revoke_token(request)).await;
    answer.map(|answer| show_revoked(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Shows a new token, and what to type where. Somebody else's screen may be near: it is shown once.
#[must_use]
pub fn show_created(answer: &CreateTokenResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let status = answer.status.clone().unwrap_or_default();
    let exit = exit_of(answer.outcome());
    let mut text = state::lines(&state, style);
    if exit == Exit::Done {
        text.push_str(&format!(
            "The token counts once, and for {}. It is not shown again. On the host that joins:\n\n",
            left(&status, &state)
        ));
    } else {
        let line = format!(
            "it is unknown whether this token counts: {}. If `bannkreis token list` shows {} when there is a quorum \
             again, it does, once; if not, make another. It is not shown again. On the host that joins:",
            shown(&answer.why),
            id(&status)
        );
        style.push_line(&mut text, Tone::Warn, 0, &line);
        text.push('\n');
    }
    // In two lines, which a shell takes as one: it is long, and terminals are not always.
    for line in [
        format!("bannkreis cluster join {} \\", shown(&answer.address)),
        format!("    --token {}", shown(&answer.token)),
    ] {
        text.push_str(&format!("    {}\n", style.paint(Tone::Good, &line)));
    }
    text.push('\n');
    text.push_str(&format!("Taken back by: bannkreis token revoke {}\n", id(&status)));
    let json = json!({
        "exit_code": exit.code(),
        "state": json::state(&state),
        "why": json::text(&answer.why),
        "token": answer.token,
        "id": status.id,
        "expires_ms": status.expires_ms,
        "address": answer.address,
    });
    Shown { exit, text, json }
}

/// Shows the tokens that count.
#[must_use]
pub fn show_list(answer: &ListTokensResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    if answer.tokens.is_empty() {
        text.push_str("no token counts: `bannkreis token create` makes one\n");
    } else {
        let mut table = Table::new(&[Column::Fixed("ID"), Column::Fixed("ENDS IN")]);
        for token in &answer.tokens {
            table.row(vec![id(token).into(), left(token, &state).into()]);
        }
        text.push_str(&table.render(style));
    }
    let tokens = answer.tokens.iter().map(|token| json!({"id": token.id, "expires_ms": token.expires_ms}));
    let json = json!({"state": json::state(&state), "tokens": tokens.collect::<Value>()});
    Shown { exit: Exit::Done, text, json }
}

/// Shows that a token counts no more.
#[must_use]
pub fn show_revoked(answer: &RevokeTokenResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let status = answer.status.clone().unwrap_or_default();
    let mut text = state::lines(&state, style);
    let exit = exit_of(answer.outcome());
    if exit == Exit::Done {
        let line = format!("the token {} lets nobody in any more", id(&status));
        style.push_line(&mut text, Tone::Good, 0, &line);
    } else {
        let line = format!(
            "it is unknown whether the token {} still counts: {}. Repeat the command when there is a quorum again",
            id(&status),
            shown(&answer.why)
        );
        style.push_line(&mut text, Tone::Warn, 0, &line);
    }
    let json = json!({
        "exit_code": exit.code(),
        "state": json::state(&state),
        "why": json::text(&answer.why),
        "id": status.id,
        "expires_ms": status.expires_ms,
    });
    Shown { exit, text, json }
}

/// What surely was not done has no answer but a failure.
fn exit_of(outcome: CommandOutcome) -> Exit {
    if outcome == CommandOutcome::Done { Exit::Done } else { Exit::Unknown }
}

fn id(token: &TokenStatus) -> String {
    shown(&token.id).chars().take(ID_DIGITS).collect()
}

fn left(token: &TokenStatus, state: &NodeState) -> String {
    length(token.expires_ms.saturating_sub(state.now_ms))
}
