//! `logencoding`: from the bytes of a log line to text.
//!
//! Bytes that do not belong to the encoding become U+FFFD, so every line is judged, as in fail2ban.

use std::borrow::Cow;

/// An encoding that logs are read in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogEncoding {
    /// `auto`, `utf-8`, `ascii`.
    #[default]
    Utf8,
    /// `latin-1`: every byte is the character of its number.
    Latin1,
}

impl LogEncoding {
    /// The encoding of this name as Python spells it; `None` when we do not have it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<LogEncoding> {
        let plain: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.as_str() {
            "auto" | "utf8" | "ascii" | "usascii" | "" => Some(LogEncoding::Utf8),
            "latin1" | "iso88591" | "l1" | "latin" => Some(LogEncoding::Latin1),
            _ => None,
        }
    }

    /// The text of a line.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            // Nearly every line is what it should be, and to see that is quicker than to repair it.
            LogEncoding::Utf8 => {
                std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
            }
            LogEncoding::Latin1 => match std::str::from_utf8(bytes) {
                Ok(text) if text.is_ascii() => Cow::Borrowed(text),
                _ => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_becomes_text() {
        assert_eq!(LogEncoding::Utf8.decode(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(LogEncoding::Latin1.decode(b"a\xe4b"), "a\u{e4}b");
        assert_eq!(LogEncoding::from_name("ISO-8859-1"), Some(LogEncoding::Latin1));
        assert_eq!(LogEncoding::from_name("UTF-8"), Some(LogEncoding::Utf8));
        assert_eq!(LogEncoding::from_name("utf-16"), None);
    }
}
