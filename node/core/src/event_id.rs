//! The id by which nodes know whether two of them have read copies of one line: equal ids are one failure, however
//! many logs it stands in.
//!
//! A line that names the host that logged it may have been sent to a central log: it is known by that name. One that
//! names none is the reading node's own. So a try on each of ten hosts is ten tries, even in one second and with one
//! text, and a try that two hosts have in their logs is one.
//!
//! Not for looking at lines, which is the filter's, nor for counting: that is the tally's and the warden's.

use crate::failure::Failure;
use crate::ids::NodeId;
use crate::subnet::Subnet;
use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// What a line is known by: the same on every host that has a copy of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineDigest {
    /// Of the line without its date.
    pub text: u64,
    /// It says which host logged it.
    pub names_host: bool,
}

/// What makes an id the same everywhere, apart from how often the line is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineId {
    key: [u8; 16],
    line: u64,
}

impl LineId {
    /// The line of `failure`, which `node` has read and counts for `offender`. `key` is the cluster's
    /// [`event_key`](crate::settings::Settings::event_key).
    ///
    /// SipHash-2-4 (Aumasson and Bernstein, 2012), keyed, so that nobody outside can tell which ids are equal.
    #[must_use]
    pub fn of(key: [u8; 16], failure: &Failure, offender: Subnet, node: NodeId) -> LineId {
        let mut hasher = SipHasher24::new_with_key(&key);
        let jail = failure.jail.as_str().as_bytes();
        hasher.write(&[u8::try_from(jail.len()).unwrap_or(u8::MAX), offender.prefix_len()]);
        hasher.write(jail);
        hasher.write(&offender.octets());
        hasher.write(&(failure.at.0 / 1_000).to_le_bytes());
        hasher.write(&(if failure.line.names_host { 0 } else { node.0 }).to_le_bytes());
        hasher.write(&failure.line.text.to_le_bytes());
        LineId { key, line: hasher.finish() }
    }

    /// The id of the line when it is there for the `ordinal`-th time, from 0 on.
    #[must_use]
    pub fn event(self, ordinal: u32) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&self.line.to_le_bytes());
        hasher.write(&ordinal.to_le_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{SourceId, SourcePosition};
    use crate::jail::JailName;
    use crate::time::Timestamp;
    use alloc::string::String;

    fn read(text: u64, names_host: bool, at_ms: u64) -> Failure {
        Failure {
            jail: JailName::new("sshd").expect("a valid name"),
            offender: "192.0.2.1".parse().expect("an address"),
            at: Timestamp(at_ms),
            evidence: String::new(),
            line: LineDigest { text, names_host },
            user: None,
            source: SourceId(0),
            position: SourcePosition(0),
            replayed: false,
        }
    }

    fn id(failure: &Failure, node: u64) -> u64 {
        LineId::of([7; 16], failure, failure.offender, NodeId(node)).event(0)
    }

    #[test]
    fn a_line_that_names_its_host_is_one_wherever_it_is_read() {
        // A central log may know parts of a second.
        assert_eq!(id(&read(1, true, 35_000), 1), id(&read(1, true, 35_400), 2));
        assert_ne!(id(&read(1, true, 35_000), 1), id(&read(1, true, 36_000), 1), "another second");
        assert_ne!(id(&read(1, true, 35_000), 1), id(&read(2, true, 35_000), 1), "another text");
    }

    #[test]
    fn a_line_without_a_host_is_the_readers_own() {
        assert_ne!(id(&read(1, false, 35_000), 1), id(&read(1, false, 35_000), 2));
    }

    #[test]
    fn a_line_that_is_there_twice_is_two_failures() {
        let failure = read(1, true, 35_000);
        let line = LineId::of([7; 16], &failure, failure.offender, NodeId(1));
        assert_ne!(line.event(0), line.event(1));
    }
}
