//! The one thread that writes the local store, so that nothing else ever waits for the disk.
//!
//! ```text
//!   commit ──▶ pending (one value per key) ──after SYNC_DELAY, or asked to flush──▶ sled ──▶ fdatasync
//!                 ▲                                                                 │
//!                 └──────────────── refused: put back under what came since ◀───────┘
//! ```

use super::opening::Opened;
use super::{Batch, LocalStoreError};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Changes are gathered for so long before they are written together: a busy log costs four syncs a
/// second, whatever it holds.
pub const SYNC_DELAY: Duration = Duration::from_millis(250);

/// So much may wait for the disk, in bytes of keys and values. Then new batches are refused; their
/// owners have everything in memory still.
pub const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// After a refused write the next try is so much later.
const RETRY_DELAY: Duration = Duration::from_secs(1);

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

#[derive(Default)]
struct State {
    pending: Changes,
    /// What the thread is writing in this moment.
    writing: Arc<Changes>,
    pending_bytes: usize,
    /// Counts batches that were taken.
    committed: u64,
    /// All batches up to this one are on the disk.
    synced: u64,
    /// Somebody waits for this batch.
    wanted: u64,
    /// Counts failed writes.
    n_failures: u64,
    error: Option<String>,
    stop: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle of the writing thread. Dropping it writes what waits, once, and ends the thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(opened: Opened) -> io::Result<Writer> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("local-store".into()).spawn(move || run(&for_thread, opened))?;
        Ok(Writer { shared, thread: Some(thread) })
    }

    pub(super) fn commit(&self, batch: Batch) -> Result<(), LocalStoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let n_bytes: usize = batch.changes.iter().map(|(key, value)| bytes_of(key, value.as_ref())).sum();
        let mut state = self.shared.lock();
        if state.pending_bytes + n_bytes > PENDING_BYTES_MAX {
            return Err(LocalStoreError::Full);
        }
        for (key, value) in batch.changes {
            state.put(key, value);
        }
        state.committed += 1;
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<(), LocalStoreError> {
        let mut state = self.shared.lock();
        let wanted = state.committed;
        let n_failures = state.n_failures;
        state.wanted = state.wanted.max(wanted);
        self.shared.changed.notify_all();
        while state.synced < wanted {
            if state.n_failures > n_failures {
                return Err(LocalStoreError::Write(state.error.clone().unwrap_or_default()));
            }
            state = self.shared.wait(state);
        }
        Ok(())
    }

    /// Changes in a range of keys that the database may not have yet.
    pub(super) fn unwritten(&self, keys: Range<Vec<u8>>) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let state = self.shared.lock();
        let newest_last = state.writing.range(keys.clone()).chain(state.pending.range(keys));
        newest_last.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(super) fn error(&self) -> Option<String> {
        self.shared.lock().error.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}

impl State {
    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.pending_bytes += bytes_of(&key, value.as_ref());
        let key_bytes = key.len();
        if let Some(replaced) = self.pending.insert(key, value) {
            self.pending_bytes -= key_bytes + replaced.map_or(0, |value| value.len());
        }
    }
}

fn bytes_of(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    key.len() + value.map_or(0, Vec::len)
}

fn run(shared: &Shared, mut opened: Opened) {
    let mut state = shared.lock();
    loop {
        while state.pending.is_empty() && !state.stop {
            state = shared.wait(state);
        }
        if state.pending.is_empty() {
            return;
        }
        let delay = if state.error.is_some() { RETRY_DELAY } else { SYNC_DELAY };
        state = gather(shared, state, delay);

        let taken = Arc::new(std::mem::take(&mut state.pending));
        state.writing = Arc::clone(&taken);
        state.pending_bytes = 0;
        let up_to = state.committed;
        drop(state);
        let outcome = write(&mut opened, &taken);
        state = shared.lock();
        state.writing = Arc::default();
        match outcome {
            Ok(()) => {
                state.synced = up_to;
                state.error = None;
            }
            Err(error) => {
                if state.error.is_none() {
                    tracing::error!("the local database can not be written: {error}; it is tried again");
                }
                state.error = Some(error);
                state.n_failures += 1;
                for (key, value) in taken.iter() {
                    if !state.pending.contains_key(key) {
                        state.put(key.clone(), value.clone());
                    }
                }
                if state.stop {
                    return;
                }
            }
        }
        shared.changed.notify_all();
    }
}

/// Waits so that more can join the write, unless somebody waits for it.
fn gather<'a>(shared: &Shared, state: MutexGuard<'a, State>, delay: Duration) -> MutexGuard<'a, State> {
    // After a failure those who had waited were told; only a new flush is a reason to hurry.
    let not_urgent = if state.error.is_some() { state.wanted } else { state.synced };
    shared
        .changed
        .wait_timeout_while(state, delay, |state| !state.stop && state.wanted <= not_urgent)
        .unwrap_or_else(PoisonError::into_inner)
        .0
}

fn write(opened: &mut Opened, changes: &Changes) -> Result<(), String> {
    let mut batch = sled::Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(key.as_slice(), value.as_slice()),
            None => batch.remove(key.as_slice()),
        }
    }
    opened.write(batch, changes.len())
}
