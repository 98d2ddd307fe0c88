//! Logs made of the sample lines with damage done to them: other addresses, odd names, odd dates, bytes that
//! are no text.
//!
//! The same seed makes the same log.

/// A small generator of numbers (Marsaglia's xorshift64), so that a log can be made again from its seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn of(seed: u64) -> Numbers {
        // The state must not be zero.
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 up to `below`, which is not 0.
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }

    fn one_of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// What stands where an address stood.
const ADDRESSES: [&str; 14] = [
    "198.51.100.7",
    "2001:db8::7",
    "2001:DB8:0:0::7",
    "::ffff:198.51.100.7",
    "[2001:db8::7]",
    "999.1.1.1",
    "01.2.3.4",
    "198.51.100.7:1025",
    "198.51.100.7/24",
    "host.example",
    "_.host-1.example.",
    "::1",
    "unknown",
    "",
];

/// What somebody may write who wants to be taken for somebody else.
const INSERTED: [&str; 26] = [
    " from 203.0.113.9",
    " rhost=203.0.113.9 ",
    "from 203.0.113.9 port 22 ssh2",
    "[203.0.113.9]",
    "<203.0.113.9>",
    "client 203.0.113.9: ",
    "\"",
    "'",
    "\\",
    "; ",
    ": ",
    " - ",
    "(x)",
    "user=<root>, ",
    "invalid user ",
    "\u{e4}\u{f6}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{1c}",
    "\u{b2}",
    "e\u{301}",
    "\t",
    "\u{ff21}",
    "%s $x `x`",
    " 2026-01-02 03:04:05 ",
];

/// Bytes that are no UTF-8: alone, cut off, too long, a half of a pair.
const NO_TEXT: [&[u8]; 5] = [b"\xff", b"\xe4", b"\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80"];

/// A log of `lines` lines made of `samples`.
pub(crate) fn log(samples: &[String], lines: usize, numbers: &mut Numbers) -> Vec<Vec<u8>> {
    (0..lines)
        .map(|_| {
            let mut line = samples[numbers.below(samples.len())].clone().into_bytes();
            for _ in 0..numbers.below(4) {
                damage(&mut line, samples, numbers);
            }
            line
        })
        .collect()
}

fn damage(line: &mut Vec<u8>, samples: &[String], numbers: &mut Numbers) {
    let at = numbers.below(line.len() + 1);
    let end = (at + numbers.below(12)).min(line.len());
    match numbers.below(11) {
        0 | 1 => replace_address(line, numbers),
        2 | 3 => insert(line, at, numbers.one_of(&INSERTED).as_bytes()),
        4 => insert(line, at, numbers.one_of(&NO_TEXT)),
        5 => drop(line.drain(at..end)),
        6 => {
            let twice = line[at..end].to_vec();
            insert(line, at, &twice);
        }
        7 => line.truncate(at),
        8 => change_digit(line, at, numbers),
        9 => {
            // The beginning of another line, and with it another form of date.
            let other = samples[numbers.below(samples.len())].as_bytes();
            let other = &other[..other.len().min(numbers.below(40))];
            let from = numbers.below(line.len().min(24) + 1);
            line.splice(..from, other.iter().copied());
        }
        _ => {
            let blanks: [&[u8]; 4] = [b" ", b"  ", b"\t", b"\r"];
            let blank = numbers.one_of(&blanks);
            let at = if numbers.below(2) == 0 { 0 } else { line.len() };
            insert(line, at, blank);
        }
    }
    // Not part of a line, and not text for fail2ban-regex's own output.
    line.retain(|byte| !matches!(byte, b'\n' | 0));
}

fn insert(line: &mut Vec<u8>, at: usize, text: &[u8]) {
    line.splice(at..at, text.iter().copied());
}

fn replace_address(line: &mut Vec<u8>, numbers: &mut Numbers) {
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let mut from = 0;
    while let Some(begin) = line[from..].iter().position(is_part).map(|at| from + at) {
        let length = line[begin..].iter().take_while(|byte| is_part(byte)).count();
        if line[begin..begin + length].iter().filter(|byte| **byte == b'.').count() == 3 {
            let address = numbers.one_of(&ADDRESSES);
            line.splice(begin..begin + length, address.bytes());
            return;
        }
        from = begin + length;
    }
}

/// Another digit, but no other century: which years a date may have is a matter of the clock.
fn change_digit(line: &mut [u8], at: usize, numbers: &mut Numbers) {
    let Some(at) =
        line.iter().enumerate().skip(at).find_map(|(at, byte)| byte.is_ascii_digit().then_some(at))
    else {
        return;
    };
    let begin = line[..at].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |before| before + 1);
    let length = line[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length < 4 {
        line[at] = b'0' + u8::try_from(numbers.below(10)).expect("a digit");
    }
}
