//! What every answer begins with: what the reader must know about the node to judge the rest.

use crate::text::{Style, Tone, counted, listed, shown};
use bannkreis_proto::v1::{NodeMode, NodeState};

/// Lines for people, each ended; none when all is well.
#[must_use]
pub fn lines(state: &NodeState, style: &Style) -> String {
    let mut lines = Vec::new();
    if !state.apart.is_empty() {
        lines.push((Tone::Bad, shown(&state.apart)));
    }
    if !state.halted.is_empty() {
        lines.push((
            Tone::Bad,
            format!("{} does not follow the cluster: {}", shown(&state.name), shown(&state.halted)),
        ));
    }
    if let Some(since_ms) = state.no_quorum_since_ms {
        let since = format!("no quorum since {}", style.time(since_ms));
        let who = unreachable(state).map(|who| format!(": {who}")).unwrap_or_default();
        let waiting = counted(state.n_waiting, "ban", "bans");
        lines.push((Tone::Bad, format!("{since}{who}; blocking locally, {waiting} waiting")));
    } else if let Some(who) = unreachable(state) {
        lines.push((Tone::Warn, who));
    }
    if state.mode() == NodeMode::Observe {
        lines.push((
            Tone::Warn,
            format!("{} only observes: it proposes and blocks nothing", shown(&state.name)),
        ));
    } else if state.backend == "none" && state.mode() != NodeMode::Witness {
        lines.push((
            Tone::Warn,
            format!("{} has no firewall (backend none): it blocks nothing", shown(&state.name)),
        ));
    }
    if state.now_is_estimated {
        let text = "times are estimated: no leader was heard since this host booted";
        lines.push((Tone::Warn, text.to_owned()));
    }
    lines.extend(state.warnings.iter().map(|warning| (Tone::Warn, format!("warning: {}", shown(warning)))));
    let mut page = String::new();
    for (tone, line) in &lines {
        style.push_line(&mut page, *tone, 0, line);
    }
    page
}

fn unreachable(state: &NodeState) -> Option<String> {
    let verb = if state.unreachable.len() == 1 { "is" } else { "are" };
    (!state.unreachable.is_empty()).then(|| format!("{} {verb} not reachable", listed(&state.unreachable)))
}
