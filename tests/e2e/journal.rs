//! systemd's journal as a log, with a real journald: hosts that have no log files, and what becomes of entries when the daemon,
//! journald or journalctl dies.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::journald::{self, Journald};
use bannkreis_tests::lab::wait::wait_for;
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
            is_banned(lab, &[first])?;
            journal.write("mine", &[format!("refused {other}")])?;
            journal.write("mine2", &[format!("refused {anew}")])?;
            is_banned(lab, &[other, anew])?;

            journal.write("sshd", &failures(split, 2))?;
            journal.write("sshd", &failures(twice, 2))?;
            journal.write("mine", &[format!("refused {}", mark(1))])?;
            is_banned(lab, &[mark(1)])?;
            lab.host_mut("mx1").kill_9();
            journal.write("sshd", &failures(dead, 3))?;
            journal.write("sshd", &failures(split, 1))?;
            lab.host_mut("mx1").start()?;
            is_banned(lab, &[dead, split])?;

            journal.restart()?;
            journal.write("sshd", &failures(again, 3))?;
            is_banned(lab, &[again])?;

            let ended = Command::new("pkill").args(["-9", "-x", "journalctl"]).status();
            expect(ended.is_ok_and(|status| status.success()), || "journalctl did not run".to_owned())?;
            journal.write("mine", &[format!("refused {}", mark(2))])?;
            is_banned(lab, &[mark(2)])?;

            std::fs::write(lab.host("mx1").file("log/later.log"), format!("h p[1]: refused {}\n", mark(3)))
                .context(|| "cannot write the log".to_owned())?;
            is_banned(lab, &[mark(3)])?;

            let banned = committed(&lab.host("mx1").bans()?);
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

fn is_banned(lab: &Lab, expected: &[IpAddr]) -> Result<()> {
    wait_for("those in the journal are banned", SOON, || {
        let banned = committed(&lab.host("mx1").bans()?);
        let missing: Vec<&IpAddr> =
            expected.iter().filter(|address| !banned.contains(&address.to_string())).collect();
        expect(missing.is_empty(), || format!("{missing:?} are not banned: {banned:?}"))
    })
}
