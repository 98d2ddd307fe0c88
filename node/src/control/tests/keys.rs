//! `pki issue`: what can be asked for.

use super::made_up::{MadeUp, NOW};
use crate::control::keys;
use bannkreis_core::time::DAY_MS;
use bannkreis_proto::v1;
use tonic::{Code, Status};

async fn issue(name: &str, role: v1::PersonRole, days: u32) -> Result<v1::IssueCertificateResponse, Status> {
    let request = v1::IssueCertificateRequest {
        role: role.into(),
        name: name.to_owned(),
        days,
        ..v1::IssueCertificateRequest::default()
    };
    keys::issue(&MadeUp::new(), request).await
}

#[tokio::test]
async fn a_person_gets_a_certificate_for_ninety_days_unless_told_otherwise() {
    let certificate =
        |answer: Result<v1::IssueCertificateResponse, Status>| answer.unwrap().certificate.unwrap();
    let made = certificate(issue("Alice Example", v1::PersonRole::Operator, 0).await);
    assert_eq!((made.subject.as_str(), made.role.as_str()), ("Alice Example", "operator"));
    assert_eq!(made.not_after_ms, NOW.plus_ms(90 * DAY_MS).0);
    let made = certificate(issue("bob", v1::PersonRole::Viewer, 7).await);
    assert_eq!(made.not_after_ms, NOW.plus_ms(7 * DAY_MS).0);
}

#[tokio::test]
async fn what_no_certificate_should_say_is_refused_by_name() {
    for (name, role, days, why) in [
        ("", v1::PersonRole::Admin, 0, "is no name"),
        (" alice", v1::PersonRole::Admin, 0, "is no name"),
        ("ali\nce", v1::PersonRole::Admin, 0, "ali\\nce"),
        (&*"x".repeat(65), v1::PersonRole::Admin, 0, "is no name"),
        ("alice", v1::PersonRole::Unspecified, 0, "which role"),
        ("alice", v1::PersonRole::Viewer, 826, "826 days"),
    ] {
        let refused = issue(name, role, days).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(why), "{refused:?}");
    }
}
