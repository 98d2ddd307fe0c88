//! Lists of bans that come and go: text, our own JSON, and the database that a real fail2ban has written.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::seeds::Tree;

use crate::inside::{in_lab, plan, skip};

const SOON: Duration = Duration::from_secs(10);

/// Has fail2ban's own code keep bans: one that holds, one for ever, one that is over, one that names nobody's address.
const KEEPS: &str = "\
import sys, time
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.ticket import BanTicket
db = Fail2BanDb(sys.argv[1])
now = int(time.time())
class Jail:
    def __init__(self, name): self.name, self.actions = name, self
    def getBanTime(self): return 600
jails = {name: Jail(name) for name in ('sshd', 'nowhere')}
for jail in jails.values(): db.addJail(jail)
for name, ip, ago, length, count, line in (
        ('sshd', '203.0.113.61', 60, 86400, 3, 'sshd[1]: Failed password for bob from 203.0.113.61'),
        ('sshd', '2001:db8:61::1', 60, -1, 1, 'for ever'),
        ('sshd', '203.0.113.62', 7200, 600, 2, 'over'),
        ('nowhere', '203.0.113.63', 60, 86400, 1, 'a jail of another host'),
        ('sshd', '10.77.0.12', 60, 86400, 1, 'a node')):
    ticket = BanTicket(ip, now - ago, [line])
    ticket.setBanTime(length)
    ticket.setBanCount(count)
    db.addBan(jails[name], ticket)
db.close()
";

#[test]
fn bans_of_fail2bans_database_come_along() -> Result<()> {
    let name = "lists::bans_of_fail2bans_database_come_along";
    let Some(configuration) = std::env::var_os("BANNKREIS_FAIL2BAN_DIR").filter(|dir| !dir.is_empty()) else {
        return skip(name, "BANNKREIS_FAIL2BAN_DIR does not say where fail2ban is unpacked");
    };
    let modules = PathBuf::from(configuration).join("../../usr/lib/python3/dist-packages");
    let tree = || Tree::empty().with("jail.local", "[sshd]\nenabled = true\n");
    in_lab(
        name,
        |_| vec![plan("mx1", tree()), plan("mx2", tree())],
        |lab| {
            lab.form_cluster()?;
            let mx1 = lab.host("mx1");
            let database = mx1.file("fail2ban.sqlite3");
            let kept = Command::new("python3")
                .args(["-c", KEEPS])
                .arg(&database)
                .env("PYTHONPATH", modules)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .output()
                .context(|| "cannot run python3".to_owned())?;
            expect(kept.status.success(), || String::from_utf8_lossy(&kept.stderr).into_owned())?;

            let path = database.display().to_string();
            let told = mx1.cli(&["import", &path, "--reason", "moved"])?;
            expect(
                told.status.code() == Some(1)
                    && told.stdout.contains("2 entries taken over")
                    && told.stdout.contains("1 ban was over already")
                    && told.stdout.contains("203.0.113.63: refused: no node has a jail `nowhere`")
                    && told.stdout.contains("10.77.0.12: refused: "),
                || format!("{}{}", told.stdout, told.stderr),
            )?;
            let [held, over] = [61, 62].map(|last| IpAddr::from([203, 0, 113, last]));
            for host in [mx1, lab.host("mx2")] {
                let banned = host.wait_banned(&[held], SOON)?;
                expect(banned.contains("2001:db8:61::/64") && !banned.contains(&over.to_string()), || {
                    format!("{}: {banned:?}", host.name())
                })?;
            }
            lab.attacker.wait_silent(&[(held, lab.host("mx2").port(22, held))], SOON)?;
            let why = mx1.cli(&["why", &held.to_string()])?.stdout;
            expect(why.contains("Failed password for bob") && why.contains("sshd"), || why)?;
            // Once more changes nothing.
            let bans = |host: &Host| host.bans().map(|bans| bans.len());
            let n_before = bans(mx1)?;
            mx1.cli(&["import", &path])?;
            expect(bans(mx1)? == n_before, || "there are more".to_owned())
        },
    )
}

#[test]
fn what_one_cluster_exports_another_one_takes_over() -> Result<()> {
    let name = "lists::what_one_cluster_exports_another_one_takes_over";
    in_lab(
        name,
        |_| vec![plan("mx1", Tree::empty()), plan("mx2", Tree::empty())],
        |lab| {
            // Two clusters of one.
            for host in lab.hosts_mut() {
                host.start()?;
            }
            let (mx1, mx2) = (lab.host("mx1"), lab.host("mx2"));
            let list = mx1.file("list.txt");
            let lines: String =
                (0..2_500).map(|n| format!("198.18.{}.{} # invented\n", n / 250, n % 250)).collect();
            fs::write(&list, lines + "203.0.113.9\n").context(|| "cannot write a list".to_owned())?;
            let path = list.display().to_string();
            let told = mx1.cli(&["import", &path, "--for", "1d"])?.expect_success()?;
            expect(told.stdout.contains("2501 entries taken over"), || told.stdout.clone())?;
            mx1.cli(&["allow", "add", "192.0.2.200", "--note", "ours"])?.expect_success()?;

            let plain = mx1.cli(&["export"])?.expect_success()?.stdout;
            expect(
                plain.lines().count() == 2_501 && plain.lines().any(|line| line == "203.0.113.9"),
                || format!("{} lines", plain.lines().count()),
            )?;
            let json = mx1.cli(&["export", "--json"])?.expect_success()?.stdout;
            fs::write(mx1.file("list.json"), json).context(|| "cannot write a list".to_owned())?;
            let path = mx1.file("list.json").display().to_string();
            let told = mx2.cli(&["import", &path])?.expect_success()?;
            expect(told.stdout.contains("2502 entries taken over"), || told.stdout.clone())?;
            let allowed = mx2.cli(&["allow", "list"])?.stdout;
            expect(allowed.contains("192.0.2.200"), || allowed)?;

            fs::write(&list, "203.0.113.10\nmx.example.org\n")
                .context(|| "cannot write a list".to_owned())?;
            let told = mx2.cli(&["import", &list.display().to_string()])?;
            expect(told.status.code() == Some(1) && told.stderr.contains("line 2: "), || {
                told.stderr.clone()
            })?;
            expect(mx2.bans()?.len() == 2_501, || "it was taken over in part".to_owned())
        },
    )
}
