//! The encoding of every kind of command, record, result and message, byte for byte: what lies on
//! disks must still be readable by the next release.
//!
//! When a test here fails, the encoding has changed. If that is meant (a new kind, a new field),
//! `UPDATE_EXPECT=1` rewrites the files; a *changed* line is a break and needs a new level.

mod samples;

use bannkreis_proto::convert::{
    decode_command, decode_history, decode_notice, decode_outbox_entry, decode_override, decode_record,
    decode_report, decode_results, encode_command, encode_history, encode_notice, encode_outbox_entry,
    encode_override, encode_record, encode_report, encode_results,
};
use std::fmt::Debug;
use std::path::Path;
use std::{env, fs};

#[test]
fn commands() {
    check("commands.txt", samples::commands(), encode_command, decode_command);
}

#[test]
fn records() {
    check("records.txt", samples::records(), encode_record, decode_record);
}

#[test]
fn results() {
    check("results.txt", samples::results(), |value| encode_results(value), decode_results);
}

#[test]
fn notices() {
    check("notices.txt", samples::notices(), encode_notice, decode_notice);
}

#[test]
fn reports() {
    check("reports.txt", samples::reports(), encode_report, decode_report);
}

#[test]
fn outbox_entries() {
    check("outbox_entries.txt", samples::outbox_entries(), encode_outbox_entry, decode_outbox_entry);
}

#[test]
fn overrides() {
    let encode = |(subnet, decision): &(_, _)| encode_override(*subnet, decision);
    check("overrides.txt", samples::overrides(), encode, decode_override);
}

#[test]
fn histories() {
    check(
        "histories.txt",
        samples::histories(),
        |(entry, names)| encode_history(entry, names),
        decode_history,
    );
}

/// Every sample is encoded as its line in `file` says, and the line is read as the sample.
fn check<T: Debug + PartialEq, E: Debug + PartialEq>(
    file: &str,
    samples: Vec<(&str, T)>,
    encode: impl Fn(&T) -> bytes::Bytes,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let lines = samples.iter().map(|(name, value)| format!("{name} {}\n", hex(&encode(value))));
    let found: String = lines.collect();
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &found).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(&path).expect("the golden file can be read");
    assert!(
        found == expected,
        "the encoding is not that of tests/golden/{file}\nfound:\n{found}\nexpected:\n{expected}"
    );
    for (line, (name, value)) in expected.lines().zip(samples) {
        let (_, digits) = line.split_once(' ').expect("a name and hexadecimal digits");
        assert_eq!(decode(&unhex(digits)), Ok(value), "{name}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |n| u8::from_str_radix(&digits[n..n + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}
