//! A host's disk, which outlives the nodes on it: what was written and not synced is lost when the host dies, but for
//! a part from the beginning, and a sync takes its time. The log's writer is a task here, for it must not wait in
//! real time.
//!
//! Not for snapshot files: those are real ones (`host.rs`).

use super::random::Random;
use crate::disk::{Disk, DiskReader, Loaded, MetaKey, check_follows};
use crate::log_store::{LogStore, Shared};
use crate::log_writer::{IDLE, Queued, Writer, WriterHandle, WriterState};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// The disk, as one life of its host uses it. After [`SimulatedDisk::crash`] that life's clones are of no use.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedDisk {
    held: Arc<Mutex<Held>>,
    voted: Arc<Notify>,
    life: u32,
}

#[derive(Clone, Debug, Default)]
struct Content {
    entries: BTreeMap<u64, Bytes>,
    meta: BTreeMap<MetaKey, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Change {
    Entry(u64, Bytes),
    TruncateFrom(u64),
    PurgeUpto(u64),
    Meta(MetaKey, Vec<u8>),
}

impl Content {
    fn take(&mut self, change: Change) {
        match change {
            Change::Entry(index, bytes) => drop(self.entries.insert(index, bytes)),
            Change::TruncateFrom(index) => drop(self.entries.split_off(&index)),
            Change::PurgeUpto(index) => self.entries = self.entries.split_off(&index.saturating_add(1)),
            Change::Meta(key, value) => drop(self.meta.insert(key, value)),
        }
    }

    fn indices(&self) -> Range<u64> {
        match (self.entries.first_key_value(), self.entries.last_key_value()) {
            (Some((first, _)), Some((last, _))) => *first..last + 1,
            _ => 0..0,
        }
    }
}

#[derive(Debug)]
struct Held {
    synced: Content,
    /// With what is not synced.
    written: Content,
    unsynced: Vec<Change>,
    sync_takes: Duration,
    life: u32,
}

impl SimulatedDisk {
    /// An empty disk that needs so long for a sync.
    pub(super) fn new(sync_takes: Duration) -> SimulatedDisk {
        let held = Held {
            synced: Content::default(),
            written: Content::default(),
            unsynced: Vec::new(),
            sync_takes,
            life: 0,
        };
        SimulatedDisk { held: Arc::new(Mutex::new(held)), voted: Arc::default(), life: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> io::Result<MutexGuard<'_, Held>> {
        let held = self.lock();
        if held.life == self.life { Ok(held) } else { Err(io::Error::other("the host is dead")) }
    }

    pub(super) fn set_sync_takes(&self, sync_takes: Duration) {
        self.lock().sync_takes = sync_takes;
    }

    /// Waits until a vote is written, not yet synced.
    pub(super) async fn voted(&self) {
        self.voted.notified().await;
    }

    /// The host dies. Gives its disk for the next life, and how many writes were lost: a process that is killed leaves
    /// to the kernel what it has written, without `power` a part from the beginning is kept.
    pub(super) fn crash(&self, power: bool, random: &mut Random) -> (SimulatedDisk, usize) {
        let mut held = self.lock();
        let unsynced = std::mem::take(&mut held.unsynced);
        let n_kept = if power { random.index(unsynced.len() + 1) } else { unsynced.len() };
        let n_lost = unsynced.len() - n_kept;
        unsynced.into_iter().take(n_kept).for_each(|change| held.synced.take(change));
        held.written = held.synced.clone();
        held.life += 1;
        (SimulatedDisk { held: self.held.clone(), voted: self.voted.clone(), life: held.life }, n_lost)
    }

    /// The log on this disk, written by a task.
    pub(crate) fn open_log(&self) -> io::Result<(LogStore, watch::Receiver<WriterState>)> {
        LogStore::open_with(Box::new(self.clone()), |disk, shared| Ok(self.start_writer(disk, shared)))
    }

    fn start_writer(
        &self,
        disk: Box<dyn Disk>,
        shared: Arc<Shared>,
    ) -> (WriterHandle, watch::Receiver<WriterState>) {
        let (queue, mut writes) = mpsc::unbounded_channel::<Queued>();
        let (state, seen) = watch::channel(WriterState::default());
        let myself = self.clone();
        tokio::spawn(async move {
            let mut writer = Writer::new(disk, shared);
            if let Err(error) = myself.write_all(&mut writer, &mut writes).await {
                state.send_modify(|state| state.fail(&error));
                drop(writer);
                while let Some((write, _permit)) = writes.recv().await {
                    write.refuse();
                }
            }
            state.send_modify(|state| state.has_ended = true);
        });
        (WriterHandle::new(move |write| queue.send(write).is_ok()), seen)
    }

    async fn write_all(
        &self,
        writer: &mut Writer,
        writes: &mut mpsc::UnboundedReceiver<Queued>,
    ) -> io::Result<()> {
        loop {
            let first = if writer.is_dirty() {
                match tokio::time::timeout(IDLE, writes.recv()).await {
                    Err(_) => {
                        self.wait_for_sync().await;
                        writer.sync()?;
                        continue;
                    }
                    Ok(first) => first,
                }
            } else {
                writes.recv().await
            };
            let Some((first, _permit)) = first else { return writer.sync() };
            let group = writer.write(first, || writes.try_recv().ok().map(|(write, _permit)| write));
            if group.is_urgent() {
                self.wait_for_sync().await;
            }
            writer.finish(group)?;
        }
    }

    async fn wait_for_sync(&self) {
        let sync_takes = self.lock().sync_takes;
        tokio::time::sleep(sync_takes).await;
    }
}

impl Held {
    fn write(&mut self, change: Change) {
        self.written.take(change.clone());
        self.unsynced.push(change);
    }
}

impl Disk for SimulatedDisk {
    fn load(&mut self) -> io::Result<Loaded> {
        let held = self.held()?;
        Ok(Loaded { indices: held.synced.indices(), meta: held.synced.meta.clone() })
    }

    fn append(&mut self, batch: &[(u64, Bytes)]) -> io::Result<()> {
        let mut held = self.held()?;
        check_follows(&held.written.indices(), batch)?;
        for (index, bytes) in batch {
            held.write(Change::Entry(*index, bytes.clone()));
        }
        Ok(())
    }

    fn truncate_from(&mut self, index: u64) -> io::Result<()> {
        self.held()?.write(Change::TruncateFrom(index));
        Ok(())
    }

    fn purge_upto(&mut self, index: u64) -> io::Result<()> {
        self.held()?.write(Change::PurgeUpto(index));
        Ok(())
    }

    fn put_meta(&mut self, key: MetaKey, value: &[u8]) -> io::Result<()> {
        self.held()?.write(Change::Meta(key, value.to_vec()));
        if key == MetaKey::Vote {
            self.voted.notify_waiters();
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut held = self.held()?;
        held.synced = held.written.clone();
        held.unsynced.clear();
        Ok(())
    }

    fn reader(&self) -> Box<dyn DiskReader> {
        Box::new(self.clone())
    }
}

impl DiskReader for SimulatedDisk {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let held = self.held()?;
        Ok(held.synced.entries.range(range).map(|(index, bytes)| (*index, bytes.to_vec())).collect())
    }
}
