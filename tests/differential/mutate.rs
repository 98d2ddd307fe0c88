//! A line of a log, changed by chance as attackers, clocks and broken programs change lines.
//!
//! Bytes in, bytes out; nothing here knows a filter.

/// Numbers by chance, the same for the same seed (xorshift64*, Vigna 2016).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        let mut random = Random(seed | 1);
        // The first numbers of seeds that are alike are alike.
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.index(all.len())]
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length.max(1) as u64)).unwrap_or_default()
    }
}

/// What may stand where a user's name or an address stood.
const NAMES: [&str; 26] = [
    "root",
    "",
    " ",
    "a b",
    "root from 203.0.113.9 port 22 ssh2",
    "x from 203.0.113.9",
    "user=<admin>, rip=203.0.113.9",
    "invalid user root",
    "' OR 1=1 --",
    "\"quoted\"",
    "back\\slash",
    "tab\there",
    "new\\nline",
    "[203.0.113.9]",
    "<HOST>",
    "%(known/x)s",
    "$(reboot)",
    "J\u{fc}rgen",
    "\u{442}\u{435}\u{441}\u{442}",
    "\u{202e}drah",
    "\u{a0}",
    "\u{2028}",
    "\u{85}",
    "\u{1c}",
    "\u{130}\u{131}\u{17f}\u{212a}",
    "\u{1f600}",
];
const ADDRESSES: [&str; 18] = [
    "192.0.2.7",
    "198.51.100.255",
    "::ffff:192.0.2.7",
    "::FFFF:192.0.2.7",
    "2001:db8::1",
    "[2001:db8::1]",
    "2001:DB8:0:0:0:0:0:1",
    "::1",
    "fe80::1%eth0",
    "999.1.1.1",
    "01.2.3.4",
    "1.2.3",
    "192.0.2.7:22",
    "host.example.org",
    "under_score.example",
    "192.0.2.0/24",
    "-",
    "1.2.3.4.5",
];
const DATES: [&str; 34] = [
    "Nov 22 10:00:00",
    "Nov  2 10:00:00",
    "Nov 22 10:00:00 2026",
    "Sun Nov 22 10:00:00 2026",
    "Sun Nov 22 10:00:00.123456 2026",
    "nov 22 10:00:00",
    "Dec 31 23:59:59",
    "Nov 23 11:59:59",
    "Nov 24 12:00:01",
    "Feb 30 10:00:00",
    "Feb 29 10:00:00",
    "2026-11-22 10:00:00",
    "2026-11-22T10:00:00Z",
    "2026-11-22T10:00:00.123+01:00",
    "2026-11-22T10:00:00,999-0530",
    "2026/11/22 10:00:00",
    "2026.11.22 10:00:00",
    "2026-02-30 10:00:00",
    "2026-11-22 25:00:00",
    "2024-02-29 00:00:00",
    "2019-12-31 23:59:60",
    "22/Nov/2026:10:00:00 +0100",
    "22-11-2026 10:00:00",
    "22/11/26 10:00:00",
    "11/22/2026:10:00:00",
    "11-22-2026 10:00:00.5",
    "1795341600",
    "[1795341600]",
    "1795341600.123",
    "261122 10:00:00",
    "20261122T100000",
    "Nov 22, 2026 10:00:00 AM",
    "10:00:00",
    "@4000000069231ba02d8f3a44",
];
const BYTES: [&[u8]; 14] = [
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\xe4",
    b"\xed\xa0\x80",
    b"\xf0\x9f",
    b"\r",
    b"\t",
    b"\x0b",
    b"\x1b[31m",
    b"\x7f",
    b" ",
    b"\xc2\xa0",
    b"\xe2\x80\xa8",
];

/// A line like one of `lines`.
pub(crate) fn line(random: &mut Random, lines: &[Vec<u8>]) -> Vec<u8> {
    let mut line = random.one_of(lines).clone();
    // A third stays as it is, so that what depends on earlier lines has something to depend on.
    let n_changes = random.below(6).saturating_sub(1);
    for _ in 0..n_changes {
        line = changed(random, line, lines);
    }
    line.retain(|&byte| byte != b'\n');
    line
}

fn changed(random: &mut Random, mut line: Vec<u8>, lines: &[Vec<u8>]) -> Vec<u8> {
    let at = random.index(line.len() + 1);
    match random.below(14) {
        0 | 1 => replace_word(random, line, |word| word.iter().any(u8::is_ascii_alphabetic), &NAMES),
        2 | 3 => replace_word(random, line, is_like_an_address, &ADDRESSES),
        4 | 5 => replace_date(random, line),
        6 => {
            let date = random.one_of(&DATES).as_bytes().to_vec();
            line.splice(at..at, date);
            line
        }
        7 | 8 => {
            let bytes = random.one_of(&BYTES).to_vec();
            line.splice(at..at, bytes);
            line
        }
        9 => {
            line.truncate(at);
            line
        }
        10 => {
            let other = random.one_of(lines).clone();
            let from = random.index(other.len() + 1);
            line.extend_from_slice(&other[from..]);
            line
        }
        11 => {
            let name = random.one_of(&NAMES).as_bytes().to_vec();
            line.splice(at..at, name);
            line
        }
        12 => {
            let padding = vec![*random.one_of(b"x .:[<\"\\"); random.index(3_000)];
            line.splice(at..at, padding);
            line
        }
        _ => {
            line.drain(at..line.len().min(at + 1 + random.index(5)));
            line
        }
    }
}

fn is_like_an_address(word: &[u8]) -> bool {
    word.len() > 2
        && word.iter().all(|byte| byte.is_ascii_hexdigit() || b".:[]".contains(byte))
        && word.iter().filter(|byte| b".:".contains(byte)).count() > 1
}

/// Puts one of `others` in the place of a word that is `alike`.
fn replace_word(
    random: &mut Random,
    line: Vec<u8>,
    alike: impl Fn(&[u8]) -> bool,
    others: &[&str],
) -> Vec<u8> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-:[]".contains(byte) || !byte.is_ascii();
    let mut words = Vec::new();
    let mut begin = None;
    for at in 0..=line.len() {
        let inside = line.get(at).is_some_and(is_part);
        match (begin, inside) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                if alike(&line[from..at]) {
                    words.push(from..at);
                }
                begin = None;
            }
            _ => {}
        }
    }
    if words.is_empty() {
        return line;
    }
    let range = random.one_of(&words).clone();
    let mut line = line;
    line.splice(range, random.one_of(others).bytes());
    line
}

/// Puts another date in the place of what looks like one at the beginning.
fn replace_date(random: &mut Random, mut line: Vec<u8>) -> Vec<u8> {
    let window = line.len().min(40);
    let is_time = |at: usize| {
        let part = &line[at..(at + 8).min(line.len())];
        part.len() == 8
            && part[2] == b':'
            && part[5] == b':'
            && part[0].is_ascii_digit()
            && part[7].is_ascii_digit()
    };
    let end = (0..window).find(|&at| is_time(at)).map_or(random.index(window + 1), |at| at + 8);
    line.splice(..end.min(line.len()), random.one_of(&DATES).bytes());
    line
}
