//! Bytes of netlink messages: attributes in, attributes out, and several messages as one transaction.
//!
//! A netlink message is a header of 16 bytes (length, type, flags, sequence number, port), nfnetlink's
//! own header of 4 (family, version, resource), and attributes: each a length, a type and a value,
//! padded to 4 bytes, values being numbers in network order, texts with a zero at the end, or more
//! attributes (netlink(7), libnl's description of the format). Not for what is said in them,
//! nor for sending them (`socket.rs`).

use super::Recipient;
use super::kernel::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NLA_F_NESTED, NLA_F_NET_BYTEORDER, NLA_TYPE_MASK, NLM_F_ACK,
    NLM_F_REQUEST,
};

/// Bytes before a message's attributes.
pub(crate) const HEADERS_BYTES: usize = 20;

/// Writes attributes to the end of a message.
pub(crate) struct Attributes<'b> {
    bytes: &'b mut Vec<u8>,
}

impl Attributes<'_> {
    /// An attribute with these bytes as its value.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |bytes| bytes.extend_from_slice(value));
    }

    /// The same, which says of itself that it is in network order, as ipset wants it.
    pub(crate) fn net_bytes(&mut self, kind: u16, value: &[u8]) {
        self.bytes(kind | NLA_F_NET_BYTEORDER, value);
    }

    /// A text.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// A number of 32 bits.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A number of 8 bits.
    pub(crate) fn byte(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// A number of 32 bits that says of itself that it is in network order, as ipset wants it.
    pub(crate) fn net_number(&mut self, kind: u16, value: u32) {
        self.number(kind | NLA_F_NET_BYTEORDER, value);
    }

    /// A number of 64 bits.
    pub(crate) fn long_number(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute that has attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.attribute(kind | NLA_F_NESTED, |bytes| fill(&mut Attributes { bytes }));
    }

    fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self.bytes);
        let length = u16::try_from(self.bytes.len() - start)
            .expect("whoever writes a list splits it long before an attribute has 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(start + usize::from(length).next_multiple_of(4), 0);
    }
}

/// Messages that the kernel executes together or not at all.
pub(crate) struct Batch {
    recipient: Recipient,
    bytes: Vec<u8>,
    first_sequence: u32,
    /// What each message is for, in the words of an error message.
    doing: Vec<&'static str>,
    last_start: usize,
}

impl Batch {
    /// An empty transaction whose messages are numbered from `first_sequence` on.
    pub(crate) fn new(recipient: Recipient, first_sequence: u32) -> Batch {
        let bytes = Vec::with_capacity(4_096);
        let mut batch = Batch { recipient, bytes, first_sequence, doing: Vec::new(), last_start: 0 };
        batch.raw(NFNL_MSG_BATCH_BEGIN, 0, recipient.subsystem, "beginning a transaction", |_| {});
        batch
    }

    /// Adds a message to the recipient.
    pub(crate) fn push(
        &mut self,
        kind: u8,
        flags: u16,
        doing: &'static str,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.raw(self.recipient.message(kind), flags, 0, doing, fill);
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.doing.len() == 1
    }

    /// A number that no other set in this transaction has.
    pub(crate) fn unused_set_id(&self) -> u32 {
        u32::try_from(self.doing.len()).unwrap_or(u32::MAX)
    }

    /// Ends the transaction and asks for an acknowledgement of its last change.
    pub(crate) fn finish(mut self) -> Finished {
        let last_flags = self.last_start + 6;
        let flags = u16::from_ne_bytes([self.bytes[last_flags], self.bytes[last_flags + 1]]) | NLM_F_ACK;
        self.bytes[last_flags..last_flags + 2].copy_from_slice(&flags.to_ne_bytes());
        let awaited_sequence = self.next_sequence().wrapping_sub(1);
        self.raw(NFNL_MSG_BATCH_END, 0, self.recipient.subsystem, "ending a transaction", |_| {});
        Finished {
            next_sequence: self.next_sequence(),
            bytes: self.bytes,
            first_sequence: self.first_sequence,
            awaited_sequence,
            doing: self.doing,
        }
    }

    fn next_sequence(&self) -> u32 {
        self.first_sequence.wrapping_add(u32::try_from(self.doing.len()).unwrap_or(u32::MAX))
    }

    fn raw(
        &mut self,
        kind: u16,
        flags: u16,
        resource: u16,
        doing: &'static str,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.last_start = self.bytes.len();
        let family = if resource == 0 { self.recipient.family } else { 0 };
        let sequence = self.next_sequence();
        write_message(&mut self.bytes, kind, flags, sequence, family, resource, fill);
        self.doing.push(doing);
    }
}

/// A transaction ready to be sent.
pub(crate) struct Finished {
    /// What is sent.
    pub(crate) bytes: Vec<u8>,
    /// The number of its first message.
    pub(crate) first_sequence: u32,
    /// The number of the message whose acknowledgement means that everything is in force.
    pub(crate) awaited_sequence: u32,
    /// The first number that is free again.
    pub(crate) next_sequence: u32,
    /// What each message is for.
    pub(crate) doing: Vec<&'static str>,
}

/// A single question.
pub(crate) fn question(
    recipient: Recipient,
    kind: u8,
    flags: u16,
    sequence: u32,
    fill: impl FnOnce(&mut Attributes<'_>),
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    write_message(&mut bytes, recipient.message(kind), flags, sequence, recipient.family, 0, fill);
    bytes
}

fn write_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    fill: impl FnOnce(&mut Attributes<'_>),
) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    fill(&mut Attributes { bytes });
    let length = u32::try_from(bytes.len() - start).expect("a message of at most some hundred KiB");
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// The attributes in `bytes`, as far as they are well formed: (type, value).
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The value of the first attribute of this type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// The text of the first attribute of this type.
pub(crate) fn text(bytes: &[u8], kind: u16) -> Option<&str> {
    std::str::from_utf8(attribute(bytes, kind)?).ok().map(|text| text.trim_end_matches('\0'))
}

/// The number of 32 bits of the first attribute of this type.
pub(crate) fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    attribute(bytes, kind)?.try_into().ok().map(u32::from_be_bytes)
}

/// The number of 8 bits of the first attribute of this type.
pub(crate) fn byte(bytes: &[u8], kind: u16) -> Option<u8> {
    attribute(bytes, kind)?.first().copied()
}

/// The number of 64 bits of the first attribute of this type.
pub(crate) fn long_number(bytes: &[u8], kind: u16) -> Option<u64> {
    attribute(bytes, kind)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        fill(&mut Attributes { bytes: &mut bytes });
        bytes
    }

    /// A header as this machine writes it.
    fn header(length: u16, kind: u16) -> Vec<u8> {
        [length.to_ne_bytes(), kind.to_ne_bytes()].concat()
    }

    #[test]
    fn a_text_ends_with_a_zero_and_is_padded_but_its_length_is_not() {
        let expected = [header(7, 3), b"in\0\0".to_vec()].concat();
        assert_eq!(written(|a| a.text(3, "in")), expected);
    }

    #[test]
    fn numbers_are_in_network_order() {
        let expected = [header(8, 1), vec![0, 0, 1, 2], header(12, 2), vec![0, 0, 0, 0, 0, 0, 0, 9]].concat();
        let bytes = written(|a| {
            a.number(1, 0x102);
            a.long_number(2, 9);
        });
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_nest_counts_its_padded_children() {
        let expected = [header(12, 5 | NLA_F_NESTED), header(5, 1), vec![7, 0, 0, 0]].concat();
        assert_eq!(written(|a| a.nest(5, |a| a.bytes(1, &[7]))), expected);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let bytes = written(|a| {
            a.text(1, "t");
            a.nest(2, |a| a.number(4, 77));
            a.long_number(3, 1 << 40);
        });
        assert_eq!(text(&bytes, 1), Some("t"));
        assert_eq!(number(attribute(&bytes, 2).unwrap(), 4), Some(77));
        assert_eq!(long_number(&bytes, 3), Some(1 << 40));
        assert_eq!(number(&bytes, 9), None);
    }

    #[test]
    fn broken_attributes_end_the_reading() {
        for broken in [vec![], vec![1], header(3, 1), header(200, 1), vec![0; 4]] {
            assert_eq!(attributes(&broken).count(), 0, "{broken:?}");
        }
    }

    #[test]
    fn a_transaction_is_begun_numbered_acknowledged_at_its_last_change_and_ended() {
        let mut batch = Batch::new(Recipient { subsystem: 10, family: 1 }, 40);
        assert!(batch.is_empty());
        batch.push(9, 0x400, "making a set", |a| a.text(1, "t"));
        batch.push(12, 0x400, "adding elements", |_| {});
        let finished = batch.finish();
        let message = |start: usize| {
            let b = &finished.bytes;
            let length = u32::from_ne_bytes([b[start], b[start + 1], b[start + 2], b[start + 3]]);
            let kind = u16::from_ne_bytes([b[start + 4], b[start + 5]]);
            let flags = u16::from_ne_bytes([b[start + 6], b[start + 7]]);
            let sequence = u32::from_ne_bytes([b[start + 8], b[start + 9], b[start + 10], b[start + 11]]);
            (usize::try_from(length).unwrap(), kind, flags, sequence, b[start + 16..start + 20].to_vec())
        };
        assert_eq!(message(0), (20, 0x10, 1, 40, vec![0, 0, 0, 10]));
        assert_eq!(message(20), (28, 0x0a09, 0x401, 41, vec![1, 0, 0, 0]));
        assert_eq!(message(48), (20, 0x0a0c, 0x405, 42, vec![1, 0, 0, 0]));
        assert_eq!(message(68), (20, 0x11, 1, 43, vec![0, 0, 0, 10]));
        assert_eq!(finished.bytes.len(), 88);
        assert_eq!((finished.awaited_sequence, finished.next_sequence), (42, 44));
    }
}
