//! What a failure must pass before it counts, in a whole daemon: a command that excuses, a name in the place of
//! an address, and names that are ignored.

use std::ffi::CString;
use std::fs;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use crate::inside::{in_lab, plan};

const HOST: &str = "mx1";
const SOON: Duration = Duration::from_secs(10);
const LOG: &str = "mail.log";

#[test]
fn a_command_excuses_and_names_are_looked_up() -> Result<()> {
    let jail = "[door]\nenabled = true\nport = smtp\nmaxretry = 1\nbantime = 1h\nlogpath = /var/log/mail.log\n\
                filter =\nfailregex = ^ refused <HOST> as <F-USER>\\S+</F-USER>$\nusedns = warn\n\
                ignoreip = friend.example\nignorecommand = test <ip> = 203.0.113.70 -o \"<F-USER>\" = known\n";
    let tree = Tree::empty().with("jail.local", jail).with_log(LOG);
    in_lab(
        "second_look::a_command_excuses_and_names_are_looked_up",
        |_| vec![plan(HOST, tree)],
        |lab| {
            know_hosts(
                lab,
                "127.0.0.1 localhost\n203.0.113.66 attacker.example\n203.0.113.72 friend.example\n",
            )?;
            lab.form_cluster()?;
            let host = lab.host(HOST);
            let now = jiff::Timestamp::now().strftime("%b %e %H:%M:%S").to_string();
            let line = |offender: &str, user: &str| format!("{now} refused {offender} as {user}");
            let lines = [
                line("203.0.113.70", "any"),
                line("203.0.113.73", "known"),
                line("203.0.113.72", "any"),
                line("attacker.example", "any"),
                line("203.0.113.71", "`reboot`$(reboot);reboot"),
            ];
            host.append_log(LOG, &lines)?;
            wait_for("the two that count are banned", SOON, || {
                let listed = committed(&host.bans()?);
                let wanted = ["203.0.113.66", "203.0.113.71"];
                expect(wanted.iter().all(|address| listed.contains(*address)), || format!("{listed:?}"))
            })?;
            wait_for("the command has excused two, and a name was warned of", SOON, || {
                let words = host.words_since(0)?;
                let said = [
                    "Ignore 203.0.113.70: ignorecommand says so",
                    "Ignore 203.0.113.73: ignorecommand says so",
                    "the log names attacker.example, which was looked up: 203.0.113.66",
                    "Ignore 203.0.113.72",
                ];
                let missing: Vec<&str> = said.into_iter().filter(|said| !words.contains(said)).collect();
                expect(missing.is_empty(), || format!("{missing:?} is not in:\n{words}"))
            })?;
            let listed = committed(&host.bans()?);
            expect(listed.len() == 2, || format!("{listed:?}"))
        },
    )
}

/// Lets this test, and the daemons that it starts, know these hosts and no others by their names.
fn know_hosts(lab: &Lab, hosts: &str) -> Result<()> {
    let file = lab.host(HOST).file("hosts");
    fs::write(&file, hosts).context(|| format!("cannot write {}", file.display()))?;
    let file = CString::new(file.display().to_string()).unwrap_or_default();
    // The run inside has mounts of its own; nothing of this may reach those outside.
    mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .and_then(|()| mount_bind(file.as_c_str(), c"/etc/hosts"))
        .context(|| "cannot put another /etc/hosts in place".to_owned())
}
