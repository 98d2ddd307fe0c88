//! Who is at the other end: the daemon's word for it in a request's extensions, the metadata every call
//! carries, and the daemon's way to connect.
//!
//! Not for TLS or ports: those are the daemon's.

use crate::identity::{Identity, parse_cluster_id, parse_node_id};
use bannkreis_core::ids::{ClusterId, NodeId};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Request, Status};

const CLUSTER: &str = "bannkreis-cluster";
const GENERATION: &str = "bannkreis-generation";
const NODE: &str = "bannkreis-node";
const TO: &str = "bannkreis-to";

/// What somebody at the other end of a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A node of the cluster, or one that asks to join it.
    Node,
    /// May do everything.
    Admin,
    /// May ban and unban.
    Operator,
    /// May look.
    Viewer,
}

/// Who is at the other end. The daemon puts it into the extensions of every request: from the TLS
/// certificate, or, in insecure mode, from [`Peer::claimed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which node.
    pub node_id: NodeId,
    /// As what.
    pub role: Role,
}

impl Peer {
    /// The node that a request's metadata claims to come from: all there is in insecure mode.
    #[must_use]
    pub fn claimed(metadata: &MetadataMap) -> Option<Peer> {
        let node_id = parse_node_id(text(metadata, NODE)?)?;
        Some(Peer { node_id, role: Role::Node })
    }
}

/// Why somebody is not admitted. The daemon puts it into a request's extensions instead of a [`Peer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAdmitted {
    /// The answer to whatever they ask, as a sentence.
    pub why: String,
    /// Under which id they may ask to join, if they may.
    pub applicant: Option<NodeId>,
}

/// The key that the other end of a connection has proved to have: SHA-256 of its SubjectPublicKeyInfo. Not
/// there in insecure mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFingerprint(pub [u8; 32]);

/// Makes connections to peers: the daemon's transport, or a test's.
#[tonic::async_trait]
pub trait Connect: Send + Sync + 'static {
    /// A connection to the node `expect` at `address` (`host:port`), established and checked. `None`
    /// means whoever answers there. The channel may reconnect by itself, if it checks again.
    async fn connect(&self, address: &str, expect: Option<NodeId>) -> Result<Channel, ConnectError>;
}

/// No connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} can not be reached: {why}")]
pub struct ConnectError {
    /// Where to.
    pub address: String,
    /// The cause, as a sentence.
    pub why: String,
}

/// Who sends calls, and to whom: what goes into their metadata.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    cluster: ClusterId,
    generation: u32,
    node: NodeId,
}

impl Sender {
    pub(crate) fn new(identity: &Identity) -> Sender {
        Sender { cluster: identity.cluster, generation: identity.generation, node: identity.node }
    }

    /// The request with the sender's metadata, for `to` if it is known.
    pub(crate) fn sign<T>(&self, message: T, to: Option<NodeId>) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        let fields = [
            (CLUSTER, Some(self.cluster.to_string())),
            (GENERATION, Some(self.generation.to_string())),
            (NODE, Some(self.node.to_string())),
            (TO, to.map(|to| to.to_string())),
        ];
        for (name, value) in fields {
            // Digits, letters and dashes always make a valid value.
            if let Some(Ok(value)) = value.map(AsciiMetadataValue::try_from) {
                metadata.insert(name, value);
            }
        }
        request
    }

    /// Checks a request that came to this node and says who sent it.
    pub(crate) fn check<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        self.check_as(request, None)
    }

    /// The same of a request that may also be for the node that this one was until it lost its log. Never for
    /// Raft's own.
    pub(crate) fn check_as<T>(&self, request: &Request<T>, former: Option<NodeId>) -> Result<NodeId, Status> {
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Err(not_admitted(request));
        };
        if peer.role != Role::Node {
            return Err(Status::permission_denied("only nodes of the cluster may call this"));
        }
        self.check_metadata(request.metadata(), peer.node_id, former)
    }

    /// Checks a request to join: its sender need not be admitted yet.
    pub(crate) fn check_applicant<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        match request.extensions().get::<NotAdmitted>() {
            Some(NotAdmitted { applicant: Some(node_id), .. }) => {
                self.check_metadata(request.metadata(), *node_id, None)
            }
            _ => self.check(request),
        }
    }

    fn check_metadata(
        &self,
        metadata: &MetadataMap,
        node_id: NodeId,
        former: Option<NodeId>,
    ) -> Result<NodeId, Status> {
        if text(metadata, NODE).and_then(parse_node_id) != Some(node_id) {
            return Err(Status::permission_denied("the call is in another node's name"));
        }
        let cluster = text(metadata, CLUSTER).and_then(parse_cluster_id);
        if cluster != Some(self.cluster) {
            let theirs = cluster.map_or("none".to_string(), |cluster| cluster.to_string());
            return Err(Status::failed_precondition(format!(
                "this node belongs to the cluster {}, the caller to {theirs}: two clusters never mix",
                self.cluster
            )));
        }
        let generation = text(metadata, GENERATION).and_then(|generation| generation.parse().ok());
        if generation != Some(self.generation) {
            return Err(Status::failed_precondition(format!(
                "this node is of generation {}, the caller of another: the cluster was recovered, and the one of the \
                 lower generation joins it again (`bannkreis token create` on the other prints the command)",
                self.generation
            )));
        }
        match text(metadata, TO) {
            Some(to) if former.is_some() && parse_node_id(to) == former => Ok(node_id),
            Some(to) if parse_node_id(to) != Some(self.node) => Err(Status::failed_precondition(format!(
                "the call is for the node {to}, here is {}: the address has changed hands",
                self.node
            ))),
            _ => Ok(node_id),
        }
    }
}

fn not_admitted<T>(request: &Request<T>) -> Status {
    match request.extensions().get::<NotAdmitted>() {
        Some(NotAdmitted { why, .. }) => Status::permission_denied(why),
        None => Status::unauthenticated("who is calling is not known on this connection"),
    }
}

fn text<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Stage;
    use tonic::Code;

    fn identity(node: u64) -> Identity {
        Identity { cluster: ClusterId([7; 16]), generation: 2, node: NodeId(node), stage: Stage::Member }
    }

    fn request(from: &Identity, peer: Option<Peer>, to: u64) -> Request<()> {
        let mut request = Sender::new(from).sign((), Some(NodeId(to)));
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        request
    }

    #[test]
    fn only_the_right_cluster_generation_node_and_role_pass() {
        let here = Sender::new(&identity(1));
        let peer = |node_id| Some(Peer { node_id: NodeId(node_id), role: Role::Node });
        let refused = |request: &Request<()>| here.check(request).unwrap_err().code();

        assert_eq!(here.check(&request(&identity(2), peer(2), 1)).unwrap(), NodeId(2));
        // Whoever still takes this node for the one whose log is lost is heard, but not by Raft.
        let for_former = request(&identity(2), peer(2), 7);
        assert_eq!(here.check_as(&for_former, Some(NodeId(7))).unwrap(), NodeId(2));
        assert_eq!(refused(&for_former), Code::FailedPrecondition);
        assert_eq!(refused(&request(&identity(2), None, 1)), Code::Unauthenticated);
        assert_eq!(refused(&request(&identity(2), peer(3), 1)), Code::PermissionDenied);
        let viewer = Some(Peer { node_id: NodeId(2), role: Role::Viewer });
        assert_eq!(refused(&request(&identity(2), viewer, 1)), Code::PermissionDenied);
        assert_eq!(refused(&request(&identity(2), peer(2), 9)), Code::FailedPrecondition);
        let elsewhere = Identity { cluster: ClusterId([8; 16]), ..identity(2) };
        assert_eq!(refused(&request(&elsewhere, peer(2), 1)), Code::FailedPrecondition);
        let recovered = Identity { generation: 3, ..identity(2) };
        assert_eq!(refused(&request(&recovered, peer(2), 1)), Code::FailedPrecondition);
        let mut unnamed = Request::new(());
        unnamed.extensions_mut().insert(peer(2).unwrap());
        assert_eq!(refused(&unnamed), Code::PermissionDenied);
    }

    #[test]
    fn an_applicant_may_ask_to_join_and_nothing_else() {
        let here = Sender::new(&identity(1));
        let not_admitted = |applicant| NotAdmitted { why: "no such key".to_string(), applicant };
        let mut request = request(&identity(2), None, 1);
        request.extensions_mut().insert(not_admitted(Some(NodeId(2))));
        let refused = here.check(&request).unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "no such key"));
        assert_eq!(here.check_applicant(&request).unwrap(), NodeId(2));
        request.extensions_mut().insert(not_admitted(None));
        assert_eq!(here.check_applicant(&request).unwrap_err().code(), Code::PermissionDenied);
    }

    #[test]
    fn in_insecure_mode_a_peer_is_who_it_says() {
        let request = request(&identity(2), None, 1);
        assert_eq!(Peer::claimed(request.metadata()).unwrap().node_id, NodeId(2));
        assert_eq!(Peer::claimed(&MetadataMap::new()), None);
    }
}
