//! Where the last date of a log stood: the next one is looked for there first.
//!
//! Only where the characters around it are the same, as in fail2ban. Not for choosing a format (`detector`).

use std::ops::Range;

/// Where the last date began and ended, and the characters around it.
#[derive(Debug)]
pub(super) struct LastPlace {
    pub(super) start: usize,
    pub(super) end: usize,
    before: Option<char>,
    first: Option<char>,
    last: Option<char>,
    behind: Option<char>,
}

impl Default for LastPlace {
    /// No date stood anywhere yet.
    fn default() -> LastPlace {
        LastPlace { start: 1, end: usize::MAX, before: None, first: None, last: None, behind: None }
    }
}

impl LastPlace {
    /// A date stood in this part of `line`.
    pub(super) fn of(line: &str, whole: Range<usize>) -> LastPlace {
        LastPlace {
            before: line[..whole.start].chars().next_back(),
            first: line[whole.start..].chars().next(),
            last: line[..whole.end].chars().next_back(),
            behind: line[whole.end..].chars().next(),
            start: whole.start,
            end: whole.end,
        }
    }

    /// The same part of this line, when the characters around it are the same.
    pub(super) fn in_line(&self, line: &str) -> Option<Range<usize>> {
        let (start, end) = (self.start, self.end);
        let (before, behind) = (line.get(..start)?, line.get(end..)?);
        let inside = line.get(start..end)?;
        let plain = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        let left = before.chars().next_back() == self.before
            || (inside.chars().next() == self.first && plain(self.first));
        let right = behind.chars().next() == self.behind
            || (inside.chars().next_back() == self.last && plain(self.last));
        (left && right).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_when_what_stands_around_it_is() {
        assert_eq!(LastPlace::default().in_line("x 10:00:00 y"), None);
        let place = LastPlace::of("x 10:00:00 y", 2..10);
        for (line, is_same) in [
            ("z 11:22:33 z", true),
            ("z:11:22:33 z", false),
            ("z 11:22:331z", false),
            ("short", false),
            ("zz\u{e4}11:22:33", false),
        ] {
            assert_eq!(place.in_line(line).is_some(), is_same, "{line}");
        }
    }
}
