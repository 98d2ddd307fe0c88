//! Logs of which no event tells, as on a network file system: here the lower half of an overlay is written to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::mounts;
use bannkreis_tests::seeds::Tree;
use rustix::mount::{MountFlags, mount};

use crate::inside::{in_lab, plan};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_log_that_others_write_is_looked_at_again_and_again() -> Result<()> {
    let name = "polling::a_log_that_others_write_is_looked_at_again_and_again";
    let hosts = |directory: &Path| {
        let seen = directory.join("mx1/seen");
        let jail = |name: &str, backend: &str| {
            let log = seen.join(name).display().to_string();
            format!("[{name}]\nbackend = {backend}\nlogpath = {log}\n")
        };
        let jails = "[DEFAULT]\nenabled = true\nfilter = mine\nport = 25\nmaxretry = 1\n".to_owned()
            + &jail("polled", "polling")
            + &jail("told", "pyinotify");
        let tree = Tree::empty()
            .with("jail.local", &jails)
            .with("filter.d/mine.conf", "[Definition]\nfailregex = ^\\s*refused <HOST>$\n");
        vec![plan("mx1", tree)]
    };
    in_lab(name, hosts, |lab| {
        mounts::keep_here()?;
        let [written, seen, empty] = ["written", "seen", "empty"].map(|name| lab.host("mx1").file(name));
        let make = || {
            [&written, &seen, &empty].into_iter().try_for_each(fs::create_dir_all)?;
            ["polled", "told"].into_iter().try_for_each(|name| fs::write(written.join(name), ""))
        };
        make().context(|| "cannot make the logs".to_owned())?;
        let layers = format!("lowerdir={}:{}", written.display(), empty.display());
        let layers = std::ffi::CString::new(layers).context(|| "a path has a NUL".to_owned())?;
        mount("overlay", &seen, "overlay", MountFlags::RDONLY, layers.as_c_str())
            .context(|| "cannot mount an overlay".to_owned())?;
        lab.form_cluster()?;

        let [first, rotated, untold] = [1, 2, 3].map(|last| IpAddr::from([198, 51, 100, last]));
        append(&written.join("told"), untold)?;
        append(&written.join("polled"), first)?;
        lab.host("mx1").wait_banned(&[first], SOON)?;
        OpenOptions::new()
            .write(true)
            .open(written.join("polled"))
            .and_then(|log| log.set_len(0))
            .context(|| "cannot truncate the log".to_owned())?;
        append(&written.join("polled"), rotated)?;
        let banned = lab.host("mx1").wait_banned(&[rotated], SOON)?;
        expect(!banned.contains(&untold.to_string()), || {
            "an event told of the other log: this test shows nothing".to_owned()
        })
    })
}

fn append(log: &Path, client: IpAddr) -> Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let append = || {
        OpenOptions::new().append(true).open(log)?.write_all(format!("{now} refused {client}\n").as_bytes())
    };
    append().context(|| format!("cannot write to {}", log.display()))
}
