//! Where the two differ on purpose, with the reason, and a log that shows it.
//!
//! An entry whose log no longer shows a difference fails the test: then it is taken off the list. What a
//! test leaves out of its comparison altogether is in `compare`.

use crate::Case;
use crate::compare::Difference;
use bannkreis_core::failure::LINE_BYTES_MAX;

/// A difference that is meant.
pub(crate) struct Known {
    /// Why.
    pub(crate) reason: &'static str,
    filter: &'static str,
    options: &'static [&'static str],
    log: fn() -> String,
    explains: fn(&Difference) -> bool,
}

/// All of them.
pub(crate) const ALL: &[Known] = &[
    Known {
        reason: "a line is judged on its first 16 KiB, so that no line can cost any time it likes",
        filter: "from <HOST>$",
        options: &[],
        log: || format!("Nov 20 10:00:00 {} from 192.0.2.7\n", "x".repeat(LINE_BYTES_MAX)),
        explains: |difference| difference.line().len() > LINE_BYTES_MAX,
    },
    Known {
        reason: "<SKIPLINES> steps over lines as the log has them; Python's splitlines also ends lines at \\x1c, \
                 U+2028 and others of its kind, and does not find such a line again",
        filter: r"^ a (?P<n>\d+)<SKIPLINES>^ (?P=n) from <HOST>$",
        options: &["-L", "5"],
        log: || {
            "Nov 20 10:00:00 a 1\nNov 20 10:00:00 b\u{1c}c\nNov 20 10:00:00 1 from 192.0.2.7\n".to_owned()
        },
        explains: |difference| {
            let steps_over = |text: &str| text.contains(SPLITS_IN_PYTHON_ONLY);
            let skipped =
                |found: &serde_json::Value| found["data"]["skiplines0"].as_str().is_some_and(steps_over);
            difference.ours.found.iter().chain(&difference.theirs.found).any(skipped)
        },
    },
    Known {
        reason: "to Python, which ignores case in dates, the Turkish letters U+0130 and U+0131 are an i, and so part \
                 of a zone's name; by Unicode's simple case folding they are not",
        filter: r"\] from <HOST>$",
        options: &[],
        log: || "\u{130}\u{131}\u{17f}\u{212a} Sep 25 09:27:18 2024] from 192.0.2.7\n".to_owned(),
        explains: |difference| {
            let has_one =
                |line: &Vec<u8>| line.windows(2).any(|pair| pair == b"\xc4\xb0" || pair == b"\xc4\xb1");
            difference.lines.iter().any(has_one)
        },
    },
    Known {
        reason: "a line without a date is shown as it was written; fail2ban puts the date of the line before there",
        filter: "from <HOST>$",
        options: &[],
        log: || "Nov 22 12:00:00 x\nno date from 192.0.2.7\n".to_owned(),
        explains: |difference| {
            let without_lines = |found: &serde_json::Value| {
                let mut found = found.clone();
                found["matches"] = serde_json::Value::Null;
                found
            };
            let (ours, theirs) = (&difference.ours, &difference.theirs);
            ours.found.len() == theirs.found.len()
                && ours.found.iter().map(without_lines).eq(theirs.found.iter().map(without_lines))
        },
    },
    Known {
        reason: "a date with a zone that nobody knows is a date that can not be read; fail2ban raises an exception",
        filter: "from <HOST>$",
        options: &[],
        log: || "CES Nov 22 10:00:00 from 192.0.2.7\n".to_owned(),
        explains: |difference| {
            difference.theirs.error.as_ref().is_some_and(|error| error.starts_with("KeyError"))
        },
    },
];

/// Characters that end a line for Python's `splitlines` and for nobody else.
const SPLITS_IN_PYTHON_ONLY: [char; 9] =
    ['\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];

impl Known {
    /// The log that shows it.
    pub(crate) fn case(&self) -> Case {
        Case {
            seed: 0,
            filter: self.filter.to_owned(),
            encoding: "UTF-8",
            options: self.options.to_vec(),
            every: false,
            log: (self.log)().into_bytes(),
        }
    }
}

/// Whether a difference is one that is meant.
pub(crate) fn explains(difference: &Difference) -> bool {
    ALL.iter().any(|known| (known.explains)(difference))
}
