//! Who calls, before any handler runs: from the certificate of the connection and the node records, or, in
//! insecure mode, from what the call claims.
//!
//! Asked anew for every call, of the ban list as it is then: a node that is revoked is nobody from then on.

use super::secured::{Connection, Shown};
use crate::pki::{Bearer, Certificate};
use bannkreis_core::ids::NodeId;
use bannkreis_raft::{KeyFingerprint, NotAdmitted, Peer, RaftNode, Role, Standing};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Puts a `Peer`, or why there is none, where the handlers look for it.
#[derive(Clone)]
pub(super) struct Identify {
    /// Knows whose key is whose.
    pub(super) raft: RaftNode,
    /// Certificates name the node, because our own authority has made them.
    pub(super) is_own: bool,
}

impl Interceptor for Identify {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let claimed = Peer::claimed(request.metadata());
        let connection = request.extensions().get::<Connection>().cloned();
        let from = connection.as_ref().and_then(|connection| connection.from);
        let certificate = match connection.map(|connection| connection.shown) {
            Some(Shown::Certificate(certificate)) => certificate,
            Some(Shown::Nothing) => {
                let why = "no certificate was shown: this host has to join first".to_owned();
                request.extensions_mut().insert(NotAdmitted { why, applicant: None });
                return Ok(request);
            }
            None => {
                // Insecure mode. A call without any claim passes without an identity: only the questions of a
                // node that wants to join are answered then.
                if let Some(peer) = claimed {
                    request.extensions_mut().insert(peer);
                }
                return Ok(request);
            }
        };
        let extensions = request.extensions_mut();
        extensions.insert(KeyFingerprint(certificate.fingerprint.0));
        if let Some(role) = certificate.role().filter(|role| *role != Role::Node) {
            extensions.insert(Bearer { name: certificate.common_name.clone(), role, from });
        }
        match self.admit(&certificate, claimed.map(|peer| peer.node_id)) {
            Ok(peer) => drop(extensions.insert(peer)),
            Err(not_admitted) => {
                tracing::debug!("a call is not admitted: {}", not_admitted.why);
                extensions.insert(not_admitted);
            }
        }
        Ok(request)
    }
}

impl Identify {
    /// Who shows `certificate` and says to be the node `claimed`.
    fn admit(&self, certificate: &Certificate, claimed: Option<NodeId>) -> Result<Peer, NotAdmitted> {
        let refused = |why: String| NotAdmitted { why, applicant: None };
        if let Some(role) = certificate.role().filter(|role| *role != Role::Node) {
            return Ok(Peer { node_id: self.raft.node_id(), role });
        }
        let Some(node_id) = claimed else {
            return Err(refused("the call does not say which node it comes from".to_owned()));
        };
        let named = certificate.node();
        if named.is_some_and(|named| named != node_id) || (self.is_own && named.is_none()) {
            let whose = &certificate.common_name;
            return Err(refused(format!(
                "the certificate is for {whose:?}, the call is in the name of {node_id}"
            )));
        }
        match self.raft.standing(node_id, &certificate.fingerprint.0) {
            Standing::Member => Ok(Peer { node_id, role: Role::Node }),
            Standing::Stranger => {
                let key = certificate.fingerprint;
                let why =
                    format!("the cluster knows no node {node_id} with the key {key}: it has to join first");
                Err(NotAdmitted { why, applicant: Some(node_id) })
            }
            Standing::Refused(why) => Err(refused(why)),
        }
    }
}
