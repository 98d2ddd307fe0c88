//! Made-up logs: what a mail server and an ssh server write on a normal day, and what is written under
//! attack, in any mixture.
//!
//! The same numbers give the same log, so that figures can be compared. Not for what is a failure in them:
//! the filters decide.

use std::fmt::Write;

/// What kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Kerio Connect by syslog.
    Kerio,
    /// The same with names that are not ASCII in every line.
    KerioUmlauts,
    /// OpenSSH.
    Sshd,
    /// The same with accounts that are not ASCII in every line.
    SshdUmlauts,
    /// Postfix, dovecot and ssh in one file.
    Mail,
}

/// A log of `n_lines`, of which one in `1 / hostile` is written by an attack, 40 lines per second.
pub(crate) fn log(kind: Kind, n_lines: u32, hostile: f64) -> String {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(n_lines));
    let mut text = String::with_capacity(n_lines as usize * 150);
    for n in 0..n_lines {
        let second = n / 40;
        let (day, hour) = (1 + second / 86_400 % 20, second / 3_600 % 24);
        let (minute, second) = (second / 60 % 60, second % 60);
        let _ = write!(text, "Nov {day:2} {hour:02}:{minute:02}:{second:02} mx1 ");
        let is_hostile = random.below(1_000_000) < (hostile * 1e6) as u64;
        match kind {
            Kind::Kerio => kerio(&mut text, &mut random, is_hostile, "bob", "Offer"),
            Kind::KerioUmlauts => kerio(&mut text, &mut random, is_hostile, "jörg", "Größeres Angebot €"),
            Kind::Sshd => ssh(&mut text, &mut random, is_hostile, "user"),
            Kind::SshdUmlauts => ssh(&mut text, &mut random, is_hostile, "müller"),
            Kind::Mail if random.below(5) == 0 => ssh(&mut text, &mut random, is_hostile, "user"),
            Kind::Mail => mail(&mut text, &mut random, is_hostile),
        }
        text.push('\n');
    }
    text
}

/// A sequence of numbers that looks random (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn address(&mut self) -> String {
        format!("198.18.{}.{}", self.below(256), self.below(256))
    }
}

fn kerio(text: &mut String, random: &mut Random, is_hostile: bool, name: &str, subject: &str) {
    let (id, address) = (random.below(1 << 31), random.address());
    let size = random.below(90_000);
    let _ = write!(text, "kerio-connect[811]: ");
    let _ = match (is_hostile, random.below(9)) {
        (false, 0..=3) => write!(
            text,
            "Recv: Queue-ID: {id:08x}, Service: SMTP, From: <{name}{size}@client.example>, To: <anna@meinedomain.tld>, Size: {size}, Sender-Host: {address}, SSL: yes, Subject: {subject}"
        ),
        (false, 4..=6) => write!(
            text,
            "Sent: Queue-ID: {id:08x}, Recipient: <{name}@partner.example>, Result: delivered, Status: 2.0.0 , Remote-Host: {address}, Msg-Id: <{id:08x}.{size}@mx1.meinedomain.tld>"
        ),
        (false, 7) => write!(
            text,
            "User {name}@meinedomain.tld successfully logged in to IMAP from {address}, client Thunderbird 128.{size}"
        ),
        (false, _) => write!(
            text,
            "Task queue {name}: {size} items checked in {} ms, next run in 300 s, no work for instance {id:08x}",
            size % 977
        ),
        (true, 0) => write!(
            text,
            "IP address {address} found in DNS blacklist Barracuda, mail from <{name}@bulk.example> to <info@meinedomain.tld>"
        ),
        (true, 1) => write!(
            text,
            "Message detected as spam with score: 7.25, threshold 5.00, From: {name}@y.example, To: bob@meinedomain.tld, Sender IP: {address}, Subject: {subject}"
        ),
        (true, 2) => write!(text, "Directory harvest attack from {address} detected, {name}"),
        (true, 3) => write!(
            text,
            "Message from IP address {address} was rejected because of missing authentification for local domain sender {name}@meinedomain.tld"
        ),
        (true, 4) => write!(
            text,
            "Message rejected from <{name}@bulk.example>, score 9.1, Sender IP: {address}, block"
        ),
        (true, 5) => write!(
            text,
            "Relay attempt from IP address {address}, mail from <{name}@bulk.example> to <b@c.example> rejected"
        ),
        (true, 6) => write!(
            text,
            "SMTP Spam attack detected from {address}, client {name} sent data before the greeting"
        ),
        (true, 7) => write!(
            text,
            "Attempt to deliver to unknown recipient <{name}@meinedomain.tld>, from <x@bulk.example>, IP address {address}"
        ),
        (true, _) => write!(
            text,
            "HTTP request from {address} (GET /phpmyadmin/{name}/setup.php HTTP/1.1) answered with 404"
        ),
    };
}

fn ssh(text: &mut String, random: &mut Random, is_hostile: bool, user: &str) {
    let (process, port, address) =
        (1_000 + random.below(30_000), 1_024 + random.below(60_000), random.address());
    let _ = write!(text, "sshd[{process}]: ");
    let _ = match (is_hostile, random.below(4)) {
        (false, 0) => write!(
            text,
            "Accepted publickey for {user} from {address} port {port} ssh2: ED25519 SHA256:GuQ3k{port}"
        ),
        (false, 1) => {
            write!(text, "pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)")
        }
        (false, 2) => write!(text, "pam_unix(sshd:session): session closed for user {user}"),
        (false, _) => write!(text, "Server listening on {address} port {port}, {user} may log in."),
        (true, 0) => write!(text, "Failed password for root from {address} port {port} ssh2"),
        (true, 1) => {
            write!(text, "Failed password for invalid user {user}{port} from {address} port {port} ssh2")
        }
        (true, 2) => write!(text, "Invalid user {user}{port} from {address} port {port}"),
        (true, _) => write!(
            text,
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={address}  user={user}"
        ),
    };
}

fn mail(text: &mut String, random: &mut Random, is_hostile: bool) {
    let (process, id, address) = (1_000 + random.below(30_000), random.below(1 << 40), random.address());
    let _ = match (is_hostile, random.below(6)) {
        (false, 0) => write!(text, "postfix/smtpd[{process}]: connect from mail.client.example[{address}]"),
        (false, 1) => write!(
            text,
            "postfix/cleanup[{process}]: {id:010X}: message-id=<{id:x}.{process}@client.example>"
        ),
        (false, 2) => write!(
            text,
            "postfix/qmgr[{process}]: {id:010X}: from=<anna@client.example>, size={id}, nrcpt=1 (queue active)"
        ),
        (false, 3) => write!(
            text,
            "postfix/smtp[{process}]: {id:010X}: to=<bob@partner.example>, relay=mx.partner.example[{address}]:25, delay=0.61, delays=0.03/0.01/0.21/0.36, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {id:X})"
        ),
        (false, 4) => write!(
            text,
            "dovecot: imap-login: Login: user=<anna>, method=PLAIN, rip={address}, lip=192.0.2.1, mpid={process}, TLS, session=<{id:x}>"
        ),
        (false, _) => write!(
            text,
            "dovecot: imap(anna)<{process}><{id:x}>: Logged out in={id} out=88213 deleted=0 expunged=0 trashed=0"
        ),
        (true, 0..=2) => write!(
            text,
            "postfix/smtpd[{process}]: NOQUEUE: reject: RCPT from unknown[{address}]: 554 5.7.1 <x@bulk.example>: Relay access denied; from=<a@bulk.example> to=<x@bulk.example> proto=ESMTP helo=<y>"
        ),
        (true, _) => write!(
            text,
            "dovecot: imap-login: Disconnected (auth failed, 1 attempts in 4 secs): user=<info>, method=PLAIN, rip={address}, lip=192.0.2.1, session=<{id:x}>"
        ),
    };
}
