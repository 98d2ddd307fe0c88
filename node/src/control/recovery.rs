//! `cluster backup`, `restore` and `recover`: files in pieces over the control socket, and what a new life of this
//! node means, told before it is begun.
//!
//! Not for what is in a backup, nor for how a new life begins: that is behind [`NodeApi`].

use super::answers::Snapshot;
use super::{NodeApi, service};
use bannkreis_core::ids::{ClusterId, Position};
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1;
use bannkreis_raft::BackupFacts;
use bytes::Bytes;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// A file goes in pieces of this size, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// A file longer than this is not taken in, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Pieces that wait for a slow reader.
const CHUNKS_WAITING_MAX: usize = 2;

/// What cluster time is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTime {
    /// This host's wall clock.
    Now,
    /// This.
    At(Timestamp),
}

/// What an operator asks for by `cluster recover`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoverWish {
    /// Do it, and not only say what it means.
    pub is_confirmed: bool,
    /// Also when a leader is heard.
    pub force: bool,
    /// Set the clock.
    pub new_time: Option<NewTime>,
}

/// What a node becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLife {
    /// Whether it was done.
    pub is_done: bool,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its generation.
    pub generation: u32,
    /// Where its state stands.
    pub position: Position,
    /// Live bans in it.
    pub n_bans: u64,
    /// What it means, one sentence each.
    pub consequences: Vec<String>,
}

pub(super) type BackupStream = ReceiverStream<Result<v1::BackupPart, Status>>;

/// Executes `cluster backup`.
pub(super) async fn backup(api: &dyn NodeApi, request: v1::BackupRequest) -> Result<BackupStream, Status> {
    let (facts, file) = api.back_up(request.with_keys).await.map_err(Status::failed_precondition)?;
    let snapshot = Snapshot::take_counts(api).await?;
    let size_bytes = file.metadata().map_err(|error| Status::internal(error.to_string()))?.len();
    let opening =
        v1::BackupOpening { state: Some(snapshot.state()), facts: Some(to_wire(facts)), size_bytes };
    let opening = v1::BackupPart { part: Some(v1::backup_part::Part::Opening(opening)) };
    let (parts, stream) = mpsc::channel(CHUNKS_WAITING_MAX);
    tokio::task::spawn_blocking(move || send(&file, size_bytes, opening, &parts));
    Ok(ReceiverStream::new(stream))
}

/// Until all is sent, or nobody takes it any more.
fn send(
    file: &File,
    size_bytes: u64,
    opening: v1::BackupPart,
    parts: &mpsc::Sender<Result<v1::BackupPart, Status>>,
) {
    let mut next = Ok(opening);
    let mut offset = 0;
    loop {
        let is_failed = next.is_err();
        if parts.blocking_send(next).is_err() || is_failed || offset >= size_bytes {
            return;
        }
        let left = usize::try_from(size_bytes - offset).unwrap_or(usize::MAX);
        let mut chunk = vec![0; left.min(CHUNK_BYTES)];
        next = match file.read_exact_at(&mut chunk, offset) {
            Ok(()) => {
                offset += chunk.len() as u64;
                Ok(v1::BackupPart { part: Some(v1::backup_part::Part::Chunk(Bytes::from(chunk))) })
            }
            Err(error) => Err(Status::internal(format!("the backup can not be read back: {error}"))),
        };
    }
}

/// Executes `cluster restore` and `cluster backup --check`.
pub(super) async fn restore(
    api: &dyn NodeApi,
    mut parts: Streaming<v1::RestorePart>,
) -> Result<v1::RestoreResponse, Status> {
    let Some(v1::restore_part::Part::Opening(opening)) = next_part(&mut parts).await? else {
        return Err(Status::invalid_argument("a backup begins with its opening"));
    };
    if opening.size_bytes > FILE_BYTES_MAX {
        let size = opening.size_bytes;
        return Err(Status::invalid_argument(format!("a backup of {size} bytes is over {FILE_BYTES_MAX}")));
    }
    let file = receive(api, &mut parts, opening.size_bytes).await?;
    let (facts, life) = match opening.step() {
        v1::RestoreStep::Check => (api.check_backup(file).await.map_err(Status::failed_precondition)?, None),
        v1::RestoreStep::Plan | v1::RestoreStep::Do => {
            let is_confirmed = opening.step() == v1::RestoreStep::Do;
            let done = api.restore(file, is_confirmed).await.map_err(Status::failed_precondition)?;
            (done.0, Some(life(done.1)))
        }
        v1::RestoreStep::Unspecified => {
            return Err(Status::invalid_argument("the request does not say what to do with the backup"));
        }
    };
    let snapshot = Snapshot::take_counts(api).await?;
    Ok(v1::RestoreResponse { state: Some(snapshot.state()), facts: Some(to_wire(facts)), life })
}

async fn receive(
    api: &dyn NodeApi,
    parts: &mut Streaming<v1::RestorePart>,
    size_bytes: u64,
) -> Result<File, Status> {
    let mut file = api.spool().map_err(Status::failed_precondition)?;
    let mut left = size_bytes;
    while let Some(part) = next_part(parts).await? {
        let v1::restore_part::Part::Chunk(chunk) = part else {
            return Err(Status::invalid_argument("a backup has only one opening"));
        };
        left = left
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| Status::invalid_argument("a backup is longer than its opening says"))?;
        file = service::on_worker(move || file.write_all(&chunk).map(|()| file)).await?.map_err(|error| {
            Status::failed_precondition(format!("the backup can not be stored for checking: {error}"))
        })?;
    }
    if left > 0 {
        return Err(Status::invalid_argument(format!("{left} bytes of the backup are missing")));
    }
    Ok(file)
}

async fn next_part(parts: &mut Streaming<v1::RestorePart>) -> Result<Option<v1::restore_part::Part>, Status> {
    match parts.message().await? {
        None => Ok(None),
        Some(v1::RestorePart { part: Some(part) }) => Ok(Some(part)),
        Some(v1::RestorePart { part: None }) => Err(Status::invalid_argument("an empty part of a backup")),
    }
}

/// Executes `cluster recover`.
pub(super) async fn recover(
    api: &dyn NodeApi,
    request: v1::RecoverRequest,
) -> Result<v1::RecoverResponse, Status> {
    let wish = RecoverWish {
        is_confirmed: request.confirmed,
        force: request.force,
        new_time: request.new_time.map(|time| match time {
            v1::recover_request::NewTime::Now(_) => NewTime::Now,
            v1::recover_request::NewTime::AtMs(ms) => NewTime::At(Timestamp(ms)),
        }),
    };
    let done = api.recover(wish).await.map_err(Status::failed_precondition)?;
    let snapshot = Snapshot::take_counts(api).await?;
    Ok(v1::RecoverResponse { state: Some(snapshot.state()), life: Some(life(done)) })
}

fn life(life: NewLife) -> v1::NewLife {
    v1::NewLife {
        is_done: life.is_done,
        cluster_id: life.cluster.to_string(),
        generation: life.generation,
        position: life.position.to_string(),
        n_bans: life.n_bans,
        consequences: life.consequences,
    }
}

fn to_wire(facts: BackupFacts) -> v1::BackupFacts {
    v1::BackupFacts {
        cluster_id: facts.cluster.to_string(),
        generation: facts.position.generation,
        position: facts.position.to_string(),
        now_ms: facts.now.0,
        level: facts.level,
        n_bans: facts.n_bans,
        n_allow: facts.n_allow,
        members: facts.members,
        has_keys: facts.has_keys,
    }
}
