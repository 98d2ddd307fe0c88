//! The node's own database as it lies on disks: this release reads what it and those before it have written.
//!
//! `UPDATE_EXPECT=1` writes `golden/local-1`. A new format gets a new directory, and the old one stays and is read. What
//! outbox entries and entries of the history are made of is in `proto/tests/golden`.

use bannkreis_core::event::{Override, OverrideKind};
use bannkreis_core::failure::SourcePosition;
use bannkreis_core::ids::Position;
use bannkreis_core::node_clock::StoredTime;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Timestamp, Until};
use bannkreis_node::local_store::{Batch, ColdKey, Key, LocalStore};
use bannkreis_node::source::SourceCheckpoint;
use bannkreis_node::stored;
use std::fs;
use std::path::Path;

const LOG: &str = "/var/log/mail.log";
const COLD: ColdKey = ColdKey { position: Position { generation: 2, index: 9 }, op: 1 };

fn subnet() -> Subnet {
    Subnet::host([203, 0, 113, 7].into())
}

fn decision() -> Override {
    Override {
        kind: OverrideKind::Release,
        author: "root".to_owned(),
        reason: "a customer called".to_owned(),
        until: Until::at(Timestamp(9_000_000)),
        estimated: false,
    }
}

fn time() -> StoredTime<String> {
    StoredTime {
        cluster: Timestamp(5_000),
        wall: Timestamp(6_000),
        boottime_ms: 7_000,
        boot: "5f1c0a9b-3d7e-4f48-9c1d-0f4c6a5293b1".to_owned(),
        guessed: true,
    }
}

fn checkpoint() -> SourceCheckpoint {
    SourceCheckpoint { path: LOG.into(), position: SourcePosition(77), files: Vec::new() }
}

fn write(state: &Path) {
    let (store, _) = LocalStore::open(state).expect("opened");
    let mut batch = Batch::new();
    stored::put_override(&mut batch, subnet(), Some(&decision())).expect("it fits");
    stored::put_time(&mut batch, &time()).expect("it fits");
    batch.put(Key::Source(LOG.into()), checkpoint().encode()).expect("it fits");
    batch.put(Key::Cold(COLD), b"evidence".to_vec()).expect("it fits");
    store.commit(batch).expect("there is room");
    store.flush().expect("synced");
}

#[test]
fn a_database_of_format_1_is_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/local-1");
    let state = tempfile::tempdir().expect("temporary directory");
    let local = state.path().join("local");
    let names = ["conf", "db", "synced"];
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        write(state.path());
        fs::create_dir_all(&golden).expect("made");
        for name in names {
            fs::copy(local.join(name), golden.join(name)).expect("copied");
        }
        fs::remove_dir_all(&local).expect("removed");
    }
    // Opening writes.
    fs::create_dir(&local).expect("made");
    for name in names {
        fs::copy(golden.join(name), local.join(name)).expect("copied");
    }
    let (store, quarantine) = LocalStore::open(state.path()).expect("opened");
    assert_eq!(quarantine, None);
    let kept = stored::read(&store).expect("read");
    assert_eq!((kept.overrides, kept.time), (vec![(subnet(), decision())], Some(time())));
    let (path, place) = store.sources().expect("read").pop().expect("there is one");
    assert_eq!(SourceCheckpoint::decode(&path, &place), Ok(checkpoint()));
    assert_eq!(store.cold_upto(COLD).expect("read"), Some((COLD, b"evidence".to_vec())));
}
