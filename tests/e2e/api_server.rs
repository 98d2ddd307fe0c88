//! A Kubernetes API server that knows Leases and nothing else: over TLS, with the service account's token, created
//! once, and changed only by who names the version that is there.
//!
//! Its rules are those of the real one for a create without a name clash (201), with one (409 AlreadyExists), and
//! an update of an old version (409 Conflict); Kubernetes API conventions, "Concurrency Control and Consistency".

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result};
use bannkreis_tests::lab::netns::Netns;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

const TOKEN: &str = "the-service-account";
/// A client that says nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The server; it ends with this value.
pub(crate) struct ApiServer {
    address: SocketAddr,
    ca: PathBuf,
    token_file: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    leases: Mutex<Leases>,
    is_down: AtomicBool,
    has_ended: AtomicBool,
}

#[derive(Default)]
struct Leases {
    by_path: BTreeMap<String, Value>,
    version: u64,
    n_created: usize,
}

impl ApiServer {
    /// Listens at `address` in this network, with its authority and the token beside the lab's hosts.
    pub(crate) fn start(netns: &Netns, address: SocketAddr, directory: &Path) -> Result<ApiServer> {
        let made = rcgen::generate_simple_self_signed(vec![address.ip().to_string()]);
        let made = made.context(|| "cannot make a certificate".to_owned())?;
        let [ca, token_file] = ["api-ca.crt", "api-token"].map(|name| directory.join(name));
        let write =
            || fs::write(&ca, made.cert.pem()).and_then(|()| fs::write(&token_file, format!("{TOKEN}\n")));
        write().context(|| "cannot write the API server's files".to_owned())?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let key = key.map_err(|why| bannkreis_tests::failed::Failed(why.to_owned()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|tls| {
                tls.with_no_client_auth()
                    .with_single_cert(vec![CertificateDer::from(made.cert.der().to_vec())], key)
            })
            .context(|| "cannot set up TLS".to_owned())?;
        let listener =
            netns.run(|| TcpListener::bind(address).context(|| format!("cannot listen at {address}")))?;
        let shared = Arc::new(Shared::default());
        let (serving, tls) = (shared.clone(), Arc::new(tls));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                if serving.has_ended.load(Ordering::Acquire) {
                    return;
                }
                let (shared, tls) = (serving.clone(), tls.clone());
                // A client that breaks off has its reasons.
                std::thread::spawn(move || answer_one(stream, tls, &shared).ok());
            }
        });
        Ok(ApiServer { address, ca, token_file, shared })
    }

    /// The lines of a node's configuration that lead here.
    pub(crate) fn settings(&self, lease: &str) -> String {
        format!(
            "[kubernetes]\nlease = \"{lease}\"\nserver = \"{}\"\nca = \"{}\"\ntoken_file = \"{}\"\n",
            self.address,
            self.ca.display(),
            self.token_file.display()
        )
    }

    /// While it is down it hangs up on everybody.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::Release);
    }

    /// The holder, the cluster and the members in the only Lease there is, and how often one was created.
    pub(crate) fn lease(&self) -> Option<(String, String, Vec<String>, usize)> {
        let leases = self.shared.leases();
        let lease = leases.by_path.values().next()?;
        let text =
            |pointer: &str| lease.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let members = text("/metadata/annotations/bannkreis.io~1members");
        let members = members.split(',').map(str::to_owned).collect();
        let cluster = text("/metadata/annotations/bannkreis.io~1cluster");
        Some((text("/spec/holderIdentity"), cluster, members, leases.n_created))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
    }
}

impl Shared {
    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer_one(stream: TcpStream, tls: Arc<ServerConfig>, shared: &Shared) -> std::io::Result<()> {
    if shared.is_down.load(Ordering::Acquire) {
        return Ok(());
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut is_known) = (0, false);
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        let header = header.trim();
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0).min(REQUEST_BYTES_MAX),
            "authorization" => is_known = value.trim() == format!("Bearer {TOKEN}"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let object: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, answer) = if is_known {
        shared.leases().answer(&method, &path, object)
    } else {
        (401, json!({ "kind": "Status", "message": "Unauthorized" }))
    };
    let answer = answer.to_string();
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

impl Leases {
    fn answer(&mut self, method: &str, path: &str, mut object: Value) -> (u16, Value) {
        let refusal = |status: u16, why: &str| (status, json!({ "kind": "Status", "message": why }));
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        match method {
            "GET" => match self.by_path.get(path) {
                Some(lease) => (200, lease.clone()),
                None => refusal(404, "leases.coordination.k8s.io not found"),
            },
            "POST" => {
                let path = format!("{path}/{name}");
                if self.by_path.contains_key(&path) {
                    return refusal(409, "leases.coordination.k8s.io already exists");
                }
                self.n_created += 1;
                (201, self.put(path, &mut object))
            }
            "PUT" => {
                let version = |lease: &Value| lease.pointer("/metadata/resourceVersion").cloned();
                match self.by_path.get(path) {
                    None => refusal(404, "leases.coordination.k8s.io not found"),
                    Some(held) if version(held) != version(&object) => refusal(
                        409,
                        "the object has been modified; please apply your changes to the latest version",
                    ),
                    Some(_) => (200, self.put(path.to_owned(), &mut object)),
                }
            }
            _ => refusal(405, "not allowed"),
        }
    }

    fn put(&mut self, path: String, object: &mut Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.by_path.insert(path, object.clone());
        object.clone()
    }
}
