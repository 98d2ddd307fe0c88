//! What counts as a host's name, where a name may be looked up: in `ignoreip`, and in a log line with `usedns`.
//!
//! Not for looking names up: that is the node's.

/// The longest name (RFC 1035, 2.3.4, without the dot at the end).
const NAME_BYTES_MAX: usize = 253;

/// Whether `word` can be a host's name (RFC 1123, 2.1, and the underscore that people use). What a resolver
/// would take as a number (`010.1`, `0x7f.1`) is none: its last part does not begin with a letter.
#[must_use]
pub fn is_host_name(word: &str) -> bool {
    let word = word.strip_suffix('.').unwrap_or(word);
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    word.len() <= NAME_BYTES_MAX
        && word.split('.').all(part)
        && word.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_disguise_are_no_names() {
        for name in ["localhost", "mx1.example.org", "a_b.example.", "1.2.3.4.in-addr.arpa", "3com.com"] {
            assert!(is_host_name(name), "{name}");
        }
        for other in
            ["", ".", "999.1.1.1", "010.1", "0x7f.1", "a..b", "a b", "ü.example", "-^x", "file:/x", "a.0x1"]
        {
            assert!(!is_host_name(other), "{other}");
        }
    }
}
