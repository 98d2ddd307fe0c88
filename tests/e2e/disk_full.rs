//! A host whose disk is full: it starts, enforces what it knew, goes on deciding in the room that it had kept for that, and
//! says so. When that is used up too it leaves deciding to others, and blocks by itself, until there is room again.
//!
//! Not for a disk that fails (`disk_failure.rs`).

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use crate::inside::{in_lab, plan};

const HOST: &str = "kopano";
const BEFORE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 71));
const MEANWHILE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 72));
const LOGGED: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 73));
const SOON: Duration = Duration::from_secs(20);
/// Less than a node wants for its log, and more than none.
const TOO_LITTLE_BYTES: u64 = 6 * 1024 * 1024;

const CLEARLY_BYTES: u64 = 4 * 1024 * 1024;

#[test]
fn a_host_starts_on_a_full_disk_and_goes_on_deciding() -> Result<()> {
    let name = "disk_full::a_host_starts_on_a_full_disk_and_goes_on_deciding";
    in_lab(
        name,
        |_| vec![plan(HOST, Tree::empty())],
        |lab| {
            let disk = SmallDisk::of(lab.host(HOST))?;
            lab.host_mut(HOST).start()?;
            ban(lab.host(HOST), BEFORE)?;
            disk.wait_reserve(true)?;
            lab.host_mut(HOST).kill_9();

            disk.fill("filler")?;
            lab.host_mut(HOST).start()?;
            let status = lab.host(HOST).cli(&["status"])?.expect_success()?.stdout;
            expect(status.contains("MiB are left on the disk of"), || {
                format!("it says nothing of its disk: {status}")
            })?;
            lab.attacker.wait_silent(&[(BEFORE, lab.host(HOST).port(25, BEFORE))], SOON)?;
            ban(lab.host(HOST), MEANWHILE)?;

            disk.remove("filler")?;
            disk.wait_reserve(true)?;
            let status = lab.host(HOST).cli(&["status"])?.expect_success()?.stdout;
            expect(!status.contains("MiB are left"), || status)?;
            lab.host_mut(HOST).kill_9();
            lab.host_mut(HOST).start()?;
            wait_banned(lab.host(HOST), &[BEFORE, MEANWHILE])?;
            lab.host_mut(HOST).stop()
        },
    )
}

#[test]
fn a_leader_without_room_leaves_deciding_to_others_and_catches_up() -> Result<()> {
    let name = "disk_full::a_leader_without_room_leaves_deciding_to_others_and_catches_up";
    let hosts = [(HOST, seeds::kerio()), ("kerio", Tree::empty()), ("mx1", Tree::empty())];
    in_lab(
        name,
        |_| hosts.map(|(name, tree)| plan(name, tree)).into(),
        |lab| {
            let disk = SmallDisk::of(lab.host(HOST))?;
            lab.form_cluster()?;
            if lab.leader()? != HOST {
                lab.host(HOST).cli(&["cluster", "transfer-leader", HOST])?.expect_success()?;
            }
            ban(lab.host(HOST), BEFORE)?;
            disk.wait_reserve(true)?;
            let pid = lab.host(HOST).pid();

            disk.fill("filler")?;
            disk.wait_reserve(false)?;
            disk.fill_but("filler of the rest", TOO_LITTLE_BYTES)?;
            let full = |text: &str| text.contains("is full: this node takes in nothing of");
            wait_for("the host says it, and another one leads", SOON, || {
                let status = lab.host(HOST).cli(&["status"])?.expect_success()?.stdout;
                expect(full(&status), || status.clone())?;
                let leader = lab.leader()?;
                expect(leader != HOST, || format!("{leader} leads"))
            })?;
            // Said where it is done: the full host enforces what others decide only when it has room.
            let told = lab.host("kerio").cli(&["ban", &MEANWHILE.to_string(), "--wait", "1s"])?;
            expect(told.stdout.contains(HOST) || told.stderr.contains(HOST), || {
                format!("{}{}", told.stdout, told.stderr)
            })?;
            wait_banned(lab.host("mx1"), &[BEFORE, MEANWHILE])?;
            // Its own logs count, here and everywhere.
            lab.host(HOST).append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(LOGGED)])?;
            let port = |name: &str, whom| (whom, lab.host(name).port(25, whom));
            lab.attacker.wait_silent(&[port(HOST, LOGGED), port("mx1", LOGGED)], SOON)?;
            wait_banned(lab.host("mx1"), &[BEFORE, MEANWHILE, LOGGED])?;
            lab.attacker.expect_silent(&[port(HOST, BEFORE)])?;
            expect(committed(&lab.host(HOST).bans()?).len() == 1, || "it has taken something in".to_owned())?;

            disk.remove("filler")?;
            wait_banned(lab.host(HOST), &[BEFORE, MEANWHILE, LOGGED])?;
            lab.attacker.wait_silent(&[port(HOST, MEANWHILE)], SOON)?;
            let status = lab.host(HOST).cli(&["status"])?.expect_success()?.stdout;
            expect(!full(&status), || status)?;
            expect(lab.host(HOST).pid() == pid, || "it was started anew".to_owned())
        },
    )
}

#[test]
fn a_host_without_any_room_blocks_by_itself_until_there_is_some() -> Result<()> {
    let name = "disk_full::a_host_without_any_room_blocks_by_itself_until_there_is_some";
    in_lab(
        name,
        |_| vec![plan(HOST, seeds::kerio())],
        |lab| {
            let disk = SmallDisk::of(lab.host(HOST))?;
            lab.host_mut(HOST).start()?;
            ban(lab.host(HOST), BEFORE)?;
            disk.wait_reserve(true)?;
            disk.fill("filler")?;
            disk.wait_reserve(false)?;
            disk.fill_but("filler of the rest", 0)?;
            let is_said =
                |says: &str| says.contains("is full: this node") || says.contains("can not be written");
            wait_for("the host says that its disk is full", SOON, || {
                let status = lab.host(HOST).cli(&["status"])?.expect_success()?.stdout;
                expect(is_said(&status), || status.clone())
            })?;
            let refused = lab.host(HOST).cli(&["ban", &MEANWHILE.to_string()])?;
            let says = format!("{}{}", refused.stdout, refused.stderr);
            expect(!refused.status.success() && is_said(&says), || says.clone())?;
            lab.host(HOST).append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(LOGGED)])?;
            let port = |whom| (whom, lab.host(HOST).port(25, whom));
            lab.attacker.wait_silent(&[port(LOGGED)], SOON)?;
            lab.attacker.expect_silent(&[port(BEFORE)])?;
            expect(committed(&lab.host(HOST).bans()?).len() == 1, || "it has taken something in".to_owned())?;

            disk.remove("filler")?;
            wait_banned(lab.host(HOST), &[BEFORE, LOGGED])?;
            lab.attacker.expect_silent(&[port(BEFORE), port(LOGGED)])?;
            lab.host_mut(HOST).stop()
        },
    )
}

fn ban(host: &Host, whom: IpAddr) -> Result<()> {
    host.cli(&["ban", &whom.to_string()])?.expect_success().map(drop)
}

fn wait_banned(host: &Host, whom: &[IpAddr]) -> Result<()> {
    wait_for("the bans are committed", SOON, || {
        let listed = committed(&host.bans()?);
        expect(
            listed.len() == whom.len() && whom.iter().all(|whom| listed.contains(&whom.to_string())),
            || format!("{} has {listed:?}", host.name()),
        )
    })
}

/// What a host's `state_dir` is on; gone with this.
struct SmallDisk {
    state: PathBuf,
    at: CString,
}

impl SmallDisk {
    fn of(host: &Host) -> Result<SmallDisk> {
        let state = host.file("state");
        let at = CString::new(state.display().to_string()).unwrap_or_default();
        mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .and_then(|()| mount("tmpfs", at.as_c_str(), "tmpfs", MountFlags::empty(), c"size=128m"))
            .context(|| "cannot give the host a small disk".to_owned())?;
        Ok(SmallDisk { state, at })
    }

    fn wait_reserve(&self, wanted: bool) -> Result<()> {
        let what = if wanted { "the host keeps room" } else { "the host has given its room up" };
        wait_for(what, SOON, || {
            expect(self.state.join("reserve").exists() == wanted, || {
                format!("a reserve is there: {}", !wanted)
            })
        })
    }

    /// Writes until there is no room for a single byte.
    fn fill(&self, name: &str) -> Result<()> {
        let path = self.state.join(name);
        let mut file = File::create(&path).context(|| format!("cannot make {}", path.display()))?;
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

    /// Leaves so many bytes, once there are clearly more.
    fn fill_but(&self, name: &str, left_bytes: u64) -> Result<()> {
        let path = self.state.join(name);
        wait_for("there is more room than is to be left", SOON, || {
            let take = || {
                let disk = statvfs(&self.state)?;
                let n_bytes = (disk.f_bfree * disk.f_frsize).checked_sub(left_bytes);
                let n_bytes =
                    n_bytes.filter(|n_bytes| *n_bytes > CLEARLY_BYTES).ok_or(ErrorKind::StorageFull)?;
                fallocate(File::create(&path)?, FallocateFlags::empty(), 0, n_bytes)?;
                Ok::<_, std::io::Error>(())
            };
            take().context(|| format!("cannot fill the disk but for {left_bytes} bytes"))
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.state.join(name)).context(|| "cannot make room".to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // With the test's mount namespace it would go in any case.
        let _ = unmount(self.at.as_c_str(), UnmountFlags::DETACH);
    }
}
