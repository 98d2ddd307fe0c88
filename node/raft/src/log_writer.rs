//! The thread that writes the log: takes all that waits, writes it in order, syncs once, and tells
//! everyone in the group.
//!
//! Not for what is written (`log_store.rs`) nor how (`sled_disk.rs`).

use crate::disk::{Disk, MetaKey};
use crate::log_store::Shared;
use crate::types::TypeConfig;
use bytes::Bytes;
use openraft::storage::IOFlushed;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// So many writes may wait for the writer; whoever brings another one waits until there is room.
const WRITES_WAITING_MAX: usize = 1_024;
/// After so long without a write, what was only noted (the last committed index) is synced as well.
const IDLE: Duration = Duration::from_millis(200);

/// One thing to write.
pub(crate) enum Write {
    /// Entries; whoever appended them is told when they are durable.
    Append { batch: Vec<(u64, Bytes)>, callback: IOFlushed<TypeConfig> },
    /// Remove from this index on.
    Truncate { index: u64, done: oneshot::Sender<io::Result<()>> },
    /// Note how far the log is purged, then remove up to this index.
    Purge { index: u64, value: Vec<u8> },
    /// A named byte string that must be durable.
    Meta { key: MetaKey, value: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
    /// The last committed log id: goes with the next sync.
    Committed { value: Vec<u8> },
}

/// Where writes are brought.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    queue: Sender<(Write, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

impl WriterHandle {
    /// Brings a write; waits while there is no room.
    pub(crate) async fn send(&self, write: Write) -> io::Result<()> {
        let permit = self.room.clone().acquire_owned().await.map_err(|_| stopped())?;
        self.queue.send((write, permit)).map_err(|_| stopped())
    }
}

/// The error of everything that comes after the writer's end.
pub(crate) fn stopped() -> io::Error {
    io::Error::other("the Raft log's writer has stopped after an error of the disk")
}

/// What became of the thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriterState {
    /// The disk's error, after which nothing is written any more.
    pub(crate) failure: Option<String>,
    /// It has let go of the disk.
    pub(crate) has_ended: bool,
}

/// Starts the thread. It ends when all handles are gone; after an error it lets go of the disk at once. The receiver
/// says both.
pub(crate) fn start(
    disk: Box<dyn Disk>,
    shared: Arc<Shared>,
) -> io::Result<(WriterHandle, watch::Receiver<WriterState>)> {
    let (queue, writes) = channel();
    let (state, seen) = watch::channel(WriterState::default());
    std::thread::Builder::new().name("raft-log".to_string()).spawn(move || {
        let mut writer = Writer { disk, shared, is_dirty: false };
        let result = writer.run(&writes);
        drop(writer);
        if let Err(error) = result {
            tracing::error!(%error, "the Raft log can not be written: this node stops taking part");
            state.send_modify(|state| state.failure = Some(error.to_string()));
            refuse_all(&writes);
        }
        state.send_modify(|state| state.has_ended = true);
    })?;
    Ok((WriterHandle { queue, room: Arc::new(Semaphore::new(WRITES_WAITING_MAX)) }, seen))
}

/// After an error nothing may be acknowledged, but everybody must get an answer.
fn refuse_all(writes: &Receiver<(Write, OwnedSemaphorePermit)>) {
    while let Ok((write, _permit)) = writes.recv() {
        match write {
            Write::Append { callback, .. } => callback.io_completed(Err(stopped())),
            Write::Truncate { done, .. } | Write::Meta { done, .. } => drop(done.send(Err(stopped()))),
            Write::Purge { .. } | Write::Committed { .. } => {}
        }
    }
}

struct Writer {
    disk: Box<dyn Disk>,
    shared: Arc<Shared>,
    /// Something was written that no sync has covered.
    is_dirty: bool,
}

/// Those who wait for the sync of a group.
#[derive(Default)]
struct Waiting {
    callbacks: Vec<IOFlushed<TypeConfig>>,
    done: Vec<oneshot::Sender<io::Result<()>>>,
    /// Where the log on the disk ends after the group, when the group says so.
    end: Option<u64>,
}

impl Waiting {
    fn is_urgent(&self) -> bool {
        !self.callbacks.is_empty() || !self.done.is_empty()
    }

    fn tell(self, result: &io::Result<()>) {
        let copy =
            || result.as_ref().map(|_| ()).map_err(|error| io::Error::new(error.kind(), error.to_string()));
        self.callbacks.into_iter().for_each(|callback| callback.io_completed(copy()));
        self.done.into_iter().for_each(|done| drop(done.send(copy())));
    }
}

impl Writer {
    fn run(&mut self, writes: &Receiver<(Write, OwnedSemaphorePermit)>) -> io::Result<()> {
        loop {
            let first = if self.is_dirty {
                match writes.recv_timeout(IDLE) {
                    Err(RecvTimeoutError::Timeout) => {
                        self.sync()?;
                        continue;
                    }
                    received => received.ok(),
                }
            } else {
                writes.recv().ok()
            };
            let Some(first) = first else { return self.sync() };
            let mut waiting = Waiting::default();
            let mut result = self.take(first.0, &mut waiting);
            while result.is_ok()
                && let Ok((write, _permit)) = writes.try_recv()
            {
                result = self.take(write, &mut waiting);
            }
            if result.is_ok() && waiting.is_urgent() {
                result = self.sync();
            }
            if result.is_ok()
                && let Some(end) = waiting.end
            {
                self.shared.written(end);
            }
            waiting.tell(&result);
            result?;
        }
    }

    fn take(&mut self, write: Write, waiting: &mut Waiting) -> io::Result<()> {
        self.is_dirty = true;
        match write {
            Write::Append { batch, callback } => {
                waiting.callbacks.push(callback);
                if let Some((last, _)) = batch.last() {
                    waiting.end = Some(last + 1);
                }
                self.disk.append(&batch)
            }
            Write::Truncate { index, done } => {
                waiting.done.push(done);
                waiting.end = Some(index);
                self.disk.truncate_from(index)
            }
            Write::Purge { index, value } => {
                self.disk.put_meta(MetaKey::Purged, &value)?;
                self.disk.purge_upto(index)
            }
            Write::Meta { key, value, done } => {
                waiting.done.push(done);
                self.disk.put_meta(key, &value)
            }
            Write::Committed { value } => self.disk.put_meta(MetaKey::Committed, &value),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.disk.sync()?;
            self.is_dirty = false;
        }
        Ok(())
    }
}
