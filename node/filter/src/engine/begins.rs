//! Whether a text begins as another one, for short texts that are asked about for every line.
//!
//! A call of memcmp(3) takes longer than this for a dozen bytes. Not for long texts.

/// Whether `text` begins with `begin`.
#[must_use]
#[inline]
pub(crate) fn begins_with(text: &[u8], begin: &[u8]) -> bool {
    let Some(head) = text.get(..begin.len()) else { return false };
    if let (Some(last), Some(other)) = (head.last_chunk::<8>(), begin.last_chunk::<8>()) {
        let same = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b);
        // The last eight bytes overlap with what is left of the others.
        return same(last, other)
            && head.as_chunks().0.iter().zip(begin.as_chunks().0).all(|(a, b)| same(a, b));
    }
    if let (Some(last), Some(other)) = (head.last_chunk::<4>(), begin.last_chunk::<4>()) {
        let same = |a: &[u8; 4], b: &[u8; 4]| u32::from_ne_bytes(*a) == u32::from_ne_bytes(*b);
        return same(last, other)
            && head.first_chunk::<4>().zip(begin.first_chunk()).is_some_and(|(a, b)| same(a, b));
    }
    head.iter().eq(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_begin_as_they_do() {
        let text: Vec<u8> = (0..40).collect();
        for n in 0..=text.len() {
            for from in 0..n {
                let mut begin = text[..n].to_vec();
                assert!(begins_with(&text, &begin));
                assert!(begin.len() == text.len() || !begins_with(&begin, &text));
                begin[from] ^= 1;
                assert!(!begins_with(&text, &begin), "{n} {from}");
            }
        }
    }
}
