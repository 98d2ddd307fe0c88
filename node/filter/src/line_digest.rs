//! What a line is known by on every host that has a copy of it: its text without the date, for a central log writes
//! dates in its own way, and whether it names the host that logged it.
//!
//! Not for what becomes of equal lines: that is `event_id.rs` of the core.

use bannkreis_core::event_id::LineDigest;
use twox_hash::XxHash3_64;

/// The digest of a line without its date. `begins_with_date`: nothing but blanks stood before the date.
///
/// XXH3 with 64 bits (xxHash specification 0.1.1): the same on all machines and in all releases.
pub(crate) fn of(undated: &str, begins_with_date: bool) -> LineDigest {
    let undated = undated.trim();
    LineDigest {
        text: XxHash3_64::oneshot(undated.as_bytes()),
        names_host: begins_with_date && logging_host(undated).is_some(),
    }
}

/// The host that logged a line, as syslog writes it in front of the program (RFC 3164, section 4.1.2): `mx1` in
/// `mx1 postfix/smtpd[17]: warning: …`. `localhost` is everywhere, and names none.
#[must_use]
pub fn logging_host(undated: &str) -> Option<&str> {
    let (host, rest) = undated.split_once(' ')?;
    let program = rest.trim_start().split(' ').next()?.strip_suffix(':')?;
    let program = match program.split_once('[') {
        Some((program, pid)) if is_pid(pid) => program,
        Some(_) => return None,
        None => program,
    };
    let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    let is_program = !program.is_empty() && program.bytes().all(|byte| byte.is_ascii_graphic());
    (is_host && is_program && !host.is_empty() && !host.starts_with("localhost")).then_some(host)
}

/// The host that logged a line of a syslog file, date and all: in the traditional form (`Nov 29 17:50:35 mx1 …`) or
/// with a date of RFC 3339 (`2026-11-29T17:50:35+01:00 mx1 …`).
#[must_use]
pub fn logging_host_of_line(line: &str) -> Option<&str> {
    let traditional = line.get(..15).filter(|date| {
        let has = |at: usize, byte: u8| date.as_bytes().get(at) == Some(&byte);
        has(3, b' ') && has(6, b' ') && has(9, b':') && has(12, b':')
    });
    let undated = match traditional {
        Some(date) => &line[date.len()..],
        None => line.split_once(' ').filter(|(date, _)| date.contains('T') && date.contains(':'))?.1,
    };
    logging_host(undated.trim_start())
}

fn is_pid(text: &str) -> bool {
    text.strip_suffix(']').is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blanks_around_a_date_say_nothing() {
        assert_eq!(of(" mx1 sshd[1]: text\n", true), of("mx1 sshd[1]: text", true));
        assert!(of(" mx1 sshd[1]: text\n", true).names_host);
        // What stands before a date is part of the line, and no host.
        assert!(!of("mx1 sshd[1]: text", false).names_host);
    }

    #[test]
    fn the_number_of_a_line_is_the_same_in_every_release() {
        assert_eq!(of("mx1 sshd[1]: text", true).text, 11_940_003_191_986_826_516);
    }

    #[test]
    fn whole_lines_of_syslog_name_their_host_too() {
        for (line, host) in [
            ("Nov 29 17:50:35 mx1 sshd[1]: text", Some("mx1")),
            ("Nov  9 17:50:35 mx1 sshd[1]: text", Some("mx1")),
            ("2026-11-29T17:50:35.123+01:00 mx1 sshd[1]: text", Some("mx1")),
            ("[29/Nov/2026 17:50:35] SMTP: Spam", None),
            ("", None),
            ("Nov 29 17:50:3ü mx1 sshd[1]: text", None),
        ] {
            assert_eq!(logging_host_of_line(line), host, "{line}");
        }
    }

    #[test]
    fn hosts_are_found_where_syslog_writes_them() {
        for (line, host) in [
            ("mx1 sshd[1]: text", Some("mx1")),
            ("mx1.example.org postfix/smtpd[17]: warning: x", Some("mx1.example.org")),
            ("2001:db8::1 kernel: text", Some("2001:db8::1")),
            ("mail dovecot: imap-login: Disconnected", Some("mail")),
            ("", None),
            ("mx1", None),
            ("[error] [client 192.0.2.1]: x", None),
            ("mx1 sshd[x]: text", None),
            ("localhost sshd: x", None),
        ] {
            assert_eq!(logging_host(line), host, "{line}");
        }
    }
}
