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

/// A file that `[INCLUDES]` names and that is not there.
#[must_use]
pub fn include_not_there(name: &str) -> String {
    format!(
        "`{name}` is included here and is not there, so nothing of it counts; write its path as it is seen from the \
         directory of this file, or take it out of [INCLUDES]"
    )
}

/// A path in `logpath` that is there and can not be read as a log.
#[must_use]
pub fn not_a_log(path: &str, what_it_is: &str) -> String {
    format!("logpath {path} {what_it_is}, so nothing is read from it; name a regular file")
}

/// A log that several hosts write into, of a jail whose failures count with those of other hosts.
#[must_use]
pub fn central_log(path: &str, hosts: &[&str]) -> String {
    format!(
        "{path} has lines of several hosts ({}): a try that one of them has in its own log too counts once, because the \
         line names the host; a ban made from this log is made by this host, with this jail's ports. If those hosts run \
         bannkreis themselves, scope = local in this jail leaves the counting to them",
        hosts.join(", ")
    )
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

/// An option of a jail that means nothing, with the one that is meant, perhaps.
#[must_use]
pub fn unread_option(option: &str, known: &[&str]) -> String {
    let near = known.iter().find(|other| is_near(option, other));
    let hint = near.map(|other| format!("; is `{other}` meant?")).unwrap_or_default();
    format!(
        "nothing reads the option `{option}`: it is no option of a jail, and no other value names it{hint}"
    )
}

/// Whether two words differ by one letter that is missing, too many, wrong, or swapped with its neighbour.
fn is_near(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let from_start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let from_end = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (left_a, left_b) =
        (a.len().saturating_sub(from_start + from_end), b.len().saturating_sub(from_start + from_end));
    let swapped = left_a == 2
        && left_b == 2
        && a.len() == b.len()
        && a[from_start] == b[from_start + 1]
        && a[from_start + 1] == b[from_start];
    a.len().abs_diff(b.len()) <= 1 && (left_a.max(left_b) <= 1 || swapped)
}

/// An action that is not one of the firewall's.
#[must_use]
pub fn action_not_run(action: &str) -> String {
    let kind = match action {
        _ if action.ends_with(".py") => "it needs Python",
        _ if action.starts_with("sendmail") || action.starts_with("mail") => "no mail is sent",
        "dshield" | "abuseipdb" | "apprise" | "blocklist_de" | "complain" | "ipthreat" | "mynetwatchman"
        | "xarf-login-attack" => "nobody is told of the offender",
        "netscaler" | "nsupdate" => "no service outside this host is told to block",
        _ if action.starts_with("cloudflare") => "no service outside this host is told to block",
        _ => "no command is run",
    };
    format!(
        "action `{action}` is not run yet ({kind}): bannkreis blocks by itself, the rest of it is left out"
    )
}

/// A file of an action that can not be used.
#[must_use]
pub fn action_unreadable(action: &str, problem: &str) -> String {
    format!("the file of action `{action}` is not used, only its parameters in the jail: {problem}")
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
            "bannkreis blocks before every chain, for this host and for what it forwards (with hook = \"input\" for \
             this host alone)"
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

/// A word in ignoreip that is neither an address nor a name.
#[must_use]
pub fn ignoreip_word(word: &str) -> String {
    let remedy = if word.starts_with("file:") {
        "lists in files are not read: write the addresses"
    } else {
        "write an address, a prefix such as 192.0.2.0/24, or a host's name"
    };
    format!("`{word}` in ignoreip has no effect: {remedy}")
}

/// More names in ignoreip than are looked up.
#[must_use]
pub fn too_many_names(word: &str, most: usize) -> String {
    format!("`{word}` in ignoreip is not looked up: it is beyond {most} names; write addresses instead")
}

/// A cache for answers that nobody gives.
#[must_use]
pub fn cache_without_command() -> String {
    "`ignorecache` has no effect without an ignorecommand: addresses are compared at once".to_owned()
}

/// A tag in ignorecommand that nothing is known of.
#[must_use]
pub fn tag_of_ignorecommand(tag: &str) -> String {
    format!(
        "<{tag}> in ignorecommand or ignorecache is empty: of a failure only ip, family, F-USER, time, failures, matches and name are known"
    )
}

/// A way of watching files that is another here.
#[must_use]
pub fn backend(name: &str) -> Option<String> {
    match name {
        "auto" | "pyinotify" | "inotify" | "polling" => None,
        "gamin" => Some("`backend = gamin` is long gone; the files are watched with inotify".to_owned()),
        other => Some(format!(
            "`backend = {other}` is not known, and the files are watched as with auto; write auto, polling, \
             pyinotify or systemd"
        )),
    }
}

/// `usedns = raw` with expressions that can match names.
#[must_use]
pub fn names_are_no_addresses() -> String {
    "`usedns = raw`: a line that has a name where the address should be counts as no failure, because nothing \
     can be closed for a name; set usedns = yes to have names looked up"
        .to_owned()
}

/// More lines than a window has.
#[must_use]
pub fn too_many_lines(lines: usize, most: usize) -> String {
    format!("`maxlines = {lines}` is more than is kept; the last {most} lines are looked at")
}

/// A setting of fail2ban's own daemon that somebody has changed.
#[must_use]
pub fn daemon_option(option: &str, value: &str) -> String {
    let instead = match option {
        "loglevel" | "logtarget" | "syslogsocket" => "the daemon's log is set in bannkreis.toml, [log]",
        "dbfile" | "dbmaxmatches" | "dbpurgeage" => {
            "the ban list keeps itself in state_dir of bannkreis.toml"
        }
        "socket" | "pidfile" => "the operator's socket is in run_dir of bannkreis.toml",
        _ => "bannkreisd is configured in bannkreis.toml",
    };
    format!("`{option} = {}` of fail2ban's daemon has no effect: {instead}", value.replace('\n', " "))
}

/// A switch that a host's own safety does not depend on.
#[must_use]
pub fn ignoreself_off() -> String {
    "`ignoreself = false`: this host's own addresses count as failures, but are never blocked".to_owned()
}

/// A jail that reads every entry of the journal.
#[must_use]
pub fn whole_journal() -> String {
    "it reads every entry of the journal, for there is no journalmatch; set one, such as \
     `journalmatch = _SYSTEMD_UNIT=ssh.service`"
        .to_owned()
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
