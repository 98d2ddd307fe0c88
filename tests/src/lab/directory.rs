//! The directory of one lab: made for it, held as long as its outer process lives, and removed.
//!
//! A process that is killed with -9 removes nothing. What it leaves is found by the next lab: nobody
//! holds it. Not for what lies in it.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::failed::{Context, Result};

/// What the names of all of them begin with.
const PREFIX: &str = "bannkreis-lab-";

/// A younger one may be just being made, and not held yet.
const YOUNG_MAX: Duration = Duration::from_secs(60);

/// A directory that is removed with this value.
pub(super) struct LabDirectory {
    directory: TempDir,
    /// flock(2) on the directory itself; closed, and with that given up, when the process ends.
    _held: File,
}

impl LabDirectory {
    /// Makes one in `parent`.
    ///
    /// # Errors
    /// When nothing can be made there.
    pub(super) fn make(parent: &Path) -> Result<LabDirectory> {
        let cannot = || format!("cannot make a directory for the lab in {}", parent.display());
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).context(cannot)?;
        let held = File::open(directory.path()).context(cannot)?;
        held.try_lock_shared().context(cannot)?;
        Ok(LabDirectory { directory, _held: held })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes those in `parent` that nobody holds any more. One that cannot be looked into belongs to
    /// somebody else, and stays.
    pub(super) fn remove_abandoned(parent: &Path) {
        let Ok(entries) = fs::read_dir(parent) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_lab = entry.file_name().to_string_lossy().starts_with(PREFIX);
            if is_lab && is_old(&path) && is_abandoned(&path) {
                // What cannot be removed stays for the next.
                let _ = fs::remove_dir_all(&path);
            }
        }
    }
}

fn is_old(path: &Path) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > YOUNG_MAX))
}

fn is_abandoned(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_old(path: &Path) {
        let long_ago = SystemTime::now() - 2 * YOUNG_MAX;
        File::open(path).unwrap().set_modified(long_ago).unwrap();
    }

    #[test]
    fn only_what_nobody_holds_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let held = LabDirectory::make(parent.path()).unwrap();
        make_old(held.path());
        let left = parent.path().join("bannkreis-lab-left");
        fs::create_dir_all(left.join("kopano/state")).unwrap();
        make_old(&left);
        let being_made = parent.path().join("bannkreis-lab-young");
        fs::create_dir(&being_made).unwrap();
        let anothers = parent.path().join("something-else");
        fs::create_dir(&anothers).unwrap();
        make_old(&anothers);

        LabDirectory::remove_abandoned(parent.path());

        assert!(!left.exists());
        assert!(held.path().exists() && being_made.exists() && anothers.exists());
    }
}
