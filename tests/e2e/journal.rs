//! systemd's journal as a log, with a real journald: hosts that have no log files, and what becomes of entries when the daemon,
//! journald or journalctl dies.

use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::journald::{self, Journald};
use bannkreis_tests::seeds::Tree;

use crate::inside::{in_lab, plan, skip};

const SOON: Duration = Duration::from_secs(10);

/// The stock jail for ssh as it is enabled on Debian 12, where no file has what it looks for; one that asks for the journal
/// by name, with two alternatives; and one whose filter has no journalmatch, which waits for its file.
const JAILS: &str = "[sshd]\nenabled = true\nmaxretry = 3\nfindtime = 1h\n\
    [mine]\nenabled = true\nfilter = mine\nport = 25\nmaxretry = 1\nbackend = systemd[journalflags=4]\n\
    journalmatch = _COMM=other SYSLOG_IDENTIFIER=nobody\n SYSLOG_IDENTIFIER=mine + _COMM=mine2\n\
    [file]\nenabled = true\nfilter = mine\nport = 25\nlogpath = /var/log/later.log\nmaxretry = 1\n";

#[test]
fn the_journal_is_read_all_of_it_once() -> Result<()> {
    let name = "journal::the_journal_is_read_all_of_it_once";
    if let Some(why) = journald::is_missing() {
        return skip(name, &why);
    }
    let tree = Tree::empty()
        .with("jail.local", JAILS)
        .with("filter.d/mine.conf", "[Definition]\nfailregex = ^\\S+ \\w+\\[\\d+\\]: refused <HOST>$\n");
    in_lab(
        name,
        |_| vec![plan("mx1", tree)],
        |lab| {
            let mut journal = Journald::start(&lab.host("mx1").file(""))?;
            let [before, first, dead, split, twice, anew, again, other] =
                [1, 2, 3, 4, 5, 6, 7, 8].map(|last| IpAddr::from([198, 51, 100, last]));
            journal.write("sshd", &failures(before, 3))?;
            lab.form_cluster()?;

            journal.write("sshd", &failures(first, 3))?;
            lab.host("mx1").wait_banned(&[first], SOON)?;
            journal.write("mine", &[format!("refused {other}")])?;
            journal.write("mine2", &[format!("refused {anew}")])?;
            lab.host("mx1").wait_banned(&[other, anew], SOON)?;

            journal.write("sshd", &failures(split, 2))?;
            journal.write("sshd", &failures(twice, 2))?;
            journal.write("mine", &[format!("refused {}", mark(1))])?;
            lab.host("mx1").wait_banned(&[mark(1)], SOON)?;
            lab.host_mut("mx1").kill_9();
            journal.write("sshd", &failures(dead, 3))?;
            journal.write("sshd", &failures(split, 1))?;
            lab.host_mut("mx1").start()?;
            lab.host("mx1").wait_banned(&[dead, split], SOON)?;

            journal.restart()?;
            journal.write("sshd", &failures(again, 3))?;
            lab.host("mx1").wait_banned(&[again], SOON)?;

            lab.host("mx1").kill_child("journalctl")?;
            journal.write("mine", &[format!("refused {}", mark(2))])?;
            lab.host("mx1").wait_banned(&[mark(2)], SOON)?;

            std::fs::write(lab.host("mx1").file("log/later.log"), format!("h p[1]: refused {}\n", mark(3)))
                .context(|| "cannot write the log".to_owned())?;
            let banned = lab.host("mx1").wait_banned(&[mark(3)], SOON)?;
            for address in [before, twice] {
                expect(!banned.contains(&address.to_string()), || {
                    format!("{address} is banned: {banned:?}")
                })?;
            }
            let status = lab.host("mx1").cli(&["status", "sshd"])?.stdout;
            expect(status.contains("journal _SYSTEMD_UNIT=ssh.service + _COMM=sshd"), || status.clone())
        },
    )
}

/// What sshd says when a password is wrong.
fn failures(client: IpAddr, n: usize) -> Vec<String> {
    vec![format!("Failed password for invalid user bob from {client} port 51234 ssh2"); n]
}

/// Somebody whose ban says that everything before it has been read.
fn mark(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}
