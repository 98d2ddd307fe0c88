//! The gRPC service: finds out who asks, and hands each call to the file that answers it.

use super::{NodeApi, Peer, bans, commands, members, status, tokens, why};
use bannkreis_proto::v1;
use bannkreis_proto::v1::control_server::Control;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The service behind the control socket.
pub(super) struct ControlService {
    api: Arc<dyn NodeApi>,
}

impl ControlService {
    /// A service that answers from `api`.
    pub(super) fn new(api: Arc<dyn NodeApi>) -> ControlService {
        ControlService { api }
    }

    /// Who asks, if they may.
    fn peer<T>(&self, request: &Request<T>) -> Result<Peer, Status> {
        Peer::of(request, self.api.node().node)
    }
}

/// Does what takes a while, such as looking at every ban, where it delays nobody else.
pub(super) async fn on_worker<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Status::internal(format!("the answer was lost: {error}")))
}

#[tonic::async_trait]
impl Control for ControlService {
    type ListBansStream = ReceiverStream<Result<v1::ListBansResponse, Status>>;

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        self.peer(&request)?;
        status::status(&*self.api, request.into_inner()).await.map(Response::new)
    }

    async fn ban(&self, request: Request<v1::BanRequest>) -> Result<Response<v1::BanResponse>, Status> {
        let peer = self.peer(&request)?;
        commands::ban(&*self.api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn unban(&self, request: Request<v1::UnbanRequest>) -> Result<Response<v1::UnbanResponse>, Status> {
        let peer = self.peer(&request)?;
        commands::unban(&*self.api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_bans(
        &self,
        request: Request<v1::ListBansRequest>,
    ) -> Result<Response<Self::ListBansStream>, Status> {
        self.peer(&request)?;
        bans::list(&*self.api, request.into_inner()).await.map(Response::new)
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        self.peer(&request)?;
        why::why(&*self.api, request.into_inner()).await.map(Response::new)
    }

    async fn cluster_status(
        &self,
        request: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        self.peer(&request)?;
        status::cluster_status(&*self.api).await.map(Response::new)
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        self.peer(&request)?;
        status::join(&*self.api, request.into_inner()).await.map(Response::new)
    }

    async fn order_member(
        &self,
        request: Request<v1::OrderMemberRequest>,
    ) -> Result<Response<v1::OrderMemberResponse>, Status> {
        let peer = self.peer(&request)?;
        members::order(&*self.api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn leave(&self, request: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveResponse>, Status> {
        let peer = self.peer(&request)?;
        members::leave(&*self.api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let peer = self.peer(&request)?;
        tokens::create(&*self.api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        self.peer(&request)?;
        tokens::list(&*self.api).await.map(Response::new)
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let peer = self.peer(&request)?;
        tokens::revoke(&*self.api, &peer, request.into_inner()).await.map(Response::new)
    }
}
