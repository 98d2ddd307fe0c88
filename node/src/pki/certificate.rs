//! What a certificate says: whose it is, of which key, from when to when.
//!
//! Reads certificates that TLS has verified, or that are this host's own. It verifies nothing itself.

use super::{Fingerprint, PkiError};
use bannkreis_core::ids::NodeId;
use bannkreis_core::time::Timestamp;
use bannkreis_raft::Role;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;

/// The content of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Of its public key.
    pub fingerprint: Fingerprint,
    /// The subject's common name; empty when there is none.
    pub common_name: String,
    /// The subject's organisational unit; empty when there is none.
    pub unit: String,
    /// The DNS names it holds for.
    pub names: Vec<String>,
    /// Its issuer's common name; empty when there is none.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// When it is no X.509 certificate.
    pub fn read(der: &[u8]) -> Result<Certificate, PkiError> {
        let unreadable = |error: &dyn std::fmt::Display| PkiError(format!("it is no certificate: {error}"));
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| unreadable(&error))?;
        let names = parsed.subject_alternative_name().map_err(|error| unreadable(&error))?;
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let dns = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let subject = parsed.subject();
        let text = |value: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            value.and_then(|value| value.as_str().ok()).unwrap_or_default().to_owned()
        };
        Ok(Certificate {
            fingerprint: Fingerprint::of_public_key(parsed.public_key().raw),
            common_name: text(subject.iter_common_name().next()),
            unit: text(subject.iter_organizational_unit().next()),
            names: dns.collect(),
            issuer: text(parsed.issuer().iter_common_name().next()),
            serial: parsed.serial.to_str_radix(16),
            not_before: timestamp(parsed.validity().not_before),
            not_after: timestamp(parsed.validity().not_after),
        })
    }

    /// Reads the first certificate in PEM.
    ///
    /// # Errors
    /// When there is none.
    pub fn read_pem(pem: &str) -> Result<Certificate, PkiError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| PkiError(format!("it is no certificate: {error}")))?;
        Certificate::read(&der)
    }

    /// The node that our own authority has made it for.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        if self.role()? != Role::Node || self.common_name.len() != 16 {
            return None;
        }
        u64::from_str_radix(&self.common_name, 16).ok().map(NodeId)
    }

    /// What its bearer may do, as the organisational unit says: `node`, `admin`, `operator` or `viewer`.
    /// Certificates from elsewhere need not say anything.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        role(&self.unit)
    }

    /// When two thirds of its life are over: time to renew it.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let life_ms = self.not_after.0.saturating_sub(self.not_before.0);
        Timestamp(self.not_before.0.saturating_add(life_ms / 3 * 2))
    }
}

/// A person who has proved to have the key of a certificate that the cluster's authority, or the one in its place,
/// has signed. The nodes' port puts it into the extensions of each of their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// As the certificate names them.
    pub name: String,
    /// Never a node.
    pub role: Role,
    /// The address that the connection comes from.
    pub from: Option<IpAddr>,
}

/// The role of that name.
#[must_use]
pub fn role(name: &str) -> Option<Role> {
    match name {
        "node" => Some(Role::Node),
        "admin" => Some(Role::Admin),
        "operator" => Some(Role::Operator),
        "viewer" => Some(Role::Viewer),
        _ => None,
    }
}

/// The name of that role.
#[must_use]
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Node => "node",
        Role::Admin => "admin",
        Role::Operator => "operator",
        Role::Viewer => "viewer",
    }
}

/// Times before 1970 count as 1970.
fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1_000))
}
