//! Keeps what a test mounts in this test.

use rustix::mount::{MountPropagationFlags, mount_change};

use crate::failed::{Context, Result};

/// From now on mounts are of this test and of nobody else; a daemon's namespace follows it, so that no daemon holds what
/// is another one's.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_here() -> Result<()> {
    for propagation in [MountPropagationFlags::PRIVATE, MountPropagationFlags::SHARED] {
        mount_change(c"/", MountPropagationFlags::REC | propagation)
            .context(|| "cannot keep mounts in this test".to_owned())?;
    }
    Ok(())
}
