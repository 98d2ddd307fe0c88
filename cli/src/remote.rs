//! The way to a node on another host: TLS 1.3 to the nodes' port, with a person's certificate.
//!
//! Not for the unix socket (`client`), nor for the files (`keys`).

use crate::client::{self, CONNECT_TIMEOUT, Client};
use crate::failure::{Exit, Failure};
use crate::keys::{self, KeyFiles};
use bannkreis_proto::v1::ShowCertificatesRequest;
use bannkreis_proto::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;

/// HTTP/2 (RFC 7301), as gRPC needs it.
const ALPN: &[u8] = b"h2";

/// Connects to the node at `address` (`host:port`), as the person whose keys are in `directory`.
///
/// # Errors
/// When the keys can not be used, nobody answers there, or who answers is not of that cluster.
pub async fn connect(address: &str, directory: &Path) -> Result<Client, Failure> {
    let files = keys::read(directory)?;
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Refused,
            format!(
                "the keys in {} can not be used: {why}; `bannkreis pki issue` makes others",
                directory.display()
            ),
        )
    };
    let config = client_config(&files).map_err(|error| unusable(&error))?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = if files.cluster.is_empty() { host.trim_matches(['[', ']']) } else { &files.cluster };
    let name = ServerName::try_from(name.to_owned()).map_err(|error| unusable(&error))?;
    let (connector, target) = (TlsConnector::from(Arc::new(config)), address.to_owned());
    let connect = tower::service_fn(move |_| {
        let (connector, target, name) = (connector.clone(), target.clone(), name.clone());
        async move {
            let tcp = TcpStream::connect(&target).await?;
            tcp.set_nodelay(true)?;
            connector.connect(name, tcp).await.map(TokioIo::new)
        }
    });
    // The address is never used: the connector knows where to go.
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT);
    let channel = endpoint.connect_with_connector(connect).await;
    let channel = channel
        .map_err(|error| Failure::new(Exit::NotReachable, not_reachable(address, directory, &error)))?;
    let mut client = ControlClient::new(channel);
    // In TLS 1.3 (RFC 8446, 4.4.2.4) a client learns only now that its certificate is not believed.
    match client::within(client::ANSWER_TIMEOUT, client.show_certificates(ShowCertificatesRequest {})).await {
        Err(status) if client::is_of_the_way(&status) => Err(Failure::new(
            Exit::NotReachable,
            format!(
                "{address} closes the connection without an answer: it does not believe the certificate in {}, \
                 which is another cluster's or has ended. `bannkreis pki issue` on one of its nodes makes another",
                directory.display()
            ),
        )),
        _ => Ok(client),
    }
}

fn client_config(files: &KeyFiles) -> Result<ClientConfig, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(files.authority.as_bytes()) {
        roots.add(authority?)?;
    }
    let chain =
        CertificateDer::pem_slice_iter(files.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(files.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn not_reachable(address: &str, directory: &Path, error: &(dyn Error + 'static)) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    // rustls stands inside an io::Error, which is not its source.
    let text = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => inner.to_string(),
        None => cause.to_string(),
    };
    if text.contains("UnknownIssuer") || text.contains("NotValidForName") {
        return format!(
            "who answers at {address} is no node of the cluster that the keys in {} are for ({text}): check the \
             address and --keys",
            directory.display()
        );
    }
    format!("no node answers at {address}: {text}. Name one that listens for others (`listen`), as HOST:PORT")
}
