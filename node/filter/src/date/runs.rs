//! Tells lines that can have no date by their digits: most formats need many of them in a row.
//!
//! An epoch needs ten digits, `20/Nov/2026:10:00:00` eleven digits and colons one after the other, and no time of day
//! in another format has more than eight. To look at every tenth byte finds such a row. Not for finding a date
//! (`template`).

use regex_syntax::hir::{Class, Hir, HirKind};

/// `10:00:00` stands in nearly every line; formats that need no longer row are not told apart by it.
pub(super) const RUN_BYTES_MIN: usize = 9;

/// What may stand in a row: digits, colons, and whatever is part of a character beyond ASCII, which may be a digit.
fn is_in_row(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b':' || !byte.is_ascii()
}

/// What is certain about the rows in everything that an expression matches, in bytes.
#[derive(Clone, Copy)]
struct Rows {
    /// It is one row, of this length at least.
    whole: Option<usize>,
    /// It begins with one of this length, ends with one, has one.
    begin: usize,
    end: usize,
    longest: usize,
}

impl Rows {
    const NONE: Rows = Rows { whole: None, begin: 0, end: 0, longest: 0 };

    fn whole(length: usize) -> Rows {
        Rows { whole: Some(length), begin: length, end: length, longest: length }
    }

    fn then(self, next: Rows) -> Rows {
        Rows {
            whole: self.whole.zip(next.whole).map(|(a, b)| a + b),
            begin: self.whole.map_or(self.begin, |length| length + next.begin),
            end: next.whole.map_or(next.end, |length| length + self.end),
            longest: self.longest.max(next.longest).max(self.end + next.begin),
        }
    }

    fn or(self, other: Rows) -> Rows {
        Rows {
            whole: self.whole.zip(other.whole).map(|(a, b)| a.min(b)),
            begin: self.begin.min(other.begin),
            end: self.end.min(other.end),
            longest: self.longest.min(other.longest),
        }
    }
}

/// So long a row stands in everything that `hir`, an expression about bytes, matches.
pub(super) fn required(hir: &Hir) -> usize {
    rows(hir).longest
}

fn rows(hir: &Hir) -> Rows {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Rows::whole(0),
        HirKind::Literal(literal) => {
            let of = |&byte: &u8| if is_in_row(byte) { Rows::whole(1) } else { Rows::NONE };
            literal.0.iter().map(of).fold(Rows::whole(0), Rows::then)
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            if bytes.all(is_in_row) { Rows::whole(1) } else { Rows::NONE }
        }
        HirKind::Class(Class::Unicode(_)) => Rows::NONE,
        HirKind::Capture(capture) => rows(&capture.sub),
        HirKind::Repetition(repetition) => {
            let sub = rows(&repetition.sub);
            let min = repetition.min as usize;
            match sub.whole {
                // Even an endless one is nothing but one row.
                Some(length) => Rows::whole(length.saturating_mul(min)),
                None if min == 0 => Rows::NONE,
                None => sub,
            }
        }
        HirKind::Concat(parts) => parts.iter().map(rows).fold(Rows::whole(0), Rows::then),
        HirKind::Alternation(parts) => parts.iter().map(rows).reduce(Rows::or).unwrap_or(Rows::NONE),
    }
}

/// Whether a row of `length` bytes or more stands in this line.
pub(super) fn has_row(line: &[u8], length: usize) -> bool {
    if length == 0 {
        return true;
    }
    let mut at = length - 1;
    while let Some(&byte) = line.get(at) {
        if !is_in_row(byte) {
            at += length;
            continue;
        }
        let before = line[..at].iter().rev().take_while(|&&byte| is_in_row(byte)).count();
        let behind = line[at..].iter().take_while(|&&byte| is_in_row(byte)).count();
        if before + behind >= length {
            return true;
        }
        at += behind + length;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::template::Template;
    use crate::date::templates::DefaultTemplates;
    use proptest::prelude::{any, proptest};

    fn of(format: &str) -> usize {
        required(&Template::new(format).expect("a format").reduced().expect("reads"))
    }

    #[test]
    fn formats_need_rows_of_digits() {
        assert_eq!(of("EPOCH"), 10);
        assert_eq!(of("{^LN-BEG}LEPOCH"), 10);
        assert_eq!(of(r"%d/%b[^/]*/%Y:%H:%M:%S %z"), 10);
        assert_eq!(of("%Y:%m:%d-%H:%M:%S"), 7);
        assert_eq!(of("%b %d %H:%M:%S"), 5);
        assert_eq!(of("{NONE}x"), 0);
    }

    #[test]
    fn a_line_with_a_date_has_the_row_that_its_format_needs() {
        let templates = DefaultTemplates::new().all();
        for line in [
            "Nov 20 10:00:01 mx1 x",
            "1795168801 x",
            "type=A msg=audit(1700000000.123:45): x",
            "20261120T100000 x",
            "192.0.2.1 - - [20/Nov/2026:10:00:01 +0100] \"GET\"",
            "\u{661}795168801 x",
            "Nov 20, 2026 10:00:01 AM",
        ] {
            for template in &templates {
                let needed = required(&template.reduced().expect("reads"));
                let is_found = template.search(line, 0..line.len()).is_some();
                assert!(!is_found || has_row(line.as_bytes(), needed), "{} in {line}", template.name);
            }
        }
    }

    proptest! {
        #[test]
        fn rows_are_found_wherever_they_stand(bits in any::<Vec<u8>>(), length in 0_usize..14) {
            let line: Vec<u8> = bits.iter().map(|bits| b"0:9\x80 x01"[usize::from(*bits) % 8]).collect();
            let longest = line.split(|&byte| !is_in_row(byte)).map(<[u8]>::len).max().unwrap_or(0);
            assert_eq!(has_row(&line, length), longest >= length);
        }
    }
}
