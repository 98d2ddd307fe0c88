//! One call to the API server: a connection, a request, an answer. The service account's token and the authority
//! are read from their files each time, for the kubelet renews both.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// A call that takes longer has failed: it is made again.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is read up to so many bytes. A Lease has some hundred.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Where the API server is, and how this pod proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServer {
    /// `host:port`.
    pub address: String,
    /// The authority (PEM) whose certificates are believed.
    pub ca: PathBuf,
    /// The service account's token.
    pub token_file: PathBuf,
}

/// What it has answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The object, or the `Status` (meta/v1) that says why not.
    pub(super) body: Value,
}

impl Answer {
    /// Why not, in the server's words.
    pub(super) fn why(&self) -> String {
        let message = self.body.get("message").and_then(Value::as_str).unwrap_or("no reason is given");
        format!("the API server answers {}: {message}", self.status)
    }
}

impl ApiServer {
    /// The one that every pod finds in its environment: `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
    #[must_use]
    pub fn address_in(environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let host = environment("KUBERNETES_SERVICE_HOST")?;
        let port = environment("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
        Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }

    /// Calls it. The error is a sentence.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let called = tokio::time::timeout(CALL_TIMEOUT, self.call_once(method, path, body)).await;
        called
            .unwrap_or_else(|_| Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs())))
            .map_err(|why| format!("the Kubernetes API server {}: {why}", self.address))
    }

    async fn call_once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let token = read(&self.token_file).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("bannkreisd/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
            .map_err(|error| format!("the request can not be made: {error}"))?;
        let (host, _) = self.address.rsplit_once(':').ok_or("its address has no port")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| sentence(&error))?;
        let stream = TcpStream::connect(&self.address).await.map_err(|error| sentence(&error))?;
        let tls = TlsConnector::from(Arc::new(tls(&read(&self.ca).await?, &self.ca)?));
        let stream = tls.connect(name, stream).await.map_err(|error| sentence(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| sentence(&error))?;
        // The set ends with this call, and the connection with the set.
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| sentence(&error))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("its answer can not be read: {error}"))?.to_bytes();
        // A proxy in between may say no in HTML.
        Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() })
    }
}

fn sentence(error: &dyn Display) -> String {
    error.to_string()
}

async fn read(path: &Path) -> Result<String, String> {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
    let read = read.map_err(|error| error.to_string())?;
    read.map_err(|error| format!("{} can not be read: {error}", path.display()))
}

fn tls(ca: &str, path: &Path) -> Result<ClientConfig, String> {
    let failed = |why: &dyn Display| format!("{}: {why}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(failed(&"there is no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_found_as_pods_find_it() {
        let of = |host: &str, port: Option<&str>| {
            ApiServer::address_in(&|name| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
                _ => port.map(str::to_owned),
            })
        };
        assert_eq!(of("10.96.0.1", Some("6443")).unwrap(), "10.96.0.1:6443");
        assert_eq!(of("fd00::1", None).unwrap(), "[fd00::1]:443");
        assert_eq!(ApiServer::address_in(&|_| None), None);
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let why = tls("nothing\n", Path::new("/run/ca.crt")).unwrap_err();
        assert!(why.contains("/run/ca.crt") && why.contains("no certificate"), "{why}");
    }
}
