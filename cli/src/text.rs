//! How single things are spelled for people: text from outside, points in time, lengths, colours.

use bannkreis_core::harmless::is_invisible;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// Lines are at most this wide, whatever the terminal.
pub const COLUMNS: usize = 100;

/// How text is made up.
#[derive(Clone, Debug)]
pub struct Style {
    /// With ANSI colours (ECMA-48 SGR).
    pub color: bool,
    /// In whose time.
    pub zone: TimeZone,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// As it should be.
    Good,
    /// Somebody should look at it.
    Warn,
    /// It is broken.
    Bad,
}

impl Style {
    /// `text`, coloured when that is wanted.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Bold => "1",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A point in time: `2026-03-01 12:00:05`.
    #[must_use]
    pub fn time(&self, ms: u64) -> String {
        let instant = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        match instant {
            Some(instant) => instant.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            None => "after the year 9999".to_owned(),
        }
    }

    /// Appends `line` to `page`, set in by `indent`, broken at the page's width; what follows the first break is
    /// set in by two more.
    pub fn push_line(&self, page: &mut String, tone: Tone, indent: usize, line: &str) {
        for (n, part) in wrapped(line, COLUMNS - indent - 2).iter().enumerate() {
            let blanks = " ".repeat(if n == 0 { indent } else { indent + 2 });
            page.push_str(&format!("{blanks}{}\n", self.paint(tone, part)));
        }
    }

    /// An end: `until 2026-03-01 12:00:05 (9m 55s left)`, or `for ever`.
    #[must_use]
    pub fn until(&self, until_ms: Option<u64>, now_ms: u64) -> String {
        match until_ms {
            None => "for ever".to_owned(),
            Some(end) if end <= now_ms => format!("until {} (over)", self.time(end)),
            Some(end) => format!("until {} ({} left)", self.time(end), length(end - now_ms)),
        }
    }
}

/// A length of time in its two greatest units: `950 ms`, `9m 58s`, `6d 23h`.
#[must_use]
pub fn length(ms: u64) -> String {
    if ms < 1_000 {
        return format!("{ms} ms");
    }
    let seconds = ms / 1_000;
    let units =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let mut parts = units.iter().skip_while(|(n, _)| *n == 0).take(2).filter(|(n, _)| *n > 0);
    let mut text = String::new();
    for (n, unit) in &mut parts {
        let blank = if text.is_empty() { "" } else { " " };
        // Writing to a String can not fail.
        let _ = write!(text, "{blank}{n}{unit}");
    }
    text
}

/// Text from outside, made harmless for a terminal: control characters, and those that turn the
/// direction of writing or have no width (Unicode UAX #9, general category Cf), are written out.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            harmless.extend(c.escape_default());
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// JSON, made harmless in the same way: what JSON itself leaves as it is stands as `\u` (RFC 8259 section 7).
/// Such characters are only ever inside its strings.
#[must_use]
pub fn shown_json(json: &str) -> String {
    let mut harmless = String::with_capacity(json.len());
    for c in json.chars() {
        if (c.is_control() && c != '\n') || is_invisible(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String can not fail.
                let _ = write!(harmless, "\\u{unit:04x}");
            }
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// `1 ban`, `2 bans`.
#[must_use]
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn listed<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [one] => shown(one.as_ref()),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(|name| shown(name.as_ref())).collect();
            format!("{} and {}", most.join(", "), shown(last.as_ref()))
        }
    }
}

/// `text` broken at blanks into lines of at most `width` characters; a longer word is cut. Lines that are
/// there stay lines.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    text.split('\n').flat_map(|line| wrapped_line(line, width.max(1))).collect()
}

fn wrapped_line(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut line_chars = 0;
    for word in text.split(' ') {
        let mut word_chars = word.chars().count();
        if line_chars > 0 && line_chars + 1 + word_chars > width {
            lines.push(std::mem::take(&mut line));
            line_chars = 0;
        }
        if line_chars > 0 {
            line.push(' ');
            line_chars += 1;
        }
        let mut rest = word;
        while word_chars > width {
            let cut = rest.char_indices().nth(width).map_or(rest.len(), |(at, _)| at);
            lines.push(rest[..cut].to_owned());
            rest = &rest[cut..];
            word_chars -= width;
        }
        line.push_str(rest);
        line_chars += word_chars;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::{length, listed, shown, shown_json, wrapped};

    #[test]
    fn lengths_have_two_units() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1s"),
            (59_999, "59s"),
            (600_000, "10m"),
            (598_000, "9m 58s"),
            (3_600_000, "1h"),
            (604_799_000, "6d 23h"),
            (604_800_000, "7d"),
            (86_400_000 + 5_000, "1d"),
        ];
        for (ms, expected) in cases {
            assert_eq!(length(ms), expected, "{ms} ms");
        }
    }

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(shown("a\x1b[2Jb\nc\u{202e}d\u{9b}e"), "a\\u{1b}[2Jb\\nc\\u{202e}d\\u{9b}e");
        assert_eq!(shown("Müller, 中文"), "Müller, 中文");
    }

    #[test]
    fn json_moves_the_cursor_no_more_than_text() {
        let value = serde_json::json!({ "a": "b\x1b[2J\u{9b}c\u{202e}\u{e0001}" });
        let harmless = shown_json(&format!("{value:#}\n"));
        assert!(harmless.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '\n'), "{harmless:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&harmless).unwrap(), value);
    }

    #[test]
    fn long_words_are_cut_and_blanks_break() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij xy", 4), ["abcd", "efgh", "ij", "xy"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("a b\nc", 8), ["a b", "c"]);
    }

    #[test]
    fn names_read_as_a_sentence() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
    }
}
