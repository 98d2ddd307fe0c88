//! Certificates between members: a voter gets the authority's key, and whoever does not have it gets its own
//! certificate renewed by one that has.
//!
//! Only for members whose key is bound already. A node that joins is certified by whoever lets it in.

use super::tls::Tls;
use crate::pki::keyring::Signed;
use crate::pki::{PkiError, Subject};
use bannkreis_core::ids::NodeId;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1;
use bannkreis_proto::v1::peers_client::PeersClient;
use bannkreis_raft::{Connect, RaftNode};
use bytes::Bytes;
use std::time::Duration;
use tonic::Status;

/// A member that does not answer within this time is asked again later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives the authority's key to `caller`, if it votes.
pub(super) fn give_authority(
    tls: Option<&Tls>,
    raft: &RaftNode,
    caller: NodeId,
) -> Result<v1::AuthorityResponse, Status> {
    if !is_voter(raft, caller) {
        return Err(Status::permission_denied(format!(
            "{caller} does not vote: only voters have the authority's key"
        )));
    }
    let authority = tls.and_then(|tls| tls.keyring().authority());
    let authority = authority
        .ok_or_else(|| Status::failed_precondition("this node does not have the authority's key"))?;
    tracing::info!("the voter {caller} gets the authority's key");
    Ok(v1::AuthorityResponse { key_pem: authority.key_pem().to_owned() })
}

/// Makes a new certificate for `caller`, and for nobody else.
pub(super) fn renew(
    tls: Option<&Tls>,
    raft: &RaftNode,
    caller: NodeId,
    request: &v1::SignRequest,
    now: Timestamp,
) -> Result<v1::SignResponse, Status> {
    let tls = tls.ok_or_else(|| Status::failed_precondition("this node has no authority (insecure mode)"))?;
    let view = raft.view();
    let name = view.node(caller).map(|entry| entry.record.name.clone()).unwrap_or_default();
    let subject = Subject::Node { node: caller, name };
    let signed = tls.keyring().sign(&request.request, &subject, now);
    let signed = signed.map_err(|PkiError(why)| Status::failed_precondition(why))?;
    Ok(v1::SignResponse { certificate_pem: signed.certificate, authority_pem: signed.authority })
}

/// Whether `node` is one of the voters.
#[must_use]
pub fn is_voter(raft: &RaftNode, node: NodeId) -> bool {
    raft.status().voters.iter().any(|voter| voter.node == node)
}

/// The authority's key in PEM, from any other voter that has it: a new leader may be without it itself.
///
/// # Errors
/// When nobody gives it: a sentence.
pub async fn ask_for_authority(tls: &Tls, raft: &RaftNode) -> Result<String, String> {
    let mut refused = "there is no other voter".to_owned();
    for voter in raft.status().voters {
        if voter.node == raft.node_id() {
            continue;
        }
        match ask_one_for_authority(tls, raft, voter.node, &voter.address).await {
            Ok(key) => return Ok(key),
            Err(why) => refused = format!("{}: {why}", voter.name),
        }
    }
    Err(refused)
}

async fn ask_one_for_authority(
    tls: &Tls,
    raft: &RaftNode,
    voter: NodeId,
    address: &str,
) -> Result<String, String> {
    let channel = tls.connect(address, Some(voter)).await.map_err(|error| error.to_string())?;
    let mut client = PeersClient::new(channel);
    let answer = client.authority(raft.sign(v1::AuthorityRequest {}, Some(voter)));
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| "no answer".to_owned())?;
    answer.map(|answer| answer.into_inner().key_pem).map_err(|status| status.message().to_owned())
}

/// A new certificate for this node, from the leader. `request`: for this node's key, in DER.
///
/// # Errors
/// When there is no leader, or it refuses: a sentence.
pub async fn ask_to_sign(tls: &Tls, raft: &RaftNode, request: Vec<u8>) -> Result<Signed, String> {
    let (mut client, leader) = leader(tls, raft).await?;
    let request = v1::SignRequest { request: Bytes::from(request) };
    let answer = client.sign(raft.sign(request, Some(leader)));
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| "no answer".to_owned())?;
    let answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
    Ok(Signed { certificate: answer.certificate_pem, authority: answer.authority_pem })
}

async fn leader(
    tls: &Tls,
    raft: &RaftNode,
) -> Result<(PeersClient<tonic::transport::Channel>, NodeId), String> {
    let (leader, address) = raft.leader().ok_or("there is no leader now")?;
    let channel = tls.connect(&address, Some(leader)).await.map_err(|error| error.to_string())?;
    Ok((PeersClient::new(channel), leader))
}
