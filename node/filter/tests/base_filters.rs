//! Our own filters on lines as the servers write them: who is blamed, and who must not be.

use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::{Judged, Mode};
use bannkreis_filter::jail_config::ReadJail;
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;

const NOW: Timestamp = Timestamp(1_795_168_830_000);

fn jail(name: &str) -> ReadJail {
    let user = MemoryTree::new("/f/").with("jail.local", &format!("[{name}]\nenabled = true\n"));
    let host = Host { zone: TimeZone::UTC, services: &|_| None, config_dir: String::new() };
    let mut reading = reading::read(&user, &host).expect("well formed");
    assert_eq!(reading.errors, []);
    reading.jails.remove(0)
}

/// Per line: what is expected (an offender, or the reason for none), then the line.
fn check(name: &str, table: &[(&str, &str)]) {
    let mut jail = jail(name);
    for (expected, text) in table {
        let line = LogLine {
            source: SourceId(0),
            position: SourcePosition(0),
            received_at: NOW,
            text: text.as_bytes().to_vec(),
            cut: false,
            replayed: false,
        };
        let got = match jail.filter.judge(&line, NOW, Mode::Following) {
            Judged::Failure(failure) => failure.offender.to_string(),
            other => other.reason().to_owned(),
        };
        assert_eq!(got, *expected, "{text}");
    }
}

#[test]
fn sshd() {
    check(
        "sshd",
        &[
            ("192.0.2.1", "Nov 20 10:00:01 h sshd[1]: Failed password for root from 192.0.2.1 port 22 ssh2"),
            (
                "2001:db8::1",
                "Nov 20 10:00:01 h sshd[2]: Failed password for invalid user a b from 2001:db8::1 port 22 ssh2",
            ),
            (
                "192.0.2.2",
                "2026-11-20T10:00:01.123456+00:00 h sshd-session[3]: Invalid user x from 192.0.2.2 port 22",
            ),
            (
                "192.0.2.3",
                "Nov 20 10:00:01 h sshd[4]: error: PAM: Authentication failure for root from 192.0.2.3",
            ),
            (
                "192.0.2.3",
                "Nov 20 10:00:01 h sshd[5]: error: maximum authentication attempts exceeded for root from 192.0.2.3 port 22 ssh2 [preauth]",
            ),
            (
                "192.0.2.4",
                "Nov 20 10:00:01 h sshd[6]: User bin from 192.0.2.4 not allowed because not listed in AllowUsers",
            ),
            // A login name that claims to come from elsewhere.
            (
                "203.0.113.9",
                "Nov 20 10:00:01 h sshd[7]: Invalid user x from 1.1.1.1 port 22 from 203.0.113.9 port 22",
            ),
            ("no_failregex", "Nov 20 10:00:01 h sshd[8]: Server listening on 192.0.2.9 port 22."),
            ("no_failregex", "Nov 20 10:00:01 h cron[9]: Failed password for root by 192.0.2.1 port 22 ssh2"),
        ],
    );
}

#[test]
fn sshd_lines_of_one_connection_belong_together() {
    check(
        "sshd",
        &[
            // A key that is refused counts only when nobody logs in.
            (
                "nofail",
                "Nov 20 10:00:01 h sshd[1]: Failed publickey for root from 192.0.2.1 port 22 ssh2: RSA SHA256:abc",
            ),
            (
                "nofail",
                "Nov 20 10:00:02 h sshd[1]: Accepted publickey for root from 192.0.2.1 port 22 ssh2: RSA SHA256:def",
            ),
            // The failure does not name the offender; another line of the connection does.
            ("nofail", "Nov 20 10:00:03 h sshd[2]: Connection from 192.0.2.2 port 22 on 192.0.2.9 port 22"),
            (
                "192.0.2.2",
                "Nov 20 10:00:04 h sshd[2]: Disconnecting: Too many authentication failures [preauth]",
            ),
            // Or the other way round.
            (
                "pending",
                "Nov 20 10:00:05 h sshd[3]: Disconnecting: Too many authentication failures [preauth]",
            ),
            (
                "192.0.2.3",
                "Nov 20 10:00:06 h sshd[3]: Connection closed by authenticating user root 192.0.2.3 port 22 [preauth]",
            ),
            // Trying several names in one connection counts, even if one of them gets in.
            (
                "nofail",
                "Nov 20 10:00:07 h sshd[4]: Failed publickey for a from 192.0.2.4 port 22 ssh2: RSA SHA256:abc",
            ),
            (
                "192.0.2.4",
                "Nov 20 10:00:08 h sshd[4]: Failed publickey for b from 192.0.2.4 port 22 ssh2: RSA SHA256:abc",
            ),
            (
                "nofail",
                "Nov 20 10:00:09 h sshd[5]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.5  user=root",
            ),
            ("192.0.2.5", "Nov 20 10:00:10 h sshd[5]: Failed password for root from 192.0.2.5 port 22 ssh2"),
        ],
    );
}

#[test]
fn apache_auth() {
    check(
        "apache-auth",
        &[
            (
                "192.0.2.1",
                "[Fri Nov 20 10:00:04.123456 2026] [auth_basic:error] [pid 2212] [client 192.0.2.1:41000] AH01618: user nosuch not found: /private",
            ),
            (
                "192.0.2.1",
                "[Fri Nov 20 10:00:04.123456 2026] [auth_basic:error] [pid 2212:tid 7] [client 192.0.2.1:41000] AH01617: user a b: authentication failure for \"/p\": Password Mismatch",
            ),
            (
                "2001:db8::1",
                "[Fri Nov 20 10:00:04 2026] [error] [client 2001:db8::1] client denied by server configuration: /var/www/x",
            ),
            (
                "192.0.2.2",
                "[Fri Nov 20 10:00:04.1 2026] [auth_digest:error] [pid 1] [client 192.0.2.2:1] AH01790: user `x' in realm `r' not found: /p",
            ),
            (
                "no_failregex",
                "[Fri Nov 20 10:00:04.1 2026] [core:error] [pid 1] [client 192.0.2.2:1] AH00126: Invalid URI in request GET user x not found",
            ),
            (
                "no_prefregex",
                "[Fri Nov 20 10:00:06.1 2026] [core:notice] [pid 1] AH00094: Command line: '/usr/sbin/apache2'",
            ),
        ],
    );
}

#[test]
fn postfix() {
    check(
        "postfix",
        &[
            (
                "192.0.2.1",
                "Nov 20 10:00:01 h postfix/smtpd[1]: warning: unknown[192.0.2.1]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
            ),
            (
                "192.0.2.1",
                "Nov 20 10:00:01 h postfix/submission/smtpd[1]: warning: a.example[192.0.2.1]: SASL PLAIN authentication failed:",
            ),
            (
                "2001:db8::1",
                "Nov 20 10:00:01 h postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[2001:db8::1]: 554 5.7.1 <a@b.example>: Relay access denied; from=<c@d.example> to=<a@b.example> proto=ESMTP helo=<x>",
            ),
            (
                "192.0.2.2",
                "Nov 20 10:00:01 h postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.2]: 550 5.1.1 <a@b.example>: Recipient address rejected: User unknown in local recipient table; from=<c@d.example>",
            ),
            ("no_failregex", "Nov 20 10:00:01 h postfix/smtpd[1]: connect from unknown[192.0.2.1]"),
            (
                "no_failregex",
                "Nov 20 10:00:01 h postfix/smtpd[1]: lost connection after AUTH from unknown[192.0.2.1]",
            ),
        ],
    );
}

#[test]
fn dovecot() {
    check(
        "dovecot",
        &[
            (
                "192.0.2.1",
                "Nov 20 10:00:01 h dovecot: imap-login: Disconnected: Connection closed (auth failed, 3 attempts in 14 secs): user=<bob@x>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.9, TLS, session=<abc>",
            ),
            (
                "2001:db8::1",
                "Nov 20 10:00:01 h dovecot: pop3-login: Aborted login (auth failed, 1 attempts): user=<>, rip=2001:db8::1, lip=2001:db8::9",
            ),
            ("192.0.2.2", "Nov 20 10:00:01 h dovecot: auth: passwd-file(a,b,192.0.2.2,<abc>): unknown user"),
            (
                "192.0.2.3",
                "Nov 20 10:00:01 h dovecot: auth-worker(77): pam(root,192.0.2.3): pam_authenticate() failed: Authentication failure (password mismatch?)",
            ),
            // A login name that looks like the rest of the line.
            (
                "203.0.113.9",
                "Nov 20 10:00:01 h dovecot: imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<x, rip=1.1.1.1, lip=2.2.2.2>, method=PLAIN, rip=203.0.113.9, lip=192.0.2.9",
            ),
            (
                "no_failregex",
                "Nov 20 10:00:01 h dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.9, mpid=1, TLS, session=<a>",
            ),
        ],
    );
}
