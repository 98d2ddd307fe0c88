//! What a node asks the cluster: proposals, the notices and reports that travel beside them, and
//! the claim that all of them boil down to.
//!
//! Not for deciding about them: that is `judge.rs`.

use crate::failure::Failure;
use crate::ids::{NodeId, Position};
use crate::jail::{BanPolicy, JailName, Ports};
use crate::subnet::Subnet;
use crate::time::{Timestamp, Until};
use alloc::string::String;
use alloc::vec::Vec;

/// A proposal carries at most this many lines.
pub const EVIDENCE_LINES_MAX: usize = 3;
/// A line of evidence is cut to this many bytes, at a character's boundary.
pub const EVIDENCE_LINE_BYTES_MAX: usize = 256;

/// A proposal names at most this many nodes whose failures were counted with the origin's.
pub const CONTRIBUTORS_MAX: usize = 64;
/// Failures in one report; whoever has more sends several.
pub const REPORTED_FAILURES_MAX: usize = 1_024;

/// A line that justifies a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceLine {
    /// How long before the proposal was sent it was logged, in ms.
    pub age_ms: u64,
    /// The line, cut, without control characters.
    pub text: String,
}

/// Cuts `text` to what evidence may hold, replacing control characters, so that no line of a log
/// can write to a terminal, end a line, or fill the Raft log.
#[must_use]
pub fn evidence_text(text: &str) -> String {
    // Nearly every line is as it should be.
    if text.len() <= EVIDENCE_LINE_BYTES_MAX && is_printable(text.as_bytes()) {
        return String::from(text);
    }
    let mut kept = String::with_capacity(text.len().min(EVIDENCE_LINE_BYTES_MAX));
    for c in text.chars() {
        let c = if c.is_control() { '\u{fffd}' } else { c };
        if kept.len() + c.len_utf8() > EVIDENCE_LINE_BYTES_MAX {
            break;
        }
        kept.push(c);
    }
    kept
}

/// Whether all of it is ASCII without control characters, eight bytes at once.
fn is_printable(text: &[u8]) -> bool {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let odd = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        // A byte's highest bit is set by the sum when it is DEL, and not by the other one when it is below a blank.
        let (del, blank) = (word.wrapping_add(EACH), word.wrapping_add(EACH * (0x80 - 0x20)));
        word | del | !blank
    };
    // The last eight bytes overlap with the others.
    let Some(last) = text.last_chunk() else { return text.iter().all(|byte| matches!(byte, b' '..=b'~')) };
    text.as_chunks().0.iter().fold(odd(last), |all, word| all | odd(word)) & (EACH * 0x80) == 0
}

/// What a node asks of the cluster: ban this offender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The node whose logs say so.
    pub origin: NodeId,
    /// What the origin had applied when it sent this.
    pub basis: Position,
    /// The jail that decided.
    pub jail: JailName,
    /// Who is to be banned.
    pub offender: Subnet,
    /// Age in ms, at sending, of the first failure of this offence.
    pub first_failure_age_ms: u64,
    /// Age in ms, at sending, of the last failure of this offence.
    pub last_failure_age_ms: u64,
    /// How many failures were counted.
    pub failures: u32,
    /// Other nodes whose failures were counted with the origin's.
    pub contributors: Vec<NodeId>,
    /// How long to ban.
    pub policy: BanPolicy,
    /// What the jail closes.
    pub ports: Ports,
    /// At most [`EVIDENCE_LINES_MAX`] lines.
    pub evidence: Vec<EvidenceLine>,
}

impl Proposal {
    /// The last failure in cluster time, when the leader stamped this `sent` and it is applied at `now`:
    /// made once, and never in the future.
    #[must_use]
    pub fn last_failure_at(&self, sent: Timestamp, now: Timestamp) -> Timestamp {
        sent.minus_ms(self.last_failure_age_ms).min(now)
    }

    /// The first failure in cluster time, never after the last.
    #[must_use]
    pub fn first_failure_at(&self, sent: Timestamp, now: Timestamp) -> Timestamp {
        sent.minus_ms(self.first_failure_age_ms).min(self.last_failure_at(sent, now))
    }
}

/// One-way word to the peers that this node blocks an offender: they do so too, for a minute,
/// while the proposal is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The node that blocks.
    pub origin: NodeId,
    /// What it had applied when it sent this.
    pub basis: Position,
    /// The jail that decided.
    pub jail: JailName,
    /// Who is blocked.
    pub offender: Subnet,
    /// Age in ms, at sending, of the last failure.
    pub last_failure_age_ms: u64,
    /// How long the origin's own block still lasts, in ms; `None`: for ever.
    pub remaining_ms: Option<u64>,
    /// What the jail closes.
    pub ports: Ports,
}

/// One failure as peers learn of it: equal ids are copies of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportedFailure {
    /// Keyed hash of (jail, offender, second, logging host, text after the date, ordinal).
    pub event_id: u64,
    /// Age in ms at sending.
    pub age_ms: u64,
}

/// What a node tells its peers about its failures below maxretry. Never in the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The node that saw them.
    pub origin: NodeId,
    /// What it had applied when it sent this.
    pub basis: Position,
    /// The jail that recognised them.
    pub jail: JailName,
    /// About whom.
    pub offender: Subnet,
    /// The failures.
    pub failures: Vec<ReportedFailure>,
}

/// What is to be judged: made from a proposal or a notice, with times made absolute once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose it is.
    pub origin: NodeId,
    /// What the origin had applied when it sent it.
    pub basis: Position,
    /// The jail.
    pub jail: JailName,
    /// About whom.
    pub offender: Subnet,
    /// The last failure, in cluster time.
    pub last_failure: Timestamp,
    /// Until when the origin wants the ban.
    pub wanted_until: Until,
    /// What it wants closed.
    pub ports: Ports,
}

impl EvidenceLine {
    /// The evidence that `failure` gives at `now` (this host's wall clock).
    #[must_use]
    pub fn of(failure: &Failure, now: Timestamp) -> EvidenceLine {
        EvidenceLine { age_ms: now.ms_since(failure.at), text: evidence_text(&failure.evidence) }
    }
}
