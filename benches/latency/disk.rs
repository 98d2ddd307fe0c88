//! What one fdatasync costs on the disk that the nodes write to.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bannkreis_benches::sample::Sample;
use bannkreis_tests::failed::{Context, Result};

const N_WRITES: usize = 500;
/// A page: what the store writes for a few bans.
const WRITE_BYTES: usize = 4_096;

/// Overwrites one page of a file, again and again, each time until it is on the disk.
pub(crate) fn fdatasync(directory: &Path) -> Result<Sample> {
    let path = directory.join("fdatasync");
    let measure = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        file.write_all(&[0; WRITE_BYTES])?;
        file.sync_all()?;
        let mut measured = Vec::new();
        for n in 0..N_WRITES {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&[n as u8; WRITE_BYTES])?;
            let began = Instant::now();
            file.sync_data()?;
            measured.push(began.elapsed());
        }
        Ok::<Vec<Duration>, std::io::Error>(measured)
    };
    Ok(Sample::new(measure().context(|| format!("cannot write {}", path.display()))?))
}
