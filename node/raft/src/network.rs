//! openraft's network: calls to peers over tonic.
//!
//! Connections are made by the daemon's [`Connect`], kept per peer and shared by replication,
//! heartbeats, votes and proposals (HTTP/2 keeps them apart); only snapshots have their own. Whatever
//! fails is `Unreachable`, so openraft waits before it tries again, and so does a stream that is not opened.
//!
//! Not for what is received: that is `server.rs`.

use crate::beside;
use crate::peer::{Connect, ConnectError, Sender};
use crate::snapshot::SnapshotFile;
use crate::types::{Member, TypeConfig, Vote, decode, encode};
use bannkreis_core::ids::NodeId;
use bannkreis_proto::v1;
use bannkreis_proto::v1::raft_client::RaftClient;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, Stream};
use openraft::OptionalSend;
use openraft::base::BoxFuture;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// A message between nodes is at most this long; an answer or a call beyond it is refused.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A snapshot goes in pieces of this size, in bytes.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// A connection that is not there after this long is given up until the next try.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// After a stream to a peer could not be opened, the next attempt waits so long: openraft's own pause does not
/// count before the stream is there, and a host that is up without its daemon refuses thousands of times a second.
const OPEN_PAUSE: Duration = Duration::from_millis(200);
/// A peer that has taken in a whole snapshot must answer within this time: it reads and syncs it.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(60);

type RpcError = RPCError<TypeConfig>;
type Client = RaftClient<Channel>;

/// What a follower answers to one pipelined append, on the wire.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) enum AppendAnswer {
    /// Everything up to here is there.
    Matching(Option<crate::types::LogId>),
    /// It has seen a higher vote.
    HigherVote(Vote),
    /// What precedes the entries is not there.
    Conflict(crate::types::LogId),
}

/// The connections to peers.
pub(crate) struct Peers {
    connect: Arc<dyn Connect>,
    sender: Sender,
    /// A request that makes no progress for so long has failed.
    stall_max: Duration,
    channels: Mutex<BTreeMap<(NodeId, String), Channel>>,
    /// Where members are reached now: openraft does not tell a link that its peer has moved.
    addresses: Mutex<BTreeMap<NodeId, String>>,
}

impl Peers {
    pub(crate) fn new(connect: Arc<dyn Connect>, sender: Sender, stall_max: Duration) -> Arc<Peers> {
        let (channels, addresses) = (Mutex::default(), Mutex::default());
        Arc::new(Peers { connect, sender, stall_max, channels, addresses })
    }

    /// Tells where the members are reached now.
    pub(crate) fn set_addresses(&self, members: impl Iterator<Item = (NodeId, String)>) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = members.collect();
    }

    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// A client on the shared connection to this node, which is made when there is none.
    pub(crate) async fn client(&self, node: NodeId, address: &str) -> Result<Client, ConnectError> {
        let key = (node, address.to_string());
        let known = self.channels.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let channel = self.channel(address, Some(node)).await?;
                let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
                // A node has one address: connections to its former ones are of no use.
                channels.retain(|(other, _), _| *other != node);
                channels.insert(key, channel.clone());
                channel
            }
        };
        Ok(client(channel))
    }

    /// A client on a connection of its own.
    pub(crate) async fn new_client(
        &self,
        address: &str,
        expect: Option<NodeId>,
    ) -> Result<Client, ConnectError> {
        self.channel(address, expect).await.map(client)
    }

    async fn channel(&self, address: &str, expect: Option<NodeId>) -> Result<Channel, ConnectError> {
        connect(self.connect.as_ref(), address, expect).await
    }
}

/// A connection within [`CONNECT_TIMEOUT`].
pub(crate) async fn connect(
    by: &dyn Connect,
    address: &str,
    expect: Option<NodeId>,
) -> Result<Channel, ConnectError> {
    tokio::time::timeout(CONNECT_TIMEOUT, by.connect(address, expect)).await.unwrap_or_else(|_| {
        let why = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
        Err(ConnectError { address: address.to_string(), why })
    })
}

/// A client that accepts no more than the bound.
pub(crate) fn client(channel: Channel) -> Client {
    RaftClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// openraft's way to a [`Link`].
pub(crate) struct Network {
    pub(crate) peers: Arc<Peers>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, member: &Member) -> Link {
        Link { peers: self.peers.clone(), node: NodeId(target), address: member.address.clone() }
    }
}

/// One peer, as openraft calls it.
pub(crate) struct Link {
    peers: Arc<Peers>,
    node: NodeId,
    /// Where it was when the link was made.
    address: String,
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

fn stalled(what: &str) -> RpcError {
    RPCError::Unreachable(Unreachable::from_string(what))
}

pub(crate) fn to_message<T: Serialize>(value: &T) -> io::Result<v1::RaftMessage> {
    Ok(v1::RaftMessage { data: Bytes::from(encode(value)?) })
}

impl Link {
    /// Where the peer is reached now.
    fn address(&self) -> String {
        let addresses = self.peers.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.get(&self.node).unwrap_or(&self.address).clone()
    }

    /// A client on the connection that all but snapshots share.
    async fn client(&self) -> Result<Client, RpcError> {
        self.peers.client(self.node, &self.address()).await.map_err(|error| unreachable(&error))
    }

    /// One request, one answer, within openraft's time for it.
    async fn call<Q, A, F>(
        &self,
        question: &Q,
        option: &RPCOption,
        rpc: impl FnOnce(Client, Request<v1::RaftMessage>) -> F,
    ) -> Result<A, RpcError>
    where
        Q: Serialize,
        A: DeserializeOwned,
        F: Future<Output = Result<Response<v1::RaftMessage>, Status>>,
    {
        let message = to_message(question).map_err(|error| unreachable(&error))?;
        let asked = async {
            let client = self.client().await?;
            let request = self.peers.sender.sign(message, Some(self.node));
            rpc(client, request).await.map_err(|status| unreachable(&status))
        };
        let answer = tokio::time::timeout(option.soft_ttl(), asked)
            .await
            .unwrap_or_else(|_| Err(stalled("no answer in time")))?;
        decode(&answer.into_inner().data).map_err(|error| unreachable(&error))
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<TypeConfig>, RpcError> {
        let meta = encode(&(vote, &snapshot.meta)).map_err(|error| unreachable(&error))?;
        let opening =
            v1::SnapshotOpening { meta: Bytes::from(meta), size_bytes: snapshot.snapshot.size_bytes };
        let opening = v1::SnapshotPart { part: Some(v1::snapshot_part::Part::Opening(opening)) };
        let (parts, sent) = tokio::sync::mpsc::channel(2);
        let sent =
            futures::stream::unfold(sent, |mut sent| async { sent.recv().await.map(|part| (part, sent)) });
        // Snapshots have a connection of their own: they must not hold up heartbeats.
        let mut client = self
            .peers
            .new_client(&self.address(), Some(self.node))
            .await
            .map_err(|error| unreachable(&error))?;
        let answer = client.snapshot(self.peers.sender.sign(sent, Some(self.node)));
        let sending = async {
            let mut next = Some(opening);
            let mut offset = 0;
            while let Some(part) = next {
                match tokio::time::timeout(INSTALL_TIMEOUT, parts.send(part)).await {
                    Err(_) => return Err(stalled("the peer takes in no more of the snapshot")),
                    // The receiver has ended the call: its answer says why.
                    Ok(Err(_)) => break,
                    Ok(Ok(())) => {}
                }
                let chunk = read_chunk(snapshot.snapshot.clone(), offset).await;
                let chunk = chunk.map_err(|error| unreachable(&error))?;
                offset += chunk.len() as u64;
                let part = v1::SnapshotPart { part: Some(v1::snapshot_part::Part::Chunk(chunk.clone())) };
                next = (!chunk.is_empty()).then_some(part);
            }
            drop(parts);
            Ok(())
        };
        // The answer must be polled while the parts are sent; it counts from the last part on.
        let answer = answer.fuse();
        let sending = sending.fuse();
        futures::pin_mut!(answer, sending);
        let early = futures::select! {
            result = sending => { result?; None }
            answered = answer => Some(answered),
        };
        let answered = match early {
            Some(answered) => answered,
            None => tokio::time::timeout(INSTALL_TIMEOUT, answer)
                .await
                .map_err(|_| stalled("the peer does not say whether it has installed the snapshot"))?,
        };
        let answered = answered.map_err(|status| unreachable(&status))?;
        let vote = decode(&answered.into_inner().data).map_err(|error| unreachable(&error))?;
        Ok(SnapshotResponse { vote })
    }
}

/// The next piece of the file; empty at its end.
async fn read_chunk(snapshot: SnapshotFile, offset: u64) -> io::Result<Bytes> {
    beside::run(move || {
        let left = usize::try_from(snapshot.size_bytes - offset).unwrap_or(usize::MAX);
        let mut chunk = vec![0; left.min(CHUNK_BYTES)];
        snapshot.file.read_exact_at(&mut chunk, offset)?;
        Ok(Bytes::from(chunk))
    })
    .await?
}

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;
type AppendResult = Result<StreamAppendResult<TypeConfig>, RpcError>;

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        self.call(&request, &option, |mut client, request| async move { client.append(request).await }).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendResult>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let n_sent = Arc::new(AtomicU64::new(0));
            let counter = n_sent.clone();
            // What can not be encoded ends the stream: the missing answer then ends the session.
            let messages = requests
                .map(|request| to_message(&request))
                .take_while(|message| std::future::ready(message.is_ok()));
            let messages =
                messages.filter_map(|message| std::future::ready(message.ok())).inspect(move |_| {
                    counter.fetch_add(1, Ordering::Relaxed);
                });
            let patience = option.soft_ttl().max(self.peers.stall_max);
            let opened = async {
                let mut client = self.client().await?;
                let request = self.peers.sender.sign(messages, Some(self.node));
                client.stream_append(request).await.map_err(|status| unreachable(&status))
            };
            let opened = tokio::time::timeout(patience, opened).await;
            let answers =
                match opened.unwrap_or_else(|_| Err(stalled("the append stream is not opened in time"))) {
                    Ok(answers) => answers.into_inner(),
                    Err(error) => {
                        tokio::time::sleep(OPEN_PAUSE).await;
                        return Err(error);
                    }
                };
            let answers = Answers { answers, n_sent, n_answered: 0, patience };
            let stream = futures::stream::unfold(Some(answers), |answers| async {
                let mut answers = answers?;
                match answers.next().await? {
                    Ok(result) => Some((Ok(result), Some(answers))),
                    Err(error) => Some((Err(error), None)),
                }
            });
            Ok(stream.boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.call(&request, &option, |mut client, request| async move { client.vote(request).await }).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.call(&request, &option, |mut client, request| async move { client.pre_vote(request).await })
            .await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        self.call(
            &request,
            &option,
            |mut client, request| async move { client.transfer_leader(request).await },
        )
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sent = self.send_snapshot(vote, snapshot).fuse();
        let cancel = cancel.fuse();
        futures::pin_mut!(sent, cancel);
        futures::select! {
            sent = sent => sent.map_err(StreamingError::from),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }
}

/// The answers on an append stream. One that does not come though its request went out long ago ends the
/// stream: a peer that hangs must not hold replication up for ever.
struct Answers {
    answers: Streaming<v1::RaftMessage>,
    n_sent: Arc<AtomicU64>,
    n_answered: u64,
    patience: Duration,
}

impl Answers {
    async fn next(&mut self) -> Option<AppendResult> {
        let mut n_sent_before = None;
        loop {
            match tokio::time::timeout(self.patience, self.answers.message()).await {
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(message))) => {
                    self.n_answered += 1;
                    return Some(read_answer(&message).map_err(|error| unreachable(&error)));
                }
                Ok(Err(status)) => return Some(Err(unreachable(&status))),
                Err(_) if n_sent_before.is_some_and(|n_sent| n_sent > self.n_answered) => {
                    return Some(Err(stalled("appended entries are not answered")));
                }
                // Nothing may have been asked; look again.
                Err(_) => n_sent_before = Some(self.n_sent.load(Ordering::Relaxed)),
            }
        }
    }
}

fn read_answer(message: &v1::RaftMessage) -> io::Result<StreamAppendResult<TypeConfig>> {
    Ok(match decode(&message.data)? {
        AppendAnswer::Matching(log_id) => Ok(log_id),
        AppendAnswer::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
        AppendAnswer::Conflict(log_id) => Err(StreamAppendError::Conflict(log_id)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, Stage};
    use bannkreis_core::ids::ClusterId;
    use std::time::Instant;

    /// Nobody is there.
    struct Refusing;

    #[tonic::async_trait]
    impl Connect for Refusing {
        async fn connect(&self, address: &str, _expect: Option<NodeId>) -> Result<Channel, ConnectError> {
            Err(ConnectError { address: address.to_string(), why: "connection refused".to_string() })
        }
    }

    #[tokio::test]
    async fn a_stream_that_can_not_be_opened_is_not_opened_again_at_once() {
        let (cluster, stage) = (ClusterId([7; 16]), Stage::Member);
        let sender = Sender::new(&Identity { cluster, generation: 1, node: NodeId(1), stage });
        let peers = Peers::new(Arc::new(Refusing), sender, Duration::from_secs(1));
        let mut link = Link { peers, node: NodeId(2), address: "mx1:7420".to_string() };
        let began = Instant::now();
        let option = RPCOption::new(Duration::from_secs(1));
        assert!(link.stream_append(futures::stream::empty(), option).await.is_err());
        assert!(began.elapsed() >= OPEN_PAUSE);
    }
}
