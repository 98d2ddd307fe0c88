//! What nodes ask and tell: proposals with their evidence, notices, reports.

use super::decode_error::DecodeError;
use super::fields::{at_most, list, required, text};
use super::ids::node_ids;
use super::jail::decode_jail_name;
use crate::v1;
use bannkreis_core::ids::NodeId;
use bannkreis_core::proposal::{
    CONTRIBUTORS_MAX, EVIDENCE_LINE_BYTES_MAX, EVIDENCE_LINES_MAX, EvidenceLine, Notice, Proposal,
    REPORTED_FAILURES_MAX, Report, ReportedFailure,
};
use bannkreis_core::time::BanTime;

impl From<&EvidenceLine> for v1::EvidenceLine {
    fn from(line: &EvidenceLine) -> v1::EvidenceLine {
        v1::EvidenceLine { age_ms: line.age_ms, text: line.text.clone() }
    }
}

impl TryFrom<v1::EvidenceLine> for EvidenceLine {
    type Error = DecodeError;
    fn try_from(wire: v1::EvidenceLine) -> Result<EvidenceLine, DecodeError> {
        // It is printed on terminals of every node: what an attacker wrote must not steer them.
        if wire.text.chars().any(char::is_control) {
            let what = format!("has a control character in it: {}", wire.text.escape_debug());
            return Err(DecodeError::field("text", what));
        }
        Ok(EvidenceLine { age_ms: wire.age_ms, text: text(wire.text, "text", EVIDENCE_LINE_BYTES_MAX)? })
    }
}

impl From<&Proposal> for v1::Proposal {
    fn from(proposal: &Proposal) -> v1::Proposal {
        v1::Proposal {
            origin: proposal.origin.0,
            basis: Some(proposal.basis.into()),
            jail: proposal.jail.as_str().to_string(),
            offender: Some(proposal.offender.into()),
            first_failure_age_ms: proposal.first_failure_age_ms,
            last_failure_age_ms: proposal.last_failure_age_ms,
            failures: proposal.failures,
            contributors: proposal.contributors.iter().map(|node| node.0).collect(),
            policy: Some((&proposal.policy).into()),
            ports: Some((&proposal.ports).into()),
            evidence: proposal.evidence.iter().map(v1::EvidenceLine::from).collect(),
        }
    }
}

impl TryFrom<v1::Proposal> for Proposal {
    type Error = DecodeError;
    fn try_from(wire: v1::Proposal) -> Result<Proposal, DecodeError> {
        at_most(wire.contributors.len(), "contributors", CONTRIBUTORS_MAX)?;
        Ok(Proposal {
            origin: NodeId(wire.origin),
            basis: required(wire.basis, "basis")?,
            jail: decode_jail_name(&wire.jail, "jail")?,
            offender: required(wire.offender, "offender")?,
            first_failure_age_ms: wire.first_failure_age_ms,
            last_failure_age_ms: wire.last_failure_age_ms,
            failures: wire.failures,
            contributors: node_ids(wire.contributors),
            policy: required(wire.policy, "policy")?,
            ports: required(wire.ports, "ports")?,
            evidence: list(wire.evidence, "evidence", EVIDENCE_LINES_MAX)?,
        })
    }
}

impl From<&Notice> for v1::Notice {
    fn from(notice: &Notice) -> v1::Notice {
        v1::Notice {
            origin: notice.origin.0,
            basis: Some(notice.basis.into()),
            jail: notice.jail.as_str().to_string(),
            offender: Some(notice.offender.into()),
            last_failure_age_ms: notice.last_failure_age_ms,
            remaining: Some(notice.remaining_ms.map_or(BanTime::Forever, BanTime::Ms).into()),
            ports: Some((&notice.ports).into()),
        }
    }
}

impl TryFrom<v1::Notice> for Notice {
    type Error = DecodeError;
    fn try_from(wire: v1::Notice) -> Result<Notice, DecodeError> {
        Ok(Notice {
            origin: NodeId(wire.origin),
            basis: required(wire.basis, "basis")?,
            jail: decode_jail_name(&wire.jail, "jail")?,
            offender: required(wire.offender, "offender")?,
            last_failure_age_ms: wire.last_failure_age_ms,
            remaining_ms: match required(wire.remaining, "remaining")? {
                BanTime::Ms(ms) => Some(ms),
                BanTime::Forever => None,
            },
            ports: required(wire.ports, "ports")?,
        })
    }
}

impl From<&Report> for v1::Report {
    fn from(report: &Report) -> v1::Report {
        let failures = report.failures.iter();
        v1::Report {
            origin: report.origin.0,
            basis: Some(report.basis.into()),
            jail: report.jail.as_str().to_string(),
            offender: Some(report.offender.into()),
            failures: failures
                .map(|failure| v1::ReportedFailure { event_id: failure.event_id, age_ms: failure.age_ms })
                .collect(),
        }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = DecodeError;
    fn try_from(wire: v1::Report) -> Result<Report, DecodeError> {
        at_most(wire.failures.len(), "failures", REPORTED_FAILURES_MAX)?;
        let failures = wire.failures.into_iter();
        Ok(Report {
            origin: NodeId(wire.origin),
            basis: required(wire.basis, "basis")?,
            jail: decode_jail_name(&wire.jail, "jail")?,
            offender: required(wire.offender, "offender")?,
            failures: failures
                .map(|failure| ReportedFailure { event_id: failure.event_id, age_ms: failure.age_ms })
                .collect(),
        })
    }
}
