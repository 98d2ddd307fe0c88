//! The gRPC service: finds out who asks, and hands each call to the file that answers it.

use super::remote::LateApi;
use super::{
    Groups, NodeApi, Peer, Role, allowing, bans, commands, firewall, forgetting, history, importing, keys,
    members, overrides, recovery, settings, status, tokens, why,
};
use bannkreis_proto::v1;
use bannkreis_proto::v1::control_server::Control;
use std::sync::{Arc, OnceLock};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The service behind the control socket and the nodes' port.
pub(super) struct ControlService {
    api: LateApi,
    groups: Groups,
}

impl ControlService {
    /// A service that answers from `api`.
    /// `groups`: who may ask on this host.
    pub(super) fn new(api: Arc<dyn NodeApi>, groups: Groups) -> ControlService {
        let late = OnceLock::new();
        late.get_or_init(|| api);
        ControlService { api: Arc::new(late), groups }
    }

    /// A service that answers as soon as there is something to answer from.
    pub(super) fn late(api: LateApi) -> ControlService {
        ControlService { api, groups: Groups::default() }
    }

    /// Who asks, if they may do what needs this `role`.
    fn admit<T>(&self, request: &Request<T>, role: Role) -> Result<(&dyn NodeApi, Peer), Status> {
        let api = self.api.get().ok_or_else(|| Status::unavailable("bannkreisd is starting: ask again"))?;
        let peer = Peer::of(request, api.node().node, &self.groups)?;
        peer.check(role)?;
        Ok((&**api, peer))
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
        let (api, _) = self.admit(&request, Role::Viewer)?;
        status::status(api, request.into_inner()).await.map(Response::new)
    }

    async fn ban(&self, request: Request<v1::BanRequest>) -> Result<Response<v1::BanResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Operator)?;
        commands::ban(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn unban(&self, request: Request<v1::UnbanRequest>) -> Result<Response<v1::UnbanResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Operator)?;
        commands::unban(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_bans(
        &self,
        request: Request<v1::ListBansRequest>,
    ) -> Result<Response<Self::ListBansStream>, Status> {
        let (api, _) = self.admit(&request, Role::Viewer)?;
        bans::list(api, request.into_inner()).await.map(Response::new)
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Viewer)?;
        why::why(api, request.into_inner()).await.map(Response::new)
    }

    async fn cluster_status(
        &self,
        request: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Viewer)?;
        status::cluster_status(api).await.map(Response::new)
    }

    async fn firewall(
        &self,
        request: Request<v1::FirewallRequest>,
    ) -> Result<Response<v1::FirewallResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Viewer)?;
        firewall::firewall(api).await.map(Response::new)
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Admin)?;
        status::join(api, request.into_inner()).await.map(Response::new)
    }

    async fn order_member(
        &self,
        request: Request<v1::OrderMemberRequest>,
    ) -> Result<Response<v1::OrderMemberResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Admin)?;
        members::order(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn leave(&self, request: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Admin)?;
        members::leave(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Admin)?;
        tokens::create(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Admin)?;
        tokens::list(api).await.map(Response::new)
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Admin)?;
        tokens::revoke(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn show_certificates(
        &self,
        request: Request<v1::ShowCertificatesRequest>,
    ) -> Result<Response<v1::ShowCertificatesResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Viewer)?;
        keys::show(api).await.map(Response::new)
    }

    async fn renew_certificate(
        &self,
        request: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::ShowCertificatesResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Admin)?;
        keys::renew(api).await.map(Response::new)
    }

    async fn issue_certificate(
        &self,
        request: Request<v1::IssueCertificateRequest>,
    ) -> Result<Response<v1::IssueCertificateResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Admin)?;
        keys::issue(api, request.into_inner()).await.map(Response::new)
    }

    type BackupStream = recovery::BackupStream;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let (api, _) = self.admit(&request, Role::Admin)?;
        recovery::backup(api, request.into_inner()).await.map(Response::new)
    }

    async fn restore(
        &self,
        request: Request<Streaming<v1::RestorePart>>,
    ) -> Result<Response<v1::RestoreResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Admin)?;
        recovery::restore(api, request.into_inner()).await.map(Response::new)
    }

    async fn recover(
        &self,
        request: Request<v1::RecoverRequest>,
    ) -> Result<Response<v1::RecoverResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Admin)?;
        recovery::recover(api, request.into_inner()).await.map(Response::new)
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Viewer)?;
        history::history(api, request.into_inner()).await.map(Response::new)
    }

    async fn forget(
        &self,
        request: Request<v1::ForgetRequest>,
    ) -> Result<Response<v1::ForgetResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Admin)?;
        forgetting::forget(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn import(
        &self,
        request: Request<v1::ImportRequest>,
    ) -> Result<Response<v1::ImportResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Operator)?;
        importing::import(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn allow(
        &self,
        request: Request<v1::AllowRequest>,
    ) -> Result<Response<v1::CommandResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Operator)?;
        allowing::add(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn disallow(
        &self,
        request: Request<v1::DisallowRequest>,
    ) -> Result<Response<v1::CommandResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Operator)?;
        allowing::remove(api, &peer, request.into_inner()).await.map(Response::new)
    }

    type ListAllowedStream = allowing::AllowedStream;

    async fn list_allowed(
        &self,
        request: Request<v1::ListAllowedRequest>,
    ) -> Result<Response<Self::ListAllowedStream>, Status> {
        let (api, _) = self.admit(&request, Role::Viewer)?;
        allowing::list(api).await.map(Response::new)
    }

    async fn r#override(
        &self,
        request: Request<v1::OverrideRequest>,
    ) -> Result<Response<v1::OverrideResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Operator)?;
        overrides::decide(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn trust(
        &self,
        request: Request<v1::TrustRequest>,
    ) -> Result<Response<v1::CommandResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Operator)?;
        members::trust(api, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_settings(
        &self,
        request: Request<v1::ListSettingsRequest>,
    ) -> Result<Response<v1::ListSettingsResponse>, Status> {
        let (api, _) = self.admit(&request, Role::Viewer)?;
        settings::list(api).await.map(Response::new)
    }

    async fn set_settings(
        &self,
        request: Request<v1::SetSettingsRequest>,
    ) -> Result<Response<v1::SetSettingsResponse>, Status> {
        let (api, peer) = self.admit(&request, Role::Admin)?;
        settings::set(api, &peer, request.into_inner()).await.map(Response::new)
    }
}
