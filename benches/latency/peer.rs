//! What fail2ban costs that has nothing to do, with as many jails as the Kerio article has, on one log.
//!
//! It gets no actions, so that it touches no firewall.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bannkreis_benches::fail2ban;
use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::wait::wait_for;

use crate::idle::{self, Cost};

const N_JAILS: usize = 10;
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Starts it below `directory`, leaves it alone for a while, and ends it. `None` where it is not unpacked.
pub(crate) fn idle_cost(directory: &Path) -> Result<Option<Cost>> {
    let Some(installed) = fail2ban::config_dir() else { return Ok(None) };
    let place = directory.join("fail2ban");
    configure(&installed, &place)?;
    let words = place.join("words");
    let server = Command::new("python3")
        .arg(fail2ban::program(&installed, "fail2ban-server"))
        .arg("-c")
        .arg(place.join("etc"))
        .args(["-f", "start"])
        .env("PYTHONPATH", fail2ban::modules_dir(&installed))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "cannot start fail2ban-server".to_owned())?;
    let server = Ended(server);
    wait_for("fail2ban watches its log in every jail", STARTS_WITHIN, || {
        let said = fs::read_to_string(&words).unwrap_or_default();
        let n_started = said.lines().filter(|line| line.ends_with("started")).count();
        expect(n_started == N_JAILS, || format!("{n_started} jails; it says: {said}"))
    })?;
    let name = format!("fail2ban, {N_JAILS} jails without actions");
    Ok(idle::costs(vec![(name, server.0.id())])?.pop())
}

/// Debian's configuration, with jails of our own.
fn configure(installed: &Path, place: &Path) -> Result<()> {
    let etc = place.join("etc");
    let copy = || {
        fs::create_dir_all(place)?;
        let copied = Command::new("cp").arg("-r").arg(installed).arg(&etc).status()?;
        let debians = etc.join("jail.d/defaults-debian.conf");
        if debians.exists() {
            fs::remove_file(debians)?;
        }
        let log = place.join("mail.log");
        fs::write(&log, "")?;
        let jails = (0..N_JAILS)
            .map(|n| format!("[kerio{n}]\nenabled = true\nfilter = kerio\nlogpath = {}\n", log.display()));
        let jails: String = jails.collect();
        fs::write(etc.join("jail.local"), format!("[DEFAULT]\nbackend = auto\naction =\n{jails}"))?;
        let at = place.display();
        let main = format!(
            "[Definition]\nsocket = {at}/socket\npidfile = {at}/pid\ndbfile = {at}/db\nlogtarget = {at}/words\n"
        );
        fs::write(etc.join("fail2ban.local"), main)?;
        Ok::<_, std::io::Error>(copied.success())
    };
    let is_copied = copy().context(|| format!("cannot configure fail2ban below {}", place.display()))?;
    expect(is_copied, || format!("cannot copy {}", installed.display()))
}

/// Ended whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended already: nothing is left to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
