//! `cluster settings`: shows what steers the ban list on all nodes alike, and changes it.

use super::{outcome, state_of};
use crate::args::SettingsSetArgs;
use crate::client::{self, Client, GRACE};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::table::{Cell, Column, Table};
use crate::text::{Style, Tone, shown};
use bannkreis_proto::v1::{
    Assignment, CommandOutcome, CommandResult, ListSettingsRequest, ListSettingsResponse, SetSettingsRequest,
    SetSettingsResponse, SettingInfo,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Asks for the settings, and shows them.
///
/// # Errors
/// When there is no answer.
pub async fn list(client: &mut Client, style: &Style) -> Result<Shown, Failure> {
    let answer = client::within(client::ANSWER_TIMEOUT, client.list_settings(ListSettingsRequest {})).await;
    answer.map(|answer| show_list(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Has settings changed, and shows what came of it.
///
/// # Errors
/// When there is no answer, or the request as a whole is refused.
pub async fn set(client: &mut Client, args: &SettingsSetArgs, style: &Style) -> Result<Shown, Failure> {
    let id = args.waiting.id.map_or_else(outcome::new_command_id, Ok)?;
    let assignment = |(key, value): &(String, String)| Assignment { key: key.clone(), value: value.clone() };
    let request = SetSettingsRequest {
        assignments: args.assignments.iter().map(assignment).collect(),
        reason: args.reason.clone().unwrap_or_default(),
        wait_ms: args.waiting.wait,
        command_id: format!("{id:032x}"),
    };
    let limit = Duration::from_millis(args.waiting.wait) + GRACE;
    let answer = client::within(limit, client.set_settings(request)).await;
    answer.map(|answer| show_set(&answer, style)).map_err(|status| client::write_failure(&status, id))
}

/// Shows the settings.
#[must_use]
pub fn show_list(answer: &ListSettingsResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    let mut table = Table::new(&[
        Column::Fixed("KEY"),
        Column::Right("VALUE"),
        Column::Right("DEFAULT"),
        Column::Wraps("ALLOWED"),
    ]);
    for setting in &answer.settings {
        let is_usual = setting.value == setting.default_value;
        let tone = if is_usual { Tone::Plain } else { Tone::Warn };
        let cells = vec![
            shown(&setting.key).into(),
            Cell::toned(tone, shown(&setting.value)),
            shown(&setting.default_value).into(),
            shown(&setting.allowed).into(),
        ];
        table.row_with_note(cells, shown(&setting.meaning).into());
    }
    text.push_str(&table.render(style));
    text.push_str("\nChanged by: bannkreis cluster settings set KEY=VALUE\n");
    let settings = answer.settings.iter().map(|setting| {
        json!({
            "key": setting.key,
            "value": setting.value,
            "default": setting.default_value,
            "meaning": setting.meaning,
            "allowed": setting.allowed,
        })
    });
    let json = json!({ "state": json::state(&state), "settings": settings.collect::<Value>() });
    Shown { exit: Exit::Done, text, json }
}

/// Shows what came of changing some.
#[must_use]
pub fn show_set(answer: &SetSettingsResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let done = |_: &CommandResult| "set".to_owned();
    let command = "cluster settings set";
    let mut shown_result = outcome::show(command, &state, &answer.results, &answer.enforcement, done, style);
    let is_done = answer.results.iter().all(|result| result.outcome() == CommandOutcome::Done);
    if is_done {
        for setting in &answer.settings {
            style.push_line(&mut shown_result.text, Tone::Plain, 0, &changed(setting));
        }
    }
    let settings = answer.settings.iter().map(|setting| {
        json!({ "key": setting.key, "value": setting.value, "previous_value": setting.previous_value })
    });
    shown_result.json["settings"] = settings.collect::<Value>();
    shown_result
}

fn changed(setting: &SettingInfo) -> String {
    let (key, value) = (shown(&setting.key), shown(&setting.value));
    if setting.value == setting.previous_value {
        return format!("{key} is {value}, as it was");
    }
    format!("{key} is {value} (was {})", shown(&setting.previous_value))
}
