//! The directory with a person's key and certificates: what `pki issue` writes and `--keys` reads.
//!
//! ```text
//! ca.crt       the cluster's authority
//! person.crt   the certificate
//! person.key   its key: for this person only
//! cluster      the cluster's uuid: its nodes are believed by this name
//! ```
//!
//! In PEM, but for the last. Not for how they are used (`client`).

use crate::failure::{Exit, Failure};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

const AUTHORITY_FILE: &str = "ca.crt";
const CERTIFICATE_FILE: &str = "person.crt";
const KEY_FILE: &str = "person.key";
const CLUSTER_FILE: &str = "cluster";

/// What is in such a directory.
pub struct KeyFiles {
    /// Of the authority, in PEM.
    pub authority: String,
    /// The person's, in PEM.
    pub certificate: String,
    /// The person's key, in PEM.
    pub key: String,
    /// The name that nodes are believed by; empty: the host's name that is connected to.
    pub cluster: String,
}

/// Whether the directory can be made: nothing is overwritten.
///
/// # Errors
/// When something is there already.
pub fn check_free(directory: &Path) -> Result<(), Failure> {
    match std::fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(directory, &error)),
        Ok(_) => Err(Failure::new(
            Exit::Refused,
            format!("{} is there already: name another directory with --directory", directory.display()),
        )),
    }
}

/// Makes the directory and writes everything into it.
///
/// # Errors
/// The first file that can not be written.
pub fn write(directory: &Path, files: &KeyFiles) -> Result<(), Failure> {
    DirBuilder::new().mode(0o700).create(directory).map_err(|error| failed(directory, &error))?;
    for (name, text, mode) in [
        (KEY_FILE, &files.key, 0o600),
        (CERTIFICATE_FILE, &files.certificate, 0o644),
        (AUTHORITY_FILE, &files.authority, 0o644),
        (CLUSTER_FILE, &format!("{}\n", files.cluster), 0o644),
    ] {
        let path = directory.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// Reads such a directory. One with certificates from elsewhere may do without the cluster's name.
///
/// # Errors
/// The first file that can not be read.
pub fn read(directory: &Path) -> Result<KeyFiles, Failure> {
    let text = |name| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Exit::Refused,
                format!(
                    "there is no {}: `bannkreis pki issue` on a node makes such a directory, and --keys names it",
                    path.display()
                ),
            ),
            _ => failed(&path, &error),
        })
    };
    Ok(KeyFiles {
        authority: text(AUTHORITY_FILE)?,
        certificate: text(CERTIFICATE_FILE)?,
        key: text(KEY_FILE)?,
        cluster: text(CLUSTER_FILE).map(|name| name.trim().to_owned()).unwrap_or_default(),
    })
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Refused, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read_by_its_owner_only_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("alice");
        check_free(&directory).unwrap();
        let [authority, certificate, key, cluster] = ["a", "b", "c", "d"].map(str::to_owned);
        write(&directory, &KeyFiles { authority, certificate, key, cluster }).unwrap();
        let found = read(&directory).unwrap();
        assert_eq!(
            [found.authority, found.certificate, found.key, found.cluster].join(""),
            "abcd",
            "each in its place"
        );
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join(KEY_FILE))), (0o700, 0o600));
        assert!(check_free(&directory).unwrap_err().message.contains("--directory"));
    }

    #[test]
    fn a_directory_without_a_key_is_named_with_the_remedy() {
        let place = tempfile::tempdir().unwrap();
        let Err(failure) = read(place.path()) else { panic!("there is nothing to read") };
        assert!(failure.message.contains("pki issue"), "{}", failure.message);
    }
}
