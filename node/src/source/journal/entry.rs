//! Entries of systemd's journal, as `journalctl --output=export` writes them, and the line that each of them is to a filter.
//!
//! The format is systemd's Journal Export Format. Not for running journalctl (`process.rs`).

use bannkreis_core::time::Timestamp;
use memchr::memchr;

/// Of a field's value so many bytes are kept; a line is judged on fewer.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// A name, or a value that is text, is not waited for any longer.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// An entry has so many fields that matter at most.
const FIELDS_MAX: usize = 1024;

/// One entry.
#[derive(Debug, Default)]
pub(super) struct Entry {
    fields: Vec<(String, Vec<u8>)>,
}

impl Entry {
    fn value(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    fn number(&self, name: &str) -> Option<u64> {
        std::str::from_utf8(self.value(name)?).ok()?.parse().ok()
    }

    /// Whether it has this field with this value.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.fields.iter().any(|(known, own)| known == name && own == value.as_bytes())
    }

    /// Its place in the journal.
    pub(super) fn cursor(&self) -> Option<&str> {
        std::str::from_utf8(self.value("__CURSOR")?).ok()
    }

    /// When the journal got it, in µs since 1970.
    pub(super) fn received_us(&self) -> Option<u64> {
        self.number("__REALTIME_TIMESTAMP")
    }

    /// When the journal got it.
    pub(super) fn received_at(&self) -> Option<Timestamp> {
        self.received_us().map(|microseconds| Timestamp(microseconds / 1000))
    }

    /// When it was written, as far as the journal knows.
    pub(super) fn written_at(&self) -> Option<Timestamp> {
        let microseconds = self.number("_SOURCE_REALTIME_TIMESTAMP");
        microseconds.map(|microseconds| Timestamp(microseconds / 1000)).or_else(|| self.received_at())
    }

    /// Writes the line that it is to a filter, as fail2ban's `backend = systemd` makes it: `HOST IDENTIFIER[PID]: MESSAGE`,
    /// on one line.
    pub(super) fn line(&self, line: &mut Vec<u8>) {
        line.clear();
        let set = |name: &str| self.value(name).filter(|value| !value.is_empty());
        if let Some(host) = set("_HOSTNAME") {
            line.extend_from_slice(host);
            line.push(b' ');
        }
        let (program, pid) = match set("SYSLOG_IDENTIFIER") {
            Some(identifier) => (Some(identifier), set("SYSLOG_PID").or_else(|| set("_PID"))),
            None => (set("_COMM"), set("_PID")),
        };
        if let Some(program) = program {
            line.extend_from_slice(program);
            if let Some(pid) = pid {
                line.push(b'[');
                line.extend_from_slice(pid);
                line.push(b']');
            }
            line.extend_from_slice(b": ");
            if program == b"kernel" {
                let since_boot = self.number("_SOURCE_MONOTONIC_TIMESTAMP");
                let since_boot = since_boot.or_else(|| self.number("__MONOTONIC_TIMESTAMP")).unwrap_or(0);
                let (seconds, rest) = (since_boot / 1_000_000, since_boot % 1_000_000);
                line.extend_from_slice(format!("[{seconds:>5}.{rest:06}] ").as_bytes());
            }
        }
        let messages = self.fields.iter().filter(|(name, _)| name == "MESSAGE");
        for (n, (_, message)) in messages.enumerate() {
            if n > 0 {
                line.push(b' ');
            }
            for &byte in message {
                match byte {
                    b'\n' => line.extend_from_slice(b"\\n"),
                    _ => line.push(byte),
                }
            }
        }
    }
}

/// Makes entries of what journalctl writes, however it is cut into pieces.
#[derive(Debug, Default)]
pub(super) struct EntryReader {
    buffer: Vec<u8>,
    entry: Entry,
    /// So many bytes that come next are the rest of a value that is long enough already.
    n_skipped: u64,
    /// The rest of a text that was too long is dropped up to its end.
    is_in_overlong: bool,
}

impl EntryReader {
    /// Takes what was read, and hands over each entry that it completes.
    pub(super) fn read(&mut self, bytes: &[u8], mut whole: impl FnMut(&Entry)) {
        self.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(n_taken) = self.take(at, &mut whole) {
            at += n_taken;
        }
        self.buffer.drain(..at);
    }

    /// What comes next, when it is there: says how many bytes it was.
    fn take(&mut self, at: usize, whole: &mut impl FnMut(&Entry)) -> Option<usize> {
        let rest = &self.buffer[at..];
        if self.n_skipped > 0 && !rest.is_empty() {
            let n_dropped = rest.len().min(usize::try_from(self.n_skipped).unwrap_or(usize::MAX));
            self.n_skipped -= n_dropped as u64;
            return Some(n_dropped);
        }
        let Some(end) = memchr(b'\n', rest) else {
            if rest.len() <= TEXT_BYTES_MAX {
                return None;
            }
            self.is_in_overlong = true;
            return Some(rest.len());
        };
        if std::mem::take(&mut self.is_in_overlong) {
            return Some(end + 1);
        }
        let text = &rest[..end];
        if text.is_empty() {
            if !self.entry.fields.is_empty() {
                whole(&self.entry);
            }
            self.entry.fields.clear();
            return Some(1);
        }
        if let Some(equals) = memchr(b'=', text) {
            let value = &text[equals + 1..];
            let value = value[..value.len().min(VALUE_BYTES_MAX)].to_vec();
            self.field(at, equals, value);
            return Some(end + 1);
        }
        // A value that is no plain text: its length as 64 bits, little endian, then its bytes and a line end.
        let (length, value) = rest[end + 1..].split_first_chunk::<8>()?;
        let length = u64::from_le_bytes(*length);
        let n_kept = usize::try_from(length).unwrap_or(usize::MAX).min(VALUE_BYTES_MAX);
        let value = value.get(..n_kept)?.to_vec();
        self.field(at, end, value);
        self.n_skipped = (length - n_kept as u64).saturating_add(1);
        Some(end + 1 + 8 + n_kept)
    }

    /// A field whose name is at this place of the buffer.
    fn field(&mut self, at: usize, name_bytes: usize, value: Vec<u8>) {
        if self.entry.fields.len() < FIELDS_MAX {
            let name = String::from_utf8_lossy(&self.buffer[at..at + name_bytes]).into_owned();
            self.entry.fields.push((name, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry in the export format: values with a line end are written as bytes.
    fn exported(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in fields {
            if value.contains('\n') {
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(b'\n');
                bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
                bytes.extend_from_slice(value.as_bytes());
            } else {
                bytes.extend_from_slice(format!("{name}={value}").as_bytes());
            }
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
        bytes
    }

    fn lines(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut reader = EntryReader::default();
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.read(piece, |entry| {
                entry.line(&mut line);
                lines.push(String::from_utf8_lossy(&line).into_owned());
            });
        }
        lines
    }

    #[test]
    fn an_entry_is_the_line_that_fail2ban_makes_of_it() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (
                &[
                    ("_HOSTNAME", "mx1"),
                    ("SYSLOG_IDENTIFIER", "sshd"),
                    ("_PID", "7"),
                    ("_COMM", "x"),
                    ("MESSAGE", "a=b"),
                ],
                "mx1 sshd[7]: a=b",
            ),
            (
                &[("SYSLOG_IDENTIFIER", "sshd"), ("SYSLOG_PID", "8"), ("_PID", "7"), ("MESSAGE", "m")],
                "sshd[8]: m",
            ),
            (&[("_HOSTNAME", "h"), ("_COMM", "cron"), ("_PID", "9"), ("MESSAGE", "m")], "h cron[9]: m"),
            (&[("_HOSTNAME", "h"), ("MESSAGE", "two\nlines"), ("MESSAGE", "more")], "h two\\nlines more"),
            (
                &[("SYSLOG_IDENTIFIER", "kernel"), ("__MONOTONIC_TIMESTAMP", "12345678"), ("MESSAGE", "m")],
                "kernel: [   12.345678] m",
            ),
            (&[("MESSAGE", "")], ""),
        ];
        let all: Vec<u8> = cases.iter().flat_map(|(fields, _)| exported(fields)).collect();
        let expected: Vec<&str> = cases.iter().map(|(_, line)| *line).collect();
        for piece in [1, 2, 7, 64, all.len()] {
            assert_eq!(lines(&all, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn of_a_long_value_the_beginning_is_kept_and_the_next_entry_is_whole() {
        let long = format!("x\n{}", "y".repeat(3 * VALUE_BYTES_MAX));
        let text = "z".repeat(3 * TEXT_BYTES_MAX);
        let mut all = exported(&[("MESSAGE", &long)]);
        all.extend(exported(&[("MESSAGE", &text)]));
        all.extend(exported(&[("MESSAGE", "next")]));
        for piece in [1000, all.len()] {
            let lines = lines(&all, piece);
            assert_eq!(lines[0].len(), VALUE_BYTES_MAX + 1);
            assert_eq!(lines.last().map(String::as_str), Some("next"), "pieces of {piece}");
        }
    }

    #[test]
    fn times_are_those_of_the_writer_where_they_are_known() {
        let mut reader = EntryReader::default();
        let mut times = Vec::new();
        let mut bytes = exported(&[("__REALTIME_TIMESTAMP", "1700000000123456"), ("__CURSOR", "s=1;i=2")]);
        bytes.extend(exported(&[
            ("__REALTIME_TIMESTAMP", "1700000000123456"),
            ("_SOURCE_REALTIME_TIMESTAMP", "1700000000000000"),
        ]));
        reader.read(&bytes, |entry| {
            times.push((entry.received_at(), entry.written_at(), entry.cursor().map(str::to_owned)));
        });
        let [at, before] = [1_700_000_000_123, 1_700_000_000_000].map(|ms| Some(Timestamp(ms)));
        assert_eq!(times, [(at, at, Some("s=1;i=2".to_owned())), (at, before, None)]);
    }
}
