//! Cuts blocks of bytes into lines and keeps what is not terminated yet.
//!
//! Not for files and positions; it only says how many bytes each line took.

use bannkreis_core::failure::LINE_BYTES_MAX;
use bannkreis_core::log_block::line_text;
use memchr::memchr;

/// A line as it was found: without its end, at most [`LINE_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// What it says.
    pub(super) text: &'a [u8],
    /// It went on behind `text`.
    pub(super) cut: bool,
    /// What it took in the file, with its end.
    pub(super) n_bytes: u64,
    /// What stood there, without its end; as much of it as the splitter keeps.
    pub(super) raw: &'a [u8],
}

/// Between two blocks: the beginning of a line whose end has not been seen. It holds one byte more
/// than a line may have, so that a carriage return at the bound can be told from a longer line; what
/// comes after is counted and dropped.
#[derive(Debug)]
pub(super) struct LineSplitter {
    kept: Vec<u8>,
    kept_max: usize,
    n_bytes: u64,
    dropped: bool,
}

const KEPT_BYTES_MAX: usize = LINE_BYTES_MAX + 1;

impl Default for LineSplitter {
    fn default() -> LineSplitter {
        LineSplitter::keeping(KEPT_BYTES_MAX)
    }
}

impl LineSplitter {
    /// One that keeps so many bytes of a line, at least those that it is judged on.
    pub(super) fn keeping(kept_max: usize) -> LineSplitter {
        LineSplitter { kept: Vec::new(), kept_max: kept_max.max(KEPT_BYTES_MAX), n_bytes: 0, dropped: false }
    }

    /// Hands over every line that ends in `block`.
    pub(super) fn split(&mut self, block: &[u8], mut line: impl FnMut(Line<'_>)) {
        let mut rest = block;
        while let Some(end) = memchr(b'\n', rest) {
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            if self.n_bytes == 0 {
                let (text, cut) = line_text(head);
                line(Line { text, cut, n_bytes: end as u64 + 1, raw: head });
            } else {
                self.keep(head);
                let (text, cut) = line_text(&self.kept);
                let text = if self.dropped { &self.kept[..LINE_BYTES_MAX] } else { text };
                line(Line { text, cut: cut || self.dropped, n_bytes: self.n_bytes + 1, raw: &self.kept });
                self.forget();
            }
            rest = tail;
        }
        self.keep(rest);
    }

    /// How many bytes of an unterminated line have been seen.
    pub(super) fn n_bytes_unfinished(&self) -> u64 {
        self.n_bytes
    }

    /// Drops an unterminated line whose end will never come.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        // A long line must not leave its memory behind for the lifetime of the daemon.
        self.kept.shrink_to(1024);
        self.n_bytes = 0;
        self.dropped = false;
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.n_bytes += bytes.len() as u64;
        let bytes = if self.kept.is_empty() { without_leading_nuls(bytes) } else { bytes };
        let room = self.kept_max - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.dropped |= bytes.len() > room;
    }
}

/// NUL bytes before a line are no part of it: see [`line_text`].
fn without_leading_nuls(bytes: &[u8]) -> &[u8] {
    let n_nuls = bytes.iter().take_while(|&&byte| byte == 0).count();
    &bytes[n_nuls..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text`, read in blocks of `block_bytes`.
    fn lines(text: &[u8], block_bytes: usize) -> (Vec<(Vec<u8>, bool, u64)>, u64) {
        let mut splitter = LineSplitter::default();
        let mut found = Vec::new();
        for block in text.chunks(block_bytes) {
            splitter.split(block, |line| found.push((line.text.to_vec(), line.cut, line.n_bytes)));
        }
        (found, splitter.n_bytes_unfinished())
    }

    #[test]
    fn lines_are_the_same_whatever_the_blocks_are() {
        let text = b"one\r\n\n\0\0two\0\xff\n\r\r\nthree";
        let expected: Vec<(Vec<u8>, bool, u64)> = vec![
            (b"one".to_vec(), false, 5),
            (b"".to_vec(), false, 1),
            (b"two\0\xff".to_vec(), false, 8),
            (b"\r".to_vec(), false, 3),
        ];
        for block_bytes in 1..=text.len() {
            assert_eq!(lines(text, block_bytes), (expected.clone(), 5), "blocks of {block_bytes}");
        }
    }

    #[test]
    fn long_lines_are_cut_at_the_bound_and_the_rest_is_skipped() {
        for (n_bytes, end, text_bytes, cut) in [
            (LINE_BYTES_MAX, "\n", LINE_BYTES_MAX, false),
            (LINE_BYTES_MAX, "\r\n", LINE_BYTES_MAX, false),
            (LINE_BYTES_MAX + 1, "\n", LINE_BYTES_MAX, true),
            (LINE_BYTES_MAX + 1, "\r\n", LINE_BYTES_MAX, true),
            (LINE_BYTES_MAX * 3, "\n", LINE_BYTES_MAX, true),
        ] {
            let mut text = vec![b'x'; n_bytes];
            text.extend_from_slice(end.as_bytes());
            let line_bytes = text.len() as u64;
            text.extend_from_slice(b"next\n");
            for block_bytes in [1000, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, LINE_BYTES_MAX * 4] {
                let (found, unfinished) = lines(&text, block_bytes);
                assert_eq!(unfinished, 0);
                assert_eq!((found[0].0.len(), found[0].1, found[0].2), (text_bytes, cut, line_bytes));
                assert_eq!(found[1], (b"next".to_vec(), false, 5));
            }
        }
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_the_bound() {
        let mut splitter = LineSplitter::default();
        for _ in 0..1_000 {
            splitter.split(&[b'x'; 4096], |_| panic!("there is no line"));
            assert!(splitter.kept.len() <= KEPT_BYTES_MAX);
        }
        assert_eq!(splitter.n_bytes_unfinished(), 4_096_000);
    }
}
