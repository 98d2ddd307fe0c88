//! openraft's type parameters, fixed: what a log entry carries, what applying it answers, what the
//! membership says about a node. Also the one encoding of openraft's own structures.
//!
//! Not for the meaning of a command: here it is bytes that pass through untouched.

use bannkreis_core::change::OpResult;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io;

openraft::declare_raft_types!(
    /// bannkreis' choice of openraft's types.
    pub(crate) TypeConfig:
        D = Payload,
        R = Answer,
        NodeId = u64,
        Node = Member,
);

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::state_machine::StateMachine>;
pub(crate) type Metrics = openraft::RaftMetrics<TypeConfig>;

/// The format byte before every openraft structure on disk and on the wire.
pub(crate) const FORMAT: u8 = 1;

/// What a log entry carries: an encoded `Command` (`proto/bannkreis/v1/ban.proto`). Decoded when it
/// is applied and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a command")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(Payload(Bytes::from(bytes)))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// What applying an entry answers to the proposer on this node. It never leaves the process, so its
/// encoded form is empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// One result per operation of the command.
    #[serde(skip)]
    pub(crate) results: Vec<OpResult>,
}

/// What the membership says about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Where peers reach it: `host:port`.
    pub(crate) address: String,
    /// Its host's name, for people.
    pub(crate) name: String,
    /// An operator has taken its vote away: it gets none without an operator's word.
    pub(crate) is_demoted: bool,
}

impl Member {
    /// Whether both say the same of where the node is.
    pub(crate) fn is_at(&self, other: &Member) -> bool {
        (&self.address, &self.name) == (&other.address, &other.name)
    }
}

/// Encodes one of openraft's structures: the format byte, then postcard.
pub(crate) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_extend(value, vec![FORMAT])
        .map_err(|error| io::Error::other(format!("a Raft structure can not be encoded: {error}")))
}

/// Decodes what [`encode`] has made. Bytes after the value are an error: they would be a newer form.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let (format, rest) = bytes.split_first().ok_or_else(|| invalid("a Raft structure is empty"))?;
    if *format != FORMAT {
        return Err(invalid(&format!(
            "a Raft structure has format {format}, this release reads {FORMAT}: it was written by a newer one"
        )));
    }
    let (value, left_over) = postcard::take_from_bytes(rest).map_err(|error| {
        invalid(&format!("a Raft structure of {} bytes is damaged: {error}", bytes.len()))
    })?;
    if !left_over.is_empty() {
        return Err(invalid(&format!("a Raft structure has {} bytes too many", left_over.len())));
    }
    Ok(value)
}

pub(crate) fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::EntryPayload;
    use openraft::entry::RaftEntry;

    fn entry(payload: &'static [u8]) -> Entry {
        let leader = openraft::vote::leader_id_adv::LeaderId { term: 3, node_id: 7 };
        let log_id = LogId { leader_id: leader, index: 9 };
        Entry::new(log_id, EntryPayload::Normal(Payload(Bytes::from_static(payload))))
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let bytes = encode(&entry(b"command")).unwrap();
        assert_eq!(bytes[0], FORMAT);
        let back: Entry = decode(&bytes).unwrap();
        assert_eq!(back.log_id(), entry(b"command").log_id());
        assert_eq!(back.payload, entry(b"command").payload);
    }

    #[test]
    fn other_formats_cut_and_lengthened_bytes_are_errors() {
        let bytes = encode(&entry(b"command")).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode::<Entry>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode::<Entry>(&longer).is_err());
        let mut newer = bytes;
        newer[0] = 2;
        let why = decode::<Entry>(&newer).unwrap_err().to_string();
        assert!(why.contains("format 2"), "{why}");
    }
}
