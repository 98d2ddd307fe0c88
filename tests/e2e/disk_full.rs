//! A host whose disk is full: it starts, enforces what it knew, goes on deciding in the room that it had kept for that, says
//! so, and keeps room again when there is some.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use crate::inside::{in_lab, plan};

const HOST: &str = "kopano";
const BEFORE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 71));
const MEANWHILE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 72));
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_host_starts_on_a_full_disk_and_goes_on_deciding() -> Result<()> {
    let name = "disk_full::a_host_starts_on_a_full_disk_and_goes_on_deciding";
    in_lab(
        name,
        |_| vec![plan(HOST, Tree::empty())],
        |lab| {
            let state = lab.host(HOST).file("state");
            let at = CString::new(state.display().to_string()).unwrap_or_default();
            mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
                .and_then(|()| mount("tmpfs", at.as_c_str(), "tmpfs", MountFlags::empty(), c"size=128m"))
                .context(|| "cannot give the host a small disk".to_owned())?;
            lab.host_mut(HOST).start()?;
            ban(lab.host(HOST), BEFORE)?;
            wait_for("the host keeps room", SOON, || {
                expect(state.join("reserve").exists(), || "none".to_owned())
            })?;
            lab.host_mut(HOST).kill_9();

            let filler = state.join("filler");
            fill(&filler)?;
            lab.host_mut(HOST).start()?;
            let status = lab.host(HOST).cli(&["status"])?.expect_success()?.stdout;
            expect(status.contains("MiB are left on the disk of"), || {
                format!("it says nothing of its disk: {status}")
            })?;
            lab.attacker.wait_silent(&[(BEFORE, lab.host(HOST).port(25, BEFORE))], SOON)?;
            ban(lab.host(HOST), MEANWHILE)?;

            fs::remove_file(&filler).context(|| "cannot make room".to_owned())?;
            wait_for("the host keeps room again", SOON, || {
                expect(state.join("reserve").exists(), || "none".to_owned())
            })?;
            let status = lab.host(HOST).cli(&["status"])?.expect_success()?.stdout;
            expect(!status.contains("MiB are left"), || status)?;
            lab.host_mut(HOST).kill_9();
            lab.host_mut(HOST).start()?;
            wait_for("both are banned", SOON, || {
                let listed = committed(&lab.host(HOST).bans()?);
                expect(listed.len() == 2, || format!("{listed:?}"))
            })?;
            lab.host_mut(HOST).stop()?;
            unmount(at.as_c_str(), UnmountFlags::DETACH)
                .context(|| "cannot take the small disk away".to_owned())
        },
    )
}

fn ban(host: &Host, whom: IpAddr) -> Result<()> {
    host.cli(&["ban", &whom.to_string()])?.expect_success().map(drop)
}

/// Writes until there is no room for a single byte.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path).context(|| format!("cannot make {}", path.display()))?;
    let mut block = vec![1_u8; 1 << 20];
    while !block.is_empty() {
        match file.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => block.truncate(block.len() / 2),
            Err(error) => return Err(Failed(format!("{}: {error}", path.display()))),
        }
    }
    Ok(())
}
