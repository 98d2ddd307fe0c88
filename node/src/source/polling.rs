//! Which files have to be looked at again and again, because no event tells of their changes.
//!
//! inotify(7) tells only of what this host does: on a network file system others write, and nothing is said.

use std::path::Path;

/// How often they are looked at.
pub(super) const POLL_MS: u64 = 1_000;

/// File systems on which other hosts may write (statfs(2), `f_type`): NFS, SMB, CIFS, AFS, Ceph, 9P, FUSE.
const NETWORKED: [u32; 8] =
    [0x6969, 0xfe53_4d42, 0xff53_4d42, 0x517b, 0x5346_414f, 0x00c3_6400, 0x0102_1997, 0x6573_5546];

/// Whether a path, or where it will be, is on a file system on which other hosts may write.
pub(super) fn is_on_network(path: &Path) -> bool {
    let known = path.ancestors().find_map(|place| rustix::fs::statfs(place).ok());
    known.is_some_and(|known| u32::try_from(known.f_type).is_ok_and(|kind| NETWORKED.contains(&kind)))
}
