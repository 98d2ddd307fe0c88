//! Lines that filters know, and what becomes of them when somebody wants to confuse a filter.

use bannkreis_core::failure::LINE_BYTES_MAX;
use std::path::Path;

/// Lines of many kinds.
pub(crate) fn known() -> Vec<Vec<u8>> {
    let maillog = include_str!("../../../../tests/samples/kerio/maillog");
    let own = [
        "Nov 20 10:00:01 mx1 sshd[812]: Failed password for root from 192.0.2.1 port 5022 ssh2",
        "Nov 20 10:00:01 mx1 sshd[812]: Invalid user admin from 192.0.2.1 port 5022",
        "Nov 20 10:00:02 mx1 sshd[812]: Connection closed by authenticating user root 192.0.2.1 port 5022 [preauth]",
        "Nov 20 10:00:02 mx1 sshd[813]: Accepted publickey for anna from 192.0.2.2 port 5023 ssh2: ED25519 SHA256:x",
        "Nov 20 10:00:03 mx1 postfix/smtpd[99]: NOQUEUE: reject: RCPT from unknown[192.0.2.3]: 554 5.7.1 <a@b.example>: Relay access denied; from=<c@d.example> to=<a@b.example> proto=ESMTP helo=<x>",
        "Nov 20 10:00:03 mx1 dovecot: imap-login: Disconnected (auth failed, 1 attempts in 4 secs): user=<info>, method=PLAIN, rip=192.0.2.4, lip=192.0.2.9, session=<x>",
        "2026-11-20T10:00:04.123+00:00 app failed from 192.0.2.5",
        "2026-11-20 10:00:04 app 'bob' denied 192.0.2.6",
        "Nov 20 10:00:05 app refused: 192.0.2.7",
        "Nov 20 10:00:05 app REFUSED: 2001:db8::7",
        "x: [2026-11-20 10:00:05] error from 192.0.2.8",
        "x:[2026-11-20 10:00:05] error from 192.0.2.8",
        "Nov 20 10:00:06 app begin 192.0.2.10",
        "Nov 20 10:00:06 app something between",
        "Nov 20 10:00:06 app has failed",
        "Nov 20 10:00:07 gr\u{fc}ne 192.0.2.11",
        "Nov 20 10:00:07 {192.0.2.12} 192.0.2.12",
        "failed from 192.0.2.13",
        "20/Nov/2026:10:00:08 +0000 failed from 192.0.2.14",
        "11-20-2026 10:00:08 failed from 192.0.2.15",
        "[Fri Nov 20 10:00:09.000001 2026] [error] [client 192.0.2.16] user x not found: /",
        "192.0.2.17 - - [20/Nov/2026:10:00:09 +0000] \"GET /x HTTP/1.1\" 404 1",
        "1795168801 app failed from 192.0.2.18",
        "Feb 30 10:00:00 app failed from 192.0.2.19",
        "",
    ];
    own.into_iter().chain(maillog.lines()).map(|line| line.as_bytes().to_vec()).collect()
}

/// The lines that the package brings to test its own filters with.
pub(crate) fn of_fail2ban(config: &Path) -> Vec<Vec<u8>> {
    let logs = config.join("../../usr/lib/python3/dist-packages/fail2ban/tests/files/logs");
    let Ok(entries) = std::fs::read_dir(logs) else { return Vec::new() };
    let mut paths: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let mut lines = Vec::new();
    for bytes in paths.iter().filter_map(|path| std::fs::read(path).ok()) {
        let of_file = bytes.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"# "));
        lines.extend(of_file.map(<[u8]>::to_vec));
    }
    lines
}

/// A made-up log: the same seed makes the same.
pub(crate) struct Lines {
    state: u64,
    known: Vec<Vec<u8>>,
}

const DATES: [&str; 6] = [
    "Nov 20 10:00:10",
    "2026-11-20 10:00:11",
    "[2026-11-20 10:00:12]",
    " 5/11/2026 10:00:13",
    "20/Nov/2026:10:00:14 +0100",
    "10:00:15",
];
const PIECES: [&[u8]; 14] = [
    b"\0",
    b"\r",
    b"\xff",
    b"\xc3\xa4",
    b"\xe2\x84\xaa",
    b" ",
    b"failed",
    b"[",
    b"]: ",
    b"192.0.2.99",
    b"'",
    b"root",
    b"{",
    b"\xc5\xbf",
];

impl Lines {
    pub(crate) fn new(seed: u64, known: Vec<Vec<u8>>) -> Lines {
        Lines { state: seed ^ 0x9e37_79b9_7f4a_7c15, known }
    }

    /// So many lines, most of them changed.
    pub(crate) fn log(&mut self, n_lines: usize) -> Vec<u8> {
        let mut log = Vec::new();
        for _ in 0..n_lines {
            let n = self.below(self.known.len());
            let mut line = self.known[n].clone();
            for _ in 0..self.below(4) {
                self.change(&mut line);
            }
            line.retain(|&byte| byte != b'\n');
            log.extend(line);
            log.push(b'\n');
        }
        log
    }

    fn change(&mut self, line: &mut Vec<u8>) {
        let at = self.below(line.len() + 1);
        match self.below(9) {
            0 | 1 => insert(line, at, PIECES[self.below(PIECES.len())]),
            2 => insert(line, at, DATES[self.below(DATES.len())].as_bytes()),
            3 => {
                let date = DATES[self.below(DATES.len())];
                insert(line, 0, format!("{date} ").as_bytes());
            }
            4 => line.truncate(at),
            5 => {
                let end = (at + self.below(12)).min(line.len());
                line.drain(at..end);
            }
            6 => {
                let n = self.below(self.known.len());
                let other = self.known[n].clone();
                let from = self.below(other.len() + 1);
                insert(line, at, &other[from..]);
            }
            7 => line.iter_mut().skip(at).take(8).for_each(u8::make_ascii_uppercase),
            _ if self.below(8) == 0 => insert(line, at, &b" x".repeat(LINE_BYTES_MAX / 2)),
            _ => {}
        }
    }

    /// A number below `bound` that looks random (xorshift64*).
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        random as usize % bound.max(1)
    }
}

fn insert(line: &mut Vec<u8>, at: usize, piece: &[u8]) {
    line.splice(at..at, piece.iter().copied());
}
