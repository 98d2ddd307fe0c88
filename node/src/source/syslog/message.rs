//! One syslog message, and the line that a syslog daemon would write to a file for it.
//!
//! Both formats: RFC 5424, and what RFC 3164 found in use, of which senders leave out what they like. Not for where a
//! message ends (`framing.rs`), nor for what the line means.

use bannkreis_core::failure::LINE_BYTES_MAX;
use std::net::IpAddr;
use std::ops::Range;

/// The facility of messages that do not tell theirs (RFC 3164 §4.3.3: user).
const FACILITY_UNTOLD: u8 = 1;
const FACILITY_MAX: u8 = 23;

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// When and from where a message came: for what it does not say itself.
pub(super) struct Received<'r> {
    /// `2026-11-22T05:30:08+01:00`.
    pub(super) at: &'r str,
    pub(super) from: &'r str,
}

/// The line of a message, and what it is selected by. Its memory is used for one message after the other.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) facility: u8,
    /// `DATE HOST PROGRAM[PID]: TEXT`, with the date as it was sent. Control characters are written `#ooo`, in octal.
    pub(super) line: Vec<u8>,
    host: Range<usize>,
    program: Range<usize>,
}

impl Message {
    /// Reads one message without its framing.
    pub(super) fn read(&mut self, message: &[u8], received: &Received<'_>) {
        let message = trimmed(message);
        let (facility, rest) = priority(message).unwrap_or((FACILITY_UNTOLD, message));
        self.facility = facility;
        self.line.clear();
        match rest.strip_prefix(b"1 ").and_then(Structured::read) {
            Some(structured) => self.structured(&structured, received),
            None => self.plain(rest, received),
        }
    }

    /// What the message calls its host.
    pub(super) fn host(&self) -> &str {
        text(&self.line[self.host.clone()])
    }

    /// Its program, without a process id.
    pub(super) fn program(&self) -> &str {
        text(&self.line[self.program.clone()])
    }

    fn structured(&mut self, message: &Structured<'_>, received: &Received<'_>) {
        self.word(message.date.unwrap_or(received.at.as_bytes()));
        self.host = self.word(message.host.unwrap_or(received.from.as_bytes()));
        self.program = self.part(message.program.unwrap_or_default());
        if let Some(process) = message.process {
            self.line.push(b'[');
            self.part(process);
            self.line.push(b']');
        }
        if message.program.is_some() {
            self.line.extend_from_slice(b": ");
        }
        self.part(message.text);
    }

    fn plain(&mut self, rest: &[u8], received: &Received<'_>) {
        let Some((date, rest)) = date(rest) else {
            self.word(received.at.as_bytes());
            self.host = self.word(received.from.as_bytes());
            return self.tagged(rest);
        };
        self.word(date);
        match host(rest) {
            Some((host, rest)) => {
                self.host = self.word(host);
                self.tagged(rest);
            }
            None => {
                self.host = self.word(received.from.as_bytes());
                self.tagged(rest);
            }
        }
    }

    /// A text that may begin with `PROGRAM[PID]:`.
    fn tagged(&mut self, rest: &[u8]) {
        let is_of_program = |byte: &u8| byte.is_ascii_graphic() && !b"[:".contains(byte);
        let n_bytes = rest.iter().take_while(|byte| is_of_program(byte)).count();
        let is_tag = rest.get(n_bytes).is_some_and(|byte| b"[:".contains(byte));
        let start = self.line.len();
        self.program = if is_tag { start..start + n_bytes } else { start..start };
        self.part(rest);
    }

    fn word(&mut self, word: &[u8]) -> Range<usize> {
        let range = self.part(word);
        self.line.push(b' ');
        range
    }

    /// No more than a line may have: what is escaped takes four bytes for one.
    fn part(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.line.len();
        let mut rest = part;
        while self.line.len() <= LINE_BYTES_MAX && !rest.is_empty() {
            // A line is one line, whatever is sent: nobody makes two of it.
            let is_escaped = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
            let plain = rest.iter().position(is_escaped).unwrap_or(rest.len());
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&rest[..plain.min(room)]);
            if let Some(&byte) = rest.get(plain) {
                let digit = |shift: u8| b'0' + (byte >> shift & 7);
                self.line.extend_from_slice(&[b'#', digit(6), digit(3), digit(0)]);
            }
            rest = rest.get(plain + 1..).unwrap_or_default();
        }
        start..self.line.len()
    }
}

/// The parts of a message of RFC 5424, §6; those that are `-` are none.
struct Structured<'m> {
    date: Option<&'m [u8]>,
    host: Option<&'m [u8]>,
    program: Option<&'m [u8]>,
    process: Option<&'m [u8]>,
    text: &'m [u8],
}

impl<'m> Structured<'m> {
    /// What follows the version. `None`: it is none of this format.
    fn read(message: &'m [u8]) -> Option<Structured<'m>> {
        let mut rest = message;
        let mut next = || {
            let end = rest.iter().position(|byte| *byte == b' ')?;
            let word = &rest[..end];
            rest = &rest[end + 1..];
            (!word.is_empty()).then_some((word != b"-").then_some(word))
        };
        let (date, host, program, process, _id) = (next()?, next()?, next()?, next()?, next()?);
        let text = behind_data(rest)?;
        Some(Structured {
            date,
            host,
            program,
            process,
            text: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
        })
    }
}

/// What stands behind the structured data: `-`, or elements in brackets whose values may have brackets in quotes.
fn behind_data(rest: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    if rest.first() == Some(&b'-') {
        at = 1;
    } else {
        while rest.get(at) == Some(&b'[') {
            let (mut is_quoted, mut is_escaped) = (false, false);
            let length = rest[at..].iter().position(|byte| {
                let is_end = !is_quoted && *byte == b']';
                is_quoted ^= *byte == b'"' && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                is_end
            })?;
            at += length + 1;
        }
        if at == 0 {
            return None;
        }
    }
    match rest.get(at..)? {
        [] => Some(&[]),
        [b' ', text @ ..] => Some(text),
        _ => None,
    }
}

/// `<34>`: the facility, and what follows.
fn priority(message: &[u8]) -> Option<(u8, &[u8])> {
    let rest = message.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let digits = &rest[..end];
    let number: u16 = text(digits).parse().ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
    let facility = u8::try_from(number / 8).ok().filter(|facility| *facility <= FACILITY_MAX)?;
    Some((facility, &rest[end + 1..]))
}

/// A date at the beginning and what follows: `Nov 22 05:30:08`, or one of RFC 3339.
fn date(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_like = |like: &[u8]| {
        rest.len() > like.len()
            && like.iter().zip(rest).all(|(like, byte)| match like {
                b'9' => byte.is_ascii_digit(),
                b'_' => byte.is_ascii_digit() || *byte == b' ',
                b'a' => byte.is_ascii_alphabetic(),
                other => byte == other,
            })
    };
    let end = if is_like(b"aaa _9 99:99:99") && MONTHS.contains(&&rest[..3]) {
        15
    } else if is_like(b"9999-99-99T99:99:99") {
        rest.iter().position(|byte| *byte == b' ')?
    } else {
        return None;
    };
    // Some write a colon behind it, or a fraction; neither is a date of this kind any more.
    let behind = rest[end..].strip_prefix(b" ")?;
    Some((&rest[..end], behind))
}

/// The host in front of a tag and what follows; `None` when the tag comes at once.
fn host(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let word = &rest[..end];
    let may_be = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(byte);
    let is_host = !word.is_empty() && !word.ends_with(b":") && word.iter().all(may_be);
    is_host.then(|| (word, &rest[end + 1..]))
}

/// Without line ends and NULs behind it.
fn trimmed(message: &[u8]) -> &[u8] {
    let end = message.iter().rposition(|byte| !b"\r\n\0".contains(byte)).map_or(0, |last| last + 1);
    &message[..end]
}

/// Names are ASCII, or they are none.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// An address as a host's name in a line.
pub(super) fn name_of(sender: IpAddr) -> String {
    sender.to_canonical().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> (u8, String, String, String) {
        let mut read = Message::default();
        read.read(message, &Received { at: "2026-11-22T05:30:08+01:00", from: "192.0.2.7" });
        let (host, program) = (read.host().to_owned(), read.program().to_owned());
        (read.facility, host, program, String::from_utf8_lossy(&read.line).into_owned())
    }

    #[test]
    fn messages_become_the_lines_that_a_syslog_daemon_writes() {
        for (message, facility, host, program, line) in [
            // RFC 3164 §5.4, example 1.
            (
                &b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8\n"[..],
                4,
                "mymachine",
                "su",
                "Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
            ),
            (
                b"<22>Nov  1 10:00:01 mx1 kerio-connect[811]: x\r\n",
                2,
                "mx1",
                "kerio-connect",
                "Nov  1 10:00:01 mx1 kerio-connect[811]: x",
            ),
            (
                b"<13>2026-11-22T05:30:00.123456+01:00 mx1 app: x",
                1,
                "mx1",
                "app",
                "2026-11-22T05:30:00.123456+01:00 mx1 app: x",
            ),
            // Without a host, without a date, without anything.
            (b"<22>Nov 22 10:00:01 app[1]: x", 2, "192.0.2.7", "app", "Nov 22 10:00:01 192.0.2.7 app[1]: x"),
            (b"<22>app: x", 2, "192.0.2.7", "app", "2026-11-22T05:30:08+01:00 192.0.2.7 app: x"),
            (b"just a text", 1, "192.0.2.7", "", "2026-11-22T05:30:08+01:00 192.0.2.7 just a text"),
            (b"<999>x", 1, "192.0.2.7", "", "2026-11-22T05:30:08+01:00 192.0.2.7 <999>x"),
            // RFC 5424 §6.5, examples 1, 3 and 4.
            (
                "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed".as_bytes(),
                4,
                "mymachine.example.com",
                "su",
                "2003-10-11T22:14:15.003Z mymachine.example.com su: 'su root' failed",
            ),
            (
                b"<165>1 2003-10-11T22:14:15.003Z mymachine evntslog 8710 ID47 [x@32473 iut=\"3]\" e=\"\\\"\"][y] An event",
                20,
                "mymachine",
                "evntslog",
                "2003-10-11T22:14:15.003Z mymachine evntslog[8710]: An event",
            ),
            (
                b"<165>1 - - - - - -",
                20,
                "192.0.2.7",
                "",
                "2026-11-22T05:30:08+01:00 192.0.2.7 ",
            ),
            // It only looks like one.
            (b"<34>1 potato", 4, "192.0.2.7", "", "2026-11-22T05:30:08+01:00 192.0.2.7 1 potato"),
        ] {
            let read = read(message);
            assert_eq!((read.0, &*read.1, &*read.2, &*read.3), (facility, host, program, line));
        }
    }

    #[test]
    fn a_line_is_no_longer_than_a_line_may_be() {
        let mut message = Message::default();
        for filling in [1, b'x'] {
            message.read(&[filling; 65_000], &Received { at: "now", from: "here" });
            let n_bytes = message.line.len();
            assert!((LINE_BYTES_MAX..LINE_BYTES_MAX + 8).contains(&n_bytes), "{n_bytes}");
        }
    }

    #[test]
    fn nobody_makes_two_lines_of_one() {
        let line =
            read(b"<34>Oct 11 22:14:15 mx sshd[1]: a\nOct 11 22:14:15 mx sshd[1]: b\x1b[0m\tc\0d\xff").3;
        assert_eq!(
            line,
            "Oct 11 22:14:15 mx sshd[1]: a#012Oct 11 22:14:15 mx sshd[1]: b#033[0m\tc#000d\u{fffd}"
        );
        let host = read(b"<34>1 2003-10-11T22:14:15Z a\nb c - - - x").1;
        assert_eq!(host, "a#012b");
    }
}
