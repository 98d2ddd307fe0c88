//! Opening the database, and putting a corrupt one aside.
//!
//! sled reports damage as an error or by a panic, at opening or when it first reads the damaged page,
//! so everything but the cold records and the history is read once before the database is used. Behind other damage it
//! silently goes back to an older state: so every write has a number, and the number of the last one
//! that was synced also stands in a file of its own.

use super::key::{self, Key};
use super::{LocalStoreError, sync_directory};
use bannkreis_raft::dead_disk::{self, BeingOpened};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// So many corrupt databases are kept for whoever wants to look at them; then they must be removed by
/// hand before the daemon starts again, because something is wrong with the disk.
pub const QUARANTINES_MAX: u32 = 16;

/// The page cache: what is read often fits in far less.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// What a write has replaced in memory is freed by the reads after it, sled's own or these: a batch of thousands leaves
/// more behind than those free. Without them 100,000 records cost 200 MB; a read costs less than a microsecond.
const READS_PER_CHANGE: usize = 2;

const DIRECTORY: &str = "local";

/// sled's own threads give the lock up a moment after the database was closed, and a daemon that is
/// just ending does too: so often, and so long in between, it is asked for before that is an error.
const LOCK_TRIES_MAX: u32 = 50;
const LOCK_DELAY: Duration = Duration::from_millis(20);

/// The database's own format, under this name in the table of facts.
const FORMAT_NAME: &str = "format";
const FORMAT: u8 = 1;

/// The number of the last write, under this name in the table of facts.
const WRITES_NAME: &str = "writes";

/// The same number, as far as it is synced, in this file beside the database.
const SYNCED_FILE: &str = "synced";

/// A corrupt database that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Where it is now.
    pub place: PathBuf,
    /// What was wrong with it.
    pub why: String,
}

enum Failure {
    InUse,
    Corrupt(String),
    Other(String),
}

/// An open database, and what syncing it takes.
pub(super) struct Opened {
    pub(super) db: sled::Db,
    file: File,
    synced: File,
    n_writes: u64,
}

impl Opened {
    /// Writes a batch and syncs it. sled's `flush` starts writing but syncs nothing, so the file is
    /// synced through a handle of our own.
    pub(super) fn write(&mut self, mut batch: sled::Batch, n_changes: usize) -> Result<(), String> {
        let number = self.n_writes + 1;
        batch.insert(Key::Meta(WRITES_NAME).encode(), &number.to_be_bytes());
        let written = catch_unwind(AssertUnwindSafe(|| {
            self.db.apply_batch(batch)?;
            let flushed = self.db.flush()?;
            for _ in 0..n_changes.saturating_mul(READS_PER_CHANGE) {
                self.db.get([key::META])?;
            }
            Ok::<_, sled::Error>(flushed)
        }));
        match written {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("the database panicked".into()),
        }
        self.file.sync_data().map_err(|error| error.to_string())?;
        self.n_writes = number;
        // It need not be synced itself: an older number only says less.
        self.synced.write_all_at(&number.to_be_bytes(), 0).map_err(|error| error.to_string())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        dead_disk::let_go(&self.db, &self.file);
    }
}

/// The database, and what was put aside.
pub(super) fn open(state_dir: &Path) -> Result<(Opened, Option<Quarantine>), LocalStoreError> {
    let path = state_dir.join(DIRECTORY);
    let mut quarantine = None;
    let mut n_tries = 0;
    loop {
        match try_open(&path) {
            Ok(opened) => return Ok((opened, quarantine)),
            Err(Failure::Corrupt(why)) if quarantine.is_none() => {
                let aside = put_aside(state_dir, &path)
                    .map_err(|error| open_error(state_dir, &format!("it is corrupt ({why}); {error}")))?;
                quarantine = Some(Quarantine { place: aside, why });
            }
            Err(Failure::InUse) if n_tries < LOCK_TRIES_MAX => {
                n_tries += 1;
                thread::sleep(LOCK_DELAY);
            }
            Err(Failure::InUse) => {
                let why = "another bannkreisd uses it; stop that one first, or set another state_dir";
                return Err(open_error(state_dir, why));
            }
            Err(Failure::Corrupt(why) | Failure::Other(why)) => return Err(open_error(state_dir, &why)),
        }
    }
}

pub(super) fn open_error(state_dir: &Path, why: &str) -> LocalStoreError {
    LocalStoreError::Open { path: state_dir.join(DIRECTORY), why: why.to_owned() }
}

fn try_open(path: &Path) -> Result<Opened, Failure> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace);
        let db = config.open()?;
        let opening = BeingOpened::new(&db, path);
        read_once(&db)?;
        Ok((db, opening))
    }));
    let (db, opening) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(failure(&error)),
        Err(_) => return Err(Failure::Corrupt("reading it panicked".into())),
    };
    let stored = |name| db.get(Key::Meta(name).encode()).map_err(|error| failure(&error));
    if stored(FORMAT_NAME)?.is_some_and(|format| format != [FORMAT]) {
        return Err(Failure::Other(
            "it was written by a newer release; install that release again, or move the directory away"
                .into(),
        ));
    }
    let n_writes = stored(WRITES_NAME)?.map_or(0, |bytes| number(&bytes));
    let synced = path.join(SYNCED_FILE);
    if fs::read(&synced).is_ok_and(|bytes| number(&bytes) > n_writes) {
        return Err(Failure::Corrupt("what was written to it last is gone".into()));
    }
    let file = File::open(path.join("db")).map_err(|error| refused(&error))?;
    let synced = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(synced)
        .map_err(|error| refused(&error))?;
    let mut opened = Opened { db, file, synced, n_writes };
    opening.has_an_owner();
    let mut first = sled::Batch::default();
    first.insert(Key::Meta(FORMAT_NAME).encode(), &[FORMAT]);
    opened.write(first, 1).map_err(Failure::Other)?;
    opened.synced.sync_all().and_then(|()| sync_directory(path)).map_err(|error| refused(&error))?;
    Ok(opened)
}

/// 0 when it is not eight bytes long.
fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn read_once(db: &sled::Db) -> sled::Result<()> {
    for table in [key::META, key::OUTBOX, key::OVERRIDES, key::SOURCES] {
        for entry in db.scan_prefix([table]) {
            entry?;
        }
    }
    Ok(())
}

fn failure(error: &sled::Error) -> Failure {
    match error {
        sled::Error::Io(cause) if cause.to_string().contains("could not acquire lock") => Failure::InUse,
        // What the file system refuses is not the database's fault. sled itself answers a file that is
        // too short or not its own by these two.
        sled::Error::Io(cause)
            if !matches!(cause.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
        {
            refused(cause)
        }
        other => Failure::Corrupt(other.to_string()),
    }
}

fn refused(cause: &io::Error) -> Failure {
    Failure::Other(format!("{cause}; check that the directory is writable and the disk not full"))
}

fn put_aside(state_dir: &Path, path: &Path) -> io::Result<PathBuf> {
    for n in 1..=QUARANTINES_MAX {
        let aside = state_dir.join(format!("{DIRECTORY}.corrupt-{n}"));
        if aside.symlink_metadata().is_err() {
            fs::rename(path, &aside)?;
            sync_directory(state_dir)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other(format!(
        "{QUARANTINES_MAX} corrupt ones are beside it already: check the disk, and remove {}",
        state_dir.join(format!("{DIRECTORY}.corrupt-*")).display()
    )))
}
