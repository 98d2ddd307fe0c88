//! Random bytes from the kernel, random(4). For ids and keys that are made once; not for anything
//! that happens often.

use std::fs::File;
use std::io::{self, Read};

/// `N` random bytes.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
