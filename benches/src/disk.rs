//! What one fdatasync costs on the disk that the nodes write to.

use crate::sample::Sample;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const N_WRITES: usize = 200;
/// What a node's log grows by for one ban.
const WRITE_BYTES: usize = 270;

/// Appends to a file in `directory`, and each time waits until that is on the disk. `pause`: between two of them, as between
/// two lines of a log; without any, the disk never sleeps, and answers quicker than it does to a node.
///
/// # Errors
/// When the file can not be written.
pub fn fdatasync(directory: &Path, pause: Duration) -> io::Result<Sample> {
    let path = directory.join("fdatasync");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let measured = (0..N_WRITES).map(|_| append(&mut file, pause)).collect::<io::Result<Vec<Duration>>>();
    measured.map(Sample::new)
}

fn append(file: &mut File, pause: Duration) -> io::Result<Duration> {
    std::thread::sleep(pause);
    file.write_all(&[7; WRITE_BYTES])?;
    let began = Instant::now();
    file.sync_data()?;
    Ok(began.elapsed())
}
