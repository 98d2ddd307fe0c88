//! `pki show`, `pki renew` and `pki issue`.
//!
//! The key of a person's certificate is made here and never leaves this host; the node only signs for it.

use super::state_of;
use crate::args::{IssueArgs, PersonRole};
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::keys::{self, KeyFiles};
use crate::run::Shown;
use crate::state;
use crate::text::{Style, Tone, length, shown};
use bannkreis_proto::v1;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::path::Path;

/// A certificate that ends within this time is shown as trouble, in ms.
const ENDS_SOON_MS: u64 = 14 * 24 * 3_600 * 1_000;

/// Asks for the node's certificates, and shows them.
///
/// # Errors
/// When there is no answer.
pub async fn show(client: &mut Client, style: &Style) -> Result<Shown, Failure> {
    let request = v1::ShowCertificatesRequest {};
    let answer = client::within(client::ANSWER_TIMEOUT, client.show_certificates(request)).await;
    answer.map(|answer| show_certificates(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Has the node's certificate made anew, and shows it.
///
/// # Errors
/// When there is no answer, or it is refused.
pub async fn renew(client: &mut Client, style: &Style) -> Result<Shown, Failure> {
    let request = v1::RenewCertificateRequest {};
    let answer = client::within(client::ANSWER_TIMEOUT, client.renew_certificate(request)).await;
    answer.map(|answer| show_certificates(&answer, style)).map_err(|status| client::read_failure(&status))
}

/// Makes a key, has a certificate for it issued, and writes both into a directory.
///
/// # Errors
/// When there is no answer, it is refused, or the files can not be written.
pub async fn issue(client: &mut Client, args: &IssueArgs, style: &Style) -> Result<Shown, Failure> {
    let refused = |why: &dyn std::fmt::Display| Failure::new(Exit::Refused, why.to_string());
    let directory = args.directory.clone().unwrap_or_else(|| Path::new(".").join(file_name(&args.name)));
    // Before anything is signed.
    keys::check_free(&directory)?;
    let pair = KeyPair::generate().map_err(|error| refused(&format!("no key can be made: {error}")))?;
    let asked = CertificateParams::default().serialize_request(&pair);
    let asked = asked.map_err(|error| refused(&format!("no certificate request can be made: {error}")))?;
    let request = v1::IssueCertificateRequest {
        role: match args.role {
            PersonRole::Admin => v1::PersonRole::Admin,
            PersonRole::Operator => v1::PersonRole::Operator,
            PersonRole::Viewer => v1::PersonRole::Viewer,
        }
        .into(),
        name: args.name.clone(),
        request: asked.der().to_vec().into(),
        days: args.days.unwrap_or_default(),
    };
    let answer = client::within(client::ANSWER_TIMEOUT, client.issue_certificate(request)).await;
    let answer = answer.map_err(|status| client::read_failure(&status))?;
    keys::write(
        &directory,
        &KeyFiles {
            authority: answer.authority_pem.clone(),
            certificate: answer.certificate_pem.clone(),
            key: pair.serialize_pem(),
            cluster: answer.cluster_id.clone(),
        },
    )?;
    Ok(show_issued(&answer, &directory, style))
}

/// A directory's name for a person's name.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    name.chars().map(plain).collect()
}

/// Shows a node's certificates.
#[must_use]
pub fn show_certificates(answer: &v1::ShowCertificatesResponse, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let mut text = state::lines(&state, style);
    let now_ms = state.now_ms;
    match answer.mode.as_str() {
        "insecure" => {
            let line = "tls.mode = \"insecure\": nodes do not prove who they are, and nothing is encrypted";
            style.push_line(&mut text, Tone::Bad, 0, line);
        }
        "files" => text.push_str("certificates from elsewhere (tls.mode = \"files\")\n"),
        _ if answer.has_authority => {
            text.push_str("certificates by the cluster's own authority, whose key this node has\n");
        }
        _ => text.push_str("certificates by the cluster's own authority, whose key other nodes have\n"),
    }
    if let Some(own) = &answer.own {
        push(&mut text, "this node", own, now_ms, style);
        if let Some(at) = answer.renew_at_ms {
            text.push_str(&format!("    renews itself in {}\n", length(at.saturating_sub(now_ms))));
        }
    }
    for authority in &answer.authorities {
        push(&mut text, "authority", authority, now_ms, style);
    }
    let json = json!({
        "state": json::state(&state),
        "mode": answer.mode,
        "has_authority": answer.has_authority,
        "own": answer.own.as_ref().map(certificate),
        "authorities": answer.authorities.iter().map(certificate).collect::<Value>(),
        "renew_at_ms": answer.renew_at_ms,
    });
    Shown { exit: Exit::Done, text, json }
}

fn push(text: &mut String, what: &str, of: &v1::CertificateInfo, now_ms: u64, style: &Style) {
    text.push_str(&format!("\n{what}: {}\n", shown(&of.subject)));
    let left_ms = of.not_after_ms.saturating_sub(now_ms);
    let end = if left_ms == 0 { "has ended".to_owned() } else { format!("ends in {}", length(left_ms)) };
    let tone = if left_ms < ENDS_SOON_MS { Tone::Bad } else { Tone::Good };
    text.push_str(&format!("    {}\n", style.paint(tone, &end)));
    text.push_str(&format!("    key {}\n", shown(&of.fingerprint)));
    if !of.names.is_empty() {
        text.push_str(&format!("    for {}\n", shown(&of.names.join(", "))));
    }
    if of.issuer != of.subject {
        text.push_str(&format!("    signed by {}\n", shown(&of.issuer)));
    }
}

/// Shows a person's new certificate, and how to use it.
#[must_use]
pub fn show_issued(answer: &v1::IssueCertificateResponse, directory: &Path, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let issued = answer.certificate.clone().unwrap_or_default();
    let mut text = state::lines(&state, style);
    let left = length(issued.not_after_ms.saturating_sub(state.now_ms));
    let directory = directory.display().to_string();
    text.push_str(&style.paint(
        Tone::Good,
        &format!("{} may ask as {} for {left}\n", shown(&issued.subject), shown(&issued.role)),
    ));
    text.push_str(&format!(
        "Whoever has the directory {} can do that, and it can not be taken back.\nFrom any host that reaches a node:\n\n    \
         bannkreis --connect HOST:7420 --keys {} status\n",
        shown(&directory),
        shown(&directory)
    ));
    let json = json!({
        "state": json::state(&state),
        "certificate": certificate(&issued),
        "directory": directory,
    });
    Shown { exit: Exit::Done, text, json }
}

fn certificate(of: &v1::CertificateInfo) -> Value {
    json!({
        "subject": of.subject,
        "role": json::text(&of.role),
        "issuer": of.issuer,
        "fingerprint": of.fingerprint,
        "serial": of.serial,
        "names": of.names,
        "not_before_ms": of.not_before_ms,
        "not_after_ms": of.not_after_ms,
    })
}
