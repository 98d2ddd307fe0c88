//! openraft's state machine: the ban list in memory.
//!
//! ```text
//! committed entries ─▶ decode ─▶ BanList::apply ─┬─▶ view (watch)
//!                                                ├─▶ observer
//!                                                └─▶ answers to proposers on this node
//! ```
//!
//! Views, observer and answers follow in this order, batch by batch, so whoever has an answer also
//! sees its effect. An entry that can not be read halts it (`level.rs`): what follows is passed over and stays
//! in the log. What was applied so far stays in force.
//!
//! Not for what applying means (`bannkreis-core`) nor for files (`snapshot.rs`).

use crate::beside;
use crate::cluster_time::ClusterTime;
use crate::level::{Halt, Halted, Release};
use crate::observer::{AppliedBatch, AppliedEntry, Keeping, Observer};
use crate::room::Room;
use crate::snapshot::{self, SnapshotFile};
use crate::types::{Answer, Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::ids::Position;
use bannkreis_core::time::Timestamp;
use futures::TryStreamExt;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Entries published together at most. A view that is alive makes the next change copy what it
/// touches, so publishing after every single entry would be dear.
const BATCH_ENTRIES_MAX: usize = 256;

/// After a snapshot that could not be written, none is tried for so long: each costs the whole list.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// Where snapshots are, and the newest of them.
pub(crate) struct Snapshots {
    dir: PathBuf,
    generation: u32,
    current: Mutex<Option<(SnapshotMeta, SnapshotFile)>>,
    /// When the last one could not be written.
    failed: Mutex<Option<Instant>>,
}

impl Snapshots {
    fn set_current(&self, meta: SnapshotMeta, file: SnapshotFile) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // A snapshot that was being built while a newer one was installed is not the newest.
        if current.as_ref().is_none_or(|(held, _)| held.last_log_id <= meta.last_log_id) {
            *current = Some((meta, file));
        }
    }

    fn has_failed_lately(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < FAILED_PAUSE)
    }

    /// Notes that none was written. What openraft gets instead is older than all that it has, so that nothing changes for
    /// it: an error would end it, and the log is as good without a snapshot.
    fn note_failure(&self, error: &io::Error) -> io::Result<Snapshot> {
        tracing::error!("{}: no snapshot can be written: {error}; it is tried again", self.dir.display());
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: SnapshotFile::open("/dev/null".into())? })
    }
}

/// The ban list and who is told about it.
pub(crate) struct StateMachine {
    list: BanList,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: Arc<Snapshots>,
    views: watch::Sender<BanView>,
    observer: Box<dyn Observer>,
    time: Arc<ClusterTime>,
    release: Release,
    halted: Arc<Halted>,
    room: Room,
}

impl StateMachine {
    /// Starts from the newest readable snapshot in `dir`, or from nothing.
    pub(crate) fn open(
        dir: PathBuf,
        generation: u32,
        observer: Box<dyn Observer>,
        time: Arc<ClusterTime>,
        release: Release,
    ) -> io::Result<StateMachine> {
        snapshot::remove_unfinished(&dir)?;
        let newest = snapshot::newest(&dir, generation, release.level_max)?;
        let (current, list) = match newest {
            Some((file, header, list)) => (Some((header.meta, file)), list),
            None => (None, snapshot::empty_list()),
        };
        let mut machine = StateMachine {
            applied: current.as_ref().and_then(|(meta, _)| meta.last_log_id),
            membership: current.as_ref().map(|(meta, _)| meta.last_membership.clone()).unwrap_or_default(),
            views: watch::Sender::new(list.view()),
            list,
            snapshots: Arc::new(Snapshots {
                dir,
                generation,
                current: Mutex::new(current),
                failed: Mutex::default(),
            }),
            observer,
            time,
            release,
            halted: Arc::default(),
            room: Room::default(),
        };
        machine.publish_installed();
        Ok(machine)
    }

    /// The last entry in the state that it has started from.
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// The views that will be published.
    pub(crate) fn views(&self) -> watch::Sender<BanView> {
        self.views.clone()
    }

    /// Whether it has halted.
    pub(crate) fn halted(&self) -> Arc<Halted> {
        self.halted.clone()
    }

    /// Whether there is room on the disk, to be told.
    pub(crate) fn room(&self) -> Room {
        self.room.clone()
    }

    fn publish_installed(&mut self) {
        let view = self.list.view();
        self.time.observe(view.now());
        self.views.send_replace(view.clone());
        self.observer.installed(view);
    }

    fn apply_entry(
        &mut self,
        entry: &Entry,
        responder: Option<ApplyResponder<TypeConfig>>,
        batch: &mut Batch,
    ) {
        if self.halted.is_set() {
            return;
        }
        let position = Position { generation: self.snapshots.generation, index: entry.log_id.index };
        let mut results = Vec::new();
        match &entry.payload {
            EntryPayload::Blank => self.list.skip(position),
            EntryPayload::Membership(membership) => {
                self.list.skip(position);
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
            EntryPayload::Normal(payload) => {
                let command = match self.release.read(&payload.0) {
                    Ok(command) => command,
                    Err(error) => return self.halted.set(Halt::of(format!("log entry {position}"), &error)),
                };
                let before = self.list.last_tick();
                let applied = self.list.apply(position, &command);
                let median = Some(self.list.last_tick()).filter(|median| *median != before);
                batch.median = median.or(batch.median);
                results.clone_from(&applied.results);
                let (at, command) = (self.list.now(), Arc::new(command));
                let encoded = payload.0.clone();
                batch.entries.push(AppliedEntry { position, at, median, command, encoded, applied });
            }
        }
        self.applied = Some(entry.log_id);
        batch.n_entries += 1;
        if let Some(responder) = responder {
            batch.answers.push((responder, Answer { results }));
        }
    }

    fn publish(&mut self, batch: Batch) {
        if batch.n_entries == 0 {
            return;
        }
        let view = self.list.view();
        self.time.observe(view.now());
        if let Some(median) = batch.median {
            self.time.compare(median);
        }
        self.views.send_replace(view.clone());
        self.observer.applied(AppliedBatch { view, entries: batch.entries });
        for (responder, answer) in batch.answers {
            responder.send(answer);
        }
    }
}

/// Entries that were applied and not yet published.
#[derive(Default)]
struct Batch {
    n_entries: usize,
    /// What the voters' clocks said, when one of the entries has brought it.
    median: Option<Timestamp>,
    entries: Vec<AppliedEntry>,
    answers: Vec<(ApplyResponder<TypeConfig>, Answer)>,
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: futures::Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Batch::default();
        let mut result = Ok(());
        while result.is_ok() {
            match entries.try_next().await {
                Ok(None) => break,
                Ok(Some((entry, responder))) => self.apply_entry(&entry, responder, &mut batch),
                Err(error) => result = Err(error),
            }
            if batch.n_entries >= BATCH_ENTRIES_MAX {
                self.publish(std::mem::take(&mut batch));
            }
        }
        self.publish(batch);
        result
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        // After a snapshot openraft would let go of entries that were not applied here; and it needs room.
        let is_unwanted =
            self.halted.is_set() || self.room.is_lacking() || self.snapshots.has_failed_lately();
        if is_unwanted && !force {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        let keeping = self.observer.keeping();
        SnapshotBuilder { view: self.list.view(), meta, snapshots: self.snapshots.clone(), keeping }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        received: SnapshotFile,
    ) -> Result<(), io::Error> {
        let (snapshots, announced) = (self.snapshots.clone(), meta.clone());
        let level_max = self.release.level_max;
        let keeping = self.observer.keeping();
        let loaded = beside::run(move || {
            keeping();
            let (header, list) = snapshot::load(&received.file, level_max)?;
            snapshot::check_announced(&header, &announced, snapshots.generation)?;
            let kept = snapshot::keep(&snapshots.dir, &received, &header)?;
            Ok::<_, io::Error>((header.meta, kept, list))
        });
        let (meta, file, list) = loaded.await??;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.list = list;
        self.snapshots.set_current(meta, file);
        self.halted.clear();
        self.publish_installed();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.snapshots.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes the snapshot of one view, beside the entries that go on being applied.
pub(crate) struct SnapshotBuilder {
    view: BanView,
    meta: SnapshotMeta,
    snapshots: Arc<Snapshots>,
    keeping: Keeping,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (view, meta, snapshots) = (self.view.clone(), self.meta.clone(), self.snapshots.clone());
        let keeping = self.keeping.clone();
        let written = beside::run(move || {
            keeping();
            match snapshot::write(&snapshots.dir, snapshots.generation, &meta, &view) {
                Ok(file) => {
                    snapshots.set_current(meta.clone(), file.clone());
                    Ok(Snapshot { meta, snapshot: file })
                }
                Err(error) => snapshots.note_failure(&error),
            }
        });
        written.await?
    }
}
