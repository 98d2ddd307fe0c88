//! What we say about configuration that we do not honour, or that looks like a mistake.
//!
//! Every sentence a person reads in `check` that is not an error of form is made here, so that
//! nothing is silently different from fail2ban.

use crate::ini::Place;
use std::fmt;

/// A sentence about a place in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Where; `None` for what is nowhere written.
    pub place: Option<Place>,
    /// The sentence.
    pub sentence: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.sentence),
            None => self.sentence.fmt(f),
        }
    }
}

/// Options of a jail that are read and have no effect yet, with what happens instead.
const WITHOUT_EFFECT: [(&str, &str); 2] = [
    ("ignorecommand", "no command is run; put the addresses into ignoreip"),
    ("ignorecache", "it belongs to ignorecommand, which is not run"),
];

/// The sentence about a jail's option, when it has no effect and is set.
#[must_use]
pub fn option_without_effect(option: &str, value: &str) -> Option<String> {
    let (_, instead) = WITHOUT_EFFECT.iter().find(|(name, _)| *name == option)?;
    (!value.trim().is_empty()).then(|| format!("`{option} = {value}` has no effect yet: {instead}"))
}

/// An option whose name can only be an action that stands at the beginning of its line.
#[must_use]
pub fn lost_indentation(option: &str, value: &str) -> Option<String> {
    let (action, parameter) = option.split_once('[')?;
    let plausible =
        !action.is_empty() && action.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    plausible.then(|| {
        format!(
            "`{action}[{parameter}={value}` looks like an action that lost its indentation: at the beginning \
             of a line it is an option of its own, which nobody reads, as in fail2ban; indent it by at least \
             one blank to make it a second action"
        )
    })
}

/// An action that is not one of the firewall's.
#[must_use]
pub fn action_not_run(action: &str) -> String {
    format!(
        "action `{action}` is not run yet: bannkreis blocks by itself, but sends no mail and runs no command"
    )
}

/// An action for a firewall of another operating system.
#[must_use]
pub fn foreign_firewall(action: &str) -> String {
    format!(
        "action `{action}` belongs to a firewall that Linux does not have; the whole host is closed instead"
    )
}

/// A parameter of a firewall action that has no counterpart.
#[must_use]
pub fn parameter_without_effect(action: &str, parameter: &str, value: &str) -> Option<String> {
    let instead = match parameter {
        "chain" if value != "INPUT" && !value.starts_with('<') => {
            "bannkreis blocks before every chain, for this host and for what it forwards"
        }
        "blocktype" if !value.to_uppercase().starts_with("DROP") && !value.starts_with('<') => {
            "blocked packets are dropped without an answer"
        }
        "returntype" | "lockingopt" | "iptables" => "there is no iptables command that it could change",
        _ => return None,
    };
    Some(format!("parameter `{parameter} = {value}` of action `{action}` has no effect: {instead}"))
}

/// An action that opens ports for whoever matches, instead of closing them.
#[must_use]
pub fn action_that_opens(action: &str, verdict: &str) -> String {
    format!(
        "action `{action}` with blocktype = {verdict} lets in whom the filter finds, and shuts out all others; \
         bannkreis only shuts out, so this jail would do the opposite of what it is for; disable it"
    )
}

/// A firewall action without ports.
#[must_use]
pub fn action_without_port(action: &str) -> String {
    format!("action `{action}` has no port; as in fail2ban that means ssh, port 22; write {action}[port=…]")
}

/// A jail without any action that closes something.
#[must_use]
pub fn nothing_closed(jail: &str) -> String {
    format!(
        "jail `{jail}` has no action that closes ports: its bans are told to the cluster and close nothing here"
    )
}

/// A word in ignoreip that is not an address.
#[must_use]
pub fn ignoreip_name(word: &str) -> String {
    format!("`{word}` in ignoreip is a name; names are not looked up yet: write the address")
}

/// A filter that needs several lines at once.
#[must_use]
pub fn multi_line(lines: &str) -> String {
    format!(
        "`maxlines = {lines}`: filters that look at several lines at once are not supported yet; use a filter \
             that needs only one line"
    )
}

/// `usedns = yes` or `warn` with expressions that can match names.
#[must_use]
pub fn names_not_resolved(usedns: &str) -> String {
    format!(
        "`usedns = {usedns}`: names are not looked up; a line that has a name where the address should be \
         counts as no failure. Let the server log addresses, or set usedns = no"
    )
}

/// A formula that only Python could work out.
#[must_use]
pub fn formula(option: &str, value: &str) -> String {
    format!(
        "`{option} = {value}` is a Python expression, which is not evaluated: use bantime.multipliers, for \
         example `1 2 4 8 16`, or leave {option} out for doubling"
    )
}

/// A backend that reads the journal.
#[must_use]
pub fn journal_backend() -> String {
    "`backend = systemd`: the journal is not read yet; set `backend = auto` and a logpath".to_owned()
}

/// An encoding that we do not have.
#[must_use]
pub fn encoding(name: &str) -> String {
    format!(
        "`logencoding = {name}` is not known; the log is read as UTF-8 (known: auto, utf-8, ascii, latin-1)"
    )
}

/// A number that is none.
#[must_use]
pub fn not_a_number(option: &str, value: &str, default: u32) -> String {
    format!("`{option} = {value}` is no number from 0 on; {default} is used")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_at_column_0_is_recognised_by_its_bracket() {
        let sentence = lost_indentation("iptables-multiport[name", "HTTP, port=\"80,443\", protocol=tcp]");
        assert!(sentence.expect("recognised").contains("looks like an action that lost its indentation"));
        assert_eq!(lost_indentation("logpath", "/var/log/x"), None);
        assert_eq!(lost_indentation("a b[c", "x"), None);
    }
}
