//! The operators' side of the nodes' port: the same service as on the control socket, for bearers of client
//! certificates.
//!
//! It is there before the node is: until then it says so. Not for TLS, nor for who a certificate belongs to (`wire`).

use super::NodeApi;
use super::service::ControlService;
use bannkreis_proto::v1::control_server::ControlServer;
use std::sync::{Arc, OnceLock};
use tonic::service::Routes;

/// The node, as soon as it can be asked.
pub type LateApi = Arc<OnceLock<Arc<dyn NodeApi>>>;

/// What to add to the port.
#[must_use]
pub fn routes(api: LateApi) -> Routes {
    Routes::new(ControlServer::new(ControlService::late(api)))
}
