//! Who writes the log: takes all that waits, writes it in order, syncs once, and tells everyone in the
//! group.
//!
//! A thread does it, for it waits for the disk. In the simulation it is a task, with the same [`Writer`]: there
//! the disk is slow in simulated time.
//!
//! Not for what is written (`log_store.rs`) nor how (`sled_disk.rs`).

use crate::disk::{Disk, MetaKey};
use crate::log_store::Shared;
use crate::types::TypeConfig;
use bytes::Bytes;
use openraft::storage::IOFlushed;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// So many writes may wait for the writer; whoever brings another one waits until there is room.
const WRITES_WAITING_MAX: usize = 1_024;
/// After so long without a write, what was only noted (the last committed index) is synced as well.
pub(crate) const IDLE: Duration = Duration::from_millis(200);

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

/// A write, and its place among those that wait.
pub(crate) type Queued = (Write, OwnedSemaphorePermit);

/// Where writes are brought.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    /// Gives a write to the writer; false when that has ended.
    queue: Arc<dyn Fn(Queued) -> bool + Send + Sync>,
    room: Arc<Semaphore>,
}

impl WriterHandle {
    pub(crate) fn new(queue: impl Fn(Queued) -> bool + Send + Sync + 'static) -> WriterHandle {
        WriterHandle { queue: Arc::new(queue), room: Arc::new(Semaphore::new(WRITES_WAITING_MAX)) }
    }

    /// Brings a write; waits while there is no room.
    pub(crate) async fn send(&self, write: Write) -> io::Result<()> {
        let permit = self.room.clone().acquire_owned().await.map_err(|_| stopped())?;
        if (self.queue)((write, permit)) { Ok(()) } else { Err(stopped()) }
    }
}

/// The error of everything that comes after the writer's end.
pub(crate) fn stopped() -> io::Error {
    io::Error::other("the Raft log's writer has stopped after an error of the disk")
}

/// What became of the writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriterState {
    /// The disk's error, after which nothing is written any more.
    pub(crate) failure: Option<String>,
    /// It has let go of the disk.
    pub(crate) has_ended: bool,
}

impl WriterState {
    /// Says that the disk is of no use any more.
    pub(crate) fn fail(&mut self, error: &io::Error) {
        tracing::error!(%error, "the Raft log can not be written: this node stops taking part");
        self.failure = Some(error.to_string());
    }
}

/// Starts the thread. It ends when all handles are gone; after an error it lets go of the disk at once. The receiver
/// says both.
pub(crate) fn start(
    disk: Box<dyn Disk>,
    shared: Arc<Shared>,
) -> io::Result<(WriterHandle, watch::Receiver<WriterState>)> {
    let (queue, writes) = channel::<Queued>();
    let (state, seen) = watch::channel(WriterState::default());
    std::thread::Builder::new().name("raft-log".to_string()).spawn(move || {
        let mut writer = Writer::new(disk, shared);
        let result = write_all(&mut writer, &writes);
        drop(writer);
        if let Err(error) = result {
            state.send_modify(|state| state.fail(&error));
            while let Ok((write, _permit)) = writes.recv() {
                write.refuse();
            }
        }
        state.send_modify(|state| state.has_ended = true);
    })?;
    Ok((WriterHandle::new(move |write| queue.send(write).is_ok()), seen))
}

fn write_all(writer: &mut Writer, writes: &Receiver<Queued>) -> io::Result<()> {
    loop {
        let first = if writer.is_dirty() {
            match writes.recv_timeout(IDLE) {
                Err(RecvTimeoutError::Timeout) => {
                    writer.sync()?;
                    continue;
                }
                received => received.ok(),
            }
        } else {
            writes.recv().ok()
        };
        let Some((first, _permit)) = first else { return writer.sync() };
        let group = writer.write(first, || writes.try_recv().ok().map(|(write, _permit)| write));
        writer.finish(group)?;
    }
}

impl Write {
    /// After an error nothing may be acknowledged, but everybody must get an answer.
    pub(crate) fn refuse(self) {
        match self {
            Write::Append { callback, .. } => callback.io_completed(Err(stopped())),
            Write::Truncate { done, .. } | Write::Meta { done, .. } => drop(done.send(Err(stopped()))),
            Write::Purge { .. } | Write::Committed { .. } => {}
        }
    }
}

/// What the thread, or the task, does with the disk.
pub(crate) struct Writer {
    disk: Box<dyn Disk>,
    shared: Arc<Shared>,
    /// Something was written that no sync has covered.
    is_dirty: bool,
}

/// What was written together, and those who wait for its sync.
pub(crate) struct Group {
    written: io::Result<()>,
    callbacks: Vec<IOFlushed<TypeConfig>>,
    done: Vec<oneshot::Sender<io::Result<()>>>,
    /// Where the log on the disk ends after the group, when the group says so.
    end: Option<u64>,
}

impl Group {
    /// Whether somebody waits for its sync.
    pub(crate) fn is_urgent(&self) -> bool {
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
    pub(crate) fn new(disk: Box<dyn Disk>, shared: Arc<Shared>) -> Writer {
        Writer { disk, shared, is_dirty: false }
    }

    /// Whether something was written that no sync has covered.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Writes this, and all that waits.
    pub(crate) fn write(&mut self, first: Write, mut next: impl FnMut() -> Option<Write>) -> Group {
        let mut group = Group { written: Ok(()), callbacks: Vec::new(), done: Vec::new(), end: None };
        group.written = self.take(first, &mut group);
        while group.written.is_ok()
            && let Some(write) = next()
        {
            group.written = self.take(write, &mut group);
        }
        group
    }

    /// Makes it durable, when somebody waits for that, and tells them.
    pub(crate) fn finish(&mut self, mut group: Group) -> io::Result<()> {
        let mut result = std::mem::replace(&mut group.written, Ok(()));
        if result.is_ok() && group.is_urgent() {
            result = self.sync();
        }
        if result.is_ok()
            && let Some(end) = group.end
        {
            self.shared.written(end);
        }
        group.tell(&result);
        result
    }

    fn take(&mut self, write: Write, group: &mut Group) -> io::Result<()> {
        self.is_dirty = true;
        match write {
            Write::Append { batch, callback } => {
                group.callbacks.push(callback);
                if let Some((last, _)) = batch.last() {
                    group.end = Some(last + 1);
                }
                self.disk.append(&batch)
            }
            Write::Truncate { index, done } => {
                group.done.push(done);
                group.end = Some(index);
                self.disk.truncate_from(index)
            }
            Write::Purge { index, value } => {
                self.disk.put_meta(MetaKey::Purged, &value)?;
                self.disk.purge_upto(index)
            }
            Write::Meta { key, value, done } => {
                group.done.push(done);
                self.disk.put_meta(key, &value)
            }
            Write::Committed { value } => self.disk.put_meta(MetaKey::Committed, &value),
        }
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.disk.sync()?;
            self.is_dirty = false;
        }
        Ok(())
    }
}
