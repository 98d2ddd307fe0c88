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

/// Writes one page after the other into a file that has its size already, each until it is on the disk.
pub(crate) fn fdatasync(directory: &Path) -> Result<Sample> {
    let path = directory.join("fdatasync");
    let measure = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        file.write_all(&vec![0; WRITE_BYTES * N_WRITES])?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        let mut measured = Vec::new();
        for _ in 0..N_WRITES {
            file.write_all(&[7; WRITE_BYTES])?;
            let began = Instant::now();
            file.sync_data()?;
            measured.push(began.elapsed());
        }
        Ok::<Vec<Duration>, std::io::Error>(measured)
    };
    Ok(Sample::new(measure().context(|| format!("cannot write {}", path.display()))?))
}
