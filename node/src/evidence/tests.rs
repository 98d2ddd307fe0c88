//! Each piece is found by what made the ban, whatever it stands beside, and what an earlier release has kept is as well.

use super::*;
use bannkreis_core::change::Applied;
use bannkreis_core::command::Command;
use bannkreis_core::ids::{NodeId, Position};
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::proposal::{EvidenceLine, Proposal};
use bannkreis_core::time::{BanTime, HOUR_MS};
use bannkreis_proto::convert::{encode_command, encode_ops};
use std::sync::Arc;

const POSITION: Position = Position { generation: 1, index: 7 };

fn ban(n: u32, line: String) -> Op {
    Op::Ban(Proposal {
        origin: NodeId(1),
        basis: Position::default(),
        jail: JailName::new("sshd").unwrap(),
        offender: std::net::IpAddr::from((0x0100_0000 + n).to_be_bytes()).into(),
        first_failure_age_ms: 0,
        last_failure_age_ms: 0,
        failures: 3,
        contributors: Vec::new(),
        policy: BanPolicy::fixed(BanTime::Ms(HOUR_MS)),
        ports: Ports::whole_host(),
        evidence: vec![EvidenceLine { age_ms: 0, text: line }],
    })
}

fn applied(ops: Vec<Op>, verdicts: Vec<Verdict>) -> AppliedEntry {
    let results = verdicts.into_iter().map(OpResult::Judged).collect();
    let command = Command { at: Timestamp(1_000), ops, ..Command::default() };
    applied_entry(POSITION, command.at, command, Applied { results, ..Applied::default() })
}

/// An entry as it is when a command was applied.
pub(crate) fn applied_entry(
    position: Position,
    at: Timestamp,
    command: Command,
    applied: Applied,
) -> AppliedEntry {
    let (median, encoded) = (None, encode_command(&command));
    AppliedEntry { position, at, median, command: Arc::new(command), encoded, applied }
}

fn store() -> (LocalStore, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (LocalStore::open(directory.path()).unwrap().0, directory)
}

#[test]
fn many_stand_in_one_record_and_each_is_found() {
    let (store, _directory) = store();
    let ops: Vec<Op> = (0..300).map(|n| ban(n, "x".repeat(n as usize % 250))).collect();
    let verdicts = (0..300).map(|n| if n % 3 == 0 { Verdict::Covered } else { Verdict::Open }).collect();
    let entry = applied(ops.clone(), verdicts);
    let mut batch = Batch::new();
    let n_kept = keep(&entry, &mut batch).unwrap();
    store.commit(batch).unwrap();
    assert_eq!(n_kept, 200);
    for (n, op) in (0..).zip(&ops) {
        let expected = (n % 3 != 0).then(|| ColdRecord { at: Timestamp(1_000), op: op.clone() });
        assert_eq!(find(&store, Cause::new(POSITION, n)).unwrap(), expected, "{n}");
    }
    let records = store.cold_from(ColdKey { position: POSITION, op: 0 }, 1_000).unwrap();
    let n_full = records.iter().filter(|(_, value)| value.len() > VALUE_BYTES_MAX * 3 / 4).count();
    assert!(records.len() > 2 && n_full + 1 >= records.len(), "{n_full} of {} are full", records.len());
}

#[test]
fn a_record_of_one_is_still_read_and_one_of_a_newer_release_is_nothing() {
    let (store, _directory) = store();
    let (key, op) = (ColdKey { position: POSITION, op: 5 }, ban(5, "failed".to_owned()));
    let encoded = encode_ops(std::slice::from_ref(&op));
    let of_one = [&[FORMAT_OF_ONE], 1_000_u64.to_be_bytes().as_slice(), &encoded].concat();
    let newer = ColdKey { position: Position { index: 8, ..POSITION }, op: 0 };
    let mut batch = Batch::new();
    batch.put(Key::Cold(key), of_one).unwrap();
    batch.put(Key::Cold(newer), vec![FORMAT + 1; 40]).unwrap();
    store.commit(batch).unwrap();
    let cause = |key: ColdKey| Cause::new(key.position, key.op);
    assert_eq!(find(&store, cause(key)).unwrap(), Some(ColdRecord { at: Timestamp(1_000), op }));
    assert_eq!(find(&store, cause(ColdKey { op: 6, ..key })).unwrap(), None);
    assert_eq!(find(&store, cause(newer)).unwrap(), None);
}

#[test]
fn half_a_record_is_nothing() {
    let mut batch = Batch::new();
    let ops = vec![ban(1, "failed".to_owned()), ban(2, "failed".to_owned())];
    keep(&applied(ops, vec![Verdict::Open; 2]), &mut batch).unwrap();
    let (store, _directory) = store();
    store.commit(batch).unwrap();
    let (key, value) = store.cold_from(ColdKey { position: POSITION, op: 0 }, 1).unwrap().remove(0);
    let whole = Pieces::decode(key, &value).unwrap();
    assert_eq!(whole.pieces.len(), 2);
    let ends = [HEAD_BYTES, HEAD_BYTES + whole.pieces[0].n_bytes(), value.len()];
    for length in 0..value.len() {
        assert_eq!(Pieces::decode(key, &value[..length]).is_some(), ends.contains(&length), "{length}");
    }
}
