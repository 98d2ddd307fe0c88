//! `firewall`: what this host's firewall holds and has dropped, whichever one it is.

use super::state_of;
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::table::{Column, Table};
use crate::text::{Style, Tone, counted, shown};
use bannkreis_proto::v1::{ChainDrops, FirewallRequest, FirewallResponse};
use serde_json::{Value, json};

/// Asks, and shows the answer.
///
/// # Errors
/// When there is no answer.
pub async fn run(client: &mut Client, style: &Style) -> Result<Shown, Failure> {
    let answer = client::within(client::STATUS_TIMEOUT, client.firewall(FirewallRequest {})).await;
    let answer = answer.map_err(|status| client::read_failure(&status))?;
    Ok(show(&answer, style))
}

/// Shows an answer.
#[must_use]
pub fn show(answer: &FirewallResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    let about = format!("{} blocks with {}", shown(&state.name), shown(&answer.about));
    style.push_line(&mut text, Tone::Bold, 0, &about);
    let blocked = counted(answer.n_blocked, "address or prefix", "addresses and prefixes");
    let repaired = match answer.n_repairs {
        0 => "never damaged since the daemon's start".to_owned(),
        n => format!("damaged and repaired {} since the daemon's start", counted(n, "time", "times")),
    };
    let counts = format!("{blocked} blocked, {} protected; {repaired}", answer.n_protected);
    style.push_line(&mut text, Tone::Plain, 0, &counts);
    if !answer.error.is_empty() {
        style.push_line(&mut text, Tone::Bad, 0, &format!("it refuses: {}", shown(&answer.error)));
    }
    text.push('\n');
    if answer.chains.is_empty() {
        text.push_str("nothing was dropped yet\n");
    } else {
        text.push_str(&dropped(&answer.chains).render(style));
    }
    let json = json!({
        "state": json::state(&state),
        "about": answer.about,
        "n_blocked": answer.n_blocked,
        "n_protected": answer.n_protected,
        "n_repairs": answer.n_repairs,
        "error": json::text(&answer.error),
        "chains": answer.chains.iter().map(chain_json).collect::<Value>(),
    });
    Shown { exit: Exit::Done, text, json }
}

fn dropped(chains: &[ChainDrops]) -> Table {
    let mut table = Table::new(&[
        Column::Fixed("JAIL"),
        Column::Wraps("CLOSED"),
        Column::Right("DROPPED"),
        Column::Right("BYTES"),
    ]);
    for chain in chains {
        let (packets, bytes) = (chain.packets.to_string(), chain.bytes.to_string());
        table.row(vec![shown(&chain.jail).into(), shown(&chain.ports).into(), packets.into(), bytes.into()]);
    }
    table
}

fn chain_json(chain: &ChainDrops) -> Value {
    json!({ "jail": chain.jail, "ports": chain.ports, "packets": chain.packets, "bytes": chain.bytes })
}
