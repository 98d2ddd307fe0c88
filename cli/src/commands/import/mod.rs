//! `import`: takes over the bans of another list, and the allow entries of our own lists.
//!
//! A list is read to its end before anything is asked, so a mistake in it changes nothing. Not for how each kind of list is
//! read (`lists.rs`, `fail2ban.rs`).

mod fail2ban;
mod lists;

use super::outcome::enforcement_lines;
use super::state_of;
use crate::args::ImportArgs;
use crate::client::{self, Client, GRACE};
use crate::failure::{Exit, Failure};
use crate::json;
use crate::run::Shown;
use crate::state;
use crate::text::{Style, Tone, counted, shown};
use crate::works_from;
use bannkreis_core::time::BanTime;
use bannkreis_proto::v1::import_ban::End;
use bannkreis_proto::v1::{
    CommandOutcome, ImportAllowed, ImportBan, ImportRefusal, ImportRequest, ImportResponse,
};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// So many entries go in one call.
const ENTRIES_PER_CALL: usize = 1_000;
/// And so many bytes: a node proposes no more than 1 MiB at once.
const BYTES_PER_CALL: usize = 512 * 1024;
/// A ban without its note takes no more.
const BAN_BYTES: usize = 256;
/// So many that are refused are named in the text; the JSON has all.
const REFUSED_NAMED_MAX: usize = 20;
/// What every database of SQLite begins with (its file format, §1.3).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What a list holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct List {
    bans: Vec<ImportBan>,
    allow: Vec<ImportAllowed>,
    /// What in it is no ban at all.
    refused: Vec<ImportRefusal>,
}

/// What has come of it so far.
#[derive(Debug, Default)]
struct Taken {
    n_affected: u64,
    n_over: u64,
    refused: Vec<ImportRefusal>,
}

/// Reads a list, has it taken over part by part, and shows what came of it.
///
/// # Errors
/// When it can not be read, or when a part of it has no answer; then it says how far it came.
pub async fn run(client: &mut Client, args: &ImportArgs, style: &Style) -> Result<Shown, Failure> {
    let list = read(&args.file, args)?;
    let n_entries = list.bans.len() + list.allow.len();
    let mut taken = Taken { refused: list.refused, ..Taken::default() };
    let mut last = ImportResponse::default();
    let mut n_sent = 0;
    let (mut bans, mut allow) = (list.bans.into_iter(), list.allow.into_iter());
    loop {
        let allow: Vec<ImportAllowed> = allow.by_ref().take(ENTRIES_PER_CALL).collect();
        let mut n_bytes = 0;
        let fits = |ban: &&ImportBan| {
            n_bytes += BAN_BYTES + ban.note.len();
            n_bytes <= BYTES_PER_CALL
        };
        let n_bans = bans.as_slice().iter().take(ENTRIES_PER_CALL - allow.len()).take_while(fits).count();
        let bans: Vec<ImportBan> = bans.by_ref().take(n_bans).collect();
        let n_part = bans.len() + allow.len();
        if n_part == 0 && n_sent > 0 {
            break;
        }
        let request = ImportRequest {
            bans,
            allow,
            reason: args.reason.clone().unwrap_or_default(),
            wait_ms: args.wait,
            force: args.force,
            works_from: works_from::addresses(),
        };
        let answer = client::within(Duration::from_millis(args.wait) + GRACE, client.import(request)).await;
        let answer = answer.map_err(|status| stopped(status.message(), n_sent, n_entries))?;
        let result = answer.result.as_ref();
        if let Some(result) = result.filter(|result| result.outcome() != CommandOutcome::Done) {
            return Err(stopped(&result.why, n_sent, n_entries));
        }
        n_sent += n_part;
        taken.n_affected += result.map_or(0, |result| result.n_affected);
        taken.n_over += answer.n_over;
        taken.refused.extend(answer.refused.iter().cloned());
        last = answer;
        if n_part == 0 {
            break;
        }
    }
    Ok(show(&last, &taken, style))
}

/// Nothing is lost by it: what was taken over stays, and all of it can be asked for again.
fn stopped(why: &str, n_sent: usize, n_entries: usize) -> Failure {
    let message = format!(
        "{why}; {n_sent} of {n_entries} entries had been taken over by then. Repeat the command: what is there already \
         stays as it is"
    );
    Failure::new(Exit::Refused, message)
}

fn show(last: &ImportResponse, taken: &Taken, style: &Style) -> Shown {
    let answered = state_of(last.state.as_ref());
    let exit = if taken.refused.is_empty() { Exit::Done } else { Exit::Refused };
    let mut text = state::lines(&answered, style);
    let line = format!("{} taken over", counted(taken.n_affected, "entry", "entries"));
    style.push_line(&mut text, Tone::Good, 0, &line);
    if taken.n_over > 0 {
        let line = format!(
            "{} over already: they count where ban times grow",
            counted(taken.n_over, "ban was", "bans were")
        );
        style.push_line(&mut text, Tone::Plain, 0, &line);
    }
    for refusal in taken.refused.iter().take(REFUSED_NAMED_MAX) {
        let line = format!("{}: refused: {}", shown(&refusal.target), shown(&refusal.why));
        style.push_line(&mut text, Tone::Bad, 0, &line);
    }
    let n_more = taken.refused.len().saturating_sub(REFUSED_NAMED_MAX);
    if n_more > 0 {
        let line = format!(
            "and {} refused; `--output json` names them",
            counted(n_more as u64, "more is", "more are")
        );
        style.push_line(&mut text, Tone::Bad, 0, &line);
    }
    text.push_str(&enforcement_lines(&last.enforcement, style));
    let refused = taken.refused.iter();
    let refused: Vec<_> = refused
        .map(|refusal| json!({ "target": refusal.target, "jail": refusal.jail, "why": refusal.why }))
        .collect();
    let json = json!({
        "exit_code": exit.code(),
        "state": json::state(&answered),
        "n_affected": taken.n_affected,
        "n_over": taken.n_over,
        "refused": refused,
        "enforcement": json::enforcement(&last.enforcement),
    });
    Shown { exit, text, json }
}

/// Reads a list of any kind; `-` is standard input.
fn read(path: &Path, args: &ImportArgs) -> Result<List, Failure> {
    let failed = |why: String| Failure::new(Exit::Refused, format!("{}: {why}", path.display()));
    let unreadable = |error: io::Error| failed(format!("it can not be read: {error}"));
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let mut file = File::open(path).map_err(unreadable)?;
        let mut head = [0; SQLITE.len()];
        let is_database = file.read_exact(&mut head).is_ok() && head == SQLITE;
        if is_database {
            let jail = args.jail.as_ref().map(ToString::to_string);
            return fail2ban::read(path, jail.as_deref()).map_err(failed);
        }
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(unreadable)?;
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| failed("it is no text in UTF-8, and no database of fail2ban".to_owned()))?;
    let end = args.length.map(|length| match length {
        BanTime::Ms(ms) => End::BanTimeMs(ms),
        BanTime::Forever => End::ForEver(true),
    });
    let jail = args.jail.as_ref().map(ToString::to_string).unwrap_or_default();
    lists::read(&text, &jail, end).map_err(failed)
}
