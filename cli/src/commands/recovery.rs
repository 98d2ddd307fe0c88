//! `cluster backup`, `cluster restore` and `cluster recover`.

use super::state_of;
use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::text::{Style, Tone, counted, listed, shown};
use bannkreis_proto::v1::backup_part::Part as BackupPiece;
use bannkreis_proto::v1::recover_request::NewTime;
use bannkreis_proto::v1::restore_part::Part as RestorePiece;
use bannkreis_proto::v1::{
    BackupFacts, BackupOpening, BackupRequest, NewLife, RecoverRequest, RecoverResponse, RestoreOpening,
    RestorePart, RestoreResponse, RestoreStep,
};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A node reads a backup to its end, ends one life and begins another before it answers.
const LIFE_TIMEOUT: Duration = Duration::from_secs(300);
/// A file goes in pieces of this size, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// Pieces that wait for a slow daemon.
const CHUNKS_WAITING_MAX: usize = 2;

fn refused(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Refused, message)
}

/// Has a backup made, and writes it to `file`, whole or not at all; `-` is standard output, and then what there is to
/// say goes to standard error.
///
/// # Errors
/// When there is no answer, it is refused, or the file can not be written.
pub async fn backup(
    client: &mut Client,
    file: &Path,
    with_keys: bool,
    style: &Style,
) -> Result<Shown, Failure> {
    let asked = client.backup(BackupRequest { with_keys });
    let mut parts =
        client::within(LIFE_TIMEOUT, asked).await.map_err(|status| client::read_failure(&status))?;
    let mut next = async || {
        let part = parts.message().await.map_err(|status| client::read_failure(&status))?;
        Ok::<_, Failure>(part.and_then(|part| part.part))
    };
    let Some(BackupPiece::Opening(opening)) = next().await? else {
        return Err(refused("bannkreisd does not say what it sends: are both of the same release?"));
    };
    let mut output = Output::open(file)?;
    let mut n_bytes = 0;
    while let Some(BackupPiece::Chunk(chunk)) = next().await? {
        n_bytes += chunk.len() as u64;
        output.write(&chunk)?;
    }
    if n_bytes != opening.size_bytes {
        let size = opening.size_bytes;
        return Err(refused(format!("the backup broke off after {n_bytes} of {size} bytes: ask again")));
    }
    output.finish()?;
    Ok(show_backup(&opening, file, style))
}

/// Where a backup goes.
enum Output {
    Standard(io::Stdout),
    /// The file under another name, until it is whole.
    File {
        file: File,
        unfinished: PathBuf,
        path: PathBuf,
    },
}

impl Output {
    fn open(path: &Path) -> Result<Output, Failure> {
        if path == Path::new("-") {
            return Ok(Output::Standard(io::stdout()));
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".tmp");
        let unfinished = PathBuf::from(unfinished);
        // What an interrupted one has left may be open to others.
        let _ = fs::remove_file(&unfinished);
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished);
        let file = file.map_err(|error| failed(&unfinished, &error))?;
        Ok(Output::File { file, unfinished, path: path.to_owned() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Output::Standard(out) => {
                out.write_all(bytes).map_err(|error| failed(Path::new("standard output"), &error))
            }
            Output::File { file, unfinished, .. } => {
                file.write_all(bytes).map_err(|error| failed(unfinished, &error))
            }
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        match &mut self {
            Output::Standard(out) => {
                out.flush().map_err(|error| failed(Path::new("standard output"), &error))
            }
            Output::File { file, unfinished, path } => {
                let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                let dir = parent.unwrap_or(Path::new("."));
                let finish = || {
                    file.sync_all()?;
                    fs::rename(&unfinished, &path)?;
                    File::open(dir)?.sync_all()
                };
                finish().map_err(|error: io::Error| failed(path, &error))
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Output::File { unfinished, .. } = self {
            // Renamed when it was finished; then there is nothing to remove.
            let _ = fs::remove_file(unfinished);
        }
    }
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    refused(format!("{}: {error}; nothing was kept, name a file that can be written", path.display()))
}

/// Sends a backup to the node: to check it, to hear what a restore would mean, or to do that.
///
/// # Errors
/// When the file can not be read, there is no answer, or it is refused.
pub async fn send(
    client: &mut Client,
    path: &Path,
    step: RestoreStep,
    style: &Style,
) -> Result<Shown, Failure> {
    let unreadable =
        |error: io::Error| refused(format!("{}: {error}; name a file that can be read", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    let (parts, stream) = mpsc::channel(CHUNKS_WAITING_MAX);
    let feeding = tokio::task::spawn_blocking(move || feed(file, size_bytes, step, &parts));
    let answer = client::within(LIFE_TIMEOUT, client.restore(ReceiverStream::new(stream))).await;
    let fed = feeding.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    match (answer, fed) {
        (Ok(answer), _) => Ok(show_restore(&answer, path, style)),
        (Err(_), Err(error)) => Err(unreadable(error)),
        (Err(status), Ok(())) => Err(client::read_failure(&status)),
    }
}

/// Until all is sent, or nobody takes it any more.
fn feed(
    mut file: File,
    size_bytes: u64,
    step: RestoreStep,
    parts: &mpsc::Sender<RestorePart>,
) -> io::Result<()> {
    let opening = RestoreOpening { size_bytes, step: step.into() };
    let mut next = RestorePart { part: Some(RestorePiece::Opening(opening)) };
    let mut left = size_bytes;
    while parts.blocking_send(next).is_ok() && left > 0 {
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES)];
        file.read_exact(&mut chunk)?;
        left -= chunk.len() as u64;
        next = RestorePart { part: Some(RestorePiece::Chunk(Bytes::from(chunk))) };
    }
    Ok(())
}

/// Has the node go on alone, or say what that would mean.
///
/// # Errors
/// When there is no answer, it is refused, or `now` is no time.
pub async fn recover(
    client: &mut Client,
    is_confirmed: bool,
    force: bool,
    now: Option<&str>,
    style: &Style,
) -> Result<Shown, Failure> {
    let new_time = now.map(|text| new_time(text, style)).transpose()?;
    let request = RecoverRequest { confirmed: is_confirmed, force, new_time };
    let answer = client::within(LIFE_TIMEOUT, client.recover(request)).await;
    let answer = answer.map_err(|status| client::read_failure(&status))?;
    let again =
        [if force { " --force" } else { "" }, &now.map_or(String::new(), |now| format!(" --now {now}"))]
            .concat();
    Ok(show_recover(&answer, &again, style))
}

/// `now`, or a time, in this machine's zone when it names none.
fn new_time(text: &str, style: &Style) -> Result<NewTime, Failure> {
    if text == "now" {
        return Ok(NewTime::Now(true));
    }
    let instant: Option<Timestamp> = text.parse().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        local.to_zoned(style.zone.clone()).ok().map(|zoned| zoned.timestamp())
    });
    let ms = instant.and_then(|instant| u64::try_from(instant.as_millisecond()).ok());
    ms.map(NewTime::AtMs).ok_or_else(|| {
        let message = format!("--now: `{}` is no time; write now, or e.g. 2026-03-01T12:00", shown(text));
        Failure::new(Exit::Usage, message)
    })
}

/// Shows what was written.
#[must_use]
pub fn show_backup(opening: &BackupOpening, file: &Path, style: &Style) -> Shown {
    let state = state_of(opening.state.as_ref());
    let facts = opening.facts.clone().unwrap_or_default();
    let mut text = state::lines(&state, style);
    text.push_str(&facts_text(&facts, style));
    style.push_line(
        &mut text,
        Tone::Good,
        0,
        &format!("written to {}: {} bytes", shown(&file.display().to_string()), opening.size_bytes),
    );
    if facts.has_keys {
        let warning =
            "It holds the key of the cluster's authority: whoever reads it can make members of the cluster.";
        style.push_line(&mut text, Tone::Warn, 0, warning);
    }
    let json = json!({
        "state": json::state(&state),
        "backup": facts_json(&facts),
        "file": file.display().to_string(),
        "size_bytes": opening.size_bytes,
    });
    Shown { exit: Exit::Done, text, json }
}

/// Shows what a backup holds, and what came or would come of restoring it.
#[must_use]
pub fn show_restore(answer: &RestoreResponse, file: &Path, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let facts = answer.facts.clone().unwrap_or_default();
    let mut text = state::lines(&state, style);
    text.push_str(&facts_text(&facts, style));
    let Some(life) = &answer.life else {
        style.push_line(&mut text, Tone::Good, 0, "it is whole");
        let json = json!({"state": json::state(&state), "backup": facts_json(&facts)});
        return Shown { exit: Exit::Done, text, json };
    };
    let again = format!("bannkreis cluster restore {} --yes", file.display());
    let exit = push_life(&mut text, life, &again, style);
    let json = json!({
        "exit_code": exit.code(),
        "state": json::state(&state),
        "backup": facts_json(&facts),
        "life": life_json(life),
    });
    Shown { exit, text, json }
}

/// Shows what came of a recovery, or would come. `again`: the options that it was asked with.
#[must_use]
pub fn show_recover(answer: &RecoverResponse, again: &str, style: &Style) -> Shown {
    let state = state_of(answer.state.as_ref());
    let life = answer.life.clone().unwrap_or_default();
    let mut text = state::lines(&state, style);
    let exit = push_life(&mut text, &life, &format!("bannkreis cluster recover{again} --yes"), style);
    let json = json!({"exit_code": exit.code(), "state": json::state(&state), "life": life_json(&life)});
    Shown { exit, text, json }
}

fn push_life(text: &mut String, life: &NewLife, again: &str, style: &Style) -> Exit {
    let now = if life.is_done { "now" } else { "then" };
    let summary = format!(
        "generation {} of the cluster {} {now}, at {}, with {}",
        life.generation,
        shown(&life.cluster_id),
        shown(&life.position),
        counted(life.n_bans, "ban", "bans")
    );
    style.push_line(text, if life.is_done { Tone::Good } else { Tone::Warn }, 0, &summary);
    for sentence in &life.consequences {
        style.push_line(text, Tone::Plain, 0, &format!("- {}", shown(sentence)));
    }
    if life.is_done {
        return Exit::Done;
    }
    text.push_str("\nNothing was done. If this is what you want:\n\n");
    text.push_str(&format!("    {}\n", style.paint(Tone::Good, &shown(again))));
    Exit::Refused
}

fn facts_text(facts: &BackupFacts, style: &Style) -> String {
    let members = if facts.members.is_empty() { "nobody".to_owned() } else { listed(&facts.members) };
    let keys = if facts.has_keys { "with" } else { "without" };
    let mut text = format!("cluster {}\n", shown(&facts.cluster_id));
    let line = format!(
        "generation {}, {} of the Raft log, {}; {}, {}; members {members}; {keys} the cluster's keys",
        facts.generation,
        shown(&facts.position),
        style.time(facts.now_ms),
        counted(facts.n_bans, "ban", "bans"),
        counted(facts.n_allow, "allow entry", "allow entries"),
    );
    style.push_line(&mut text, Tone::Plain, 0, &line);
    text
}

fn facts_json(facts: &BackupFacts) -> Value {
    json!({
        "cluster_id": facts.cluster_id,
        "generation": facts.generation,
        "position": facts.position,
        "now_ms": facts.now_ms,
        "level": facts.level,
        "n_bans": facts.n_bans,
        "n_allow": facts.n_allow,
        "members": facts.members,
        "has_keys": facts.has_keys,
    })
}

fn life_json(life: &NewLife) -> Value {
    json!({
        "is_done": life.is_done,
        "cluster_id": life.cluster_id,
        "generation": life.generation,
        "position": life.position,
        "n_bans": life.n_bans,
        "consequences": life.consequences,
    })
}
