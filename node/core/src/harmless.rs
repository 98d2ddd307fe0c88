//! Which characters must not reach a reader as they are, wherever text from a log line is shown: invariant 6 for
//! terminals and for the daemon's own log.
//!
//! Not for control characters, which the standard library knows, nor for how they are escaped.

/// Whether `c` shows nothing by itself but changes how what is around it is shown: marks of direction (UAX #9),
/// separators of lines, joiners and other characters without a width, tags.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
