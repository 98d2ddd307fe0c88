//! A disk of its own for a host's `state/`, which can lose its power.
//!
//! ```text
//! state/       ext4, on a loop device, which is the file
//! drive/disk   on another ext4, on a loop device, which is the file
//! drive.img    in the directory of the test
//! ```
//!
//! The outer file system is what the drive remembers. What the inner one writes without asking for a flush is only in
//! the outer one's memory: the drive's own write cache. Losing power is EXT4_IOC_SHUTDOWN without a flush on both: what
//! was not synced all the way down is gone, and whoever still writes gets an error.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::failed::{Context, Failed, Result, expect};
use crate::lab::mounts;
use crate::lab::wait::wait_for;

/// Holes in files until something is written: room for a node's reserve and for a long run.
const DRIVE_BYTES: u64 = 192 * 1024 * 1024;
const DISK_BYTES: u64 = 128 * 1024 * 1024;

/// `_IOR('X', 125, __u32)` of linux/ext4.h.
const EXT4_IOC_SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);

/// Neither the data nor the journal is flushed.
const EXT4_GOING_FLAGS_NOLOGFLUSH: u32 = 2;

/// What was killed may hold its files a moment longer, and the loop device the one that it is.
const LET_GO_MAX: Duration = Duration::from_secs(10);

/// Why no disk can be made here, if so.
#[must_use]
pub fn is_missing() -> Option<String> {
    let asked = Command::new("mkfs.ext4").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.err().map(|error| format!("mkfs.ext4 can not be run ({error}): apt-get install e2fsprogs"))
}

/// A disk. Its file systems go with the mount namespace of the test.
pub struct Disk {
    drive: FileSystem,
    state: FileSystem,
}

impl Disk {
    /// Makes one for the host whose files are in `host`, and mounts it at the `state/` there, which is empty.
    ///
    /// # Errors
    /// When the kernel or mkfs.ext4(8) refuses.
    pub fn make(host: &Path) -> Result<Disk> {
        mounts::keep_here()?;
        let place = host.join("drive");
        fs::create_dir(&place).context(|| format!("cannot make {}", place.display()))?;
        let drive = FileSystem::make(host.join("drive.img"), place, DRIVE_BYTES)?;
        let state = FileSystem::make(drive.place.join("disk"), host.join("state"), DISK_BYTES)?;
        Ok(Disk { drive, state })
    }

    /// What is not synced now is lost, and nothing is written any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut_power(&self) -> Result<()> {
        self.drive.shut_down()?;
        self.state.shut_down()
    }

    /// Puts an empty file system over the dead one, until what this gives is dropped.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stand_in(&self) -> Result<StandIn<'_>> {
        let place = self.state.place.as_path();
        let mounted = mount("tmpfs", place, "tmpfs", MountFlags::empty(), c"size=64m");
        mounted.context(|| format!("cannot mount anything at {}", place.display()))?;
        Ok(StandIn { place })
    }

    /// Mounts it again after a cut; the journals are replayed. No process may have a file open there.
    ///
    /// # Errors
    /// When somebody has, or the kernel refuses.
    pub fn give_power(&self) -> Result<()> {
        self.state.unmount()?;
        self.drive.unmount()?;
        self.drive.mount()?;
        self.state.mount()
    }
}

/// Something that can be written, in the place of a disk that can not.
pub struct StandIn<'a> {
    place: &'a Path,
}

impl Drop for StandIn<'_> {
    fn drop(&mut self) {
        // With the test's mount namespace it would go in any case.
        let _ = unmount(self.place, UnmountFlags::DETACH);
    }
}

/// An ext4 in the file `image`, mounted at `place`.
struct FileSystem {
    image: PathBuf,
    place: PathBuf,
}

impl FileSystem {
    fn make(image: PathBuf, place: PathBuf, n_bytes: u64) -> Result<FileSystem> {
        let made = File::create(&image).and_then(|file| file.set_len(n_bytes));
        made.context(|| format!("cannot make {}", image.display()))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        let made = FileSystem { image, place };
        made.mount()?;
        Ok(made)
    }

    fn mount(&self) -> Result<()> {
        // It lets go of the loop device when the file system is unmounted, in whatever way.
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.place))
    }

    fn unmount(&self) -> Result<()> {
        wait_for("a dead disk is let go of", LET_GO_MAX, || {
            unmount(&self.place, UnmountFlags::empty())
                .context(|| format!("cannot unmount {}", self.place.display()))
        })
    }

    fn shut_down(&self) -> Result<()> {
        let cannot = || format!("cannot shut {} down", self.place.display());
        let place = File::open(&self.place).context(cannot)?;
        // SAFETY: this request takes a pointer to a u32, which it reads.
        unsafe { ioctl(&place, Setter::<EXT4_IOC_SHUTDOWN, u32>::new(EXT4_GOING_FLAGS_NOLOGFLUSH)) }
            .context(cannot)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Failed(format!("cannot run {name}: {error}")))?;
    expect(output.status.success(), || {
        format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim())
    })
}
