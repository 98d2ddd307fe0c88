//! What a log file is called when its name can not be trusted: rotation renames files and copies
//! them, so a place in a file is stored with the file's inode and a hash of its first bytes.
//!
//! Not for where a file went (`rotation.rs`).

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// So many first bytes of a file are hashed; of a shorter file all of them.
pub const HEAD_BYTES_MAX: usize = 256;

/// A head of at least so many bytes tells a file by itself, even when its inode is another one: a
/// log line begins with a date, so two logs hardly begin with the same 32 bytes. A shorter head only
/// confirms an inode.
pub const HEAD_BYTES_TELLING: usize = 32;

/// One file's identity: inode numbers are used again after a deletion, first bytes are copied by
/// `copytruncate`; together they tell which of the two happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Device number (stat(2), st_dev). Not compared after a restart: it may change at a boot.
    pub device: u64,
    /// Inode number (stat(2), st_ino).
    pub inode: u64,
    /// How many first bytes `head_hash` is about, at most [`HEAD_BYTES_MAX`].
    pub head_bytes: u16,
    /// FNV-1a hash of those bytes.
    pub head_hash: u64,
}

impl Fingerprint {
    /// Of an open file, as it is now.
    ///
    /// # Errors
    /// When its metadata or its first bytes can not be read.
    pub fn of(file: &File) -> io::Result<Fingerprint> {
        let metadata = file.metadata()?;
        let mut head = [0; HEAD_BYTES_MAX];
        let n_bytes = read_head(file, &mut head)?;
        Ok(Fingerprint {
            device: metadata.dev(),
            inode: metadata.ino(),
            head_bytes: u16::try_from(n_bytes).unwrap_or(0),
            head_hash: fnv1a(&head[..n_bytes]),
        })
    }

    /// Whether `metadata` is of this very file, while a handle to it is held.
    #[must_use]
    pub fn is_inode(&self, metadata: &Metadata) -> bool {
        self.device == metadata.dev() && self.inode == metadata.ino()
    }

    /// Whether `file` begins with the bytes that this fingerprint is about.
    ///
    /// # Errors
    /// When its first bytes can not be read.
    pub fn is_head_of(&self, file: &File) -> io::Result<bool> {
        let mut head = [0; HEAD_BYTES_MAX];
        let wanted = usize::from(self.head_bytes).min(HEAD_BYTES_MAX);
        let n_bytes = read_head(file, &mut head[..wanted])?;
        Ok(n_bytes == wanted && fnv1a(&head[..wanted]) == self.head_hash)
    }

    /// Whether the head is long enough to tell this file from every other.
    #[must_use]
    pub fn is_telling(&self) -> bool {
        usize::from(self.head_bytes) >= HEAD_BYTES_TELLING
    }

    /// Whether the head can still grow with the file.
    #[must_use]
    pub(super) fn is_short(&self) -> bool {
        usize::from(self.head_bytes) < HEAD_BYTES_MAX
    }
}

fn read_head(file: &File, head: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64) {
            Ok(0) => break,
            Ok(n_bytes) => filled += n_bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Fowler, Noll, Vo: 64 bits, variant 1a (RFC 9923). It is stored, so it must never change.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_growing_file_keeps_its_fingerprint_and_a_rewritten_one_does_not() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        fs::write(&path, "Nov 22 one\n").expect("write");
        let before = Fingerprint::of(&File::open(&path).expect("open")).expect("read");
        assert_eq!(before.head_bytes, 11);

        fs::write(&path, "Nov 22 one\nNov 22 two\n").expect("write");
        let file = File::open(&path).expect("open");
        assert!(before.is_head_of(&file).expect("read"));
        assert!(before.is_inode(&file.metadata().expect("stat")));

        for changed in ["Nov 22 on", "Nov 23 one\n", ""] {
            fs::write(&path, changed).expect("write");
            assert!(!before.is_head_of(&File::open(&path).expect("open")).expect("read"), "{changed:?}");
        }
    }
}
