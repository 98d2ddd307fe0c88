//! What lies on disks, byte for byte: this release reads what it and those before it have written.
//!
//! `UPDATE_EXPECT=1` writes the files of the present formats below `golden/`. A new format gets a new file, and the old
//! one stays and is read. The identity's are beside its own tests, those of commands and records in `proto/tests/golden`.

use crate::backup;
use crate::disk::{Disk, MetaKey};
use crate::sled_disk::SledDisk;
use crate::snapshot;
use crate::types::{Entry, LogId, Member, Payload, SnapshotMeta, StoredMembership, Vote, decode, encode};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{Command, ImportedBan, Op};
use bannkreis_core::ids::{ClusterId, CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Timestamp, Until};
use bytes::Bytes;
use openraft::vote::leader_id_adv::LeaderId;
use openraft::{EntryPayload, Membership};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The level of what is written here: it never changes.
const LEVEL: u32 = 1;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn is_updating() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 3, node_id: 0x5f1c_0a9b_3d7e_2f48 }, index }
}

fn membership() -> Membership<u64, Member> {
    let member = |name: &str, is_demoted| Member {
        address: format!("{name}.example.org:7420"),
        name: name.to_string(),
        is_demoted,
    };
    let nodes = BTreeMap::from([(7, member("kopano", false)), (8, member("kerio", true))]);
    Membership::new(vec![BTreeSet::from([7])], nodes).unwrap()
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(9)),
        last_membership: StoredMembership::new(Some(log_id(2)), membership()),
    }
}

fn entry(payload: EntryPayload<Payload, u64, Member>) -> Entry {
    Entry { log_id: log_id(9), payload }
}

/// Three bans, at index 9 of generation 2.
fn list() -> BanList {
    let bans = (1..=3).map(|n| ImportedBan {
        subnet: Subnet::host(Ipv4Addr::new(203, 0, 113, n).into()),
        jail: JailName::new("sshd").unwrap(),
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
        reason: "golden".to_string(),
    };
    let ops = vec![Op::Import { operator, bans: bans.collect(), allow: Vec::new(), history: Vec::new() }];
    let mut list = snapshot::empty_list();
    let position = Position { generation: 2, index: 9 };
    list.apply(position, &Command { at: Timestamp(5_000), level: LEVEL, ops, ..Command::default() });
    list
}

#[test]
fn structures_of_the_log() {
    let mut found = String::new();
    line(&mut found, "log_id", &log_id(9));
    line(&mut found, "vote", &Vote::new(3, 7));
    line(&mut found, "meta", &meta());
    line(&mut found, "blank", &entry(EntryPayload::Blank));
    line(&mut found, "membership", &entry(EntryPayload::Membership(membership())));
    line(&mut found, "command", &entry(EntryPayload::Normal(Payload(Bytes::from_static(b"command")))));
    if is_updating() {
        fs::write(golden("structures-1.txt"), &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(golden("structures-1.txt")).unwrap());
}

/// A line of the file: a name, and the bytes, which are read as what they were made from.
fn line<T: Serialize + DeserializeOwned + std::fmt::Debug>(found: &mut String, name: &str, value: &T) {
    let bytes = encode(value).unwrap();
    assert_eq!(format!("{:?}", decode::<T>(&bytes).unwrap()), format!("{value:?}"));
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    found.push_str(&format!("{name} {digits}\n"));
}

#[test]
fn snapshots_and_backups() {
    let dir = tempfile::tempdir().unwrap();
    let written = snapshot::write(dir.path(), 2, &meta(), &list()).unwrap();
    let path = golden("snapshot-1");
    if is_updating() {
        fs::copy(&written.path, &path).unwrap();
    }
    assert!(fs::read(&written.path).unwrap() == fs::read(&path).unwrap(), "a snapshot is written otherwise");
    let (header, read) = snapshot::load(&File::open(&path).unwrap(), LEVEL).unwrap();
    assert_eq!((header.generation, header.index, header.meta), (2, 9, meta()));
    assert!(read == list());

    let path = golden("backup-1");
    if is_updating() {
        let head = backup::head(ClusterId([7; 16]), None).unwrap();
        snapshot::write_into(&File::create(&path).unwrap(), &head, 2, &meta(), &list()).unwrap();
    }
    let read = backup::read_backup(&File::open(&path).unwrap()).unwrap();
    assert_eq!(
        (read.cluster, read.list == list(), read.authority.is_none()),
        (ClusterId([7; 16]), true, true)
    );
}

#[test]
fn the_logs_database() {
    let path = golden("log-1");
    let entries: Vec<(u64, Bytes)> =
        (5..=9).map(|index| (index, Bytes::from(vec![index as u8; 1_500]))).collect();
    if is_updating() {
        let _ = fs::remove_dir_all(&path);
        let mut disk = SledDisk::open(&path).unwrap();
        disk.load().unwrap();
        disk.append(&entries).unwrap();
        disk.put_meta(MetaKey::Owner, b"me").unwrap();
        disk.put_meta(MetaKey::Vote, &encode(&Vote::new(3, 7)).unwrap()).unwrap();
        disk.sync().unwrap();
    }
    // Opening writes.
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(&path).unwrap().map(|file| file.unwrap()) {
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
    }
    let mut disk = SledDisk::open(dir.path()).unwrap();
    let loaded = disk.load().unwrap();
    assert_eq!((loaded.indices, &loaded.meta[&MetaKey::Owner][..]), (5..10, &b"me"[..]));
    assert_eq!(decode::<Vote>(&loaded.meta[&MetaKey::Vote]).unwrap(), Vote::new(3, 7));
    let read = disk.reader().read(5..10).unwrap();
    assert!(read.into_iter().eq(entries.into_iter().map(|(index, bytes)| (index, bytes.to_vec()))));
}
