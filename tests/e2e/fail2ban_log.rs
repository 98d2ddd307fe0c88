//! fail2ban's own log lines, beside the daemon's log: on the host that bans and on the others, over a restart, after rotation,
//! and as fail2ban's filter for its own log reads them.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::host::{Host, HostPlan};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use crate::inside::{in_lab, plan};

const SOON: Duration = Duration::from_secs(10);
const GUEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 51));
const REGULAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 52));

#[test]
fn whatever_reads_fail2bans_log_finds_its_lines() -> Result<()> {
    let name = "fail2ban_log::whatever_reads_fail2bans_log_finds_its_lines";
    let jail = "[postfix-sasl]\nenabled = true\nmaxretry = 1\nbantime = 1h\n\
                [again]\nenabled = true\nfilter = postfix[mode=auth]\nport = 25\nlogpath = /var/log/again.log\nmaxretry = 1\n\
                bantime = 2s\nbantime.increment = true\n";
    let with_log = |name: &'static str, tree: Tree| {
        let usual = plan(name, tree);
        let settings = format!("{}[log]\nfail2ban = \"/var/log/fail2ban.log\"\n", usual.settings);
        HostPlan { settings, ..usual }
    };
    let hosts = |_: &_| {
        let mx1 = Tree::empty().with("jail.local", jail).with_log(seeds::MAIL_LOG).with_log("again.log");
        vec![with_log("mx1", mx1), with_log("mx2", Tree::empty())]
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let guest = GUEST.to_string();
        lab.host("mx1").append_log(seeds::MAIL_LOG, &[seeds::postfix_failure(GUEST)])?;
        has(lab.host("mx1"), "fail2ban.filter", "INFO    [postfix-sasl] Found 203.0.113.51 - 2")?;
        has(lab.host("mx1"), "fail2ban.actions", "NOTICE  [postfix-sasl] Ban 203.0.113.51\n")?;
        has(lab.host("mx2"), "fail2ban.actions", "NOTICE  [postfix-sasl] Ban 203.0.113.51 from mx1\n")?;

        lab.host_mut("mx1").stop()?;
        lab.host_mut("mx1").start()?;
        has(lab.host("mx1"), "fail2ban.actions", "NOTICE  [postfix-sasl] Restore Ban 203.0.113.51\n")?;
        lab.leader()?;
        lab.host("mx2").cli(&["unban", &guest])?.expect_success()?;
        for host in ["mx1", "mx2"] {
            has(lab.host(host), "fail2ban.actions", "NOTICE  [postfix-sasl] Unban 203.0.113.51\n")?;
        }

        // Who comes back is banned for longer.
        lab.host("mx1").append_log("again.log", &[seeds::postfix_failure(REGULAR)])?;
        has(lab.host("mx2"), "fail2ban.actions", "NOTICE  [again] Ban 203.0.113.52 from mx1\n")?;
        for host in ["mx1", "mx2"] {
            has(lab.host(host), "fail2ban.actions", "NOTICE  [again] Unban 203.0.113.52\n")?;
        }
        wait_for("the short ban is over", SOON, || {
            let bans = lab.host("mx1").bans()?;
            expect(bans.iter().all(|ban| ban.jail != "again"), || format!("{bans:?}"))
        })?;
        // A line tells whole seconds, and one of the second in which the ban ended may be older than its end.
        let ended_s = Timestamp::now().as_second();
        wait_for("the next second", SOON, || {
            expect(Timestamp::now().as_second() > ended_s, || "it is the same".to_owned())
        })?;
        lab.host("mx1").append_log("again.log", &[seeds::postfix_failure(REGULAR)])?;
        has(lab.host("mx2"), "fail2ban.observer", "NOTICE  [again] Increase Ban 203.0.113.52 (2 # ")?;

        // Each ban counts on one host only, for whoever reads both logs as fail2ban's filter for its own log does: to the
        // end of the line.
        let own_bans =
            r"^\s*fail2ban\.actions\s+\[\d+\]:\s+NOTICE\s+\[(?!recidive\])[^\]]+\]\s+Ban <HOST>\s*$";
        for (host, n_bans) in [("mx1", 3), ("mx2", 0)] {
            let host = lab.host(host);
            let log = host.file("log/fail2ban.log").display().to_string();
            let read = host.cli(&["regex", &log, own_bans])?.stdout;
            expect(read.contains(&format!(", {n_bans} matched,")), || read)?;
        }

        let (log, rotated) =
            (lab.host("mx1").file("log/fail2ban.log"), lab.host("mx1").file("log/fail2ban.log.1"));
        fs::rename(&log, rotated).context(|| "cannot rotate the log".to_owned())?;
        let pid = lab.host("mx1").pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.ok_or_else(|| Failed("mx1 does not run".to_owned()))?, Signal::HUP)
            .context(|| "cannot send a signal".to_owned())?;
        wait_for("the log is opened anew", SOON, || expect(log.exists(), || "there is none".to_owned()))?;
        lab.host("mx1").cli(&["ban", "198.51.100.9", "--for", "1h"])?.expect_success()?;
        has(lab.host("mx1"), "fail2ban.actions", "Ban 198.51.100.9")
    })
}

/// Waits for a line of this logger's with this in it.
fn has(host: &Host, logger: &str, wanted: &str) -> Result<()> {
    let logger = format!(" {logger:<24}[");
    wait_for(wanted, SOON, || {
        let text = fs::read_to_string(host.file("log/fail2ban.log")).unwrap_or_default();
        let is_it = |line: &str| line.contains(&logger) && line.contains(wanted);
        expect(text.split_inclusive('\n').any(is_it), || format!("{}: {text}", host.name()))
    })
}
