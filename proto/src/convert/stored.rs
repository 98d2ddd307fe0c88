//! What a node keeps in its own store over a restart: outbox entries and overrides.

use super::bounds::TEXT_BYTES_MAX;
use super::decode_error::DecodeError;
use super::fields::{at_most, list, required, text};
use super::ids::node_ids;
use super::op_result::decode_not_shared_reason;
use crate::v1;
use bannkreis_core::event::{OutboxEntry, Override, OverrideKind, SERVED_OFFENCES_MAX, ServedOffence};
use bannkreis_core::proposal::{
    CONTRIBUTORS_MAX, EVIDENCE_LINE_BYTES_MAX, EVIDENCE_LINES_MAX, evidence_text,
};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;

/// A line of evidence with its time, as it is stored.
struct Evidence(Timestamp, String);

impl TryFrom<v1::StoredEvidence> for Evidence {
    type Error = DecodeError;
    fn try_from(wire: v1::StoredEvidence) -> Result<Evidence, DecodeError> {
        let line = text(wire.text, "text", EVIDENCE_LINE_BYTES_MAX)?;
        Ok(Evidence(Timestamp(wire.at_ms), evidence_text(&line)))
    }
}

impl From<&OutboxEntry> for v1::StoredOutboxEntry {
    fn from(entry: &OutboxEntry) -> v1::StoredOutboxEntry {
        let evidence = entry.evidence.iter();
        v1::StoredOutboxEntry {
            key: Some((&entry.key).into()),
            basis: Some(entry.basis.into()),
            first_failure_ms: entry.first_failure.0,
            last_failure_ms: entry.last_failure.0,
            failures: entry.failures,
            policy: Some((&entry.policy).into()),
            ports: Some((&entry.ports).into()),
            evidence: evidence
                .map(|(at, text)| v1::StoredEvidence { at_ms: at.0, text: text.clone() })
                .collect(),
            until: Some(entry.until.into()),
            local: entry.local.map_or(v1::NotSharedReason::Unspecified, Into::into).into(),
            served: entry.served.iter().map(v1::ServedOffence::from).collect(),
            contributors: entry.contributors.iter().map(|node| node.0).collect(),
        }
    }
}

impl TryFrom<v1::StoredOutboxEntry> for OutboxEntry {
    type Error = DecodeError;
    fn try_from(wire: v1::StoredOutboxEntry) -> Result<OutboxEntry, DecodeError> {
        let evidence: Vec<Evidence> = list(wire.evidence, "evidence", EVIDENCE_LINES_MAX)?;
        at_most(wire.contributors.len(), "contributors", CONTRIBUTORS_MAX)?;
        let is_open = wire.local == i32::from(v1::NotSharedReason::Unspecified);
        Ok(OutboxEntry {
            key: required(wire.key, "key")?,
            basis: required(wire.basis, "basis")?,
            first_failure: Timestamp(wire.first_failure_ms),
            last_failure: Timestamp(wire.last_failure_ms),
            failures: wire.failures,
            policy: required(wire.policy, "policy")?,
            ports: required(wire.ports, "ports")?,
            evidence: evidence.into_iter().map(|Evidence(at, text)| (at, text)).collect(),
            until: required(wire.until, "until")?,
            local: if is_open { None } else { Some(decode_not_shared_reason(wire.local, "local")?) },
            served: list(wire.served, "served", SERVED_OFFENCES_MAX)?,
            contributors: node_ids(wire.contributors),
        })
    }
}

impl From<&ServedOffence> for v1::ServedOffence {
    fn from(offence: &ServedOffence) -> v1::ServedOffence {
        v1::ServedOffence {
            first_failure_ms: offence.first_failure.0,
            last_failure_ms: offence.last_failure.0,
            failures: offence.failures,
            line: offence.line.clone(),
        }
    }
}

impl TryFrom<v1::ServedOffence> for ServedOffence {
    type Error = DecodeError;
    fn try_from(wire: v1::ServedOffence) -> Result<ServedOffence, DecodeError> {
        let line = text(wire.line, "line", EVIDENCE_LINE_BYTES_MAX)?;
        Ok(ServedOffence {
            first_failure: Timestamp(wire.first_failure_ms),
            last_failure: Timestamp(wire.last_failure_ms),
            failures: wire.failures,
            line: evidence_text(&line),
        })
    }
}

/// The stored form of an override of `subnet`.
pub(super) fn encode_override(subnet: Subnet, decision: &Override) -> v1::StoredOverride {
    v1::StoredOverride {
        subnet: Some(subnet.into()),
        release: decision.kind == OverrideKind::Release,
        author: decision.author.clone(),
        reason: decision.reason.clone(),
        until: Some(decision.until.into()),
        estimated: decision.estimated,
    }
}

/// The override in `wire`, and whom it is about.
pub(super) fn decode_override(wire: v1::StoredOverride) -> Result<(Subnet, Override), DecodeError> {
    let decision = Override {
        kind: if wire.release { OverrideKind::Release } else { OverrideKind::Block },
        author: text(wire.author, "author", TEXT_BYTES_MAX)?,
        reason: text(wire.reason, "reason", TEXT_BYTES_MAX)?,
        until: required(wire.until, "until")?,
        estimated: wire.estimated,
    };
    Ok((required(wire.subnet, "subnet")?, decision))
}
