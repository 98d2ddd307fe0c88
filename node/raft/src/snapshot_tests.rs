//! Snapshot files come back as they were, and every damage is noticed.

use super::*;
use crate::types::LogId;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::LEVEL;
use bannkreis_core::command::{Command, ImportedBan, Op};
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Timestamp, Until};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

fn log_id(index: u64) -> LogId {
    LogId { leader_id: openraft::vote::leader_id_adv::LeaderId { term: 2, node_id: 7 }, index }
}

fn list_with(n_bans: u32, position: Position) -> BanList {
    let jail = JailName::new("sshd").unwrap();
    let bans = (0..n_bans).map(|n| ImportedBan {
        subnet: Subnet::host(Ipv4Addr::from(0xcb00_7100 + n).into()),
        jail: jail.clone(),
        since: Timestamp(1_000),
        until: Until::at(Timestamp(9_000_000)),
        count: 1,
        ports: Ports::whole_host(),
        policy: BanPolicy::fixed(BanTime::Ms(600_000)),
        note: String::new(),
    });
    let operator = Operator {
        command_id: CommandId(1),
        node: NodeId(7),
        author: "me".to_string(),
        reason: String::new(),
    };
    let ops = vec![Op::Import { operator, bans: bans.collect(), allow: Vec::new(), history: Vec::new() }];
    let mut list = empty_list();
    list.apply(position, &Command { at: Timestamp(5_000), level: LEVEL, ops, ..Command::default() });
    list
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { last_log_id: Some(log_id(index)), ..SnapshotMeta::default() }
}

#[test]
fn what_is_written_is_read_and_the_newest_two_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for index in [10, 20, 30] {
        let list = list_with(index as u32, Position { generation: 1, index });
        let file = write(dir.path(), 1, &meta(index), &list).unwrap();
        let (header, back) = load(&file.file, LEVEL).unwrap();
        assert_eq!((header.index, header.meta), (index, meta(index)));
        assert!(back == list);
        assert_eq!(back.n_bans(), index as usize);
    }
    let names: Vec<_> = complete(dir.path()).unwrap().into_iter().map(|(_, path)| path).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let (_, header, _) = newest(dir.path(), 1, LEVEL).unwrap().unwrap();
    assert_eq!(header.index, 30);
    assert!(newest(dir.path(), 2, LEVEL).unwrap().is_none());
}

#[test]
fn every_cut_and_every_changed_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let list = list_with(20, Position { generation: 1, index: 5 });
    let file = write(dir.path(), 1, &meta(5), &list).unwrap();
    let good = fs::read(&file.path).unwrap();
    let other = dir.path().join("other");
    for cut in 0..good.len() {
        fs::write(&other, &good[..cut]).unwrap();
        assert!(load(&File::open(&other).unwrap(), LEVEL).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        fs::write(&other, &bad).unwrap();
        assert!(load(&File::open(&other).unwrap(), LEVEL).is_err(), "changed at {at}");
    }
    let mut longer = good;
    longer.push(0);
    fs::write(&other, &longer).unwrap();
    assert!(load(&File::open(&other).unwrap(), LEVEL).is_err());
}

#[test]
fn a_damaged_snapshot_is_put_aside_and_the_older_one_serves() {
    let dir = tempfile::tempdir().unwrap();
    for index in [10, 20] {
        let list = list_with(3, Position { generation: 1, index });
        write(dir.path(), 1, &meta(index), &list).unwrap();
    }
    let (file, _, _) = newest(dir.path(), 1, LEVEL).unwrap().unwrap();
    let bytes = fs::read(&file.path).unwrap();
    fs::write(&file.path, &bytes[..bytes.len() - 7]).unwrap();
    let (_, header, list) = newest(dir.path(), 1, LEVEL).unwrap().unwrap();
    assert_eq!((header.index, list.n_bans()), (10, 3));
    let key = BanKey {
        subnet: Subnet::host(Ipv4Addr::from([203, 0, 113, 0]).into()),
        jail: JailName::new("sshd").unwrap(),
    };
    assert!(list.ban(&key).is_some());
    assert!(file.path.with_extension("snapshot.damaged").exists());
}

#[test]
fn what_was_left_unfinished_goes() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("building-1-5.tmp"), b"half").unwrap();
    remove_unfinished(dir.path()).unwrap();
    assert!(newest(dir.path(), 1, LEVEL).unwrap().is_none());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Notes how many snapshots there are when it is asked to have kept everything.
struct Keeper {
    dir: PathBuf,
    found: Arc<Mutex<Vec<usize>>>,
}

impl crate::Observer for Keeper {
    fn applied(&mut self, _batch: crate::AppliedBatch) {}

    fn installed(&mut self, _view: bannkreis_core::ban_list::BanView) {}

    fn keeping(&mut self) -> crate::Keeping {
        let (dir, found) = (self.dir.clone(), self.found.clone());
        Arc::new(move || found.lock().unwrap().push(complete(&dir).unwrap().len()))
    }
}

#[tokio::test]
async fn what_is_kept_of_entries_is_on_the_disk_before_a_snapshot_takes_their_place() {
    use openraft::RaftSnapshotBuilder;
    use openraft::storage::RaftStateMachine;
    let dir = tempfile::tempdir().unwrap();
    let found = Arc::<Mutex<Vec<usize>>>::default();
    let keeper = Keeper { dir: dir.path().to_path_buf(), found: found.clone() };
    let time = Arc::new(crate::cluster_time::ClusterTime::new(Arc::new(|| 0)));
    let mut machine = crate::state_machine::StateMachine::open(
        dir.path().to_path_buf(),
        1,
        Box::new(keeper),
        time,
        Default::default(),
    )
    .unwrap();
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    assert_eq!((found.lock().unwrap().clone(), complete(dir.path()).unwrap().len()), (vec![0], 1));
    // The same with one that comes from another node.
    let other = tempfile::tempdir().unwrap();
    let list = list_with(1, Position { generation: 1, index: 20 });
    let file = write(other.path(), 1, &meta(20), &list).unwrap();
    machine.install_snapshot(&meta(20), file).await.unwrap();
    assert_eq!((found.lock().unwrap().clone(), complete(dir.path()).unwrap().len()), (vec![0, 1], 2));
}

#[test]
fn a_received_file_stays_as_long_as_somebody_may_take_it_over() {
    let dir = tempfile::tempdir().unwrap();
    let n_files = || fs::read_dir(dir.path()).unwrap().count();
    let (received, _) = Received::create(dir.path()).unwrap();
    drop(received);
    assert_eq!(n_files(), 0);
    let (received, _) = Received::create(dir.path()).unwrap();
    let held_by_the_call = received.open().unwrap();
    let held_by_openraft = held_by_the_call.clone();
    drop(held_by_the_call);
    assert_eq!(n_files(), 1);
    drop(held_by_openraft);
    assert_eq!(n_files(), 0);
}
