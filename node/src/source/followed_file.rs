//! One open log file of a source: how far it is read, and whether it is still the file it was.
//!
//! Not for names and rotation (`followed_path.rs`): a followed file is a handle and an offset.

use super::Reading;
use super::fingerprint::{Fingerprint, HEAD_BYTES_TELLING};
use super::line_splitter::LineSplitter;
use super::position_table::FileNumber;
use super::shared::SharedSource;
use crate::borders::LineSink;
use bannkreis_core::failure::{LogLine, SourcePosition};
use bannkreis_core::log_block::LogBlock;
use bannkreis_filter::container_lines::{ContainerLine, ContainerLines};
use inotify::WatchDescriptor;
use memchr::{memchr, memchr_iter, memrchr};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Two changes so close together may have one time: kernels before 6.13 count it in ticks, and file systems of other
/// hosts in seconds.
const CHANGE_TIME_GRAIN_MS: u64 = 2_000;

/// What reading a file once came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// There is nothing more in it now.
    AtEnd,
    /// There may be more.
    More,
    /// It was truncated or written anew: what it held behind the consumed offset is gone.
    Replaced,
    /// It has enough bytes now to be told from others, and nobody has looked yet whether it had others before.
    Begun,
}

/// An open file of a source.
pub(super) struct FollowedFile {
    pub(super) file: File,
    pub(super) number: FileNumber,
    pub(super) fingerprint: Fingerprint,
    pub(super) watch: WatchDescriptor,
    /// Where the first line begins that is not handed over.
    pub(super) consumed: u64,
    /// Lines that begin before this offset are replayed.
    pub(super) replay_until: u64,
    /// It has been read to its end since it was opened: files behind it need not wait any more.
    pub(super) drained: bool,
    /// CLOCK_BOOTTIME in ms when bytes were found last.
    pub(super) last_bytes_at_ms: u64,
    /// Its time of change (stat(2), st_ctim) when it was looked at last.
    pub(super) changed: (i64, i64),
    pub(super) splitter: LineSplitter,
    /// It is the output of a container, whose lines are inside its own.
    pub(super) container: Option<ContainerLines>,
}

impl FollowedFile {
    /// Reads one block, and hands its lines over.
    ///
    /// # Errors
    /// As fstat(2) and read(2).
    pub(super) fn read_block(
        &mut self,
        reading: &mut Reading,
        shared: &SharedSource,
    ) -> io::Result<ReadOutcome> {
        let facts = self.file.metadata()?;
        let (size, changed) = (facts.size(), (facts.ctime(), facts.ctime_nsec()));
        let offset = self.consumed + self.splitter.n_bytes_unfinished();
        if size < offset {
            return Ok(ReadOutcome::Replaced);
        }
        // Of the same size it may still be another one: truncated and filled again before anybody looked.
        let may_be_other = size > offset
            || changed != self.changed
            || reading.clock.boottime_ms() < self.last_bytes_at_ms + CHANGE_TIME_GRAIN_MS;
        if may_be_other && !self.fingerprint.is_head_of(&self.file)? {
            return Ok(ReadOutcome::Replaced);
        }
        if !self.fingerprint.is_telling() && size >= HEAD_BYTES_TELLING as u64 {
            return Ok(ReadOutcome::Begun);
        }
        self.changed = changed;
        if size == offset {
            self.drained = true;
            return Ok(ReadOutcome::AtEnd);
        }
        let n_read = match self.file.read_at(&mut reading.block, offset) {
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(ReadOutcome::More),
            Err(error) => return Err(error),
        };
        self.last_bytes_at_ms = reading.clock.boottime_ms();
        if self.fingerprint.is_short() {
            self.fingerprint = Fingerprint::of(&self.file)?;
            shared.lock().table.improve(self.number, self.fingerprint);
            reading.sink.place_known_better(shared.id);
        }
        self.hand_over(n_read, reading, shared);
        // A short read is the end as it was at that moment; whatever comes later is an event.
        if n_read < reading.block.len() {
            self.drained = true;
            return Ok(ReadOutcome::AtEnd);
        }
        Ok(ReadOutcome::More)
    }

    /// Whether everything in it, as it is at this moment, has been read.
    pub(super) fn is_finished(&self) -> bool {
        // Whatever can not be looked at can not be read either.
        let n_unread = |size: u64| size.saturating_sub(self.consumed + self.splitter.n_bytes_unfinished());
        self.drained && self.file.metadata().map_or(true, |metadata| n_unread(metadata.size()) == 0)
    }

    fn hand_over(&mut self, n_read: usize, reading: &mut Reading, shared: &SharedSource) {
        let Reading { block, line, sink, clock } = reading;
        let start = {
            let mut shared = shared.lock();
            shared.table.begin_run(self.number, self.consumed);
            shared.table.end()
        };
        line.received_at = clock.wall();
        line.source = shared.id;
        let FollowedFile { splitter, container, consumed, replay_until, .. } = self;
        let is_container = container.is_some();
        let mut n_bytes = 0;
        let mut n_lines = 0;
        let mut give = |raw: &[u8], text: Option<(&[u8], bool)>, at: u64| {
            let (position, replayed) = (start.0 + at, *consumed + at < *replay_until);
            match (container.as_mut(), text) {
                (Some(container), _) => {
                    container.take(raw, position, |found| give_line(found, replayed, line, sink.as_mut()));
                }
                (None, Some((text, cut))) => {
                    let found = ContainerLine { text, cut, written_at: None, position };
                    give_line(found, replayed, line, sink.as_mut());
                }
                (None, None) => {}
            }
        };
        // The line that the last block began is told by itself, whole lines all at once, and what is left
        // over waits for the next block.
        let block = &block[..n_read];
        let n_first = if splitter.n_bytes_unfinished() == 0 {
            0
        } else {
            memchr(b'\n', block).map_or(block.len(), |end| end + 1)
        };
        splitter.split(&block[..n_first], |found| {
            give(found.raw, Some((found.text, found.cut)), 0);
            n_bytes += found.n_bytes;
            n_lines += 1;
        });
        let n_whole = memrchr(b'\n', &block[n_first..]).map_or(0, |end| end + 1);
        let whole = &block[n_first..n_first + n_whole];
        if is_container {
            for raw in whole.split_inclusive(|&byte| byte == b'\n') {
                give(&raw[..raw.len() - 1], None, n_bytes);
                n_bytes += raw.len() as u64;
                n_lines += 1;
            }
        } else if n_whole > 0 {
            let replayed = replay_until.saturating_sub(*consumed + n_bytes);
            sink.block(&LogBlock {
                source: shared.id,
                position: SourcePosition(start.0 + n_bytes),
                received_at: line.received_at,
                bytes: whole,
                replayed_bytes: usize::try_from(replayed).unwrap_or(usize::MAX),
            });
            n_bytes += n_whole as u64;
            n_lines += memchr_iter(b'\n', whole).count() as u64;
        }
        splitter.split(&block[n_first + n_whole..], |_| {});
        if n_lines == 0 {
            return;
        }
        let begun_at = container.as_ref().and_then(ContainerLines::begun_at);
        self.consumed += n_bytes;
        let read_up_to = {
            let mut shared = shared.lock();
            shared.table.advance(n_bytes);
            shared.n_lines += n_lines;
            shared.table.end()
        };
        // A line of which a part is missing is not read yet, unless a younger file was read meanwhile: its rest is there.
        let read_up_to = begun_at.map_or(read_up_to, |begun_at| read_up_to.min(SourcePosition(begun_at)));
        sink.end_of_batch(shared.id, shared.read_up_to(read_up_to));
    }

    /// Begins anew with what the file holds now, after it was truncated. Half a line that was cut off
    /// is dropped: half an address would be another address.
    pub(super) fn begin_anew(&mut self, number: FileNumber, fingerprint: Fingerprint) {
        self.number = number;
        self.fingerprint = fingerprint;
        self.consumed = 0;
        self.replay_until = 0;
        self.drained = false;
        self.splitter.forget();
        self.container = self.container.take().map(|_| ContainerLines::default());
    }

    /// Whether no name leads to it any more.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

/// Hands over one line.
fn give_line(found: ContainerLine<'_>, replayed: bool, line: &mut LogLine, sink: &mut dyn LineSink) {
    line.position = SourcePosition(found.position);
    line.replayed = replayed;
    line.cut = found.cut;
    line.written_at = found.written_at;
    line.text.clear();
    line.text.extend_from_slice(found.text);
    sink.line(line);
}

/// Where the line begins that is unfinished at `size`: a first start takes up there, so that a line
/// which is being written at that moment is not halved. A line longer than the search is left out.
pub(super) fn unfinished_line_start(file: &File, size: u64) -> io::Result<u64> {
    let mut tail = [0; 4096];
    let from = size.saturating_sub(tail.len() as u64);
    let n_read = file.read_at(&mut tail, from)?;
    let tail = &tail[..n_read.min((size - from) as usize)];
    Ok(match tail.iter().rposition(|&byte| byte == b'\n') {
        Some(newline) => from + newline as u64 + 1,
        None if from == 0 => 0,
        None => size,
    })
}
