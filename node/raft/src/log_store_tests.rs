//! openraft's own storage tests on both disks, and what they do not test: restarts, errors of the
//! disk, a tail that is larger than memory may be.

use super::*;
use crate::cluster_time::ClusterTime;
use crate::disk::{Loaded, MemoryDisk};
use crate::observer::NoObserver;
use crate::sled_disk::SledDisk;
use crate::state_machine::StateMachine;
use crate::types::Payload;
use openraft::StorageError;
use openraft::storage::RaftLogStorageExt;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

#[derive(Clone, Copy)]
enum Kind {
    Sled,
    Memory,
}

struct Builder(Kind);

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let disk: Box<dyn Disk> = match self.0 {
            Kind::Sled => Box::new(SledDisk::open(&dir.path().join("raft")).unwrap()),
            Kind::Memory => Box::new(MemoryDisk::default()),
        };
        let (log, _) = LogStore::open(disk).unwrap();
        let time = Arc::new(ClusterTime::new(Arc::new(|| 0)));
        let machine = StateMachine::open(
            dir.path().join("snapshots"),
            1,
            Box::new(NoObserver),
            time,
            Default::default(),
        )
        .unwrap();
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn openrafts_suite_passes_on_sled() {
    Suite::test_all(Builder(Kind::Sled)).await.unwrap();
}

#[tokio::test]
async fn openrafts_suite_passes_in_memory() {
    Suite::test_all(Builder(Kind::Memory)).await.unwrap();
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: openraft::vote::leader_id_adv::LeaderId { term: 1, node_id: 7 }, index }
}

fn entry(index: u64, n_bytes: usize) -> Entry {
    let payload = EntryPayload::Normal(Payload(Bytes::from(vec![index as u8; n_bytes])));
    Entry { log_id: log_id(index), payload }
}

async fn stop(log: LogStore, mut ended: watch::Receiver<WriterState>) {
    drop(log);
    ended.wait_for(|writer| writer.has_ended).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raft");
    let (mut log, ended) = LogStore::open(Box::new(SledDisk::open(&path).unwrap())).unwrap();
    assert!(log.is_pristine());
    log.put_owner(b"me").await.unwrap();
    log.save_vote(&openraft::Vote::new(3, 7)).await.unwrap();
    log.blocking_append((1..=300).map(|index| entry(index, 500))).await.unwrap();
    log.save_committed(Some(log_id(290))).await.unwrap();
    log.truncate_after(Some(log_id(295))).await.unwrap();
    log.purge(log_id(40)).await.unwrap();
    log.blocking_append([entry(296, 9_000)]).await.unwrap();
    stop(log, ended).await;

    let (mut log, ended) = LogStore::open(Box::new(SledDisk::open(&path).unwrap())).unwrap();
    assert_eq!(log.owner().as_deref(), Some(&b"me"[..]));
    assert_eq!(log.read_vote().await.unwrap(), Some(openraft::Vote::new(3, 7)));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(290)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(40)), Some(log_id(296))));
    let entries = log.try_get_log_entries(..).await.unwrap();
    let indices: Vec<u64> = entries.iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(indices, (41..=296).collect::<Vec<_>>());
    assert_eq!(entries.last().unwrap().payload, entry(296, 9_000).payload);
    stop(log, ended).await;
}

#[tokio::test]
async fn memory_holds_the_tail_only_and_readers_see_no_seam() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _ended) = LogStore::open(Box::new(SledDisk::open(dir.path()).unwrap())).unwrap();
    for round in 0..10u64 {
        log.blocking_append((1..=30).map(|n| entry(round * 30 + n, 40_000))).await.unwrap();
    }
    let n_cached = {
        let state = log.shared.state();
        assert!(state.tail_bytes <= TAIL_BYTES_MAX, "{} bytes", state.tail_bytes);
        state.tail.len()
    };
    assert!(n_cached > 50 && n_cached < 150, "{n_cached}");
    let all = log.try_get_log_entries(1..=300).await.unwrap();
    assert!(all.iter().map(|entry| entry.log_id.index).eq(1..=300));
    let seam = 300 - n_cached as u64;
    let across = log.try_get_log_entries(seam - 3..seam + 4).await.unwrap();
    assert!(across.iter().map(|entry| entry.log_id.index).eq(seam - 3..seam + 4));
    // Limited answers are not empty and not larger than the bound.
    let limited = log.limited_get_log_entries(1, 301).await.unwrap();
    assert!(!limited.is_empty() && limited.iter().map(size).sum::<usize>() <= READ_BYTES_MAX);
    // A stream brings everything all the same.
    let streamed: Vec<Entry> =
        futures::TryStreamExt::try_collect(log.entries_stream(1..301).await).await.unwrap();
    assert!(streamed.iter().map(|entry| entry.log_id.index).eq(1..=300));
}

/// A disk that says yes until it breaks.
struct Breaking {
    disk: MemoryDisk,
    n_syncs_left: usize,
}

impl Disk for Breaking {
    fn load(&mut self) -> io::Result<Loaded> {
        self.disk.load()
    }
    fn append(&mut self, batch: &[(u64, Bytes)]) -> io::Result<()> {
        self.disk.append(batch)
    }
    fn truncate_from(&mut self, index: u64) -> io::Result<()> {
        self.disk.truncate_from(index)
    }
    fn purge_upto(&mut self, index: u64) -> io::Result<()> {
        self.disk.purge_upto(index)
    }
    fn put_meta(&mut self, key: MetaKey, value: &[u8]) -> io::Result<()> {
        self.disk.put_meta(key, value)
    }
    fn sync(&mut self) -> io::Result<()> {
        let left = self.n_syncs_left.checked_sub(1).ok_or_else(|| io::Error::other("the disk is broken"))?;
        self.n_syncs_left = left;
        Ok(())
    }
    fn reader(&self) -> Box<dyn DiskReader> {
        self.disk.reader()
    }
}

#[tokio::test]
async fn after_an_error_of_the_disk_nothing_is_acknowledged() {
    let disk = Breaking { disk: MemoryDisk::default(), n_syncs_left: 1 };
    let (mut log, ended) = LogStore::open(Box::new(disk)).unwrap();
    log.blocking_append([entry(1, 10)]).await.unwrap();
    let error = log.blocking_append([entry(2, 10)]).await.unwrap_err();
    assert!(error.to_string().contains("the disk is broken"), "{error}");
    assert!(log.blocking_append([entry(3, 10)]).await.is_err());
    assert!(log.save_vote(&openraft::Vote::new(9, 7)).await.is_err());
    assert!(log.truncate_after(Some(log_id(1))).await.is_err());
    stop(log, ended).await;
}
