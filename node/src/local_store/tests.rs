//! The local store over real directories: what is there after it was closed, killed, damaged.

use super::*;
use bannkreis_core::history::HistoryKey;
use bannkreis_core::ids::Position;
use bannkreis_core::time::Timestamp;
use std::fs;

fn open(directory: &Path) -> LocalStore {
    let (store, quarantine) = LocalStore::open(directory).expect("opens");
    assert_eq!(quarantine, None);
    store
}

fn batch(changes: &[(Key, Option<&[u8]>)]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(key.clone(), value.to_vec()).expect("short"),
            None => batch.delete(key.clone()),
        }
    }
    batch
}

/// The key of an entry of the outbox.
fn outbox(number: u64) -> Key {
    Key::Outbox(number.to_be_bytes().to_vec())
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().expect("eight bytes"))
}

fn cold(index: u64, op: u32) -> ColdKey {
    ColdKey { position: Position { generation: 1, index }, op }
}

#[test]
fn everything_is_there_after_it_was_closed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let source = |path: &str| Key::Source(path.into());
    let store = open(directory.path());
    let first = batch(&[
        (outbox(300), Some(b"third")),
        (outbox(2), Some(b"second")),
        (outbox(1), Some(b"first")),
        (Key::Override(b"o".to_vec()), Some(b"block")),
        (source("/var/log/mail.log"), Some(b"10")),
        (source("/var/log/mail.warn"), Some(b"20")),
        (Key::Meta("time"), Some(b"now")),
        (Key::Cold(cold(256, 1)), Some(b"c")),
        (Key::Cold(cold(3, 1)), Some(b"b")),
        (Key::Cold(cold(3, 0)), Some(b"a")),
    ]);
    let second = batch(&[(outbox(2), None), (Key::Meta("time"), Some(b"later"))]);
    store.commit(first).expect("room");
    store.commit(second).expect("room");

    let check = |store: &LocalStore| {
        let outbox = store.outbox().expect("read");
        let outbox: Vec<_> = outbox.iter().map(|(key, value)| (number(key), value.as_slice())).collect();
        assert_eq!(outbox, [(1, b"first".as_slice()), (300, b"third")]);
        assert_eq!(store.overrides().expect("read"), [(b"o".to_vec(), b"block".to_vec())]);
        assert_eq!(
            store.sources().expect("read"),
            [
                (PathBuf::from("/var/log/mail.log"), b"10".to_vec()),
                (PathBuf::from("/var/log/mail.warn"), b"20".to_vec()),
            ]
        );
        assert_eq!(store.meta("time").expect("read"), Some(b"later".to_vec()));
        assert_eq!(store.meta("nothing").expect("read"), None);
        let upto = |key| store.cold_upto(key).expect("read");
        assert_eq!(upto(cold(3, 1)), Some((cold(3, 1), b"b".to_vec())));
        assert_eq!(upto(cold(3, 7)), Some((cold(3, 1), b"b".to_vec())));
        assert_eq!((upto(cold(4, 7)), upto(cold(256, 0))), (None, None), "another entry's is not asked for");
        let from = store.cold_from(cold(3, 1), 10).expect("read");
        assert_eq!(from, [(cold(3, 1), b"b".to_vec()), (cold(256, 1), b"c".to_vec())]);
        assert_eq!(store.cold_from(cold(0, 0), 1).expect("read"), [(cold(3, 0), b"a".to_vec())]);
    };
    // Before it is written, when it is written, and after a restart.
    check(&store);
    store.flush().expect("synced");
    check(&store);
    drop(store);
    check(&open(directory.path()));
}

#[test]
fn what_waits_is_written_when_the_store_is_dropped() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path());
    store.commit(batch(&[(Key::Meta("a"), Some(b"1"))])).expect("room");
    drop(store);
    assert_eq!(open(directory.path()).meta("a").expect("read"), Some(b"1".to_vec()));
}

/// What is on the disk at some moment is what a process that is killed leaves behind.
#[test]
fn a_killed_process_leaves_whole_batches_in_order() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path());
    for n in 0..2_000_u64 {
        let both = batch(&[(outbox(n), Some(&n.to_be_bytes())), (Key::Meta("last"), Some(&n.to_be_bytes()))]);
        store.commit(both).expect("room");
        if n % 500 == 99 {
            store.flush().expect("synced");
            let copy = tempfile::tempdir().expect("temporary directory");
            fs::create_dir(copy.path().join("local")).expect("mkdir");
            for entry in fs::read_dir(directory.path().join("local")).expect("list") {
                let entry = entry.expect("entry");
                if entry.file_type().expect("type").is_file() {
                    fs::copy(entry.path(), copy.path().join("local").join(entry.file_name())).expect("copy");
                }
            }
            let survivor = open(copy.path());
            let outbox = survivor.outbox().expect("read");
            assert_eq!(outbox.len() as u64, n + 1);
            assert!(outbox.iter().map(|(key, _)| number(key)).eq(0..=n));
            assert_eq!(survivor.meta("last").expect("read"), Some(n.to_be_bytes().to_vec()));
        }
    }
}

#[test]
fn a_corrupt_database_is_put_aside_and_a_fresh_one_works() {
    /// How the file is damaged.
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("cut short", |bytes| bytes.truncate(10)),
        ("emptied", Vec::clear),
        ("overwritten", |bytes| bytes.fill(0xa5)),
        ("zeroed", |bytes| bytes.fill(0)),
        ("overwritten at its beginning", |bytes| bytes[..8192].fill(0xa5)),
        ("overwritten in between", |bytes| bytes[200_000..300_000].fill(0xa5)),
    ];
    for (how, damage) in damages {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = open(directory.path());
        for n in 0..2_000 {
            store.commit(batch(&[(outbox(n), Some(&[7; 400]))])).expect("room");
        }
        drop(store);
        let file = directory.path().join("local/db");
        let mut bytes = fs::read(&file).expect("read");
        damage(&mut bytes);
        fs::write(&file, bytes).expect("damage");

        let (store, quarantine) = LocalStore::open(directory.path()).expect("opens");
        let quarantine = quarantine.unwrap_or_else(|| panic!("{how}: not noticed"));
        assert_eq!(quarantine.place, directory.path().join("local.corrupt-1"));
        assert!(!quarantine.why.is_empty() && quarantine.place.join("db").exists());
        assert_eq!(store.outbox().expect("read"), []);
        store.commit(batch(&[(outbox(1), Some(b"new"))])).expect("room");
        store.flush().expect("synced");
        drop(store);
        let outbox = open(directory.path()).outbox().expect("read");
        assert_eq!(outbox, [(1_u64.to_be_bytes().to_vec(), b"new".to_vec())]);
    }
}

#[test]
fn a_database_in_use_or_of_a_newer_release_is_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path());
    let error = LocalStore::open(directory.path()).err().expect("it is in use").to_string();
    assert!(error.contains("another bannkreisd uses it"), "{error}");
    store.commit(batch(&[(Key::Meta("format"), Some(&[2]))])).expect("room");
    drop(store);
    let error = LocalStore::open(directory.path()).err().expect("it is newer").to_string();
    assert!(error.contains("written by a newer release"), "{error}");
    assert!(!directory.path().join("local.corrupt-1").exists());
}

#[test]
fn a_directory_that_is_none_is_an_error_with_a_remedy() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("write");
    let error = LocalStore::open(&file).err().expect("no directory").to_string();
    assert!(error.contains("file/local can not be opened"), "{error}");
}

#[test]
fn what_is_too_long_is_refused_by_name() {
    let mut batch = Batch::new();
    let value = vec![0; VALUE_BYTES_MAX + 1];
    let error = batch.put(outbox(5), value).expect_err("too long").to_string();
    assert!(error.starts_with("an entry of the outbox has 4097 bytes, 4096 are the most"), "{error}");
    let long = Key::Source(format!("/{}", "x".repeat(KEY_BYTES_MAX)).into());
    assert!(batch.put(long, Vec::new()).is_err());
    assert!(batch.is_empty());
}

#[test]
fn more_than_the_disk_can_take_is_refused_and_nothing_is_torn() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path());
    let value = vec![1; VALUE_BYTES_MAX];
    let mut too_much = Batch::new();
    for n in 0..(PENDING_BYTES_MAX / VALUE_BYTES_MAX) as u64 {
        too_much.put(outbox(n), value.clone()).expect("short");
    }
    assert!(matches!(store.commit(too_much), Err(LocalStoreError::Full)));
    assert_eq!(store.outbox().expect("read"), []);
    store.commit(batch(&[(outbox(1), Some(b"x"))])).expect("room");
    store.flush().expect("synced");
}

/// Stored forms must never change.
#[test]
fn keys_of_the_history_sort_by_time_and_by_first_address() {
    let key =
        HistoryKey { at: Timestamp(0x0102), position: Position { generation: 3, index: 4 }, op: 5, n: 6 };
    let in_time = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6];
    assert_eq!(Key::History(key).encode(), [&[6][..], &in_time].concat());
    let subnet = "192.0.2.0/24".parse().expect("a subnet");
    let about = [&[7, 4, 192, 0, 2, 0, 24][..], &in_time].concat();
    assert_eq!(Key::HistoryOf(subnet, key).encode(), about);
    assert_eq!(key::decode_history_of(&about[1..]), Some((subnet, key)));
    let subnet = "2001:db8::/64".parse().expect("a subnet");
    let about = Key::HistoryOf(subnet, key).encode();
    assert_eq!(key::decode_history_of(&about[1..]), Some((subnet, key)));
    assert_eq!(key::decode_history_of(&about[1..20]), None);
}

/// Memory of this process that is not a file's, in KiB: proc_pid_status(5).
fn anonymous_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Without the reads after a write this costs 2 KiB for each record: 40 MiB.
#[test]
fn large_batches_leave_nothing_behind_in_memory() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path());
    let before_kib = anonymous_kib();
    for n_batch in 0..10 {
        let mut batch = Batch::new();
        for n in 0..2_000 {
            batch.put(Key::Cold(cold(n_batch * 2_000 + n, 0)), vec![7; 100]).expect("short");
        }
        store.commit(batch).expect("room");
        store.flush().expect("written");
    }
    let grown_kib = anonymous_kib().saturating_sub(before_kib);
    assert!(grown_kib < 20 * 1024, "{grown_kib} KiB for 2 MiB of records");
}
