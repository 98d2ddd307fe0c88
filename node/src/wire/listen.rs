//! The listening side of the nodes' port: openraft's service, the wardens' one-way messages, and whatever
//! operators may call there.
//!
//! Before any handler runs, it is found out who calls (`identify`), and what the call says of itself is
//! checked against that: this cluster, this generation, that node.

use super::admission;
use super::heartbeat::PeerTable;
use super::identify::Identify;
use super::signing;
use super::tls::Tls;
use super::{NOTICES_PER_MESSAGE_MAX, REPORTS_PER_MESSAGE_MAX};
use crate::admissions::Admissions;
use crate::borders::Clock;
use bannkreis_core::ids::NodeId;
use bannkreis_core::proposal::{Notice, Report};
use bannkreis_proto::v1;
use bannkreis_proto::v1::peer_message::Message;
use bannkreis_proto::v1::peers_server::{Peers, PeersServer};
use bannkreis_raft::{Connect, KeyFingerprint, RaftNode};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::service::{InterceptorLayer, Routes};
use tonic::{Request, Response, Status, Streaming};

/// A bound port.
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// What it is bound to: with the port that the kernel has chosen, when it was asked for any.
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }

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
    /// Where reports go.
    pub on_reports: Arc<dyn Fn(Vec<Report>) + Send + Sync>,
    /// Tells when they came.
    pub clock: Arc<dyn Clock>,
    /// Whether peers must prove who they are.
    pub security: Security,
    /// How the leader is reached.
    pub connect: Arc<dyn Connect>,
    /// Whether somebody may come in now.
    pub admissions: Arc<Admissions>,
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
                Some(Message::Reports(reports)) => self.take_reports(from, reports)?,
                // A newer release's are not for this one.
                None => {}
            }
        }
        Ok(Response::new(v1::PeerFarewell {}))
    }

    async fn authority(
        &self,
        request: Request<v1::AuthorityRequest>,
    ) -> Result<Response<v1::AuthorityResponse>, Status> {
        let caller = self.raft.check(&request)?;
        signing::give_authority(self.tls(), &self.raft, caller).map(Response::new)
    }

    async fn sign(&self, request: Request<v1::SignRequest>) -> Result<Response<v1::SignResponse>, Status> {
        let caller = self.raft.check(&request)?;
        signing::renew(self.tls(), &self.raft, caller, request.get_ref(), self.clock.wall())
            .map(Response::new)
    }

    async fn admit(&self, request: Request<v1::AdmitRequest>) -> Result<Response<v1::AdmitResponse>, Status> {
        // Only members forward for others.
        if request.get_ref().forwarded {
            self.raft.check(&request)?;
        }
        let shown = request.extensions().get::<KeyFingerprint>().copied();
        let mut request = request.into_inner();
        if !request.forwarded {
            request.shown_key =
                shown.map_or_else(Default::default, |KeyFingerprint(key)| key.to_vec().into());
        }
        let now = self.clock.now().cluster;
        Ok(Response::new(admission::admit(self, request, now).await))
    }
}

impl PeersService {
    pub(super) fn tls(&self) -> Option<&Tls> {
        match &self.security {
            Security::Insecure => None,
            Security::Tls(tls) => Some(tls),
        }
    }

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

    fn take_reports(&self, from: NodeId, reports: v1::Reports) -> Result<(), Status> {
        if reports.reports.len() > REPORTS_PER_MESSAGE_MAX {
            return Err(Status::invalid_argument("too many reports in one message"));
        }
        let reports = reports.reports.into_iter().map(Report::try_from).collect::<Result<Vec<Report>, _>>();
        let reports = reports.map_err(|error| Status::invalid_argument(error.to_string()))?;
        if reports.iter().any(|report| report.origin != from) {
            return Err(Status::permission_denied("a report in another node's name"));
        }
        (self.on_reports)(reports);
        Ok(())
    }
}

/// Whether peers must prove who they are.
#[derive(Clone)]
pub enum Security {
    /// They only say so, and everybody on the way can read along.
    Insecure,
    /// By their certificates.
    Tls(Tls),
}

/// Connections whose handshake is done and that wait for the server; it takes them at once.
const READY_MAX: usize = 8;

/// Serves the port until `stop` turns true. `operators`: what people with certificates may call there; it finds a
/// [`Bearer`](crate::pki::Bearer) in each of their requests.
///
/// # Errors
/// The transport's, when the listening socket fails.
pub async fn serve(
    listener: Listener,
    raft: &RaftNode,
    peers: PeersService,
    operators: Routes,
    stop: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let security = peers.security.clone();
    let is_own = matches!(&security, Security::Tls(tls) if tls.keyring().is_own());
    let identify = Identify { raft: raft.clone(), is_own };
    let services = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .layer(InterceptorLayer::new(identify))
        .add_routes(operators.add_service(raft.service()).add_service(PeersServer::new(peers)));
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        // An error means that the sender is gone: then the daemon is stopping too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    match security {
        Security::Insecure => {
            let incoming = TcpListenerStream::new(listener.listener);
            services.serve_with_incoming_shutdown(incoming, stopped(stop)).await
        }
        Security::Tls(tls) => {
            let (ready, incoming) = mpsc::channel(READY_MAX);
            let accepting = async {
                tokio::select! {
                    () = tls.accept(listener.listener, ready) => {}
                    () = stopped(stop.clone()) => {}
                }
                // The port is free; calls that are under way may end.
                std::future::pending::<()>().await;
            };
            let serving =
                services.serve_with_incoming_shutdown(ReceiverStream::new(incoming), stopped(stop.clone()));
            tokio::select! {
                served = serving => served,
                () = accepting => Ok(()),
                () = tls.cut_revoked(raft.views()) => Ok(()),
            }
        }
    }
}
