//! The keys of the local store: one byte says which table, the rest sorts as the table is read.
//!
//! Stored forms: they must never change.

use super::LocalStoreError;
use bannkreis_core::history::HistoryKey;
use bannkreis_core::ids::Position;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The longest key in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The longest value in bytes. Records of more than 8 KiB can end up in files that sled never syncs,
/// so twice that distance is kept.
pub const VALUE_BYTES_MAX: usize = 4096;

pub(super) const META: u8 = 1;
pub(super) const OUTBOX: u8 = 2;
pub(super) const OVERRIDES: u8 = 3;
pub(super) const SOURCES: u8 = 4;
pub(super) const COLD: u8 = 5;
pub(super) const HISTORY: u8 = 6;
pub(super) const HISTORY_OF: u8 = 7;
pub(super) const TO_FORGET: u8 = 8;

/// Which operations of which log entry a cold record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColdKey {
    /// The log entry.
    pub position: Position,
    /// The first of them.
    pub op: u32,
}

impl ColdKey {
    pub(super) fn decode(bytes: &[u8]) -> Option<ColdKey> {
        let (generation, rest) = bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        Some(ColdKey {
            position: Position {
                generation: u32::from_be_bytes(*generation),
                index: u64::from_be_bytes(*index),
            },
            op: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// What a value is stored under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// An entry of the outbox, by a key that its owner encodes.
    Outbox(Vec<u8>),
    /// An override, by a key that its owner encodes.
    Override(Vec<u8>),
    /// A place in the log of this path.
    Source(PathBuf),
    /// A cold record.
    Cold(ColdKey),
    /// A fact of this name.
    Meta(&'static str),
    /// An entry of the history.
    History(HistoryKey),
    /// That there is an entry of the history about this subnet. Sorted by the subnets' first addresses.
    HistoryOf(Subnet, HistoryKey),
    /// That everything before this about this subnet, and all inside it, is to be forgotten.
    ToForget(Subnet, HistoryKey),
}

/// How many bytes an encoded [`HistoryKey`] has.
const HISTORY_KEY_BYTES: usize = 28;

fn put_history_key(bytes: &mut Vec<u8>, key: &HistoryKey) {
    bytes.extend_from_slice(&key.at.0.to_be_bytes());
    bytes.extend_from_slice(&key.position.generation.to_be_bytes());
    bytes.extend_from_slice(&key.position.index.to_be_bytes());
    bytes.extend_from_slice(&key.op.to_be_bytes());
    bytes.extend_from_slice(&key.n.to_be_bytes());
}

/// The family and the first address of a subnet, so that what is inside it follows.
pub(super) fn put_first_address(bytes: &mut Vec<u8>, subnet: Subnet) {
    bytes.push(if subnet.is_v4() { 4 } else { 6 });
    match subnet.address() {
        IpAddr::V4(v4) => bytes.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes.extend_from_slice(&v6.octets()),
    }
}

/// Reads what stands behind the table's byte in the key of an entry of the history.
pub(super) fn decode_history_key(bytes: &[u8]) -> Option<HistoryKey> {
    let (at, rest) = bytes.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (index, rest) = rest.split_first_chunk()?;
    let (op, rest) = rest.split_first_chunk()?;
    Some(HistoryKey {
        at: Timestamp(u64::from_be_bytes(*at)),
        position: Position { generation: u32::from_be_bytes(*generation), index: u64::from_be_bytes(*index) },
        op: u32::from_be_bytes(*op),
        n: u32::from_be_bytes(rest.try_into().ok()?),
    })
}

/// Reads what stands behind the table's byte in the key that says whom an entry is about.
pub(super) fn decode_history_of(bytes: &[u8]) -> Option<(Subnet, HistoryKey)> {
    let (family, rest) = bytes.split_first()?;
    let (subnet, rest) = rest.split_at_checked(rest.len().checked_sub(HISTORY_KEY_BYTES)?)?;
    let (prefix_len, address) = subnet.split_last()?;
    let address = match family {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        6 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some((Subnet::new(address, *prefix_len)?, decode_history_key(rest)?))
}

impl Key {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48);
        match self {
            Key::Meta(name) => {
                bytes.push(META);
                bytes.extend_from_slice(name.as_bytes());
            }
            Key::Outbox(key) => {
                bytes.push(OUTBOX);
                bytes.extend_from_slice(key);
            }
            Key::Override(key) => {
                bytes.push(OVERRIDES);
                bytes.extend_from_slice(key);
            }
            Key::Source(path) => {
                bytes.push(SOURCES);
                bytes.extend_from_slice(path.as_os_str().as_bytes());
            }
            Key::Cold(ColdKey { position, op }) => {
                bytes.push(COLD);
                bytes.extend_from_slice(&position.generation.to_be_bytes());
                bytes.extend_from_slice(&position.index.to_be_bytes());
                bytes.extend_from_slice(&op.to_be_bytes());
            }
            Key::History(key) => {
                bytes.push(HISTORY);
                put_history_key(&mut bytes, key);
            }
            Key::HistoryOf(subnet, key) | Key::ToForget(subnet, key) => {
                bytes.push(if matches!(self, Key::ToForget(..)) { TO_FORGET } else { HISTORY_OF });
                put_first_address(&mut bytes, *subnet);
                bytes.push(subnet.prefix_len());
                put_history_key(&mut bytes, key);
            }
        }
        bytes
    }

    /// For messages to people.
    fn described(&self) -> String {
        match self {
            Key::Outbox(_) => "an entry of the outbox".into(),
            Key::Override(_) => "an override".into(),
            Key::Source(path) => format!("the place in the log {}", path.display()),
            Key::Cold(ColdKey { position, op }) => format!("the cold record {position}/{op}"),
            Key::Meta(name) => format!("the fact `{name}`"),
            Key::History(key) | Key::HistoryOf(_, key) | Key::ToForget(_, key) => {
                format!("the entry {}/{} of the history", key.position, key.op)
            }
        }
    }
}

/// Reads what stands behind the table's byte in the key of a source.
pub(super) fn decode_source(bytes: &[u8]) -> Option<PathBuf> {
    Some(Path::new(&OsString::from_vec(bytes.to_vec())).to_owned())
}

/// Changes that are stored together or not at all. Of several changes of one key the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(super) changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Batch {
    /// No changes.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// What the keys and values that are put in take, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let put = self.changes.iter().filter_map(|(key, value)| Some(key.len() + value.as_ref()?.len()));
        put.sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Stores `value` under `key`.
    ///
    /// # Errors
    /// When key or value is longer than [`KEY_BYTES_MAX`] or [`VALUE_BYTES_MAX`]; the batch is as it
    /// was before.
    #[allow(clippy::needless_pass_by_value, reason = "a key is made for one change")]
    pub fn put(&mut self, key: Key, value: Vec<u8>) -> Result<(), LocalStoreError> {
        let encoded = key.encode();
        for (what, n_bytes, max) in
            [("the name of ", encoded.len(), KEY_BYTES_MAX), ("", value.len(), VALUE_BYTES_MAX)]
        {
            if n_bytes > max {
                let what = format!("{what}{}", key.described());
                return Err(LocalStoreError::TooLong { what, n_bytes, max });
            }
        }
        self.changes.insert(encoded, Some(value));
        Ok(())
    }

    /// Removes what is stored under `key`, if anything is.
    #[allow(clippy::needless_pass_by_value, reason = "a key is made for one change")]
    pub fn delete(&mut self, key: Key) {
        self.changes.insert(key.encode(), None);
    }
}
