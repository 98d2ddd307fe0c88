//! How this node and its peers know each other: TLS or not, by the configuration, and what keeps its
//! certificates fresh while it runs.
//!
//! Not for handshakes (`wire`) nor for keys and certificates themselves (`pki`).

use crate::borders::Clock;
use crate::clock::SystemClock;
use crate::config::{NodeConfig, TlsMode};
use crate::control::{CertificateFacts, IssuedCertificate, KeyFacts, Role as OperatorRole};
use crate::pki::certificate::role_name;
use crate::pki::keyring::Changed;
use crate::pki::{Certificate, Fingerprint, Keyring, Origin, PkiError, Subject, Who};
use crate::startup::StartupError;
use crate::wire::{PlainConnect, Security, Tls, ask_for_authority, ask_to_sign, is_voter};
use bannkreis_core::time::Timestamp;
use bannkreis_raft::{Connect, RaftNode, Role};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether this node needs a key or a certificate.
const FRESH_INTERVAL: Duration = Duration::from_secs(10);
/// The same for a node that could not sign if it led: until it can, nobody new gets in under it.
const AUTHORITY_INTERVAL: Duration = Duration::from_millis(500);

/// What the configuration says; no certificate is read yet.
#[must_use]
pub fn of(config: &NodeConfig) -> Security {
    let tls = &config.tls;
    let origin = match tls.mode {
        TlsMode::Insecure => return Security::Insecure,
        TlsMode::Own => Origin::Own { state_dir: config.state_dir.clone(), days: tls.certificate_days },
        TlsMode::Files => {
            Origin::Files { ca: tls.ca.clone(), certificate: tls.certificate.clone(), key: tls.key.clone() }
        }
    };
    Security::Tls(Tls::new(Arc::new(Keyring::new(origin))))
}

/// How this node connects to others.
#[must_use]
pub fn connect(security: &Security) -> Arc<dyn Connect> {
    match security {
        Security::Insecure => Arc::new(PlainConnect),
        Security::Tls(tls) => Arc::new(tls.clone()),
    }
}

/// Reads this node's keys and certificates; from then on peers are believed by the node's own ban list.
///
/// # Errors
/// A sentence with the file, the cause and the remedy.
pub async fn open(
    security: &Security,
    raft: &RaftNode,
    config: &NodeConfig,
    now: Timestamp,
) -> Result<(), StartupError> {
    let Security::Tls(tls) = security else { return Ok(()) };
    let is_alone = raft.is_alone();
    let who = Who { cluster: raft.cluster_id(), node: raft.node_id(), name: config.name.clone(), is_alone };
    on_keyring(tls, move |keyring| keyring.open(who, now)).await.map_err(StartupError::of)?;
    tls.follow(raft);
    Ok(())
}

/// The name of the cluster's own authority, for a join token; zeros where no host needs to know it.
///
/// # Errors
/// When the authority's certificate is not open yet: a sentence.
pub fn authority(security: &Security) -> Result<Fingerprint, String> {
    let Security::Tls(tls) = security else { return Ok(Fingerprint([0; 32])) };
    if !tls.keyring().is_own() {
        return Ok(Fingerprint([0; 32]));
    }
    let sessions = tls.keyring().sessions().ok_or("this node's certificates are not open yet")?;
    let authority = sessions.authorities.first().ok_or("this node knows no authority")?;
    Ok(authority.fingerprint)
}

/// Whether this node can sign for its cluster.
#[must_use]
pub fn has_authority(security: &Security) -> bool {
    matches!(security, Security::Tls(tls) if tls.keyring().authority().is_some())
}

/// Why there is nothing to show in insecure mode.
pub const NO_CERTIFICATES: &str =
    "this node has no certificates: tls.mode = \"insecure\" in its configuration";

/// How this node proves who it is, for operators.
///
/// # Errors
/// A sentence.
pub fn key_facts(security: &Security) -> Result<KeyFacts, String> {
    let Security::Tls(tls) = security else {
        let (own, authorities) = (None, Vec::new());
        return Ok(KeyFacts { mode: "insecure", has_authority: false, own, authorities, renew_at: None });
    };
    let sessions = tls.keyring().sessions().ok_or("this node's certificates are not open yet")?;
    let is_own = tls.keyring().is_own();
    Ok(KeyFacts {
        mode: if is_own { "own" } else { "files" },
        has_authority: has_authority(security),
        own: Some(certificate_facts(&sessions.own)),
        authorities: sessions.authorities.iter().map(certificate_facts).collect(),
        renew_at: is_own.then(|| sessions.own.renew_at()),
    })
}

fn certificate_facts(certificate: &Certificate) -> CertificateFacts {
    CertificateFacts {
        subject: certificate.common_name.clone(),
        role: certificate.role().map(role_name).unwrap_or_default(),
        issuer: certificate.issuer.clone(),
        fingerprint: certificate.fingerprint.to_string(),
        serial: certificate.serial.clone(),
        names: certificate.names.clone(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
    }
}

/// Makes a certificate for a person.
///
/// # Errors
/// A sentence: this node can not sign, or the request is none.
pub async fn issue(
    security: &Security,
    role: OperatorRole,
    name: String,
    request: Vec<u8>,
    days: u32,
    now: Timestamp,
) -> Result<IssuedCertificate, String> {
    let Security::Tls(tls) = security else { return Err(NO_CERTIFICATES.to_owned()) };
    let role = match role {
        OperatorRole::Admin => Role::Admin,
        OperatorRole::Operator => Role::Operator,
        OperatorRole::Viewer => Role::Viewer,
    };
    let subject = Subject::Client { role, name };
    let signed = on_keyring(tls, move |keyring| keyring.sign_for(Some(days), &request, &subject, now)).await;
    let signed = signed.map_err(|error| error.to_string())?;
    let read = Certificate::read_pem(&signed.certificate).map_err(|error| error.to_string())?;
    tracing::info!("a certificate for {:?} ({}) was issued, for {days} days", read.common_name, read.unit);
    Ok(IssuedCertificate {
        certificate_pem: signed.certificate,
        authority_pem: signed.authority,
        facts: certificate_facts(&read),
    })
}

/// SHA-256 of this node's public key, as its record names it; empty in insecure mode.
#[must_use]
pub fn fingerprint(security: &Security) -> Vec<u8> {
    let shown = match security {
        Security::Insecure => None,
        Security::Tls(tls) => tls.keyring().fingerprint(),
    };
    shown.map(|fingerprint| fingerprint.0.to_vec()).unwrap_or_default()
}

/// Certificates that somebody else has renewed, good and not in use yet. What can not be used is said, and what
/// is in use stays in use.
pub async fn changed_files(security: &Security) -> Option<Changed> {
    let Security::Tls(tls) = security else { return None };
    match on_keyring(tls, Keyring::changed).await {
        Ok(changed) => changed,
        Err(error) => {
            tracing::error!(
                "the certificates have changed and can not be used, the former stay in use: {error}"
            );
            None
        }
    }
}

/// Shows them from the next handshake on. Connections under another key are made anew.
pub fn use_changed(security: &Security, changed: Changed) {
    let Security::Tls(tls) = security else { return };
    let is_new_key = tls.keyring().fingerprint() != Some(changed.fingerprint());
    tls.keyring().use_changed(changed);
    if is_new_key {
        tls.reconnect();
    }
    tracing::info!("the certificates have changed and are in use now");
}

/// Does what blocks on files where it delays nobody else.
pub async fn on_keyring<T: Send + 'static>(
    tls: &Tls,
    work: impl FnOnce(&Keyring) -> Result<T, PkiError> + Send + 'static,
) -> Result<T, PkiError> {
    let keyring = tls.keyring().clone();
    let done = tokio::task::spawn_blocking(move || work(&keyring)).await;
    done.unwrap_or_else(|error| Err(PkiError(error.to_string())))
}

/// Sees to it that a voter has the authority's key, and that this node's certificate is renewed when two
/// thirds of its life are over. Open connections keep the old one; the key stays the same, so nobody has to
/// hear of it.
pub async fn keep_fresh(tls: Tls, raft: RaftNode, clock: Arc<SystemClock>) {
    let mut said = String::new();
    loop {
        if !tls.keyring().is_own() {
            return;
        }
        if tls.keyring().authority().is_none()
            && is_voter(&raft, raft.node_id())
            && let Err(why) = fetch_authority(&tls, &raft, clock.wall()).await
            && said != why
        {
            tracing::warn!("this node votes and does not have the authority's key yet: {why}");
            said = why;
        }
        if tls.keyring().is_due(clock.wall()) {
            match renew(&tls, &raft, clock.wall()).await {
                Ok(()) => tracing::info!("this node's certificate was renewed"),
                Err(why) => {
                    tracing::error!("this node's certificate is not renewed: {why}; it is tried again");
                }
            }
        }
        let can_sign = tls.keyring().authority().is_some();
        tokio::time::sleep(if can_sign { FRESH_INTERVAL } else { AUTHORITY_INTERVAL }).await;
    }
}

async fn fetch_authority(tls: &Tls, raft: &RaftNode, now: Timestamp) -> Result<(), String> {
    let key = ask_for_authority(tls, raft).await?;
    let adopted = on_keyring(tls, move |keyring| keyring.adopt_authority(key, now)).await;
    adopted.map_err(|error| error.to_string())
}

/// Renews this node's certificate: by its own hand when it has the authority's key, else by the leader's.
///
/// # Errors
/// A sentence.
pub async fn renew(tls: &Tls, raft: &RaftNode, now: Timestamp) -> Result<(), String> {
    let signed = match tls.keyring().authority() {
        Some(_) => {
            return on_keyring(tls, move |keyring| keyring.renew(now)).await.map_err(|e| e.to_string());
        }
        None => {
            let request = on_keyring(tls, Keyring::request).await.map_err(|error| error.to_string())?;
            let request = request.ok_or("certificates come from elsewhere (tls.mode = \"files\")")?;
            ask_to_sign(tls, raft, request).await?
        }
    };
    let installed = on_keyring(tls, move |keyring| keyring.install(&signed, now)).await;
    installed.map_err(|error| error.to_string())
}
