//! `pki show`, `pki renew` and `pki issue`: this node's certificate, and certificates for people.
//!
//! Not for nodes that join (`wire::admission`), nor for what a certificate lets its bearer do (`peer`).

use super::answers::Snapshot;
use super::{CertificateFacts, KeyFacts, NodeApi, Role};
use bannkreis_proto::v1;
use tonic::Status;

/// A certificate for a person counts so long when nobody says.
const DAYS_DEFAULT: u32 = 90;
/// And at most so long: it can not be taken back before.
const DAYS_MAX: u32 = 825;
/// The longest name, in bytes: a common name of X.509 (RFC 5280, appendix A.1).
const NAME_BYTES_MAX: usize = 64;

/// Executes `pki show`.
pub(super) async fn show(api: &dyn NodeApi) -> Result<v1::ShowCertificatesResponse, Status> {
    let snapshot = Snapshot::take_counts(api).await?;
    let keys = api.keys().map_err(Status::failed_precondition)?;
    Ok(answer(&snapshot, keys))
}

/// Executes `pki renew`.
pub(super) async fn renew(api: &dyn NodeApi) -> Result<v1::ShowCertificatesResponse, Status> {
    api.renew_certificate().await.map_err(Status::failed_precondition)?;
    show(api).await
}

/// Executes `pki issue`.
pub(super) async fn issue(
    api: &dyn NodeApi,
    request: v1::IssueCertificateRequest,
) -> Result<v1::IssueCertificateResponse, Status> {
    let role = request.role();
    let name = request.name;
    let is_plain = name.chars().all(|c| c.is_ascii_graphic() || c == ' ') && name.trim() == name;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_plain {
        return Err(Status::invalid_argument(format!(
            "`{}` is no name for a certificate: 1 to {NAME_BYTES_MAX} printable ASCII characters are possible",
            name.escape_debug()
        )));
    }
    let role = match role {
        v1::PersonRole::Admin => Role::Admin,
        v1::PersonRole::Operator => Role::Operator,
        v1::PersonRole::Viewer => Role::Viewer,
        v1::PersonRole::Unspecified => {
            return Err(Status::invalid_argument("which role? admin, operator and viewer are possible"));
        }
    };
    let days = if request.days == 0 { DAYS_DEFAULT } else { request.days };
    if days > DAYS_MAX {
        return Err(Status::invalid_argument(format!(
            "a certificate can not count for {days} days, because it can not be taken back: {DAYS_MAX} at most"
        )));
    }
    let issued = api.issue_certificate(role, name, request.request.to_vec(), days).await;
    let issued = issued.map_err(Status::failed_precondition)?;
    let snapshot = Snapshot::take_counts(api).await?;
    Ok(v1::IssueCertificateResponse {
        state: Some(snapshot.state()),
        certificate_pem: issued.certificate_pem,
        authority_pem: issued.authority_pem,
        certificate: Some(info(issued.facts)),
        cluster_id: snapshot.cluster.cluster.to_string(),
    })
}

fn answer(snapshot: &Snapshot, keys: KeyFacts) -> v1::ShowCertificatesResponse {
    v1::ShowCertificatesResponse {
        state: Some(snapshot.state()),
        mode: keys.mode.to_owned(),
        has_authority: keys.has_authority,
        own: keys.own.map(info),
        authorities: keys.authorities.into_iter().map(info).collect(),
        renew_at_ms: keys.renew_at.map(|at| at.0),
    }
}

fn info(facts: CertificateFacts) -> v1::CertificateInfo {
    v1::CertificateInfo {
        subject: facts.subject,
        role: facts.role.to_owned(),
        issuer: facts.issuer,
        fingerprint: facts.fingerprint,
        serial: facts.serial,
        names: facts.names,
        not_before_ms: facts.not_before.0,
        not_after_ms: facts.not_after.0,
    }
}
