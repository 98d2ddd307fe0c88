//! `logpath = syslog://?facility=…&program=…&host=…`: which of the messages that are sent to this node are a log.
//!
//! Not for receiving them, nor for what a message is (`node::source`).

use glob::Pattern;
use std::collections::BTreeSet;

const SCHEME: &str = "syslog://";

/// The names of facilities in the order of their numbers (RFC 5424 §6.2.1, as syslog.h has them).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// Which messages. A part that is not named is any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyslogPath {
    /// As it is written.
    text: String,
    /// The numbers of facilities.
    facilities: BTreeSet<u8>,
    programs: Vec<Pattern>,
    hosts: Vec<Pattern>,
}

impl SyslogPath {
    /// Whether a `logpath` is one of syslog.
    #[must_use]
    pub fn is_one(log_path: &str) -> bool {
        log_path.starts_with(SCHEME)
    }

    /// Reads a `logpath` of syslog.
    ///
    /// # Errors
    /// A part that is not known, or no name of its kind, with what to write instead.
    pub fn parse(log_path: &str) -> Result<SyslogPath, String> {
        let bad = |why: String| {
            format!(
                "`logpath = {log_path}`: {why}; write e.g. syslog://?facility=mail&program=kerio*&host=192.0.2.7"
            )
        };
        let mut path = SyslogPath {
            text: log_path.to_owned(),
            facilities: BTreeSet::new(),
            programs: Vec::new(),
            hosts: Vec::new(),
        };
        let rest = log_path.strip_prefix(SCHEME).unwrap_or(log_path);
        let Some(query) = rest.strip_prefix('?').or_else(|| rest.is_empty().then_some("")) else {
            return Err(bad(format!("`{rest}` says nothing about messages")));
        };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, values) = part.split_once('=').unwrap_or((part, ""));
            if values.is_empty() {
                return Err(bad(format!("`{part}` is no part=name")));
            }
            for value in values.split(',').map(str::trim) {
                match key {
                    "facility" => {
                        let facility = facility(value);
                        let unknown = || bad(format!("there is no facility `{value}`"));
                        path.facilities.insert(facility.ok_or_else(unknown)?);
                    }
                    "program" | "host" => {
                        let pattern = Pattern::new(value).map_err(|why| bad(format!("`{value}`: {why}")))?;
                        let list = if key == "program" { &mut path.programs } else { &mut path.hosts };
                        list.push(pattern);
                    }
                    other => {
                        return Err(bad(format!("`{other}` is not known, only facility, program and host")));
                    }
                }
            }
        }
        Ok(path)
    }

    /// Whether it selects a message of this facility and program. `hosts`: what the message calls the host that it is of,
    /// and the address that it came from.
    #[must_use]
    pub fn selects(&self, facility: u8, program: &str, hosts: [&str; 2]) -> bool {
        let is_one = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        (self.facilities.is_empty() || self.facilities.contains(&facility))
            && (self.programs.is_empty() || is_one(&self.programs, program))
            && (self.hosts.is_empty() || hosts.into_iter().any(|host| is_one(&self.hosts, host)))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The number of a facility, by its name or its number.
fn facility(name: &str) -> Option<u8> {
    let number = match name {
        // Another name of the same (syslog.h, RFC 5427).
        "security" => Some(4),
        _ => FACILITIES.iter().position(|known| *known == name).or_else(|| name.parse().ok()),
    };
    number
        .and_then(|number| u8::try_from(number).ok())
        .filter(|number| usize::from(*number) < FACILITIES.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_is_named_must_be_right() {
        let path =
            SyslogPath::parse("syslog://?facility=mail,local0&program=kerio*&host=192.0.2.*,mx").unwrap();
        for (message, is_selected) in [
            ((2, "kerio-connect", ["mx", "198.51.100.1"]), true),
            ((16, "kerio", ["other", "192.0.2.7"]), true),
            ((3, "kerio", ["mx", "192.0.2.7"]), false),
            ((2, "postfix", ["mx", "192.0.2.7"]), false),
            ((2, "kerio", ["mx2", "198.51.100.1"]), false),
        ] {
            let (facility, program, hosts) = message;
            assert_eq!(path.selects(facility, program, hosts), is_selected, "{message:?}");
        }
        for any in ["syslog://", "syslog://?"] {
            assert!(SyslogPath::parse(any).unwrap().selects(23, "", ["", ""]), "{any}");
        }
    }

    #[test]
    fn what_selects_no_messages_is_refused_by_name() {
        for (text, said) in [
            ("syslog://mail", "`mail` says nothing"),
            ("syslog://?facility=mial", "no facility `mial`"),
            ("syslog://?facility=24", "no facility `24`"),
            ("syslog://?programm=x", "`programm` is not known"),
            ("syslog://?host", "`host` is no part=name"),
            ("syslog://?program=[", "`[`"),
        ] {
            let why = SyslogPath::parse(text).unwrap_err();
            assert!(why.contains(said) && why.contains(text), "{why}");
        }
    }
}
