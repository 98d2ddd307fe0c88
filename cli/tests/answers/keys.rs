//! Answers about certificates and join tokens.

use super::{HOUR_MS, state};
use bannkreis_proto::v1::{
    CertificateInfo, CommandOutcome, CreateTokenResponse, IssueCertificateResponse, ListTokensResponse,
    RevokeTokenResponse, ShowCertificatesResponse, TokenStatus,
};

fn certificate(subject: &str, role: &str, left_days: u64) -> CertificateInfo {
    CertificateInfo {
        subject: subject.to_owned(),
        role: role.to_owned(),
        issuer: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        fingerprint: "ab".repeat(32),
        serial: "5eed".to_owned(),
        names: vec!["01234567-89ab-cdef-0123-456789abcdef".to_owned(), "kopano".to_owned()],
        not_before_ms: state().now_ms,
        not_after_ms: state().now_ms + left_days * 24 * HOUR_MS,
    }
}

/// A node's certificates.
pub(crate) fn certificates() -> ShowCertificatesResponse {
    let authority = CertificateInfo {
        names: Vec::new(),
        ..certificate("01234567-89ab-cdef-0123-456789abcdef", "", 7_300)
    };
    ShowCertificatesResponse {
        state: Some(state()),
        mode: "own".to_owned(),
        has_authority: true,
        own: Some(certificate("000000000000000a", "node", 10)),
        authorities: vec![authority],
        renew_at_ms: Some(state().now_ms),
    }
}

/// A person's certificate.
pub(crate) fn issued() -> IssueCertificateResponse {
    IssueCertificateResponse {
        state: Some(state()),
        certificate: Some(CertificateInfo { names: Vec::new(), ..certificate("Alice", "operator", 90) }),
        ..IssueCertificateResponse::default()
    }
}

/// A token, as it is shown once.
pub(crate) fn created_token() -> CreateTokenResponse {
    CreateTokenResponse {
        state: Some(state()),
        token: format!("bkt1_{}", "A".repeat(64)),
        status: Some(token_status("5e", 3_600_000)),
        address: "kopano.example:7420".to_owned(),
        outcome: CommandOutcome::Done.into(),
        why: String::new(),
    }
}

/// One that the cluster may know of or not.
pub(crate) fn uncertain_token() -> CreateTokenResponse {
    CreateTokenResponse {
        outcome: CommandOutcome::Unknown.into(),
        why: "no answer from the leader in time".to_owned(),
        ..created_token()
    }
}

/// Two that count, and none.
pub(crate) fn tokens() -> ListTokensResponse {
    let tokens = vec![token_status("5e", 59_000), token_status("a1", 3_600_000)];
    ListTokensResponse { state: Some(state()), tokens }
}

/// One that was taken back.
pub(crate) fn revoked_token() -> RevokeTokenResponse {
    RevokeTokenResponse {
        state: Some(state()),
        status: Some(token_status("5e", 59_000)),
        outcome: CommandOutcome::Done.into(),
        why: String::new(),
    }
}

/// One that may still count.
pub(crate) fn uncertainly_revoked_token() -> RevokeTokenResponse {
    RevokeTokenResponse {
        outcome: CommandOutcome::Unknown.into(),
        why: "no answer from the leader in time".to_owned(),
        ..revoked_token()
    }
}

fn token_status(digits: &str, left_ms: u64) -> TokenStatus {
    TokenStatus { id: digits.repeat(32), expires_ms: state().now_ms + left_ms }
}
