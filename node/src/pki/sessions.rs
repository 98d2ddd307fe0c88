//! What TLS is made of: this node's certificate and key, and whose certificates it believes, as rustls wants
//! them. TLS 1.3 only, and both sides show a certificate; where the authority is our own, a host that has none yet
//! may knock (`knocking`), and the server shows the authority as well, so that the host can know it by its name.
//!
//! A session is never resumed: each connection is a whole handshake, so that a certificate that has ended or
//! was replaced is noticed. Not for who the peer is among the nodes: that is `wire`'s.

use super::{Certificate, PkiError};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// HTTP/2, as gRPC needs it (RFC 7301).
pub(super) const ALPN: &[u8] = b"h2";

/// How a server's certificate must be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Like the cluster: our own authority's are.
    Cluster(String),
    /// Like the host that is connected to.
    Host,
}

/// Texts in PEM of which sessions are made.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// The authorities that are believed.
    pub authorities: String,
    /// This node's certificate, and those between it and an authority.
    pub chain: String,
    /// Its key.
    pub key: String,
}

/// Ready for handshakes.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// For who connects to this node.
    pub server: Arc<ServerConfig>,
    /// For whom this node connects to.
    pub client: Arc<ClientConfig>,
    /// How the other side's certificate must be named.
    pub naming: Naming,
    /// What this node shows.
    pub own: Certificate,
    /// The authorities that are believed.
    pub authorities: Vec<Certificate>,
}

impl Sessions {
    /// Makes them.
    ///
    /// # Errors
    /// A sentence: which of the texts is not what it should be, or that key and certificate do not belong together.
    pub fn make(material: &Material, naming: Naming) -> Result<Sessions, PkiError> {
        let authorities = certificates(&material.authorities, "the authority's certificate")?;
        let chain = certificates(&material.chain, "this node's certificate")?;
        let key = || {
            PrivateKeyDer::from_pem_slice(material.key.as_bytes())
                .map_err(|error| PkiError(format!("this node's key can not be read: {error}")))
        };
        let own = chain.first().map(|der| Certificate::read(der)).ok_or_else(|| {
            PkiError("this node's certificate can not be read: there is none in the file".to_owned())
        })??;
        let read = authorities.iter().map(|der| Certificate::read(der)).collect::<Result<_, _>>()?;
        let own_authorities = authorities.clone();
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority)
                .map_err(|error| PkiError(format!("the authority's certificate can not be used: {error}")))?;
        }
        let refused = |error: &dyn std::fmt::Display| {
            PkiError(format!("this node's certificate and key can not be used: {error}"))
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots);
        let is_own = matches!(naming, Naming::Cluster(_));
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let verifier = if is_own { verifier.allow_unauthenticated() } else { verifier };
        let verifier = verifier.build().map_err(|error| refused(&error))?;
        let shown = if is_own { [&chain[..], &own_authorities].concat() } else { chain.clone() };
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| refused(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(shown, key()?)
            .map_err(|error| refused(&error))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| refused(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .map_err(|error| refused(&error))?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        let (server, client) = (Arc::new(server), Arc::new(client));
        Ok(Sessions { server, client, naming, own, authorities: read })
    }

    /// The name that the certificate of a server at `host` must hold for.
    ///
    /// # Errors
    /// When `host` can not stand in a certificate.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, PkiError> {
        let name = match &self.naming {
            Naming::Cluster(cluster) => cluster.clone(),
            Naming::Host => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        };
        ServerName::try_from(name)
            .map_err(|_| PkiError(format!("{host:?} can not be the name in a certificate")))
    }
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let unreadable = |why: &dyn std::fmt::Display| PkiError(format!("{what} can not be read: {why}"));
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(&error))?;
    if found.is_empty() { Err(unreadable(&"there is none in it")) } else { Ok(found) }
}
