//! Connections to peers without TLS: for loopback and for networks that nobody else is on.

use bannkreis_core::ids::NodeId;
use bannkreis_raft::{Connect, ConnectError};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// A peer that does not answer within this time is tried again later.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An idle connection is asked this often whether it is still there, so that a dead peer is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// And given this long to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Connects without TLS; the peer's identity is only claimed.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainConnect;

#[tonic::async_trait]
impl Connect for PlainConnect {
    async fn connect(&self, address: &str, _expect: Option<NodeId>) -> Result<Channel, ConnectError> {
        let channel = endpoint(address)?.connect().await;
        channel.map_err(|error| ConnectError { address: address.to_owned(), why: root_cause(&error) })
    }
}

/// How every connection to a peer behaves, with TLS or without.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, ConnectError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| ConnectError { address: address.to_owned(), why: "it is no host:port".to_owned() })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// The innermost reason: what the operating system says.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
