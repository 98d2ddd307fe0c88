//! What came of operations: verdicts on proposals, outcomes of operators' commands.

use super::decode_error::{DecodeError, Inside};
use super::fields::{required, variant};
use super::ids::{decode_command_id, encode_command_id};
use crate::v1;
use bannkreis_core::change::OpResult;
use bannkreis_core::judge::{NotSharedReason, Protection, Verdict};

impl From<Protection> for v1::Protection {
    fn from(protection: Protection) -> v1::Protection {
        match protection {
            Protection::NeverBannable => v1::Protection::NeverBannable,
            Protection::ClusterAddress => v1::Protection::ClusterAddress,
            Protection::AllowList => v1::Protection::AllowList,
            Protection::Lifted => v1::Protection::Lifted,
        }
    }
}

fn decode_protection(wire: i32, field: &str) -> Result<Protection, DecodeError> {
    match variant(wire, field)? {
        v1::Protection::Unspecified => Err(DecodeError::missing(field)),
        v1::Protection::NeverBannable => Ok(Protection::NeverBannable),
        v1::Protection::ClusterAddress => Ok(Protection::ClusterAddress),
        v1::Protection::AllowList => Ok(Protection::AllowList),
        v1::Protection::Lifted => Ok(Protection::Lifted),
    }
}

impl From<NotSharedReason> for v1::NotSharedReason {
    fn from(reason: NotSharedReason) -> v1::NotSharedReason {
        match reason {
            NotSharedReason::Quota => v1::NotSharedReason::Quota,
            NotSharedReason::PrivateOffender => v1::NotSharedReason::PrivateOffender,
            NotSharedReason::TooWide => v1::NotSharedReason::TooWide,
            NotSharedReason::OverTombstone => v1::NotSharedReason::OverTombstone,
            NotSharedReason::Untrusted => v1::NotSharedReason::Untrusted,
            NotSharedReason::NotMember => v1::NotSharedReason::NotMember,
            NotSharedReason::TooOld => v1::NotSharedReason::TooOld,
            NotSharedReason::Full => v1::NotSharedReason::Full,
            NotSharedReason::LowTrust => v1::NotSharedReason::LowTrust,
        }
    }
}

pub(super) fn decode_not_shared_reason(wire: i32, field: &str) -> Result<NotSharedReason, DecodeError> {
    match variant(wire, field)? {
        v1::NotSharedReason::Unspecified => Err(DecodeError::missing(field)),
        v1::NotSharedReason::Quota => Ok(NotSharedReason::Quota),
        v1::NotSharedReason::PrivateOffender => Ok(NotSharedReason::PrivateOffender),
        v1::NotSharedReason::TooWide => Ok(NotSharedReason::TooWide),
        v1::NotSharedReason::OverTombstone => Ok(NotSharedReason::OverTombstone),
        v1::NotSharedReason::Untrusted => Ok(NotSharedReason::Untrusted),
        v1::NotSharedReason::NotMember => Ok(NotSharedReason::NotMember),
        v1::NotSharedReason::TooOld => Ok(NotSharedReason::TooOld),
        v1::NotSharedReason::Full => Ok(NotSharedReason::Full),
        v1::NotSharedReason::LowTrust => Ok(NotSharedReason::LowTrust),
    }
}

impl From<&Verdict> for v1::Verdict {
    fn from(verdict: &Verdict) -> v1::Verdict {
        use v1::verdict::{Covered, Open, Verdict as Wire};
        let verdict = match *verdict {
            Verdict::Covered => Wire::Covered(Covered {}),
            Verdict::Open => Wire::Open(Open {}),
            Verdict::Protected(why) => Wire::Protected(v1::Protection::from(why).into()),
            Verdict::NotShared(why) => Wire::NotShared(v1::NotSharedReason::from(why).into()),
        };
        v1::Verdict { verdict: Some(verdict) }
    }
}

impl TryFrom<v1::Verdict> for Verdict {
    type Error = DecodeError;
    fn try_from(wire: v1::Verdict) -> Result<Verdict, DecodeError> {
        use v1::verdict::{Covered, Open, Verdict as Wire};
        Ok(match wire.verdict.ok_or_else(|| DecodeError::missing("verdict"))? {
            Wire::Covered(Covered {}) => Verdict::Covered,
            Wire::Open(Open {}) => Verdict::Open,
            Wire::Protected(why) => Verdict::Protected(decode_protection(why, "protected")?),
            Wire::NotShared(why) => Verdict::NotShared(decode_not_shared_reason(why, "not_shared")?),
        })
    }
}

impl From<&OpResult> for v1::OpResult {
    fn from(result: &OpResult) -> v1::OpResult {
        use v1::op_result::{OfOperator, Result as Wire, Silent};
        let result = match result {
            OpResult::Judged(verdict) => Wire::Judged(verdict.into()),
            OpResult::Operator { command_id, outcome } => Wire::Operator(OfOperator {
                command_id: encode_command_id(*command_id),
                outcome: Some(outcome.into()),
            }),
            OpResult::Silent => Wire::Silent(Silent {}),
        };
        v1::OpResult { result: Some(result) }
    }
}

impl TryFrom<v1::OpResult> for OpResult {
    type Error = DecodeError;
    fn try_from(wire: v1::OpResult) -> Result<OpResult, DecodeError> {
        use v1::op_result::{OfOperator, Result as Wire, Silent};
        match wire.result.ok_or_else(|| DecodeError::missing("result"))? {
            Wire::Judged(verdict) => Ok(OpResult::Judged(Verdict::try_from(verdict).inside("judged")?)),
            Wire::Operator(OfOperator { command_id, outcome }) => Ok(OpResult::Operator {
                command_id: decode_command_id(&command_id, "operator.command_id")?,
                outcome: required(outcome, "operator.outcome")?,
            }),
            Wire::Silent(Silent {}) => Ok(OpResult::Silent),
        }
    }
}
