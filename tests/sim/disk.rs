//! A node's disk: what was written is lost at a crash unless it was synced; what survives is always a
//! prefix of the batches, each whole or not at all.
//!
//! Two stores lie on it, as on a real node: the local one (outbox, overrides, source positions, time)
//! and the Raft one (a snapshot, and how much of the log the node knows to be committed).

use bannkreis_core::change::BanKey;
use bannkreis_core::event::{OutboxEntry, Override};
use bannkreis_core::failure::SourcePosition;
use bannkreis_core::record::Record;
use bannkreis_core::subnet::Subnet;
use std::collections::BTreeMap;

/// What time it was when a batch was written. Boots are counted.
pub(crate) type StoredTime = bannkreis_core::node_clock::StoredTime<u32>;

/// One change of the local store.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Outbox(BanKey, Option<Box<OutboxEntry>>),
    Override(Subnet, Option<Override>),
    Position(SourcePosition),
    Time(StoredTime),
}

/// The local store's content.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalStore {
    pub(crate) outbox: BTreeMap<BanKey, OutboxEntry>,
    pub(crate) overrides: BTreeMap<Subnet, Override>,
    pub(crate) position: SourcePosition,
    pub(crate) time: Option<StoredTime>,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    synced: LocalStore,
    unsynced: Vec<Vec<Write>>,
    /// The newest snapshot file: the index it stands at, and its records. Files are synced when they
    /// are made.
    pub(crate) snapshot: (usize, Vec<Record>),
    /// Up to here the Raft store is synced and known to be committed.
    pub(crate) committed_synced: usize,
    /// Up to here it was written.
    pub(crate) committed_written: usize,
}

impl Disk {
    /// The disk of a new node: nothing but the empty ban list.
    pub(crate) fn formatted(empty: Vec<Record>) -> Disk {
        Disk { snapshot: (0, empty), ..Disk::default() }
    }

    /// Writes one batch.
    pub(crate) fn write(&mut self, batch: Vec<Write>) {
        self.unsynced.push(batch);
    }

    /// Whether something waits to be synced.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Everything written is durable now.
    pub(crate) fn sync(&mut self) {
        for write in std::mem::take(&mut self.unsynced).into_iter().flatten() {
            self.synced.take_in(write);
        }
        self.committed_synced = self.committed_written;
    }

    /// How many batches a crash would find unsynced.
    pub(crate) fn n_unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The machine or the process stops: of the unsynced batches only the first `n_kept` survive, and
    /// what is left is what a reader finds afterwards.
    pub(crate) fn crash(&mut self, n_kept: usize) {
        self.unsynced.truncate(n_kept);
        for write in std::mem::take(&mut self.unsynced).into_iter().flatten() {
            self.synced.take_in(write);
        }
        self.committed_written = self.committed_synced;
    }

    /// The local store can not be read any more, and is put aside: a new one begins with what it is told.
    pub(crate) fn lose_local(&mut self, position: SourcePosition) {
        self.synced = LocalStore { position, ..LocalStore::default() };
    }

    /// What a starting process finds.
    pub(crate) fn local(&self) -> &LocalStore {
        &self.synced
    }
}

impl LocalStore {
    fn take_in(&mut self, write: Write) {
        match write {
            Write::Outbox(key, Some(entry)) => {
                self.outbox.insert(key, *entry);
            }
            Write::Outbox(key, None) => {
                self.outbox.remove(&key);
            }
            Write::Override(subnet, Some(decision)) => {
                self.overrides.insert(subnet, decision);
            }
            Write::Override(subnet, None) => {
                self.overrides.remove(&subnet);
            }
            Write::Position(position) => self.position = position,
            Write::Time(time) => self.time = Some(time),
        }
    }
}
