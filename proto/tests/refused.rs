//! What must not be read, and the sentence that says why: nothing becomes a default.

#[allow(dead_code, reason = "shared with golden.rs; here only commands and records are needed")]
mod samples;

use bannkreis_core::ban::ORIGINS_MAX;
use bannkreis_core::command::{Command, LEVEL, Op};
use bannkreis_core::proposal::EVIDENCE_LINES_MAX;
use bannkreis_proto::convert::bounds::{COMMAND_BYTES_MAX, OPS_BYTES_MAX, OPS_MAX, TEXT_BYTES_MAX};
use bannkreis_proto::convert::{
    DecodeError, decode_command, decode_ops, decode_record, encode_command, encode_record,
};
use bannkreis_proto::v1;
use bytes::Bytes;
use prost::Message;

/// The sample command `name` with something wrong in its only operation.
fn check_op(name: &str, spoil: impl FnOnce(&mut v1::op::Kind), expected: &str) {
    let mut wire = wire_command(name);
    spoil(wire.ops[0].kind.as_mut().expect("an operation"));
    check_command(&wire.encode_to_vec(), expected);
}

fn check_command(bytes: &[u8], expected: &str) {
    let found = decode_command(bytes).map_err(|error| error.to_string());
    assert_eq!(found, Err(expected.to_string()));
}

/// The sample record `name` with something wrong in it.
fn check_record(name: &str, spoil: impl FnOnce(&mut v1::record::Kind), expected: &str) {
    let samples = samples::records();
    let (_, record) = samples.iter().find(|(sample, _)| *sample == name).expect("a sample");
    let mut wire = v1::Record::decode(encode_record(record)).expect("just encoded");
    spoil(wire.kind.as_mut().expect("a record"));
    let found = decode_record(&wire.encode_to_vec()).map_err(|error| error.to_string());
    assert_eq!(found, Err(expected.to_string()));
}

fn wire_command(name: &str) -> v1::Command {
    let samples = samples::commands();
    let (_, command) = samples.iter().find(|(sample, _)| *sample == name).expect("a sample");
    v1::Command::decode(encode_command(command)).expect("just encoded")
}

fn spoil_ban(spoil: impl FnOnce(&mut v1::Proposal)) -> impl FnOnce(&mut v1::op::Kind) {
    |kind| match kind {
        v1::op::Kind::Ban(proposal) => spoil(proposal),
        other => panic!("not a ban: {other:?}"),
    }
}

fn spoil_ban_record(spoil: impl FnOnce(&mut v1::record::Ban)) -> impl FnOnce(&mut v1::record::Kind) {
    |kind| match kind {
        v1::record::Kind::Ban(ban) => spoil(ban),
        other => panic!("not a ban: {other:?}"),
    }
}

/// Another offender.
fn spoiled(address: &[u8], prefix_len: u32) -> impl FnOnce(&mut v1::op::Kind) + use<> {
    let offender = v1::Subnet { address: Bytes::copy_from_slice(address), prefix_len };
    spoil_ban(|ban| ban.offender = Some(offender))
}

#[test]
fn a_higher_level_is_recognised_whatever_is_in_it() {
    let mut bytes = v1::CommandHead { level: LEVEL + 1 }.encode_to_vec();
    // Field 3 with an operation nobody knows, and a field 99.
    bytes.extend([0x1a, 0x03, 0xfa, 0x06, 0x00, 0x9a, 0x06, 0x01, 0xff]);
    assert_eq!(decode_command(&bytes), Err(DecodeError::Level { found: LEVEL + 1, readable: LEVEL }));
    check_command(
        &bytes,
        "it is of level 3, and this release reads up to level 2: upgrade bannkreis on this node",
    );
    check_record(
        "head",
        |kind| match kind {
            v1::record::Kind::Head(head) => head.level = 3,
            other => panic!("not a head: {other:?}"),
        },
        "it is of level 3, and this release reads up to level 2: upgrade bannkreis on this node",
    );
}

#[test]
fn no_level_is_not_level_one() {
    let command = Command::default();
    check_command(
        &encode_command(&command),
        "`command.level` is missing, or of a kind that this release does not know",
    );
}

#[test]
fn an_unknown_operation_is_not_skipped() {
    let mut bytes = encode_command(&Command { level: LEVEL, ..Command::default() }).to_vec();
    bytes.extend([0x1a, 0x03, 0xfa, 0x06, 0x00]);
    check_command(&bytes, "`command.ops[0].kind` is missing, or of a kind that this release does not know");
    let found = decode_ops(&[0x0a, 0x03, 0xfa, 0x06, 0x00]).map_err(|error| error.to_string());
    let expected = "`ops[0].kind` is missing, or of a kind that this release does not know";
    assert_eq!(found, Err(expected.to_string()));
    let found = decode_record(&[0xfa, 0x06, 0x00]).map_err(|error| error.to_string());
    let expected = "`record.kind` is missing, or of a kind that this release does not know";
    assert_eq!(found, Err(expected.to_string()));
}

#[test]
fn what_is_missing_is_not_a_default() {
    let missing = |field: &str| {
        format!("`command.ops[0].{field}` is missing, or of a kind that this release does not know")
    };
    check_op("ban", spoil_ban(|ban| ban.basis = None), &missing("ban.basis"));
    check_op("ban", spoil_ban(|ban| ban.offender = None), &missing("ban.offender"));
    check_op("ban", spoil_ban(|ban| ban.policy = None), &missing("ban.policy"));
    check_op("ban", spoil_ban(|ban| ban.ports = None), &missing("ban.ports"));
    check_op(
        "ban",
        spoil_ban(|ban| ban.ports = Some(v1::Ports { closed: None })),
        &missing("ban.ports.closed"),
    );
    check_op(
        "ban",
        spoil_ban(|ban| ban.policy = Some(v1::BanPolicy { ban_time: None, growth: None })),
        &missing("ban.policy.ban_time"),
    );
    check_op(
        "unban_all",
        |kind| match kind {
            v1::op::Kind::Unban(unban) => unban.selection = None,
            other => panic!("not an unban: {other:?}"),
        },
        &missing("unban.selection"),
    );
    check_op(
        "node_seen",
        |kind| match kind {
            v1::op::Kind::NodeSeen(record) => record.role = 0,
            other => panic!("not a node record: {other:?}"),
        },
        &missing("node_seen.role"),
    );
    check_record(
        "head",
        |kind| match kind {
            v1::record::Kind::Head(head) => {
                head.settings.as_mut().expect("settings").quota_burst = None;
            }
            other => panic!("not a head: {other:?}"),
        },
        "`record.head.settings.quota_burst` is missing, or of a kind that this release does not know",
    );
    check_record(
        "ban",
        spoil_ban_record(|ban| ban.until = Some(v1::Until { end: None })),
        "`record.ban.until.end` is missing, or of a kind that this release does not know",
    );
}

#[test]
fn only_canonical_subnets_and_ports_are_read() {
    check_op(
        "ban",
        spoiled(&[10, 0, 0, 1], 24),
        "`command.ops[0].ban.offender` is 10.0.0.1/24 instead of its canonical form 10.0.0.0/24",
    );
    check_op(
        "ban",
        spoiled(&[10, 0, 0, 1], 33),
        "`command.ops[0].ban.offender.prefix_len` is 33: longer than the address 10.0.0.1",
    );
    check_op(
        "ban",
        spoiled(&[10, 0, 0, 1], 256),
        "`command.ops[0].ban.offender.prefix_len` is 256: longer than the address 10.0.0.1",
    );
    check_op(
        "ban",
        spoiled(&[10, 0, 0, 1, 0], 32),
        "`command.ops[0].ban.offender.address` has 5 bytes: it takes 4 or 16",
    );
    check_op(
        "ban",
        spoiled(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1], 128),
        "`command.ops[0].ban.offender` is ::ffff:10.0.0.1/128 instead of its canonical form 10.0.0.1",
    );
    check_op(
        "ban",
        spoil_ban(|ban| {
            let range = |first, last| v1::PortRange { protocol: 6, first, last };
            let ranges = v1::ports::Ranges { ranges: vec![range(443, 443), range(80, 80)] };
            ban.ports = Some(v1::Ports { closed: Some(v1::ports::Closed::Ranges(ranges)) });
        }),
        "`command.ops[0].ban.ports.ranges` are not sorted and merged: in canonical form they are 80,443/tcp",
    );
}

#[test]
fn what_is_above_a_bound_is_refused() {
    check_op(
        "ban",
        spoil_ban(|ban| ban.jail = "two words".to_string()),
        "`command.ops[0].ban.jail` is no jail: `two words` can not name a jail: it has a space or a control \
         character in it",
    );
    check_op(
        "ban",
        spoil_ban(|ban| ban.evidence = vec![ban.evidence[0].clone(); EVIDENCE_LINES_MAX + 1]),
        "`command.ops[0].ban.evidence` has 4 entries: at most 3 are read",
    );
    check_op(
        "ban",
        spoil_ban(|ban| ban.evidence[0].text = "x".repeat(257)),
        "`command.ops[0].ban.evidence[0].text` is a text of 257 bytes: at most 256 are read",
    );
    check_op(
        "ban",
        spoil_ban(|ban| ban.evidence[0].text = "\u{1b}[2J".to_string()),
        "`command.ops[0].ban.evidence[0].text` has a control character in it: \\u{1b}[2J",
    );
    check_op(
        "ban",
        spoil_ban(|ban| {
            ban.policy.as_mut().expect("a policy").growth.as_mut().expect("growth").table_ms = vec![1; 65];
        }),
        "`command.ops[0].ban.policy.growth.table_ms` has 65 entries: at most 64 are read",
    );
    check_op(
        "trust",
        |kind| match kind {
            v1::op::Kind::Trust(trust) => {
                trust.operator.as_mut().expect("an operator").reason = "x".repeat(TEXT_BYTES_MAX + 1);
            }
            other => panic!("not a trust: {other:?}"),
        },
        "`command.ops[0].trust.operator.reason` is a text of 1025 bytes: at most 1024 are read",
    );
    check_op(
        "settings",
        |kind| match kind {
            v1::op::Kind::Settings(settings) => {
                settings.fields[2].value = Some(v1::setting::Value::CountingPrefixV4(33));
            }
            other => panic!("not settings: {other:?}"),
        },
        "`command.ops[0].settings.fields[2].counting_prefix_v4` is 33: at most 32 has a meaning",
    );
    check_op(
        "node_seen",
        |kind| match kind {
            v1::op::Kind::NodeSeen(record) => record.role = 77,
            other => panic!("not a node record: {other:?}"),
        },
        "`command.ops[0].node_seen.role` is number 77, which this release does not know",
    );
    check_record(
        "ban",
        spoil_ban_record(|ban| ban.origins = vec![ban.origins[0]; ORIGINS_MAX + 1]),
        "`record.ban.origins` has 9 entries: at most 8 are read",
    );
}

#[test]
fn what_is_too_long_is_not_looked_at() {
    let expected = DecodeError::TooLong {
        what: "command",
        found_bytes: COMMAND_BYTES_MAX + 1,
        max_bytes: COMMAND_BYTES_MAX,
    };
    assert_eq!(decode_command(&vec![0; COMMAND_BYTES_MAX + 1]), Err(expected));
    let n_ops = OPS_MAX + 1;
    let ops = bannkreis_proto::convert::encode_ops(&vec![Op::Sweep; n_ops]);
    assert!(ops.len() < OPS_BYTES_MAX);
    let found = decode_ops(&ops).map_err(|error| error.to_string());
    assert_eq!(found, Err("`ops` has 16385 entries: at most 16384 are read".to_string()));
}

#[test]
fn a_cut_or_changed_sample_is_read_or_refused_but_breaks_nothing() {
    for (name, command) in samples::commands() {
        let bytes = encode_command(&command);
        for n_bytes in 0..bytes.len() {
            let cut = decode_command(&bytes[..n_bytes]);
            assert_ne!(cut.as_ref(), Ok(&command), "{name} cut to {n_bytes} bytes");
            let mut changed = bytes.to_vec();
            changed[n_bytes] = !changed[n_bytes];
            assert_ne!(decode_command(&changed).as_ref(), Ok(&command), "{name} changed at {n_bytes}");
        }
    }
    for (name, record) in samples::records() {
        let bytes = encode_record(&record);
        for n_bytes in 0..bytes.len() {
            let cut = decode_record(&bytes[..n_bytes]);
            assert_ne!(cut.as_ref(), Ok(&record), "{name} cut to {n_bytes} bytes");
        }
    }
}
