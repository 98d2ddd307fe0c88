//! Sources over real files in temporary directories: the harness. Each test waits for a condition
//! with a deadline; that nothing more came is shown by a last line that is written to be seen.

mod finding;
mod following;
mod resuming;
mod rotating;
mod syslog;

use super::{
    Beginnings, FilesSpec, LogKind, LogSpec, SourceCheckpoint, Sources, SourcesHandle, StoredPlace,
    SyslogPlan,
};
use crate::borders::{Clock, LineSink};
use bannkreis_core::failure::{LogId, LogLine, SourceId, SourcePosition};
use bannkreis_core::log_block::{LogBlock, line_text};
use bannkreis_core::time::{Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DEADLINE: Duration = Duration::from_secs(30);

/// The machine's own wall clock (file times are compared with it), and a settable monotonic one.
#[derive(Default)]
struct TestClock {
    boottime_ms: AtomicU64,
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Timestamp(u64::try_from(since_epoch.as_millis()).expect("64 bits"))
    }
    fn boottime_ms(&self) -> u64 {
        self.boottime_ms.load(Ordering::SeqCst)
    }
    fn now(&self) -> Now {
        Now::known(self.wall(), self.wall())
    }
}

#[derive(Default)]
struct Seen {
    lines: Vec<LogLine>,
    is_at_gate: bool,
    read_up_to: BTreeMap<SourceId, SourcePosition>,
    /// The sources that there are now, with the logs that led to them.
    open: BTreeMap<SourceId, Vec<LogId>>,
    /// Whose places are known better than at first.
    known_better: BTreeSet<SourceId>,
    low_trust: BTreeSet<SourceId>,
}

#[derive(Default)]
struct Collected {
    seen: Mutex<Seen>,
    changed: Condvar,
    /// While a test holds it, the line `gate` is not taken, so the source thread stands still.
    gate: Mutex<()>,
}

impl Collected {
    fn wait(&self, what: &str, condition: impl Fn(&Seen) -> bool) -> MutexGuard<'_, Seen> {
        let seen = self.seen.lock().expect("no panic");
        let (seen, timeout) =
            self.changed.wait_timeout_while(seen, DEADLINE, |seen| !condition(seen)).expect("no panic");
        let n_lines = seen.lines.len();
        let last = texts(&seen.lines[n_lines.saturating_sub(10)..]);
        assert!(!timeout.timed_out(), "{what} did not come; {n_lines} lines came, the last: {last:?}");
        seen
    }
}

struct Collector(Arc<Collected>);

impl LineSink for Collector {
    fn open(&mut self, source: SourceId, logs: &[LogId]) {
        self.0.seen.lock().expect("no panic").open.entry(source).or_default().extend(logs);
        self.0.changed.notify_all();
    }
    fn low_trust(&mut self, source: SourceId) {
        self.0.seen.lock().expect("no panic").low_trust.insert(source);
    }
    fn place_known_better(&mut self, source: SourceId) {
        self.0.seen.lock().expect("no panic").known_better.insert(source);
    }
    fn close(&mut self, source: SourceId) {
        self.0.seen.lock().expect("no panic").open.remove(&source).expect("it was open");
        self.0.changed.notify_all();
    }
    fn line(&mut self, line: &LogLine) {
        if line.text == b"gate" {
            self.0.seen.lock().expect("no panic").is_at_gate = true;
            self.0.changed.notify_all();
            drop(self.0.gate.lock());
        }
        self.0.seen.lock().expect("no panic").lines.push(line.clone());
        self.0.changed.notify_all();
    }
    fn block(&mut self, block: &LogBlock<'_>) {
        for line in lines_of(block) {
            self.line(&line);
        }
    }
    fn end_of_batch(&mut self, source: SourceId, read_up_to: SourcePosition) {
        let mut seen = self.0.seen.lock().expect("no panic");
        assert!(seen.open.contains_key(&source), "it is open");
        let before = seen.read_up_to.insert(source, read_up_to);
        assert!(before.is_none_or(|before| before <= read_up_to), "positions never go back");
        drop(seen);
        self.0.changed.notify_all();
    }
}

/// The lines of a block, each by itself.
fn lines_of(block: &LogBlock<'_>) -> Vec<LogLine> {
    let mut start = 0;
    let line = |raw: &[u8]| {
        let (text, cut) = line_text(raw.strip_suffix(b"\n").expect("only whole lines"));
        let line = LogLine {
            source: block.source,
            position: SourcePosition(block.position.0 + start as u64),
            received_at: block.received_at,
            written_at: None,
            text: text.to_vec(),
            cut,
            replayed: start < block.replayed_bytes,
        };
        start += raw.len();
        line
    };
    block.bytes.split_inclusive(|&byte| byte == b'\n').map(line).collect()
}

/// The only one of most tests.
const SOURCE: SourceId = SourceId(0);
/// Who reads it.
const READER: &str = "jail [sshd]";

/// A directory with the log file `log`, and at most one running source that follows it.
struct Logs {
    directory: tempfile::TempDir,
    clock: Arc<TestClock>,
    collected: Arc<Collected>,
    handle: Option<SourcesHandle>,
}

impl Logs {
    fn new() -> Logs {
        let directory = tempfile::tempdir().expect("temporary directory");
        Logs { directory, clock: Arc::default(), collected: Arc::default(), handle: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        append(&mut self.writer(name), text);
    }

    fn writer(&self, name: &str) -> File {
        OpenOptions::new().append(true).create(true).open(self.path(name)).expect("open for writing")
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("rename");
    }

    fn copy_truncate(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).expect("copy");
        OpenOptions::new()
            .write(true)
            .open(self.path(from))
            .and_then(|file| file.set_len(0))
            .expect("truncate");
    }

    /// The first start: at the end of what is there.
    fn start(&mut self) {
        self.start_with(vec![self.log("log")], Beginnings::default());
    }

    /// The log with this name, or of this pattern, in the directory.
    fn log(&self, name: &str) -> LogSpec {
        let pattern = self.path(name).display().to_string();
        let files = FilesSpec { pattern, is_tail: false, is_polled: false };
        LogSpec { kind: LogKind::Files(files), reader: READER.to_owned() }
    }

    fn start_with(&mut self, logs: Vec<LogSpec>, beginnings: Beginnings) {
        self.start_all(logs, SyslogPlan::default(), beginnings);
    }

    fn start_all(&mut self, logs: Vec<LogSpec>, syslog: SyslogPlan, beginnings: Beginnings) {
        self.collected = Arc::default();
        let sink = Box::new(Collector(Arc::clone(&self.collected)));
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.handle = Some(Sources::start(logs, syslog, beginnings, sink, clock).expect("sources start"));
    }

    fn resume(&mut self, from: &SourceCheckpoint) {
        self.start_with(vec![self.log("log")], kept([from.stored()]));
    }

    fn handle(&self) -> &SourcesHandle {
        self.handle.as_ref().expect("started")
    }

    fn stop(&mut self) {
        self.handle.take().expect("started").stop();
    }

    /// Makes the source thread stand still until the guard is dropped.
    fn stand_still(&self) -> MutexGuard<'_, ()> {
        let guard = self.collected.gate.lock().expect("no panic");
        self.append("log", "gate\n");
        drop(self.collected.wait("the gate", |seen| seen.is_at_gate));
        guard
    }

    /// Waits for the line `last`, then says all lines so far.
    fn lines_until(&self, last: &str) -> Vec<LogLine> {
        let is_there = |seen: &Seen| seen.lines.iter().any(|line| line.text == last.as_bytes());
        self.collected.wait(last, is_there).lines.clone()
    }

    fn texts_until(&self, last: &str) -> Vec<String> {
        texts(&self.lines_until(last))
    }

    /// The checkpoint before the line `text`, made of what a daemon would have stored.
    fn checkpoint_before(&self, text: &str) -> SourceCheckpoint {
        let lines = self.lines_until(text);
        let line = lines.iter().find(|line| line.text == text.as_bytes()).expect("waited for");
        self.stored(line.position)
    }

    /// The checkpoint behind the line `text`, which must be the last one of its batch.
    fn checkpoint_after(&self, text: &str) -> SourceCheckpoint {
        self.lines_until(text);
        let seen = self.collected.wait("the end of the batch", |seen| {
            let last = seen.lines.last().expect("there are lines");
            let read_up_to = seen.read_up_to.get(&last.source);
            last.text == text.as_bytes() && read_up_to.is_some_and(|position| *position > last.position)
        });
        self.stored(seen.read_up_to[&SOURCE])
    }

    fn stored(&self, position: SourcePosition) -> SourceCheckpoint {
        let place = self.handle().stored_at(SOURCE, position).expect("not forgotten");
        let checkpoint = SourceCheckpoint::decode(&place.name, &place.bytes).expect("well formed");
        assert_eq!(checkpoint.position, position);
        checkpoint
    }
}

/// What earlier processes have stored.
fn kept(places: impl IntoIterator<Item = StoredPlace>) -> Beginnings {
    let by_name = |place: StoredPlace| (place.name, place.bytes);
    Beginnings { kept: places.into_iter().map(by_name).collect(), catch_up: false }
}

fn append(file: &mut File, text: impl AsRef<[u8]>) {
    file.write_all(text.as_ref()).expect("write");
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
}

/// A file of this name begins with a line that no other log begins with.
fn head(name: &str) -> String {
    format!("Nov 22 19:00:00 host {name}: this is the first line of a log file\n")
}

fn link(target: &Path, name: &Path) {
    std::os::unix::fs::symlink(target, name).expect("symlink");
}
