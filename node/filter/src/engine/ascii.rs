//! Whether a text is ASCII, for the short texts that are asked about for every line.
//!
//! The standard library looks at up to thirty bytes of a text one by one.

/// So much is looked at before it is asked whether it was ASCII.
const PART_BYTES: usize = 1024;

/// Whether all of `text` is ASCII, eight bytes at once.
#[must_use]
#[inline]
pub(crate) fn is_ascii(text: &[u8]) -> bool {
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().fold(0, |all, byte| all | byte) < 0x80;
    };
    // The last eight bytes overlap with the others.
    let all = text
        .as_chunks()
        .0
        .iter()
        .fold(u64::from_ne_bytes(*last), |all, word| all | u64::from_ne_bytes(*word));
    all & HIGHEST == 0
}

/// A text of many lines, when all of it is ASCII.
#[must_use]
pub(crate) fn ascii_text(text: &[u8]) -> Option<&str> {
    // Where it is not, that is mostly seen soon.
    let is_ascii = text.chunks(PART_BYTES).all(is_ascii);
    if is_ascii { std::str::from_utf8(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_beyond_ascii_is_seen_wherever_it_stands() {
        for length in 0..40 {
            let mut text = vec![0x7f; length];
            assert!(is_ascii(&text));
            assert_eq!(ascii_text(&text).map(str::len), Some(length));
            for at in 0..length {
                text[at] = 0x80;
                assert!(!is_ascii(&text), "{at} of {length}");
                assert_eq!(ascii_text(&text), None);
                text[at] = 0;
            }
        }
    }
}
