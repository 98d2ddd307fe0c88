//! One set of tests for both disks: what one holds the other holds, through any history, and after
//! the process has died.

use super::{Disk, Loaded, MemoryDisk, MetaKey};
use crate::sled_disk::SledDisk;
use bytes::Bytes;
use proptest::prelude::*;
use std::path::Path;

/// What may be done to a disk; indices are relative to what is there.
#[derive(Clone, Debug)]
enum Step {
    Append { lengths: Vec<usize> },
    Truncate { from_end: u64 },
    Purge { from_start: u64 },
    Meta { value: u8 },
    Sync,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![6 => 0usize..300, 2 => 3_900usize..4_200, 1 => 4_200usize..20_000];
    prop_oneof![
        6 => prop::collection::vec(length, 1..20).prop_map(|lengths| Step::Append { lengths }),
        2 => (0u64..30).prop_map(|from_end| Step::Truncate { from_end }),
        2 => (0u64..40).prop_map(|from_start| Step::Purge { from_start }),
        1 => any::<u8>().prop_map(|value| Step::Meta { value }),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

/// An entry whose content says which it is, so that a mix-up shows.
fn content(index: u64, length: usize, salt: usize) -> Bytes {
    (0..length).map(|n| (index as usize + n * 7 + salt) as u8).collect()
}

fn everything(disk: &dyn Disk, loaded: &Loaded) -> Vec<(u64, Vec<u8>)> {
    disk.reader().read(0..loaded.indices.end + 5).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn sled_and_memory_hold_the_same_through_any_history(steps in prop::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut sled = SledDisk::open(dir.path()).unwrap();
        let mut memory = MemoryDisk::default();
        sled.load().unwrap();
        // Where the log goes on, and what is purged for good: a purge past the end moves both.
        let mut next = 1;
        let mut floor = 1;
        for (salt, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append { lengths } => {
                    let batch: Vec<_> =
                        (next..).zip(&lengths).map(|(index, length)| (index, content(index, *length, salt))).collect();
                    sled.append(&batch).unwrap();
                    memory.append(&batch).unwrap();
                    next += lengths.len() as u64;
                }
                Step::Truncate { from_end } => {
                    let index = next.saturating_sub(from_end).max(floor);
                    sled.truncate_from(index).unwrap();
                    memory.truncate_from(index).unwrap();
                    next = next.min(index);
                }
                Step::Purge { from_start } => {
                    let index = floor + from_start;
                    sled.purge_upto(index).unwrap();
                    memory.purge_upto(index).unwrap();
                    floor = index + 1;
                    next = next.max(floor);
                }
                Step::Meta { value } => {
                    sled.put_meta(MetaKey::Vote, &[value]).unwrap();
                    memory.put_meta(MetaKey::Vote, &[value]).unwrap();
                }
                Step::Sync => sled.sync().unwrap(),
                Step::Reopen => {
                    sled.sync().unwrap();
                    drop(sled);
                    sled = SledDisk::open(dir.path()).unwrap();
                    let loaded = sled.load().unwrap();
                    let wanted = memory.load().unwrap();
                    prop_assert_eq!(loaded.meta, wanted.meta);
                    if !wanted.indices.is_empty() {
                        prop_assert_eq!(loaded.indices, wanted.indices);
                    }
                }
            }
            let wanted = memory.load().unwrap();
            if salt % 5 == 0 {
                sled.sync().unwrap();
                prop_assert_eq!(everything(&sled, &wanted), everything(&memory, &wanted));
            }
        }
    }
}

#[test]
fn what_was_synced_is_there_after_a_death() {
    let dir = tempfile::tempdir().unwrap();
    let batch: Vec<_> =
        (1..=500).map(|index| (index, content(index, (index * 37 % 6_000) as usize, 0))).collect();
    {
        let mut disk = SledDisk::open(dir.path()).unwrap();
        disk.load().unwrap();
        disk.append(&batch[..400]).unwrap();
        disk.put_meta(MetaKey::Vote, b"vote").unwrap();
        disk.sync().unwrap();
        disk.append(&batch[400..]).unwrap();
        // Dropped without a sync, as if the process had died.
    }
    let mut disk = SledDisk::open(dir.path()).unwrap();
    let loaded = disk.load().unwrap();
    assert!(loaded.indices.start == 1 && loaded.indices.end >= 401, "{:?}", loaded.indices);
    assert_eq!(loaded.meta[&MetaKey::Vote], b"vote");
    let read = disk.reader().read(1..401).unwrap();
    let wanted: Vec<_> = batch[..400].iter().map(|(index, bytes)| (*index, bytes.to_vec())).collect();
    assert!(read == wanted);
}

#[test]
fn an_entry_of_which_fragments_are_missing_is_gone_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = SledDisk::open(dir.path()).unwrap();
    disk.load().unwrap();
    disk.append(&[(1, content(1, 100, 0)), (2, content(2, 10_000, 0))]).unwrap();
    disk.sync().unwrap();
    disk.drop_last_record();
    drop(disk);
    let mut disk = SledDisk::open(dir.path()).unwrap();
    assert_eq!(disk.load().unwrap().indices, 1..2);
    disk.append(&[(2, content(2, 50, 1))]).unwrap();
    disk.sync().unwrap();
    assert_eq!(disk.reader().read(2..3).unwrap(), vec![(2, content(2, 50, 1).to_vec())]);
}

#[test]
fn a_hole_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disks: [Box<dyn Disk>; 2] =
        [Box::new(SledDisk::open(dir.path()).unwrap()), Box::new(MemoryDisk::default())];
    for mut disk in disks {
        disk.load().unwrap();
        disk.append(&[(7, Bytes::from_static(b"seven"))]).unwrap();
        assert!(disk.append(&[(9, Bytes::from_static(b"nine"))]).is_err());
        assert!(disk.append(&[(8, Bytes::new()), (10, Bytes::new())]).is_err());
    }
}

#[test]
fn nothing_goes_to_files_that_sled_does_not_sync() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = SledDisk::open(dir.path()).unwrap();
    disk.load().unwrap();
    for round in 0..40u64 {
        let batch: Vec<_> =
            (0..20).map(|n| (1 + round * 20 + n, content(n, (round as usize * 997) % 9_000, 0))).collect();
        disk.append(&batch).unwrap();
        disk.sync().unwrap();
    }
    let n_blobs = std::fs::read_dir(dir.path().join("blobs")).map_or(0, Iterator::count);
    assert_eq!(n_blobs, 0);
}

#[test]
fn a_log_whose_end_is_damaged_is_not_taken_for_a_shorter_one() {
    let dir = tempfile::tempdir().unwrap();
    let wanted: Vec<(u64, Vec<u8>)> =
        (1..=60).map(|index| (index, content(index, 300, 0).to_vec())).collect();
    {
        let mut disk = SledDisk::open(dir.path()).unwrap();
        disk.load().unwrap();
        for (index, bytes) in &wanted {
            disk.append(&[(*index, Bytes::from(bytes.clone()))]).unwrap();
            disk.sync().unwrap();
        }
        // A process that dies leaves the file as it is now: sled would tidy up when it is dropped.
        copy(dir.path(), &dir.path().join("killed"));
    }
    let killed = dir.path().join("killed");
    let whole = std::fs::read(killed.join("db")).unwrap();
    let written = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let everything = |place: &Path| {
        let opened = std::panic::catch_unwind(|| {
            let mut disk = SledDisk::open(place)?;
            let indices = disk.load()?.indices;
            disk.reader().read(indices)
        });
        opened.unwrap_or_else(|_| Err(crate::types::invalid("it panicked")))
    };
    let mut n_refused = 0;
    for n in 0..60 {
        let place = dir.path().join(format!("damaged-{n}"));
        copy(&killed, &place);
        let mut bytes = whole.clone();
        // Flipped from the middle to the end, or cut off there.
        let at = written / 2 + written / 2 * n / 60;
        if n % 3 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 0x40;
        }
        std::fs::write(place.join("db"), &bytes).unwrap();
        match everything(&place) {
            Ok(read) => {
                assert!(read == wanted, "damaged at {at} of {written}: {} entries are left", read.len());
            }
            Err(_) => n_refused += 1,
        }
    }
    assert!(n_refused > 30, "only {n_refused} of 60 were refused");
    assert!(everything(&killed).unwrap() == wanted);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
