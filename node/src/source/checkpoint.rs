//! A place in a source that outlives the process and the names of its files, and its stored form.
//!
//! Not for finding the files again (`rotation.rs`), nor for storing (`local_store.rs`).

use super::fingerprint::Fingerprint;
use super::rotation::OpenLog;
use super::stored_place::StoredPlace;
use bannkreis_core::failure::SourcePosition;
use std::path::{Path, PathBuf};

/// A source reads so many files at once: the current one, and rotated ones that are not finished.
/// With more, the oldest finished ones are let go first.
pub const FILES_OPEN_MAX: usize = 16;

/// A checkpoint stores so many places. A process that has just caught up with as many rotated files needs them.
pub const PLACES_MAX: usize = 64;

/// The first byte of every stored checkpoint.
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 1;
const PLACE_BYTES: usize = 8 + 8 + 2 + 8 + 8;

/// How far one file has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// Which file.
    pub fingerprint: Fingerprint,
    /// Where the first line begins that is not handed over.
    pub offset: u64,
}

impl FilePlace {
    /// Whether it is a place in this very file, under whatever name.
    pub(super) fn is_in(&self, log: &OpenLog) -> bool {
        self.fingerprint.is_inode(&log.metadata)
            && self.fingerprint.is_head_of(&log.file).unwrap_or(false)
            && self.offset <= log.metadata.len()
    }
}

/// Where to go on reading: in each file that was open then or was opened later, oldest first. Usually that is one file;
/// after a rotation the writers may still use the old one for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCheckpoint {
    /// The source's path, as it is configured.
    pub path: PathBuf,
    /// The position that this is the checkpoint of; positions go on from here.
    pub position: SourcePosition,
    /// Of more than [`PLACES_MAX`], so many are stored.
    pub files: Vec<FilePlace>,
}

impl SourceCheckpoint {
    /// Its stored form, without the path: that is the key it is stored under.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let places = self.places();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + places.len() * PLACE_BYTES);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.position.0.to_be_bytes());
        bytes.push(places.len() as u8);
        for FilePlace { fingerprint, offset } in places {
            bytes.extend_from_slice(&fingerprint.device.to_be_bytes());
            bytes.extend_from_slice(&fingerprint.inode.to_be_bytes());
            bytes.extend_from_slice(&fingerprint.head_bytes.to_be_bytes());
            bytes.extend_from_slice(&fingerprint.head_hash.to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        bytes
    }

    /// The same with what it is stored under.
    #[must_use]
    pub fn stored(&self) -> StoredPlace {
        StoredPlace { name: self.path.clone(), bytes: self.encode() }
    }

    /// The places that are stored, at most [`PLACES_MAX`].
    fn places(&self) -> &[FilePlace] {
        let n_too_many = self.files.len().saturating_sub(PLACES_MAX);
        // Files of which nothing was read are found again by those before them; the oldest are mostly finished.
        let n_unread = self.files.iter().rev().take_while(|place| place.offset == 0).count().min(n_too_many);
        &self.files[n_too_many - n_unread..self.files.len() - n_unread]
    }

    /// Reads the stored form of the checkpoint of `path`.
    ///
    /// # Errors
    /// When the bytes are of another format or not of the length that they announce.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<SourceCheckpoint, CheckpointError> {
        let bad = |why| CheckpointError { path: path.to_owned(), why };
        let mut rest = bytes;
        match take(&mut rest) {
            Some([FORMAT]) => {}
            Some(_) => return Err(bad("it was written by a newer release")),
            None => return Err(bad("it is empty")),
        }
        let short = || bad("it is shorter than it says");
        let position = SourcePosition(take(&mut rest).map(u64::from_be_bytes).ok_or_else(short)?);
        let [n_files] = take(&mut rest).ok_or_else(short)?;
        if usize::from(n_files) > PLACES_MAX || rest.len() != usize::from(n_files) * PLACE_BYTES {
            return Err(bad("its length is not what it says"));
        }
        let files = (0..n_files)
            .map(|_| {
                Some(FilePlace {
                    fingerprint: Fingerprint {
                        device: take(&mut rest).map(u64::from_be_bytes)?,
                        inode: take(&mut rest).map(u64::from_be_bytes)?,
                        head_bytes: take(&mut rest).map(u16::from_be_bytes)?,
                        head_hash: take(&mut rest).map(u64::from_be_bytes)?,
                    },
                    offset: take(&mut rest).map(u64::from_be_bytes)?,
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(short)?;
        Ok(SourceCheckpoint { path: path.to_owned(), position, files })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// A stored checkpoint that can not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stored position of {} can not be used because {why}; the log is read from where a first start would \
     begin", path.display()
)]
pub struct CheckpointError {
    path: PathBuf,
    why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(n_files: u64) -> SourceCheckpoint {
        SourceCheckpoint {
            path: "/var/log/mail.log".into(),
            position: SourcePosition(77),
            files: (0..n_files)
                .map(|n| FilePlace {
                    fingerprint: Fingerprint { device: 1, inode: 10 + n, head_bytes: 256, head_hash: 99 },
                    offset: 1000 * n,
                })
                .collect(),
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for n_files in [0, 1, 3, PLACES_MAX as u64] {
            let given = checkpoint(n_files);
            assert_eq!(SourceCheckpoint::decode(&given.path, &given.encode()), Ok(given));
        }
    }

    #[test]
    fn of_too_many_files_those_are_stored_that_lead_to_the_others() {
        let given = checkpoint(PLACES_MAX as u64 + 3);
        let stored = |given: &SourceCheckpoint| {
            let read = SourceCheckpoint::decode(&given.path, &given.encode()).expect("well formed");
            (
                read.files[0].fingerprint.inode,
                read.files[read.files.len() - 1].fingerprint.inode,
                read.files.len(),
            )
        };
        assert_eq!(stored(&given), (13, 76, PLACES_MAX));
        let unread = |n: usize| {
            let mut given = given.clone();
            given.files.iter_mut().rev().take(n).for_each(|place| place.offset = 0);
            given
        };
        assert_eq!(stored(&unread(1)), (12, 75, PLACES_MAX));
        assert_eq!(stored(&unread(9)), (10, 73, PLACES_MAX));
    }

    #[test]
    fn damaged_bytes_are_refused_with_the_path_and_what_happens_instead() {
        let stored = checkpoint(2).encode();
        for end in 0..stored.len() {
            assert!(SourceCheckpoint::decode(Path::new("/l"), &stored[..end]).is_err(), "{end} bytes");
        }
        let error = SourceCheckpoint::decode(Path::new("/l"), &[9]).expect_err("another format");
        assert!(error.to_string().contains("/l can not be used because it was written by a newer release"));
    }
}
