//! What the warden keeps over a restart, as bytes in the local store and back: the outbox, overrides,
//! and what time it was.
//!
//! Every value begins with a format byte, so that the next release can read this one's. What can not be
//! read is named and left out; it never stops the daemon.

use crate::local_store::{Batch, Key, LocalStore, LocalStoreError};
use bannkreis_core::change::BanKey;
use bannkreis_core::event::{OutboxEntry, Override};
use bannkreis_core::node_clock::StoredTime;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::convert::{decode_outbox_entry, decode_override, encode_outbox_entry, encode_override};

/// The format of all values here.
const FORMAT: u8 = 1;
/// Under this name the store keeps what time it was.
const TIME: &str = "time";

/// Puts an outbox entry into `batch`, or takes it out of the store.
///
/// # Errors
/// The store's, when the value is beyond its bounds.
pub fn put_outbox(
    batch: &mut Batch,
    key: &BanKey,
    entry: Option<&OutboxEntry>,
) -> Result<(), LocalStoreError> {
    let key = Key::Outbox(outbox_key(key));
    match entry {
        Some(entry) => batch.put(key, with_format(&encode_outbox_entry(entry))),
        None => {
            batch.delete(key);
            Ok(())
        }
    }
}

/// Puts an override into `batch`, or takes it out of the store.
///
/// # Errors
/// The store's, when the value is beyond its bounds.
pub fn put_override(
    batch: &mut Batch,
    subnet: Subnet,
    decision: Option<&Override>,
) -> Result<(), LocalStoreError> {
    let key = Key::Override(subnet.to_string().into_bytes());
    match decision {
        Some(decision) => batch.put(key, with_format(&encode_override(subnet, decision))),
        None => {
            batch.delete(key);
            Ok(())
        }
    }
}

/// Puts what time it is into `batch`.
///
/// # Errors
/// The store's, when the value is beyond its bounds.
pub fn put_time(batch: &mut Batch, time: &StoredTime<String>) -> Result<(), LocalStoreError> {
    let mut bytes = Vec::new();
    for number in [time.cluster.0, time.wall.0, time.boottime_ms] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.push(u8::from(time.guessed));
    bytes.extend_from_slice(time.boot.as_bytes());
    batch.put(Key::Meta(TIME), with_format(&bytes))
}

/// What the store has kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// Unsettled proposals and this node's own blocks.
    pub outbox: Vec<OutboxEntry>,
    /// Overrides.
    pub overrides: Vec<(Subnet, Override)>,
    /// What time it was.
    pub time: Option<StoredTime<String>>,
}

/// Reads all of it.
///
/// # Errors
/// When the store can not be read; single values that make no sense are logged and left out.
pub fn read(store: &LocalStore) -> Result<Kept, LocalStoreError> {
    let mut kept = Kept::default();
    for (key, value) in store.outbox()? {
        match without_format(&value).and_then(|bytes| decode_outbox_entry(bytes).map_err(|e| e.to_string())) {
            Ok(entry) => kept.outbox.push(entry),
            Err(why) => {
                tracing::error!("a stored proposal can not be read and is left out: {why} (key {key:02x?})");
            }
        }
    }
    for (key, value) in store.overrides()? {
        match without_format(&value).and_then(|bytes| decode_override(bytes).map_err(|e| e.to_string())) {
            Ok(decision) => kept.overrides.push(decision),
            Err(why) => {
                let key = String::from_utf8_lossy(&key).into_owned();
                tracing::error!("the stored override for {key} can not be read and is left out: {why}");
            }
        }
    }
    if let Some(value) = store.meta(TIME)? {
        match without_format(&value).and_then(read_time) {
            Ok(time) => kept.time = Some(time),
            Err(why) => tracing::error!("the stored time can not be read and is left out: {why}"),
        }
    }
    Ok(kept)
}

/// Three numbers of eight bytes, then whether it was a guess, then the boot id.
fn read_time(bytes: &[u8]) -> Result<StoredTime<String>, String> {
    let too_short = || "it is too short".to_owned();
    let (numbers, rest) = bytes.split_at_checked(24).ok_or_else(too_short)?;
    let (guessed, boot_id) = rest.split_first().ok_or_else(too_short)?;
    let number = |n: usize| {
        let bytes: [u8; 8] = numbers[n * 8..][..8].try_into().unwrap_or_default();
        u64::from_be_bytes(bytes)
    };
    Ok(StoredTime {
        cluster: Timestamp(number(0)),
        wall: Timestamp(number(1)),
        boottime_ms: number(2),
        boot: String::from_utf8_lossy(boot_id).into_owned(),
        guessed: *guessed != 0,
    })
}

/// The key's own bytes: who, then in which jail.
fn outbox_key(key: &BanKey) -> Vec<u8> {
    let mut bytes = key.subnet.octets().to_vec();
    bytes.push(key.subnet.prefix_len());
    bytes.extend_from_slice(key.jail.as_str().as_bytes());
    bytes
}

fn with_format(bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(bytes.len() + 1);
    value.push(FORMAT);
    value.extend_from_slice(bytes);
    value
}

fn without_format(value: &[u8]) -> Result<&[u8], String> {
    match value.split_first() {
        Some((&FORMAT, bytes)) => Ok(bytes),
        Some((other, _)) => Err(format!("it has format {other}, and this release reads format {FORMAT}")),
        None => Err("it is empty".to_owned()),
    }
}
