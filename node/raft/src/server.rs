//! The receiving side: the tonic service `bannkreis.v1.Raft`.
//!
//! Every call is checked against cluster, generation and node before it is looked at, decoding is
//! bounded, and whatever a peer sends ends in an answer or a status, never in a panic.
//!
//! Not for who the peer is (the daemon says that) nor for ports.

use crate::beside;
use crate::handle::Inner;
use crate::level::Halt;
use crate::membership::{self, JoinError};
use crate::network::{AppendAnswer, CHUNK_BYTES, to_message};
use crate::orders;
use crate::peer::KeyFingerprint;
use crate::proposer::{ENTRY_BYTES_MAX, LocalError, ProposeError, Proposed, REQUEST_OPS_MAX};
use crate::snapshot::{self, Received, SnapshotFile, TooHigh};
use crate::types::{SnapshotMeta, TypeConfig, Vote, decode};
use bannkreis_core::command::Op;
use bannkreis_core::ids::NodeId;
use bannkreis_proto::convert::{EncodedOp, decode_encoded_ops, encode_results};
use bannkreis_proto::v1;
use bannkreis_proto::v1::raft_server::Raft as RaftRpc;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, VoteRequest};
use std::io::Write;
use std::sync::{Arc, OnceLock};
use tonic::{Request, Response, Status, Streaming};

/// A snapshot longer than this is not taken in, in bytes: four million bans are a quarter of it.
const SNAPSHOT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The service, to be added to the daemon's server by `RaftNode::service`.
#[derive(Clone)]
pub struct RaftService {
    pub(crate) inner: Arc<Inner>,
}

type Answer = Result<Response<v1::RaftMessage>, Status>;

fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn answer<T: serde::Serialize>(value: &T) -> Answer {
    to_message(value).map(Response::new).map_err(failed)
}

/// Who candidates for, or leads in, this vote must be who sends it.
fn check_sender(vote: &Vote, caller: NodeId) -> Result<(), Status> {
    if vote.leader_id.node_id != caller.0 {
        let claimed = NodeId(vote.leader_id.node_id);
        return Err(Status::permission_denied(format!("{caller} speaks in the name of {claimed}")));
    }
    Ok(())
}

impl RaftService {
    fn check<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        // openraft would write a line into the log for each call.
        if let Some(why) = self.inner.failure() {
            return Err(Status::unavailable(format!("this node takes no part: {why}")));
        }
        self.inner.peers.sender().check(request)
    }

    /// A snapshot that this release can not read: what it replaces counts on, and nothing newer.
    fn halt(&self, too_high: TooHigh, index: u64) -> Status {
        let what = format!("the leader's snapshot {}.{index}", self.inner.identity.generation);
        self.inner.halted.set(Halt { what, level: Some(too_high.found), why: too_high.to_string() });
        Status::failed_precondition(format!("the snapshot is not taken in: {too_high}"))
    }
}

#[tonic::async_trait]
impl RaftRpc for RaftService {
    async fn vote(&self, request: Request<v1::RaftMessage>) -> Answer {
        let caller = self.check(&request)?;
        let vote: VoteRequest<TypeConfig> = decode(&request.get_ref().data).map_err(malformed)?;
        check_sender(&vote.vote, caller)?;
        answer(&self.inner.raft.vote(vote).await.map_err(failed)?)
    }

    async fn pre_vote(&self, request: Request<v1::RaftMessage>) -> Answer {
        let caller = self.check(&request)?;
        let vote: VoteRequest<TypeConfig> = decode(&request.get_ref().data).map_err(malformed)?;
        check_sender(&vote.vote, caller)?;
        answer(&self.inner.raft.pre_vote(vote).await.map_err(failed)?)
    }

    async fn append(&self, request: Request<v1::RaftMessage>) -> Answer {
        let caller = self.check(&request)?;
        let append: AppendEntriesRequest<TypeConfig> = decode(&request.get_ref().data).map_err(malformed)?;
        check_sender(&append.vote, caller)?;
        if !append.entries.is_empty() {
            self.inner.room.check()?;
        }
        let appended = self.inner.raft.append_entries(append).await.map_err(failed)?;
        if appended.is_success() {
            self.inner.liveness.heard_leader();
        }
        answer(&appended)
    }

    type StreamAppendStream = BoxStream<'static, Result<v1::RaftMessage, Status>>;

    async fn stream_append(
        &self,
        request: Request<Streaming<v1::RaftMessage>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let caller = self.check(&request)?;
        let refused = Arc::new(OnceLock::new());
        let (room, refusal) = (self.inner.room.clone(), refused.clone());
        // The first message that can not be read, or that there is no room for, ends the stream; the leader opens another
        // one. Heartbeats come on streams of their own.
        let appends = futures::stream::unfold(request.into_inner(), move |mut messages| {
            let (room, refusal) = (room.clone(), refusal.clone());
            async move {
                let message = messages.message().await.ok().flatten()?;
                let append: AppendEntriesRequest<TypeConfig> = decode(&message.data).ok()?;
                check_sender(&append.vote, caller).ok()?;
                if !append.entries.is_empty()
                    && let Err(status) = room.check()
                {
                    refusal.get_or_init(|| status);
                    return None;
                }
                Some((append, messages))
            }
        });
        let liveness = self.inner.liveness.clone();
        let answers = self.inner.raft.stream_append(appends).map(move |appended| {
            let answer = match appended.map_err(failed)? {
                Ok(log_id) => {
                    liveness.heard_leader();
                    AppendAnswer::Matching(log_id)
                }
                Err(StreamAppendError::HigherVote(vote)) => AppendAnswer::HigherVote(vote),
                Err(StreamAppendError::Conflict(log_id)) => AppendAnswer::Conflict(log_id),
            };
            to_message(&answer).map_err(failed)
        });
        // An answer, so that the leader waits before it tries again.
        let last = futures::stream::once(async move { refused.get().cloned().map(Err) });
        let answers = answers.chain(last.filter_map(std::future::ready));
        Ok(Response::new(answers.boxed()))
    }

    async fn transfer_leader(&self, request: Request<v1::RaftMessage>) -> Answer {
        let caller = self.check(&request)?;
        let transfer: openraft::raft::TransferLeaderRequest<TypeConfig> =
            decode(&request.get_ref().data).map_err(malformed)?;
        check_sender(transfer.from_leader(), caller)?;
        // It could only hand over in its turn.
        self.inner.room.check()?;
        answer(&self.inner.raft.handle_transfer_leader(transfer).await.map_err(failed)?)
    }

    async fn snapshot(&self, request: Request<Streaming<v1::SnapshotPart>>) -> Answer {
        let caller = self.check(&request)?;
        let mut parts = request.into_inner();
        let Some(v1::snapshot_part::Part::Opening(opening)) = next_part(&mut parts).await? else {
            return Err(malformed("a snapshot begins with its opening"));
        };
        let (vote, meta): (Vote, SnapshotMeta) = decode(&opening.meta).map_err(malformed)?;
        check_sender(&vote, caller)?;
        if opening.size_bytes > SNAPSHOT_BYTES_MAX {
            let size = opening.size_bytes;
            return Err(malformed(format!("a snapshot of {size} bytes is over {SNAPSHOT_BYTES_MAX}")));
        }
        self.inner.room.check()?;
        let _turn = self.inner.receiving.acquire().await.map_err(failed)?;
        let (received, file) = Received::create(&self.inner.snapshots_dir).map_err(failed)?;
        let mut left = opening.size_bytes;
        let mut file = Arc::new(file);
        while let Some(part) = next_part(&mut parts).await? {
            let v1::snapshot_part::Part::Chunk(chunk) = part else {
                return Err(malformed("a snapshot has only one opening"));
            };
            if chunk.len() > CHUNK_BYTES || chunk.len() as u64 > left {
                return Err(malformed("a snapshot is longer than its opening says"));
            }
            if left == opening.size_bytes
                && let Some(too_high) = TooHigh::begins(&chunk, self.inner.release.level_max)
            {
                return Err(self.halt(too_high, meta.last_log_id.map_or(0, |last| last.index)));
            }
            left -= chunk.len() as u64;
            file = beside::run(move || (&*file).write_all(&chunk).map(|()| file))
                .await
                .map_err(failed)?
                .map_err(failed)?;
        }
        if left > 0 {
            return Err(Status::data_loss(format!("{left} bytes of the snapshot are missing")));
        }
        drop(file);
        let announced = meta.clone();
        let (generation, level_max) = (self.inner.identity.generation, self.inner.release.level_max);
        let file = beside::run(move || {
            let file = received.open()?;
            snapshot::verify(&file.file, &announced, generation, level_max).map(|()| file)
        });
        let file = file.await.map_err(failed)?.map_err(malformed)?;
        let snapshot = openraft::alias::SnapshotOf::<TypeConfig, SnapshotFile> { meta, snapshot: file };
        let installed = self.inner.raft.install_full_snapshot(vote, snapshot).await.map_err(failed)?;
        self.inner.liveness.heard_leader();
        answer(&installed.vote)
    }

    async fn propose(
        &self,
        request: Request<v1::RaftProposeRequest>,
    ) -> Result<Response<v1::RaftProposeResponse>, Status> {
        let caller = self.check(&request)?;
        let outcome = match read_ops(request.get_ref().ops.clone(), caller) {
            Err(why) => v1::raft_propose_response::Outcome::Refused(why),
            Ok(ops) => propose_outcome(self.inner.propose_here(ops).await, &self.inner),
        };
        Ok(Response::new(v1::RaftProposeResponse { outcome: Some(outcome) }))
    }

    async fn join_info(
        &self,
        _request: Request<v1::RaftJoinInfoRequest>,
    ) -> Result<Response<v1::RaftJoinInfoResponse>, Status> {
        Ok(Response::new(membership::info(&self.inner)))
    }

    async fn join(
        &self,
        request: Request<v1::RaftJoinRequest>,
    ) -> Result<Response<v1::RaftJoinResponse>, Status> {
        let key = request.extensions().get::<KeyFingerprint>().copied();
        if request.get_ref().forwarded {
            self.check(&request)?;
        } else {
            let caller = self.inner.peers.sender().check_applicant(&request)?;
            if request.get_ref().node != caller.0 {
                return Err(Status::permission_denied("a node may ask to join for itself only"));
            }
        }
        let mut request = request.into_inner();
        if !request.forwarded {
            request.key_fingerprint =
                key.map_or_else(Default::default, |KeyFingerprint(key)| key.to_vec().into());
        }
        let outcome = match membership::take_in_or_forward(&self.inner, request).await {
            Ok(joined) => v1::raft_join_response::Outcome::Joined(joined),
            Err(JoinError::Refused { why }) => v1::raft_join_response::Outcome::Refused(why),
            Err(error) => v1::raft_join_response::Outcome::NoLeader(error.to_string()),
        };
        Ok(Response::new(v1::RaftJoinResponse { outcome: Some(outcome) }))
    }

    async fn order(
        &self,
        request: Request<v1::RaftOrderRequest>,
    ) -> Result<Response<v1::RaftOrderResponse>, Status> {
        let caller = self.check(&request)?;
        Ok(Response::new(orders::answer(&self.inner, request.get_ref(), caller).await))
    }
}

async fn next_part(
    parts: &mut Streaming<v1::SnapshotPart>,
) -> Result<Option<v1::snapshot_part::Part>, Status> {
    match parts.message().await? {
        None => Ok(None),
        Some(v1::SnapshotPart { part: Some(part) }) => Ok(Some(part)),
        Some(v1::SnapshotPart { part: None }) => Err(malformed("an empty part of a snapshot")),
    }
}

/// A peer's operations: bounded, and only such as a node may bring in, about itself.
fn read_ops(encoded: Bytes, caller: NodeId) -> Result<Vec<EncodedOp>, String> {
    if encoded.len() > ENTRY_BYTES_MAX {
        return Err(format!("{} bytes of operations are over {ENTRY_BYTES_MAX}", encoded.len()));
    }
    let ops = decode_encoded_ops(encoded).map_err(|error| error.to_string())?;
    if ops.len() > REQUEST_OPS_MAX {
        return Err(format!("{} operations are over {REQUEST_OPS_MAX}", ops.len()));
    }
    for op in &ops {
        let origin = match op.op() {
            Op::Ban(proposal) => proposal.origin,
            Op::NodeSeen(record) => record.node,
            op => match op.operator() {
                Some(operator) => operator.node,
                None => return Err("only the leader itself may bring in this operation".to_string()),
            },
        };
        if origin != caller {
            return Err(format!("{caller} may not bring in an operation of {origin}"));
        }
    }
    Ok(ops)
}

fn propose_outcome(
    result: Result<Proposed, LocalError>,
    inner: &Inner,
) -> v1::raft_propose_response::Outcome {
    use v1::raft_propose_response::Outcome;
    match result {
        Ok(proposed) => Outcome::Proposed(v1::RaftProposed {
            generation: proposed.position.generation,
            index: proposed.position.index,
            results: encode_results(&proposed.results),
        }),
        Err(LocalError::NotLeader) => {
            let (leader, address) = inner.leader().unwrap_or_default();
            Outcome::NotLeader(v1::RaftNotLeader { leader: leader.0, address, why: String::new() })
        }
        Err(LocalError::Failed(ProposeError::NoLeader { why })) => {
            Outcome::NotLeader(v1::RaftNotLeader { why, ..v1::RaftNotLeader::default() })
        }
        Err(LocalError::Failed(ProposeError::Busy { why })) => Outcome::Busy(why),
        Err(LocalError::Failed(ProposeError::Refused { why })) => Outcome::Refused(why),
        Err(LocalError::Failed(ProposeError::Unknown { why })) => Outcome::Unknown(why),
    }
}
