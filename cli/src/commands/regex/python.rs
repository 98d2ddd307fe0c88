//! Values as Python writes them: `-o row` and the options of a filter are printed so by fail2ban-regex, and
//! read so by what people have built on it.

use std::fmt::Write as _;

/// A text in quotes, as `repr` gives it: the quote that needs no escape, control characters written out.
#[must_use]
pub(super) fn text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let number = u32::from(c);
                // Writing to a String can not fail.
                let _ = match number {
                    0..=0xff => write!(out, "\\x{number:02x}"),
                    0x100..=0xffff => write!(out, "\\u{number:04x}"),
                    _ => write!(out, "\\U{number:08x}"),
                };
            }
        }
    }
    out.push(quote);
    out
}

/// A text in quotes, or `None`.
#[must_use]
pub(super) fn optional(value: Option<&str>) -> String {
    value.map_or_else(|| "None".to_owned(), text)
}

/// A dictionary of what is already spelled.
#[must_use]
pub(super) fn dictionary<'a>(entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let entries: Vec<String> =
        entries.into_iter().map(|(key, value)| format!("{}: {value}", text(key))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// A set of texts.
#[must_use]
pub(super) fn set<'a>(members: impl IntoIterator<Item = &'a str>) -> String {
    let members: Vec<String> = members.into_iter().map(text).collect();
    format!("{{{}}}", members.join(", "))
}

/// Seconds since 1970, as a float is written.
#[must_use]
pub(super) fn seconds(ms: u64) -> String {
    let fraction = format!("{:03}", ms % 1_000);
    let fraction = fraction.trim_end_matches('0');
    format!("{}.{}", ms / 1_000, if fraction.is_empty() { "0" } else { fraction })
}

/// What `str.isprintable` says, near enough: no controls, no blanks but the plain one, nothing invisible.
fn is_printable(c: char) -> bool {
    let is_odd = c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{180e}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}')
        || matches!(c, '\u{e0000}'..='\u{10ffff}');
    !is_odd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_python_quotes_them() {
        for (given, expected) in [
            ("root", "'root'"),
            ("it's", "\"it's\""),
            ("a'b\"c", "'a\\'b\"c'"),
            ("a\\b\t\u{1b}[0m", "'a\\\\b\\t\\x1b[0m'"),
            ("\u{e4}\u{a0}\u{202e}\u{fffd}", "'\u{e4}\\xa0\\u202e\u{fffd}'"),
        ] {
            assert_eq!(text(given), expected);
        }
    }

    #[test]
    fn values_that_hold_others() {
        assert_eq!(dictionary([("a", optional(None)), ("b", text("c"))]), "{'a': None, 'b': 'c'}");
        assert_eq!(set(["a", "b"]), "{'a', 'b'}");
        assert_eq!((seconds(1_500).as_str(), seconds(2_000).as_str()), ("1.5", "2.0"));
    }
}
