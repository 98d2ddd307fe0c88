//! openraft's log storage on a [`Disk`]: one writer thread, group commit, and the log's tail decoded in
//! memory.
//!
//! ```text
//! openraft ── append, vote, truncate, purge ──▶ queue ──▶ writer thread ──▶ disk
//!     ▲  │ the entries at once                              all that waits, then one sync
//!     │  ▼                                                  │
//!     │ tail (newest entries, ≤ 4 MiB) ◀── read             ▼
//!     └──────────────────────────────────────── "flushed" to everyone in the group
//! ```
//!
//! An entry leaves the tail only when it is on the disk, so a reader finds every appended entry in
//! one or the other. The first error of the disk is the last thing the writer does: nothing is
//! acknowledged after it, and openraft stops.
//!
//! Not here: how records lie on the disk (`sled_disk.rs`), what a command means.

use crate::beside;
use crate::disk::{Disk, DiskReader, MetaKey};
use crate::log_writer::{self, Write, WriterHandle, WriterState};
use crate::types::{Entry, LogId, TypeConfig, Vote, decode, encode, invalid};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};

/// Decoded entries are kept in memory up to this many bytes; older ones are read from the disk.
const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What an entry costs in memory beside its payload, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 128;
/// A reader that may answer with less than asked for stops after this many bytes: what is sent to a
/// follower in one message.
pub(crate) const READ_BYTES_MAX: usize = 1024 * 1024;

/// The log. Clones are readers of the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    writer: WriterHandle,
}

/// What the writer and all readers share.
pub(crate) struct Shared {
    state: Mutex<State>,
    reader: Box<dyn DiskReader>,
}

struct State {
    /// The entries that the log holds.
    indices: Range<u64>,
    /// The log id of the last one.
    last: Option<LogId>,
    /// The newest entries. They end where `indices` ends.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// Everything before this index is on the disk.
    written_end: u64,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    owner: Option<Vec<u8>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer has put everything before `end` on the disk.
    pub(crate) fn written(&self, end: u64) {
        let mut state = self.state();
        state.written_end = end.min(state.indices.end);
        state.shrink_tail();
    }
}

impl State {
    fn tail_start(&self) -> u64 {
        self.indices.end - self.tail.len() as u64
    }

    /// Drops the oldest decoded entries over the bound, as far as they are on the disk.
    fn shrink_tail(&mut self) {
        while self.tail_bytes > TAIL_BYTES_MAX
            && self.tail_start() < self.written_end
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tail_bytes -= size(&oldest);
        }
    }

    fn push(&mut self, entry: Entry) {
        self.tail_bytes += size(&entry);
        self.last = Some(entry.log_id());
        self.indices.end = entry.log_id().index + 1;
        self.tail.push_back(entry);
    }

    fn truncate_from(&mut self, index: u64, last: Option<LogId>) {
        if index >= self.indices.end {
            return;
        }
        let tail_start = self.tail_start();
        let n_kept = usize::try_from(index.saturating_sub(tail_start)).unwrap_or(usize::MAX);
        for entry in self.tail.drain(n_kept.min(self.tail.len())..) {
            self.tail_bytes -= size(&entry);
        }
        self.indices.end = index.max(self.indices.start);
        self.last = last.filter(|_| !self.indices.is_empty());
    }

    fn purge_upto(&mut self, purged: LogId) {
        let first = purged.index + 1;
        self.purged = Some(purged);
        if first >= self.indices.end {
            self.tail.clear();
            self.tail_bytes = 0;
            self.indices = first..first;
            self.last = None;
            return;
        }
        self.indices.start = self.indices.start.max(first);
        while self.tail_start() < first
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tail_bytes -= size(&oldest);
        }
    }
}

fn size(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES
        + match &entry.payload {
            EntryPayload::Normal(payload) => payload.0.len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}

impl LogStore {
    /// Loads what the disk holds and starts the writer. The receiver learns when the writer has
    /// ended and let go of the disk.
    pub(crate) fn open(disk: Box<dyn Disk>) -> io::Result<(LogStore, watch::Receiver<WriterState>)> {
        LogStore::open_with(disk, log_writer::start)
    }

    /// The same; `start` starts the writer.
    pub(crate) fn open_with(
        mut disk: Box<dyn Disk>,
        start: impl FnOnce(Box<dyn Disk>, Arc<Shared>) -> io::Result<(WriterHandle, watch::Receiver<WriterState>)>,
    ) -> io::Result<(LogStore, watch::Receiver<WriterState>)> {
        let loaded = disk.load()?;
        let meta = |key: MetaKey| loaded.meta.get(&key);
        let reader = disk.reader();
        let last_index = loaded.indices.end.checked_sub(1).filter(|_| !loaded.indices.is_empty());
        let last = match last_index {
            None => None,
            Some(index) => {
                read_disk(reader.as_ref(), index..index + 1)?.pop().map(|entry: Entry| entry.log_id())
            }
        };
        let purged: Option<LogId> = meta(MetaKey::Purged).map(|bytes| decode(bytes)).transpose()?;
        let mut state = State {
            indices: loaded.indices.clone(),
            last,
            tail: VecDeque::new(),
            tail_bytes: 0,
            written_end: loaded.indices.end,
            purged: None,
            vote: meta(MetaKey::Vote).map(|bytes| decode(bytes)).transpose()?,
            committed: meta(MetaKey::Committed).map(|bytes| decode(bytes)).transpose()?,
            owner: meta(MetaKey::Owner).cloned(),
        };
        // A death between the note of a purge and the purge itself: the note decides.
        if let Some(purged) = purged {
            state.purge_upto(purged);
        }
        let shared = Arc::new(Shared { state: Mutex::new(state), reader });
        let (writer, ended) = start(disk, shared.clone())?;
        Ok((LogStore { shared, writer }, ended))
    }

    /// Whose log this is, if that was written down.
    pub(crate) fn owner(&self) -> Option<Vec<u8>> {
        self.shared.state().owner.clone()
    }

    /// The last index in the log.
    pub(crate) fn last_index(&self) -> Option<u64> {
        let state = self.shared.state();
        state.last.or(state.purged).map(|log_id| log_id.index)
    }

    /// Writes down whose log this is, durably.
    pub(crate) async fn put_owner(&self, owner: &[u8]) -> io::Result<()> {
        self.write_and_wait(|done| Write::Meta { key: MetaKey::Owner, value: owner.to_vec(), done }).await
    }

    /// Whether the log has ever held anything.
    pub(crate) fn is_pristine(&self) -> bool {
        let state = self.shared.state();
        state.indices.is_empty() && state.purged.is_none() && state.vote.is_none()
    }

    async fn write_and_wait(
        &self,
        write: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Write,
    ) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.writer.send(write(done)).await?;
        answer.await.unwrap_or_else(|_| Err(log_writer::stopped()))
    }

    /// Reads a range of which all that is there must come, or, with `limited`, a beginning of it.
    async fn read(&self, range: Range<u64>, limited: bool) -> io::Result<Vec<Entry>> {
        let (mut entries, on_disk) = {
            let state = self.shared.state();
            let range = range.start.max(state.indices.start)..range.end.min(state.indices.end);
            if range.is_empty() {
                return Ok(Vec::new());
            }
            let tail_start = state.tail_start();
            let on_disk = range.start..range.end.min(tail_start);
            let skipped = usize::try_from(range.start.saturating_sub(tail_start)).unwrap_or(usize::MAX);
            let n_wanted =
                usize::try_from(range.end.saturating_sub(range.start.max(tail_start))).unwrap_or(0);
            let from_tail: Vec<Entry> = if limited && !on_disk.is_empty() {
                Vec::new()
            } else {
                state.tail.iter().skip(skipped).take(n_wanted).cloned().collect()
            };
            (from_tail, on_disk)
        };
        if !on_disk.is_empty() {
            let shared = self.shared.clone();
            let mut older = beside::run(move || {
                if limited {
                    read_disk_limited(shared.reader.as_ref(), on_disk)
                } else {
                    read_disk(shared.reader.as_ref(), on_disk)
                }
            })
            .await??;
            older.append(&mut entries);
            entries = older;
        }
        if limited {
            let mut bytes = 0;
            // The first one always goes: an answer must not be empty.
            let n_fitting = entries.iter().take_while(|entry| {
                let is_first = bytes == 0;
                bytes += size(entry);
                is_first || bytes <= READ_BYTES_MAX
            });
            let n_fitting = n_fitting.count();
            entries.truncate(n_fitting);
        }
        Ok(entries)
    }
}

/// Entries are read from the disk so many at a time, when less than asked for will do.
const DISK_READ_ENTRIES: u64 = 64;

fn read_disk_limited(reader: &dyn DiskReader, range: Range<u64>) -> io::Result<Vec<Entry>> {
    read_disk(reader, range.start..range.end.min(range.start + DISK_READ_ENTRIES))
}

fn read_disk(reader: &dyn DiskReader, range: Range<u64>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (index, bytes) in reader.read(range)? {
        let entry: Entry = decode(&bytes)?;
        if entry.log_id().index != index {
            return Err(invalid(&format!("log entry {index} says that it is {}", entry.log_id().index)));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn to_range(bounds: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match bounds.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match bounds.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl futures::Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // In portions, so that a node that catches up does not hold all it has missed at once.
        let portions =
            futures::stream::try_unfold((self.clone(), to_range(&range)), |(log, rest)| async move {
                let entries = log.read(rest.clone(), true).await?;
                let Some(last) = entries.last() else { return Ok::<_, io::Error>(None) };
                let rest = last.log_id().index + 1..rest.end;
                Ok(Some((futures::stream::iter(entries.into_iter().map(Ok)), (log, rest))))
            });
        let stream: BoxStream<'static, io::Result<Entry>> =
            futures::TryStreamExt::try_flatten(portions).boxed();
        stream
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(to_range(&range), false).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, true).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.state().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared.state();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last.or(state.purged) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let value = encode(vote)?;
        self.write_and_wait(|done| Write::Meta { key: MetaKey::Vote, value, done }).await?;
        self.shared.state().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed else { return Ok(()) };
        self.shared.state().committed = Some(committed);
        self.writer.send(Write::Committed { value: encode(&committed)? }).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.state().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let mut batch = Vec::with_capacity(entries.len());
        for entry in &entries {
            batch.push((entry.log_id().index, Bytes::from(encode(entry)?)));
        }
        {
            let mut state = self.shared.state();
            if let Some((first, _)) = batch.first()
                && state.indices.is_empty()
            {
                state.indices = *first..*first;
            }
            entries.into_iter().for_each(|entry| state.push(entry));
        }
        self.writer.send(Write::Append { batch, callback }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let index = last.map_or(0, |last| last.index + 1);
        self.shared.state().truncate_from(index, last);
        self.write_and_wait(|done| Write::Truncate { index, done }).await
    }

    async fn purge(&mut self, purged: LogId) -> Result<(), io::Error> {
        let value = encode(&purged)?;
        self.shared.state().purge_upto(purged);
        self.writer.send(Write::Purge { index: purged.index, value }).await
    }
}

#[cfg(test)]
#[path = "log_store_tests.rs"]
mod tests;
