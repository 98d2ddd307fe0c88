//! One journal, and the logs of it that jails read: each entry goes to the logs whose match it is.
//!
//! One journalctl reads for all of them, from the oldest place that one of them stopped at; the others pass over what they have
//! read. When it ends it is started again. Not for what an entry is (`entry.rs`).

use super::cursor_table::{CursorTable, JournalPlace};
use super::entry::{Entry, EntryReader};
use super::process::{self, From, Journalctl};
use crate::source::shared::{Source, SourceStatus};
use crate::source::stored_place::StoredPlace;
use crate::source::{Beginnings, Reading};
use bannkreis_core::failure::{LINE_BYTES_MAX, LogId, SourceId, SourcePosition};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::journal::Journal;
use bannkreis_filter::journal_match::JournalMatch;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long after its end journalctl is started again.
const AGAIN_AFTER_MS: u64 = 1_000;

/// Whoever does not read a journal has ended by then; one without new entries is silent.
const BELIEVED_AFTER_MS: u64 = 1_000;

/// So often at most, a log without new entries is told that others have some: its place goes on with theirs.
const PASSED_OVER_EVERY_MS: u64 = 60_000;

/// After so many pieces another source has its turn.
const PIECES_PER_TURN: u32 = 16;

/// A log in a journal, shared between the source thread and its handle.
pub(in crate::source) struct SharedLog {
    id: SourceId,
    log: LogId,
    name: PathBuf,
    beginning: Option<SourcePosition>,
    state: Mutex<LogState>,
}

struct LogState {
    table: CursorTable,
    n_lines: u64,
    error: Option<String>,
}

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for SharedLog {
    fn id(&self) -> SourceId {
        self.id
    }

    fn stored_at(&self, position: SourcePosition) -> Option<StoredPlace> {
        self.lock().table.stored_at(&self.name, position)
    }

    fn beginning(&self) -> Option<StoredPlace> {
        self.stored_at(self.beginning?)
    }

    fn status(&self) -> SourceStatus {
        let state = self.lock();
        SourceStatus {
            id: self.id,
            logs: vec![self.log],
            name: self.name.display().to_string(),
            size_bytes: None,
            position: state.table.end(),
            n_lines: state.n_lines,
            error: state.error.clone(),
        }
    }

    fn give_up(&self, why: &str) {
        self.lock().error = Some(why.to_owned());
    }
}

struct Log {
    shared: Arc<SharedLog>,
    matches: JournalMatch,
    /// What was read of it already, until the journal has come past that.
    read: Option<ReadAlready>,
    /// CLOCK_BOOTTIME in ms when its place was noted last.
    noted_at_ms: u64,
}

/// The last entry that was read.
struct ReadAlready {
    cursor: Option<Arc<str>>,
    /// When the journal got it, in µs since 1970.
    at_us: u64,
}

impl ReadAlready {
    fn up_to(cursor: &Arc<str>) -> ReadAlready {
        ReadAlready { cursor: Some(Arc::clone(cursor)), at_us: time_of(cursor) }
    }

    /// Whether this entry is no later; `None` when that is known from now on without asking.
    fn has(&self, entry: &Entry) -> Option<bool> {
        if self.cursor.as_deref().is_some_and(|cursor| entry.cursor() == Some(cursor)) {
            return None;
        }
        Some(entry.received_us().is_none_or(|at_us| at_us < self.at_us))
    }
}

/// When the journal got the entry of a cursor, in µs since 1970: its field `t`.
fn time_of(cursor: &str) -> u64 {
    let field = cursor.split(';').find_map(|field| field.strip_prefix("t="));
    field.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
}

/// A journal that is followed.
pub(in crate::source) struct FollowedJournal {
    journal: Journal,
    reader: String,
    logs: Vec<Log>,
    fields: BTreeSet<String>,
    journalctl: Option<Journalctl>,
    entries: EntryReader,
    /// The last entry that was handed over.
    cursor: Option<Arc<str>>,
    /// What the last entry was when the daemon started, when that was asked.
    last: Option<Option<Arc<str>>>,
    /// The journal does not know the last cursor: it is read from its beginning.
    is_cursor_refused: bool,
    /// Entries of before then are replayed.
    replay_until: Timestamp,
    said: Vec<u8>,
    again_at_ms: u64,
    /// journalctl was started after something had kept it from reading, and is believed to read when it runs until then.
    believed_at_ms: Option<u64>,
}

impl FollowedJournal {
    /// A journal of which nothing is read yet, for the jail that `reader` names, and others.
    pub(in crate::source) fn new(journal: Journal, reader: String, started_at: Timestamp) -> FollowedJournal {
        FollowedJournal {
            journal,
            reader,
            logs: Vec::new(),
            fields: BTreeSet::new(),
            journalctl: None,
            entries: EntryReader::default(),
            cursor: None,
            last: None,
            is_cursor_refused: false,
            replay_until: started_at,
            said: Vec::new(),
            again_at_ms: 0,
            believed_at_ms: None,
        }
    }

    /// Whether it is this one.
    pub(in crate::source) fn is(&self, journal: &Journal) -> bool {
        self.journal == *journal
    }

    /// Reads a log of it too, from where `beginnings` says.
    pub(in crate::source) fn add(
        &mut self,
        (id, log): (SourceId, LogId),
        matches: JournalMatch,
        beginnings: &Beginnings,
    ) -> Arc<SharedLog> {
        let name = PathBuf::from(format!("{} {matches}", self.journal));
        let mut error = None;
        let kept = beginnings.kept.get(&name).and_then(|bytes| JournalPlace::decode(bytes));
        let beginning = kept.is_none().then_some(SourcePosition(0));
        let new = |cursor| JournalPlace { position: SourcePosition(0), cursor };
        let mut read = None;
        let place = match kept {
            Some(place) => place,
            None if beginnings.catch_up => new(None),
            None => match self.last() {
                Ok(last) => new(last),
                Err(why) => {
                    error = Some(why);
                    // What was there before is none of this node's business.
                    read = Some(ReadAlready { cursor: None, at_us: self.replay_until.0 * 1000 });
                    new(None)
                }
            },
        };
        let read = read.or_else(|| place.cursor.as_ref().map(ReadAlready::up_to));
        let state = Mutex::new(LogState { table: CursorTable::new(place), n_lines: 0, error });
        let shared = Arc::new(SharedLog { id, log, name, beginning, state });
        self.fields.extend(matches.fields().map(str::to_owned));
        self.logs.push(Log { shared: Arc::clone(&shared), matches, read, noted_at_ms: 0 });
        shared
    }

    /// The cursor of the last entry.
    fn last(&mut self) -> Result<Option<Arc<str>>, String> {
        if let Some(last) = &self.last {
            return Ok(last.clone());
        }
        let exported = process::last_entry(&self.journal).map_err(|error| described(&error))?;
        let mut last = None;
        EntryReader::default().read(&exported, |entry| last = entry.cursor().map(Arc::from));
        self.last = Some(last.clone());
        Ok(last)
    }

    /// What has to be waited for.
    pub(in crate::source) fn fds(&self) -> Vec<RawFd> {
        let of = |running: &Journalctl| [running.entries.as_raw_fd(), running.complaints.as_raw_fd()];
        self.journalctl.iter().flat_map(of).collect()
    }

    /// When it wants a turn without an event, in ms of CLOCK_BOOTTIME.
    pub(in crate::source) fn deadline_ms(&self) -> Option<u64> {
        if self.journalctl.is_some() { self.believed_at_ms } else { Some(self.again_at_ms) }
    }

    /// Reads what is there, up to a bound. True when there may be more at once.
    pub(in crate::source) fn read(&mut self, reading: &mut Reading) -> bool {
        let now_ms = reading.clock.boottime_ms();
        let Some(mut running) = self.journalctl.take() else {
            if self.again_at_ms <= now_ms {
                self.start(now_ms);
            }
            return false;
        };
        process::read_complaints(&mut running.complaints, &mut self.said);
        let is_believed = self.believed_at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        for _ in 0..PIECES_PER_TURN {
            let mut block = std::mem::take(&mut reading.block);
            let outcome = running.entries.read(&mut block);
            if let Ok(n_read @ 1..) = outcome {
                self.hand_over(&block[..n_read], reading);
            }
            reading.block = block;
            match outcome {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if is_believed {
                        self.reads();
                    }
                    self.journalctl = Some(running);
                    return false;
                }
                Ok(0) => return self.ended(running, None, now_ms),
                Err(error) => return self.ended(running, Some(&error), now_ms),
            }
        }
        self.journalctl = Some(running);
        true
    }

    fn start(&mut self, now_ms: u64) {
        if let Some(cursor) = &self.cursor {
            for log in &mut self.logs {
                log.read.get_or_insert_with(|| ReadAlready::up_to(cursor));
            }
        }
        let oldest = self.logs.iter().map(|log| log.read.as_ref()?.cursor.as_ref());
        let oldest: Option<Vec<&Arc<str>>> = oldest.collect();
        let oldest =
            oldest.and_then(|cursors| cursors.into_iter().min_by_key(|cursor| time_of(cursor)).cloned());
        let from = match &oldest {
            Some(cursor) if !self.is_cursor_refused => From::Cursor(cursor),
            _ => From::Beginning,
        };
        let matches: Vec<&JournalMatch> = self.logs.iter().map(|log| &log.matches).collect();
        self.said.clear();
        self.entries = EntryReader::default();
        match Journalctl::follow(&self.journal, &JournalMatch::arguments(&matches), &self.fields, &from) {
            Ok(running) => {
                self.journalctl = Some(running);
                let is_in_doubt = self.logs.iter().any(|log| log.shared.lock().error.is_some());
                self.believed_at_ms = is_in_doubt.then_some(now_ms + BELIEVED_AFTER_MS);
            }
            Err(error) => {
                self.again_at_ms = now_ms + AGAIN_AFTER_MS;
                self.report(Some(&described(&error)));
            }
        }
    }

    /// It is started again soon, with the entry behind the last one.
    fn ended(&mut self, mut running: Journalctl, error: Option<&io::Error>, now_ms: u64) -> bool {
        process::read_complaints(&mut running.complaints, &mut self.said);
        let status = error.map(ToString::to_string).or_else(|| running.ended()).unwrap_or_default();
        let said = process::complaint(&self.said);
        // A cursor of a journal that was set up anew is none of this one's.
        self.is_cursor_refused = said.contains("cursor");
        self.again_at_ms = now_ms + AGAIN_AFTER_MS;
        self.report(Some(&format!(
            "journalctl has ended ({status}): {said}; it is started again each second"
        )));
        false
    }

    /// Remembers what keeps the journal from being read, and says it once.
    fn report(&self, error: Option<&str>) {
        for log in &self.logs {
            let mut state = log.shared.lock();
            if state.error.as_deref() != error {
                let (reader, name) = (&self.reader, log.shared.name.display());
                match error {
                    Some(error) => tracing::warn!("{reader} can not read {name}: {error}"),
                    None => tracing::info!("{name} can be read again"),
                }
                state.error = error.map(str::to_owned);
            }
        }
    }

    /// Gives each entry of a piece to the logs whose match it is.
    fn hand_over(&mut self, piece: &[u8], reading: &mut Reading) {
        let Reading { line, sink, clock, .. } = reading;
        let (now, now_ms) = (clock.wall(), clock.boottime_ms());
        let mut last: Option<Arc<str>> = None;
        let mut text = std::mem::take(&mut line.text);
        line.received_at = now;
        let mut with_lines = BTreeSet::new();
        let (logs, replay_until) = (&mut self.logs, self.replay_until);
        self.entries.read(piece, |entry| {
            let mut is_written = false;
            for (place, log) in logs.iter_mut().enumerate() {
                match log.read.as_ref().map(|read| read.has(entry)) {
                    Some(Some(true)) => continue,
                    // The last one of those.
                    Some(None) => {
                        log.read = None;
                        continue;
                    }
                    Some(Some(false)) => log.read = None,
                    None => {}
                }
                if !log.matches.is(|name, value| entry.has(name, value)) {
                    continue;
                }
                if !std::mem::replace(&mut is_written, true) {
                    entry.line(&mut text);
                    line.cut = text.len() > LINE_BYTES_MAX;
                    text.truncate(LINE_BYTES_MAX);
                    line.written_at = entry.written_at();
                    line.replayed = entry.received_at().is_some_and(|at| at < replay_until);
                    std::mem::swap(&mut line.text, &mut text);
                }
                line.source = log.shared.id;
                line.position = log.shared.lock().table.end();
                sink.line(line);
                let mut state = log.shared.lock();
                state.table.advance(line.text.len() as u64 + 1);
                state.n_lines += 1;
                with_lines.insert(place);
            }
            if is_written {
                std::mem::swap(&mut line.text, &mut text);
            }
            last = entry.cursor().map(Arc::from);
        });
        line.text = text;
        line.written_at = None;
        let Some(cursor) = last else { return };
        for (place, log) in self.logs.iter_mut().enumerate() {
            let has_lines = with_lines.contains(&place);
            let is_due = log.noted_at_ms + PASSED_OVER_EVERY_MS <= now_ms;
            if log.read.is_some() || !(has_lines || is_due) {
                continue;
            }
            log.noted_at_ms = now_ms;
            let end = {
                let mut state = log.shared.lock();
                if !has_lines {
                    // A place of its own, so that it is stored.
                    state.table.advance(1);
                }
                state.table.note(&cursor);
                state.table.end()
            };
            sink.end_of_batch(log.shared.id, end);
        }
        self.cursor = Some(cursor);
        self.is_cursor_refused = false;
        self.reads();
    }

    /// Nothing keeps it from being read.
    fn reads(&mut self) {
        self.believed_at_ms = None;
        self.report(None);
    }
}

fn described(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "journalctl is not there; install systemd, or set `backend = auto` and a logpath".to_owned()
        }
        _ => error.to_string(),
    }
}
