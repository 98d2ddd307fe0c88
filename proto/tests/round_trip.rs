//! Whatever the core can say comes back from the wire as it was said; and what hostile bytes say is
//! either refused or has exactly one meaning.

mod strategies;

use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{Command, LEVEL, Op};
use bannkreis_core::ids::Position;
use bannkreis_core::settings::Settings;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::convert::{
    EncodedOp, decode_command, decode_encoded_ops, decode_history, decode_notice, decode_op, decode_ops,
    decode_outbox_entry, decode_override, decode_record, decode_report, decode_results, encode_command,
    encode_history, encode_notice, encode_ops, encode_outbox_entry, encode_override, encode_record,
    encode_report, encode_results, join_command, join_ops, split_command,
};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::{prop_assert, prop_assert_eq, proptest};

/// Cut bytes, changed bytes, and bytes of nobody.
fn damage() -> impl Strategy<Value = (usize, usize, u8)> {
    (any::<usize>(), any::<usize>(), any::<u8>())
}

fn damaged(bytes: &[u8], (cut, place, flip): (usize, usize, u8)) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len() - cut % (bytes.len() / 2 + 1)].to_vec();
    if !bytes.is_empty() {
        let place = place % bytes.len();
        bytes[place] ^= flip;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn commands(command in strategies::command(), damage in damage()) {
        let bytes = encode_command(&command);
        prop_assert_eq!(decode_command(&bytes), Ok(command));
        if let Ok(other) = decode_command(&damaged(&bytes, damage)) {
            prop_assert_eq!(decode_command(&encode_command(&other)), Ok(other));
        }
    }

    #[test]
    fn ops(ops in vec(strategies::op(), 0..4)) {
        prop_assert_eq!(decode_ops(&encode_ops(&ops)), Ok(ops));
    }

    #[test]
    fn encoded_operations_are_the_same_bytes(ops in vec(strategies::op(), 0..4), damage in damage()) {
        let each: Vec<EncodedOp> = ops.iter().cloned().map(EncodedOp::new).collect();
        let joined = join_ops(&each);
        prop_assert_eq!(&joined, &encode_ops(&ops));
        prop_assert_eq!(decode_encoded_ops(joined.clone()), Ok(each.clone()));
        let (at, level) = (Timestamp(7_000), LEVEL);
        let command = join_command(at, level, &each);
        prop_assert_eq!(&command, &encode_command(&Command { at, level, ops: ops.clone(), ..Command::default() }));
        let parts = split_command(command).unwrap();
        prop_assert_eq!(parts.iter().map(|part| decode_op(part).unwrap()).collect::<Vec<_>>(), ops);
        let damaged = damaged(&joined, damage);
        let other = decode_encoded_ops(damaged.clone().into());
        prop_assert_eq!(other.as_ref().is_ok(), decode_ops(&damaged).is_ok());
        if let Ok(other) = other {
            let read = other.iter().map(|op| op.op().clone()).collect();
            prop_assert_eq!(decode_ops(&damaged), Ok(read));
        }
    }

    #[test]
    fn records(record in strategies::record(), damage in damage()) {
        let bytes = encode_record(&record);
        prop_assert_eq!(decode_record(&bytes), Ok(record));
        if let Ok(other) = decode_record(&damaged(&bytes, damage)) {
            prop_assert_eq!(decode_record(&encode_record(&other)), Ok(other));
        }
    }

    #[test]
    fn results(results in vec(strategies::op_result(), 0..6)) {
        prop_assert_eq!(decode_results(&encode_results(&results)), Ok(results));
    }

    #[test]
    fn notices(notice in strategies::notice()) {
        prop_assert_eq!(decode_notice(&encode_notice(&notice)), Ok(notice));
    }

    #[test]
    fn reports(report in strategies::report()) {
        prop_assert_eq!(decode_report(&encode_report(&report)), Ok(report));
    }

    #[test]
    fn outbox_entries(entry in strategies::outbox_entry()) {
        prop_assert_eq!(decode_outbox_entry(&encode_outbox_entry(&entry)), Ok(entry));
    }

    #[test]
    fn overrides((subnet, decision) in strategies::local_override()) {
        prop_assert_eq!(decode_override(&encode_override(subnet, &decision)), Ok((subnet, decision)));
    }

    #[test]
    fn histories((entry, names) in strategies::history()) {
        prop_assert_eq!(decode_history(&encode_history(&entry, &names)), Ok((entry, names)));
    }

    #[test]
    fn bytes_of_nobody(bytes in vec(any::<u8>(), 0..200)) {
        for n_bytes in 0..=bytes.len() {
            let bytes = &bytes[..n_bytes];
            let _ = decode_command(bytes);
            let _ = decode_ops(bytes);
            let _ = decode_results(bytes);
            let _ = decode_record(bytes);
            let _ = decode_notice(bytes);
            let _ = decode_report(bytes);
            let _ = decode_outbox_entry(bytes);
            let _ = decode_override(bytes);
            let _ = decode_history(bytes);
        }
    }

    /// The law that snapshots rest on: whatever commands led to, its records can be read back.
    #[test]
    fn a_ban_list_survives_its_records(
        commands in vec(strategies::command(), 0..8),
        event_key in any::<[u8; 16]>(),
    ) {
        let mut list = BanList::new(Settings::at_birth(event_key));
        for (n, mut command) in (1..).zip(commands) {
            // Times that real clocks show, so that bans are alive, not over or centuries away.
            command.at = Timestamp(command.at.0 % 4_000_000_000_000);
            // A list of a level above ours must not be read; refused.rs has a test of that.
            command.ops.retain(|op| !matches!(op, Op::RaiseLevel { .. }));
            list.apply(Position { generation: 1, index: n }, &command);
        }
        let mut restored = BanList::new(Settings::at_birth([0; 16]));
        for record in list.records() {
            let decoded = decode_record(&encode_record(&record));
            prop_assert_eq!(decoded.as_ref(), Ok(&record));
            restored.restore(record);
        }
        prop_assert!(restored == list);
    }
}
