//! Takes the lines that a container has written out of the file in which its runtime keeps them: CRI's format, in which
//! containerd, CRI-O and podman write, and Docker's json-file. Both cut long lines into parts, which are put together again.
//!
//! Not for finding those files (`this_host`), and not for reading them.

use bannkreis_core::failure::LINE_BYTES_MAX;
use bannkreis_core::time::Timestamp;
use memchr::memchr;
use serde::Deserialize;
use std::borrow::Cow;
use std::path::Path;

/// An entry is no longer: a part of a line has 16 KiB, each of whose bytes Docker may write with six.
pub const ENTRY_BYTES_MAX: usize = 128 * 1024;

/// Where runtimes keep what containers write.
const DIRECTORIES: [&str; 5] = [
    "/var/log/containers",
    "/var/log/pods",
    "/var/lib/docker/containers",
    "/var/lib/containers/storage",
    "/var/log/podman",
];

/// Whether a file is one of those, by its path.
#[must_use]
pub fn is_of_containers(path: &Path) -> bool {
    DIRECTORIES.iter().any(|directory| path.starts_with(directory))
}

/// A line that a container has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerLine<'l> {
    /// At most [`LINE_BYTES_MAX`] bytes, without the end of the line.
    pub text: &'l [u8],
    /// It went on behind `text`.
    pub cut: bool,
    /// When its first part was written.
    pub written_at: Option<Timestamp>,
    /// Where its first part begins.
    pub position: u64,
}

/// What a container writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Output,
    Error,
}

/// One entry of the file.
struct Part<'p> {
    stream: Stream,
    written_at: Option<Timestamp>,
    text: Cow<'p, [u8]>,
    is_last: bool,
}

/// The parts of a line so far.
#[derive(Debug, Default)]
struct Begun {
    text: Vec<u8>,
    cut: bool,
    written_at: Option<Timestamp>,
    position: u64,
}

/// Puts parts together, each stream's by themselves: between two parts of one there may be lines of the other.
#[derive(Debug, Default)]
pub struct ContainerLines {
    output: Option<Begun>,
    error: Option<Begun>,
}

impl ContainerLines {
    /// Takes one entry, which begins at `position`, without its end; hands over the line that it completes. What is no entry
    /// is a line as it stands there.
    pub fn take(&mut self, entry: &[u8], position: u64, line: impl FnOnce(ContainerLine<'_>)) {
        let Some(part) = part_of(entry) else {
            let cut = entry.len() > LINE_BYTES_MAX;
            let text = &entry[..entry.len().min(LINE_BYTES_MAX)];
            return line(ContainerLine { text, cut, written_at: None, position });
        };
        let begun = match part.stream {
            Stream::Output => &mut self.output,
            Stream::Error => &mut self.error,
        };
        let whole =
            begun.get_or_insert_with(|| Begun { written_at: part.written_at, position, ..Begun::default() });
        let room = LINE_BYTES_MAX - whole.text.len();
        whole.cut |= part.text.len() > room;
        whole.text.extend_from_slice(&part.text[..part.text.len().min(room)]);
        if !part.is_last {
            return;
        }
        if let Some(Begun { text, cut, written_at, position }) = begun.take() {
            let text = if cut { &text[..] } else { text.strip_suffix(b"\r").unwrap_or(&text) };
            line(ContainerLine { text, cut, written_at, position });
        }
    }

    /// Where the oldest line begins of which parts are missing.
    #[must_use]
    pub fn begun_at(&self) -> Option<u64> {
        self.output.iter().chain(&self.error).map(|begun| begun.position).min()
    }
}

fn part_of(entry: &[u8]) -> Option<Part<'_>> {
    if entry.starts_with(b"{") { dockers(entry) } else { cri(entry) }
}

/// `2026-11-30T10:00:00.123456789+01:00 stdout F text`: F is the last part of a line, P another one. Further tags may stand
/// behind it, with a colon between (Kubernetes: kubelet, `cri-api`, container log format).
fn cri(entry: &[u8]) -> Option<Part<'_>> {
    let (time, rest) = word(entry)?;
    let (stream, rest) = word(rest)?;
    let (tags, text) = word(rest).unwrap_or((rest, b""));
    let stream = match stream {
        b"stdout" => Stream::Output,
        b"stderr" => Stream::Error,
        _ => return None,
    };
    let is_last = match tags.split(|&byte| byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let written_at = Some(time_of(std::str::from_utf8(time).ok()?)?);
    Some(Part { stream, written_at, text: Cow::Borrowed(text), is_last })
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', text)?;
    Some((&text[..end], &text[end + 1..]))
}

/// An entry of Docker's: the last part of a line has its end.
#[derive(Deserialize)]
struct DockerEntry<'e> {
    #[serde(borrow)]
    log: Cow<'e, str>,
    #[serde(borrow, default)]
    stream: Cow<'e, str>,
    #[serde(borrow, default)]
    time: Cow<'e, str>,
}

fn dockers(entry: &[u8]) -> Option<Part<'_>> {
    let DockerEntry { log, stream, time } = serde_json::from_slice(entry).ok()?;
    let stream = if stream == "stderr" { Stream::Error } else { Stream::Output };
    let is_last = log.ends_with('\n');
    let text = match log {
        Cow::Borrowed(log) => Cow::Borrowed(log.strip_suffix('\n').unwrap_or(log).as_bytes()),
        Cow::Owned(mut log) => {
            log.truncate(log.len() - usize::from(is_last));
            Cow::Owned(log.into_bytes())
        }
    };
    Some(Part { stream, written_at: time_of(&time), text, is_last })
}

fn time_of(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-30T10:00:00.5Z";
    const AT_MS: u64 = 1_796_032_800_500;

    /// The lines of these entries: text, cut, whether its time is known, position.
    fn lines(entries: &[&str]) -> Vec<(String, bool, bool, u64)> {
        let mut reading = ContainerLines::default();
        let mut found = Vec::new();
        for (position, entry) in (0..).zip(entries) {
            reading.take(entry.as_bytes(), position, |line| {
                assert!(line.written_at.is_none_or(|at| at == Timestamp(AT_MS)), "{:?}", line.written_at);
                let text = String::from_utf8_lossy(line.text).into_owned();
                found.push((text, line.cut, line.written_at.is_some(), line.position));
            });
        }
        found
    }

    fn line(text: &str, position: u64) -> (String, bool, bool, u64) {
        (text.to_owned(), false, true, position)
    }

    #[test]
    fn parts_are_put_together_for_each_stream() {
        let found = lines(&[
            &format!("{AT} stdout F whole line"),
            &format!("{AT} stdout P one "),
            &format!("{AT} stderr P other "),
            &format!("{AT} stdout P two "),
            &format!("{AT} stderr F end\r"),
            &format!("{AT} stdout F:x three"),
            &format!("{AT} stdout F"),
            "2026-11-30T11:00:00.500000000+01:00 stdout F zone",
        ]);
        let expected = [
            line("whole line", 0),
            line("other end", 2),
            line("one two three", 1),
            line("", 6),
            line("zone", 7),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn so_are_dockers() {
        let found = lines(&[
            &format!(r#"{{"log":"a \"b\"\n","stream":"stdout","time":"{AT}"}}"#),
            &format!(r#"{{"log":"one ","stream":"stderr","time":"{AT}"}}"#),
            &format!(r#"{{"log":"c\r\n","stream":"stdout","time":"{AT}"}}"#),
            &format!(r#"{{"log":"two\n","stream":"stderr","attrs":{{"x":"y"}},"time":"{AT}"}}"#),
        ]);
        assert_eq!(found, [line("a \"b\"", 0), line("c", 2), line("one two", 1)]);
    }

    #[test]
    fn what_is_no_entry_is_a_line_as_it_stands() {
        let texts = [
            "plain text",
            "{\"a\":1}",
            "{broken",
            "2026 stdout F x",
            &format!("{AT} stdlog F x"),
            &format!("{AT} stdout X y"),
        ];
        let expected: Vec<_> = (0..).zip(texts).map(|(n, text)| (text.to_owned(), false, false, n)).collect();
        assert_eq!(lines(&texts), expected);
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_the_bound() {
        let mut reading = ContainerLines::default();
        let part = format!("{AT} stdout P {}", "x".repeat(LINE_BYTES_MAX / 2 + 1));
        for _ in 0..1_000 {
            reading.take(part.as_bytes(), 3, |_| panic!("there is no line"));
        }
        assert_eq!(reading.begun_at(), Some(3));
        reading.take(format!("{AT} stdout F end").as_bytes(), 9, |line| {
            assert_eq!((line.text.len(), line.cut, line.position), (LINE_BYTES_MAX, true, 3));
        });
        assert_eq!(reading.begun_at(), None);
    }
}
