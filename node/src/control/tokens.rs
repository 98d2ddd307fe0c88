//! `token create|list|revoke`: what lets hosts into the cluster. The cluster keeps hashes; a token itself is shown
//! once, to whoever has it made.
//!
//! Not for using one up: that is the door of the nodes' port (`wire::admission`).

use super::answers::Snapshot;
use super::commands::{Settled, commit};
use super::{NodeApi, Peer};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::Op;
use bannkreis_core::ids::{CommandId, Operator};
use bannkreis_core::time::{DAY_MS, HOUR_MS, SECOND_MS, Timestamp};
use bannkreis_proto::v1;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// A token counts so long when nobody says.
const TTL_DEFAULT_MS: u64 = HOUR_MS;
/// And at most so long.
const TTL_MAX_MS: u64 = 30 * DAY_MS;
/// The cluster's answer is waited for so long.
const WAIT: Duration = Duration::from_secs(5);

/// Executes `token create`.
pub(super) async fn create(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::CreateTokenRequest,
) -> Result<v1::CreateTokenResponse, Status> {
    let ttl_ms = if request.ttl_ms == 0 { TTL_DEFAULT_MS } else { request.ttl_ms };
    if !(SECOND_MS..=TTL_MAX_MS).contains(&ttl_ms) {
        return Err(Status::invalid_argument(format!(
            "a token can not count for {ttl_ms} ms: from 1 s to 30 days are possible"
        )));
    }
    let made = api.make_token().map_err(Status::failed_precondition)?;
    let expires = api.now().cluster.plus_ms(ttl_ms);
    let (outcome, why) = put(api, peer, made.hash.clone(), expires).await?;
    let after = Snapshot::take_counts(api).await?;
    let here = after.cluster.members.iter().find(|member| member.node == after.node.node);
    Ok(v1::CreateTokenResponse {
        state: Some(after.state()),
        token: made.text,
        status: Some(status(&made.hash, expires)),
        address: here.map(|member| member.address.clone()).unwrap_or_default(),
        outcome: outcome.into(),
        why,
    })
}

/// Executes `token list`.
pub(super) async fn list(api: &dyn NodeApi) -> Result<v1::ListTokensResponse, Status> {
    let snapshot = Snapshot::take_counts(api).await?;
    let mut tokens = good(&snapshot.view, snapshot.now.cluster);
    tokens.sort_by_key(|token| token.expires_ms);
    Ok(v1::ListTokensResponse { state: Some(snapshot.state()), tokens })
}

/// Executes `token revoke`.
pub(super) async fn revoke(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::RevokeTokenRequest,
) -> Result<v1::RevokeTokenResponse, Status> {
    let view = api.view();
    let wanted = request.id.to_ascii_lowercase();
    let mut found =
        view.tokens().iter().filter(|(hash, _)| !wanted.is_empty() && hex(hash).starts_with(&wanted));
    let (hash, expires) = match (found.next(), found.next()) {
        (Some((hash, expires)), None) => (hash.clone(), *expires),
        (None, _) => {
            return Err(Status::not_found(format!(
                "no token has the id `{}`: `bannkreis token list` shows those that count",
                request.id.escape_debug()
            )));
        }
        (Some(_), Some(_)) => {
            return Err(Status::invalid_argument(format!(
                "more than one token begins with `{wanted}`: give more of its digits"
            )));
        }
    };
    let (outcome, why) = put(api, peer, hash.clone(), Timestamp::ZERO).await?;
    let after = Snapshot::take_counts(api).await?;
    Ok(v1::RevokeTokenResponse {
        state: Some(after.state()),
        status: Some(status(&hash, expires)),
        outcome: outcome.into(),
        why,
    })
}

/// Done, or unknown and why. What surely was not done is an error.
async fn put(
    api: &dyn NodeApi,
    peer: &Peer,
    hash: Vec<u8>,
    expires: Timestamp,
) -> Result<(v1::CommandOutcome, String), Status> {
    let operator = Operator {
        command_id: CommandId(super::commands::new_id()?),
        node: peer.node_id,
        author: peer.author.clone(),
        reason: String::new(),
    };
    let op = Op::Token { operator, hash, expires };
    let (settled, _) = commit(api, &[op], Instant::now() + WAIT).await;
    match settled.into_iter().next() {
        Some(Settled::Done { .. }) => Ok((v1::CommandOutcome::Done, String::new())),
        Some(Settled::Refused { why } | Settled::NotNow { why }) => Err(Status::failed_precondition(why)),
        Some(Settled::Unknown { why }) => Ok((v1::CommandOutcome::Unknown, why)),
        None => Err(Status::internal("no outcome")),
    }
}

fn good(view: &BanList, now: Timestamp) -> Vec<v1::TokenStatus> {
    let tokens = view.tokens().iter().filter(|(_, end)| **end > now);
    tokens.map(|(hash, end)| status(hash, *end)).collect()
}

fn status(hash: &[u8], expires: Timestamp) -> v1::TokenStatus {
    v1::TokenStatus { id: hex(hash), expires_ms: expires.0 }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
