//! Connections to and from peers with TLS 1.3: handshakes, and whether who answers is who was meant.
//!
//! Who may call what on a connection that was made to this node is `identify`'s to say. Not for keys and
//! certificates themselves: those are `pki`'s.

use super::connect::{endpoint, root_cause};
use super::connections::Connections;
use super::handshakes::{HANDSHAKES_MAX, Handshakes};
use super::secured::{Secured, Shown};
use crate::pki::{Certificate, Keyring};
use bannkreis_core::ban_list::BanView;
use bannkreis_core::ids::NodeId;
use bannkreis_raft::{Connect, ConnectError, RaftNode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tonic::transport::{Channel, Uri};

/// A handshake that takes longer is given up: nobody holds a place with a silent connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection without a certificate ends so long after its handshake.
const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// After the kernel could not give a connection (too many open files), the next one is asked for this late.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The TLS of one life of a node. Clones are the same.
#[derive(Clone)]
pub struct Tls {
    keyring: Arc<Keyring>,
    connections: Arc<Connections>,
    handshakes: Arc<Handshakes>,
    views: Arc<OnceLock<watch::Receiver<BanView>>>,
}

impl Tls {
    /// Handshakes by `keyring`.
    #[must_use]
    pub fn new(keyring: Arc<Keyring>) -> Tls {
        Tls { keyring, connections: Arc::default(), handshakes: Arc::default(), views: Arc::default() }
    }

    /// The keys and certificates.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// From now on, whose key is whose is asked of this node's ban list.
    pub fn follow(&self, raft: &RaftNode) {
        self.views.get_or_init(|| raft.views());
    }

    /// Ends all connections, so that they are made again with the key that is in use now.
    pub fn reconnect(&self) {
        self.connections.cut(|_| true);
    }

    /// Ends the connections of revoked nodes, whenever there is one more of them. Never returns.
    pub(super) async fn cut_revoked(&self, mut views: watch::Receiver<BanView>) {
        let mut known = BTreeSet::new();
        loop {
            let revoked: BTreeSet<Vec<u8>> = views
                .borrow_and_update()
                .nodes()
                .filter(|(_, entry)| entry.revoked && !entry.record.key_fingerprint.is_empty())
                .map(|(_, entry)| entry.record.key_fingerprint.clone())
                .collect();
            if revoked != known {
                self.connections.cut(|key| revoked.contains(&key.0[..]));
                known = revoked;
            }
            if views.changed().await.is_err() {
                // The node is stopping.
                return std::future::pending().await;
            }
        }
    }

    /// Takes connections in and hands over those whose handshake is done, until nobody wants them any more.
    pub(super) async fn accept(&self, listener: TcpListener, ready: mpsc::Sender<io::Result<Secured>>) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                () = ready.closed() => return,
                Some(_) = under_way.join_next() => {}
                accepted = listener.accept(), if under_way.len() < HANDSHAKES_MAX => match accepted {
                    Ok((tcp, from)) => {
                        let Some(place) = self.handshakes.begin(from.ip()) else { continue };
                        let (tls, ready) = (self.clone(), ready.clone());
                        under_way.spawn(async move {
                            let greeted = tls.greet(tcp).await;
                            drop(place);
                            match greeted {
                                // Nobody waits for it when the port is being closed.
                                Ok(secured) => drop(ready.send(Ok(secured)).await),
                                Err(why) => {
                                    tls.handshakes.refused(&from.to_string(), &why, Instant::now());
                                }
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!("a connection could not be taken in: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// The server's side of a handshake.
    async fn greet(&self, tcp: TcpStream) -> Result<Secured, String> {
        let sessions = self.keyring.sessions().ok_or("this node has no certificate yet")?;
        let _ = tcp.set_nodelay(true);
        let handshake = TlsAcceptor::from(sessions.server.clone()).accept(tcp);
        let stream = within_time(handshake).await?;
        self.secured(TlsStream::Server(stream))
    }

    /// The client's side of a handshake.
    pub(super) async fn reach(&self, address: &str, expect: Option<NodeId>) -> Result<Secured, String> {
        let sessions = self.keyring.sessions().ok_or("this node has no certificate yet")?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = sessions.server_name(host).map_err(|error| error.to_string())?;
        let tcp = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let _ = tcp.set_nodelay(true);
        let handshake = TlsConnector::from(sessions.client.clone()).connect(name, tcp);
        let stream = within_time(handshake).await?;
        let secured = self.secured(TlsStream::Client(stream))?;
        match (&secured.shown, expect) {
            (Shown::Certificate(shown), Some(expected)) => self.check_server(shown, expected)?,
            (Shown::Certificate(_), None) => {}
            (Shown::Nothing, _) => return Err("the other end has shown no certificate".to_owned()),
        }
        Ok(secured)
    }

    fn secured(&self, stream: TlsStream<TcpStream>) -> Result<Secured, String> {
        let (tcp, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let (shown, listed) = match leaf {
            Some(leaf) => {
                let certificate = Certificate::read(leaf).map_err(|error| error.to_string())?;
                let listed = self.connections.list(Some(certificate.fingerprint), tcp)?;
                (Shown::Certificate(Arc::new(certificate)), listed)
            }
            None => {
                let listed = self.connections.list(None, tcp)?;
                listed.end_after(STRANGER_LIFE);
                (Shown::Nothing, listed)
            }
        };
        Ok(Secured { shown, _listed: listed, stream })
    }

    /// Whether who answers may be `expected`, as far as this node knows.
    fn check_server(&self, shown: &Certificate, expected: NodeId) -> Result<(), String> {
        let other = |why: &str| Err(format!("who answers there is not the node {expected}: {why}"));
        if shown.node().is_some_and(|node| node != expected) {
            return other(&format!("its certificate is for {}", shown.common_name));
        }
        let Some(views) = self.views.get() else { return Ok(()) };
        match views.borrow().node(expected) {
            Some(entry) if entry.revoked => Err(format!("the node {expected} was revoked")),
            Some(entry)
                if !entry.record.key_fingerprint.is_empty()
                    && entry.record.key_fingerprint != shown.fingerprint.0 =>
            {
                other("its key is another one")
            }
            _ => Ok(()),
        }
    }
}

async fn within_time<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(done) => done.map_err(|error| format!("no TLS: {error}")),
        Err(_) => Err(format!("no TLS handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())),
    }
}

#[tonic::async_trait]
impl Connect for Tls {
    async fn connect(&self, address: &str, expect: Option<NodeId>) -> Result<Channel, ConnectError> {
        let (tls, target) = (self.clone(), address.to_owned());
        // The channel comes back here when it has to connect again, and everything is checked again.
        let connector = tower::service_fn(move |_: Uri| {
            let (tls, target) = (tls.clone(), target.clone());
            async move { tls.reach(&target, expect).await.map(TokioIo::new).map_err(io::Error::other) }
        });
        let channel = endpoint(address)?.connect_with_connector(connector).await;
        channel.map_err(|error| ConnectError { address: address.to_owned(), why: root_cause(&error) })
    }
}
