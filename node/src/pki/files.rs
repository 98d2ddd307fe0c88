//! Keys and certificates on the disk: written so that after a power cut there is the old one or the new one.

use super::PkiError;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// The daemon's user only: 0600.
    Key,
    /// Everybody who may see the directory: 0644.
    Certificate,
}

/// A file longer than this, in bytes, is no key and no certificate of ours.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The error of a file, with its name.
pub(super) fn failed(path: &Path, error: &dyn std::fmt::Display) -> PkiError {
    PkiError(format!("{}: {error}", path.display()))
}

/// Makes the directory for this user only, if it is not there.
pub(super) fn make_dir(dir: &Path) -> Result<(), PkiError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| failed(dir, &error))
}

/// Held by who writes.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes a file durably: temporary, fsync, rename, fsync of the directory.
pub(super) fn write(dir: &Path, name: &str, text: &str, secrecy: Secrecy) -> Result<(), PkiError> {
    let path = dir.join(name);
    write_synced(dir, &path, text, secrecy).map_err(|error| failed(&path, &error))
}

fn write_synced(dir: &Path, path: &Path, text: &str, secrecy: Secrecy) -> io::Result<()> {
    let mode = if secrecy == Secrecy::Key { 0o600 } else { 0o644 };
    // A voter may ask for the authority's key twice at once; two that write would do it to the same temporary file.
    let _only_one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // One that an interrupted write has left may have another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// Reads a file; `None` when it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            let size = metadata.len();
            return Err(failed(
                path,
                &format!("{size} bytes are no key and no certificate; name another file"),
            ));
        }
        _ => {}
    }
    fs::read_to_string(path).map(Some).map_err(|error| failed(path, &error))
}
