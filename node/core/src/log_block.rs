//! Many lines of a log at once, as they stand in it, for whoever can tell without looking at each that most
//! of them are of no interest.
//!
//! Not for reading them (`node::source`), and not for finding what is of interest (`bannkreis-filter`).

use crate::failure::{LINE_BYTES_MAX, SourceId, SourcePosition};
use crate::time::Timestamp;

/// Whole lines of one source, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBlock<'b> {
    /// Where they came from.
    pub source: SourceId,
    /// Where the first begins there.
    pub position: SourcePosition,
    /// This host's wall clock when they were read.
    pub received_at: Timestamp,
    /// The lines, each ended by `\n`, the last one too.
    pub bytes: &'b [u8],
    /// Lines that begin before this many of the bytes are replayed: see
    /// [`crate::failure::LogLine::replayed`].
    pub replayed_bytes: usize,
}

/// The text of a line that stands in a log as `raw`, without its `\n`; and whether it goes on behind that
/// text, which has at most [`LINE_BYTES_MAX`] bytes.
///
/// A power cut and a truncation under a writer without O_APPEND both leave NUL bytes before the next line;
/// with them the line's date would not be found.
#[must_use]
pub fn line_text(raw: &[u8]) -> (&[u8], bool) {
    let n_nuls = raw.iter().take_while(|&&byte| byte == 0).count();
    let text = &raw[n_nuls..];
    // A carriage return behind the bound is no line end, but the first byte that is too much.
    let ends_in_time = text.len() <= LINE_BYTES_MAX + 1;
    let text = if ends_in_time { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
    (&text[..text.len().min(LINE_BYTES_MAX)], text.len() > LINE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn line_ends_and_nuls_are_no_text_and_long_lines_are_cut() {
        assert_eq!(line_text(b"\0\0a\0\r"), (&b"a\0"[..], false));
        assert_eq!(line_text(b"\r\r"), (&b"\r"[..], false));
        for (n_bytes, end, cut) in
            [(0, &b"\r"[..], false), (0, b"", false), (1, b"\r", true), (0, b"\r\r", true)]
        {
            let mut raw = vec![b'x'; LINE_BYTES_MAX + n_bytes];
            raw.extend_from_slice(end);
            assert_eq!(line_text(&raw), (&raw[..LINE_BYTES_MAX], cut), "{n_bytes} {end:?}");
        }
    }
}
