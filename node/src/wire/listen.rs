//! The listening side of the nodes' port: openraft's service and the wardens' one-way messages.
//!
//! Before any handler runs, the sender's claim is checked: this cluster, this generation, a node id. A
//! handler gets it as `Peer`, as it will when certificates prove it.

use super::heartbeat::PeerTable;
use crate::borders::Clock;
use bannkreis_core::ids::NodeId;
use bannkreis_core::proposal::Notice;
use bannkreis_proto::v1;
use bannkreis_proto::v1::peer_message::Message;
use bannkreis_proto::v1::peers_server::{Peers, PeersServer};
use bannkreis_raft::{Peer, RaftNode};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

/// Notices in one message; more are a broken or hostile peer's.
const NOTICES_PER_MESSAGE_MAX: usize = 1_000;

/// A bound port.
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// A sentence that names the address, the cause and the remedy.
    pub async fn bind(address: SocketAddr) -> Result<Listener, String> {
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Listener { listener }),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(format!(
                "listen = \"{address}\": another process listens on this port already; stop it (is another \
                 bannkreisd running?), or set another port in the configuration"
            )),
            Err(error) => Err(format!(
                "listen = \"{address}\": {error}; set an address of this host and a free port in the configuration"
            )),
        }
    }
}

/// Takes the wardens' one-way messages in.
pub struct PeersService {
    /// Knows who may speak here.
    pub raft: RaftNode,
    /// Where heartbeats go.
    pub table: Arc<PeerTable>,
    /// Where notices go.
    pub on_notice: Arc<dyn Fn(Notice) + Send + Sync>,
    /// Tells when they came.
    pub clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl Peers for PeersService {
    async fn tell(
        &self,
        request: Request<Streaming<v1::PeerMessage>>,
    ) -> Result<Response<v1::PeerFarewell>, Status> {
        let from = self.raft.check(&request)?;
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            match message.message {
                Some(Message::Heartbeat(heartbeat)) => {
                    self.table.heard(from, heartbeat, self.clock.boottime_ms());
                }
                Some(Message::Notices(notices)) => self.take_notices(from, notices)?,
                // Not sent by any release yet; a newer one's are not for this one.
                Some(Message::Reports(_)) | None => {}
            }
        }
        Ok(Response::new(v1::PeerFarewell {}))
    }
}

impl PeersService {
    fn take_notices(&self, from: NodeId, notices: v1::Notices) -> Result<(), Status> {
        if notices.notices.len() > NOTICES_PER_MESSAGE_MAX {
            return Err(Status::invalid_argument("too many notices in one message"));
        }
        for notice in notices.notices {
            let notice =
                Notice::try_from(notice).map_err(|error| Status::invalid_argument(error.to_string()))?;
            // A node speaks for itself only.
            if notice.origin != from {
                return Err(Status::permission_denied("a notice in another node's name"));
            }
            (self.on_notice)(notice);
        }
        Ok(())
    }
}

/// Serves the port until `stop` turns true.
///
/// # Errors
/// The transport's, when the listening socket fails.
pub async fn serve(
    listener: Listener,
    raft: &RaftNode,
    peers: PeersService,
    mut stop: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let raft = InterceptedService::new(raft.service(), identify);
    let peers = InterceptedService::new(PeersServer::new(peers), identify);
    let stopped = async move {
        // An error means that the sender is gone: then the daemon is stopping too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(raft)
        .add_service(peers)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener.listener), stopped)
        .await
}

/// Puts who a call claims to come from where the handlers look for it. A call without any claim passes
/// without an identity: only the questions of a node that wants to join are answered then.
fn identify(mut request: Request<()>) -> Result<Request<()>, Status> {
    if let Some(peer) = Peer::claimed(request.metadata()) {
        request.extensions_mut().insert(peer);
    }
    Ok(request)
}
