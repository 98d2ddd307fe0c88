//! A solo node joins a cluster: its store is put aside, it takes a new identity, and when it is a member it
//! asks the cluster to take over its bans, allow entries and history. Its firewall is not touched on the way.
//!
//! Every step leaves the directory in a state that the next start can go on from: see [`finish`].

use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::command::Op;
use bannkreis_core::event::OutboxEntry;
use bannkreis_core::ids::{CommandId, Operator, Position};
use bannkreis_core::settings::Settings;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::convert::{decode_record, encode_record};
use bannkreis_raft::{Identity, JoinError, JoinInfo, ProposeError, RaftNode, import_ops};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

/// The ban list of the solo life, as length-prefixed records.
const IMPORT_FILE: &str = "join-import";
/// Where the cluster was asked to take this node in: `host:port`.
const TARGET_FILE: &str = "join-target";
/// What a solo node puts aside.
const SOLO_FILES: [&str; 3] = ["identity", "raft", "snapshots"];
/// Pause before an unanswered question to the cluster is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Puts the solo store aside and prepares the directory for the first start as a member of `info`'s
/// cluster. The Raft log must be closed.
///
/// # Errors
/// A sentence that names the file.
pub fn prepare(state_dir: &Path, view: &BanView, info: &JoinInfo, target: &str) -> Result<(), String> {
    let failed = |what: &str, error: &io::Error| format!("{}: {error}", state_dir.join(what).display());
    write_import(state_dir, view).map_err(|error| failed(IMPORT_FILE, &error))?;
    write_synced(state_dir, TARGET_FILE, target.as_bytes()).map_err(|error| failed(TARGET_FILE, &error))?;
    let archive = format!("solo-{}", view.position().index);
    let archive_dir = state_dir.join(&archive);
    fs::create_dir_all(&archive_dir).map_err(|error| failed(&archive, &error))?;
    for name in SOLO_FILES {
        match fs::rename(state_dir.join(name), archive_dir.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(name, &error)),
        }
    }
    let identity =
        Identity::for_joining(info.cluster, info.generation).map_err(|error| failed("identity", &error))?;
    identity.write(state_dir).map_err(|error| error.to_string())
}

/// What the outbox was based on in another cluster says nothing in this one: entries kept from a solo life
/// count as based on nothing, so that times decide.
pub fn rebase_kept(state_dir: &Path, outbox: &mut [OutboxEntry]) {
    if state_dir.join(TARGET_FILE).exists() {
        for entry in outbox {
            entry.basis = Position::default();
        }
    }
}

/// The cluster that a start must ask to be taken into, if a join is open.
#[must_use]
pub fn target(state_dir: &Path) -> Option<String> {
    fs::read_to_string(state_dir.join(TARGET_FILE)).ok().map(|text| text.trim().to_owned())
}

/// Asks the cluster to take this node in, if a join is open, until it has.
///
/// # Errors
/// A sentence, when the cluster refuses.
pub async fn ask(raft: &RaftNode, state_dir: &Path) -> Result<(), String> {
    let Some(target) = target(state_dir) else { return Ok(()) };
    while !raft.status().is_member {
        match raft.request_join(&target).await {
            Ok(()) => {}
            Err(JoinError::Refused { why }) => {
                return Err(format!("{target} does not take this node in: {why}"));
            }
            Err(error) => tracing::debug!("{target}: {error}"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Ok(())
}

/// Hands over what the solo life held, if a join is open; returns when the cluster has it.
///
/// # Errors
/// A sentence, when it is refused or can not be read: then it stays in its file.
pub async fn finish(raft: &RaftNode, state_dir: &Path, wall: Timestamp) -> Result<(), String> {
    let Some(target) = target(state_dir) else { return Ok(()) };
    if let Some(bans) = read_import(state_dir).map_err(|error| format!("{IMPORT_FILE}: {error}"))? {
        let operator = Operator {
            // The same for every attempt of this node, so that a lost answer does no harm.
            command_id: CommandId(u128::from(raft.node_id().0) << 64),
            node: raft.node_id(),
            author: "join".to_owned(),
            reason: format!("taken over when this node joined by {target}"),
        };
        for op in import_ops(&bans, &operator) {
            propose_until_answered(raft, op).await?;
        }
        tracing::info!(bans = bans.n_bans(), at = %wall, "the cluster has taken over this node's bans");
    }
    for name in [IMPORT_FILE, TARGET_FILE] {
        match fs::remove_file(state_dir.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", state_dir.join(name).display())),
        }
    }
    Ok(())
}

/// Asks until there is an answer: the operation has an id, so asking twice does it once.
async fn propose_until_answered(raft: &RaftNode, op: Op) -> Result<(), String> {
    loop {
        match raft.propose(vec![op.clone()]).await {
            Ok(_) => return Ok(()),
            Err(ProposeError::Refused { why }) => {
                return Err(format!("the cluster does not take over this node's bans: {why}"));
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

fn write_import(state_dir: &Path, view: &BanView) -> io::Result<()> {
    let mut bytes = Vec::new();
    for record in view.records() {
        let record = encode_record(&record);
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&record);
    }
    write_synced(state_dir, IMPORT_FILE, &bytes)
}

fn read_import(state_dir: &Path) -> io::Result<Option<BanView>> {
    let mut file = match File::open(state_dir.join(IMPORT_FILE)) {
        Ok(file) => io::BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bans = BanList::new(Settings::at_birth([0; 16]));
    let mut length = [0; 4];
    loop {
        match file.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(bans.view())),
            Err(error) => return Err(error),
        }
        let mut record = Vec::new();
        let n_bytes = u64::from(u32::from_be_bytes(length));
        (&mut file).take(n_bytes).read_to_end(&mut record)?;
        bans.restore(decode_record(&record).map_err(io::Error::other)?);
    }
}

/// Writes a file so that after a power cut there is the old one or the new one.
fn write_synced(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}
