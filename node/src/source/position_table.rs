//! From a source's positions back to its files: which line of which file began there.
//!
//! Positions count the bytes of the lines in the order in which they were handed over, over all
//! files of the source. While writers move from a rotated file to its successor, lines of both come
//! in turns, so the table is a list of runs. Not for reading.

use super::checkpoint::{FilePlace, SourceCheckpoint};
use super::fingerprint::Fingerprint;
use bannkreis_core::failure::SourcePosition;
use std::collections::VecDeque;
use std::path::Path;

/// So many runs are remembered. A position before the oldest has no checkpoint any more, so what is
/// stored stays as it is; a rotation makes two or three runs, so that is hundreds of rotations ago.
const RUNS_MAX: usize = 1024;

/// Which file of a source, counted from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileNumber(u64);

#[derive(Debug)]
struct KnownFile {
    number: FileNumber,
    fingerprint: Fingerprint,
    opened_offset: u64,
    retired_at: Option<u64>,
}

/// Lines of one file that were handed over without others between them.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    file: FileNumber,
    offset: u64,
}

/// The runs of one source, and the files they are of.
#[derive(Debug)]
pub(super) struct PositionTable {
    files: VecDeque<KnownFile>,
    runs: VecDeque<Run>,
    first: u64,
    end: u64,
    next_number: u64,
}

impl PositionTable {
    /// A table whose next line is at `start`.
    pub(super) fn new(start: SourcePosition) -> PositionTable {
        PositionTable {
            files: VecDeque::new(),
            runs: VecDeque::new(),
            first: start.0,
            end: start.0,
            next_number: 0,
        }
    }

    /// Where the next line will be.
    pub(super) fn end(&self) -> SourcePosition {
        SourcePosition(self.end)
    }

    /// From now on the source also reads this file, from `offset` on.
    pub(super) fn open(&mut self, fingerprint: Fingerprint, offset: u64) -> FileNumber {
        let number = FileNumber(self.next_number);
        self.next_number += 1;
        self.files.push_back(KnownFile { number, fingerprint, opened_offset: offset, retired_at: None });
        number
    }

    /// More is known about a file that was short when it was opened.
    pub(super) fn improve(&mut self, number: FileNumber, fingerprint: Fingerprint) {
        if let Some(file) = self.files.iter_mut().find(|file| file.number == number) {
            file.fingerprint = fingerprint;
        }
    }

    /// The next lines are those of this file that begin at `offset`.
    pub(super) fn begin_run(&mut self, file: FileNumber, offset: u64) {
        if self
            .runs
            .back()
            .is_some_and(|run| run.file == file && run.offset + (self.end - run.start) == offset)
        {
            return;
        }
        self.runs.push_back(Run { start: self.end, file, offset });
        if self.runs.len() > RUNS_MAX {
            self.runs.pop_front();
            self.first = self.runs.front().map_or(self.end, |run| run.start);
            let first = self.first;
            self.files.retain(|file| file.retired_at.is_none_or(|retired_at| retired_at > first));
        }
    }

    /// Lines of `n_bytes` together have been handed over.
    pub(super) fn advance(&mut self, n_bytes: u64) {
        self.end += n_bytes;
    }

    /// Nothing more will be read from this file.
    pub(super) fn retire(&mut self, number: FileNumber) {
        if let Some(file) = self.files.iter_mut().find(|file| file.number == number) {
            file.retired_at = Some(self.end);
        }
    }

    /// Where to go on so that the line at `position` is the next one. `None` when that is forgotten.
    pub(super) fn checkpoint(&self, path: &Path, position: SourcePosition) -> Option<SourceCheckpoint> {
        let at = position.0;
        if at < self.first {
            return None;
        }
        // Also those that were opened later: by then the lines of some may be read that are older than others.
        let files = self
            .files
            .iter()
            .filter(|file| file.retired_at.is_none_or(|retired_at| retired_at > at))
            .map(|file| FilePlace { fingerprint: file.fingerprint, offset: self.offset_at(file, at) })
            .collect();
        Some(SourceCheckpoint { path: path.to_owned(), position, files })
    }

    fn offset_at(&self, file: &KnownFile, at: u64) -> u64 {
        let found =
            self.runs.iter().enumerate().rev().find(|(_, run)| run.file == file.number && run.start <= at);
        let Some((index, run)) = found else { return file.opened_offset };
        let run_end = self.runs.get(index + 1).map_or(u64::MAX, |next| next.start);
        run.offset + (at.min(run_end) - run.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(inode: u64) -> Fingerprint {
        Fingerprint { device: 1, inode, head_bytes: 0, head_hash: 0 }
    }

    fn places(table: &PositionTable, at: u64) -> Option<Vec<(u64, u64)>> {
        let checkpoint = table.checkpoint(Path::new("/l"), SourcePosition(at))?;
        Some(checkpoint.files.iter().map(|place| (place.fingerprint.inode, place.offset)).collect())
    }

    #[test]
    fn a_position_is_found_again_in_every_file_that_was_open_there_or_later() {
        let mut table = PositionTable::new(SourcePosition(1000));
        let old = table.open(fingerprint(7), 50);
        table.begin_run(old, 50);
        table.advance(100); // 1000..1100: old 50..150
        let new = table.open(fingerprint(8), 0);
        table.begin_run(new, 0);
        table.advance(10); // 1100..1110: new 0..10
        table.begin_run(old, 150);
        table.advance(20); // 1110..1130: old 150..170, late lines
        table.begin_run(new, 10);
        table.advance(5); // 1130..1135: new 10..15
        table.retire(old);
        table.begin_run(new, 15);
        table.advance(5); // 1135..1140: new 15..20

        assert_eq!(table.end(), SourcePosition(1140));
        assert_eq!(places(&table, 999), None);
        assert_eq!(places(&table, 1000), Some(vec![(7, 50), (8, 0)]));
        assert_eq!(places(&table, 1060), Some(vec![(7, 110), (8, 0)]));
        assert_eq!(places(&table, 1105), Some(vec![(7, 150), (8, 5)]));
        assert_eq!(places(&table, 1120), Some(vec![(7, 160), (8, 10)]));
        assert_eq!(places(&table, 1132), Some(vec![(7, 170), (8, 12)]));
        assert_eq!(places(&table, 1140), Some(vec![(8, 20)]));
    }

    #[test]
    fn the_oldest_runs_are_forgotten_at_the_bound() {
        let mut table = PositionTable::new(SourcePosition(0));
        for n in 0..RUNS_MAX as u64 + 10 {
            let file = table.open(fingerprint(n), 0);
            table.begin_run(file, 0);
            table.advance(1);
            table.retire(file);
        }
        assert!(table.files.len() <= RUNS_MAX + 1 && table.runs.len() == RUNS_MAX);
        assert_eq!(places(&table, 9), None);
        assert_eq!(places(&table, 10).map(|places| places[0]), Some((10, 0)));
    }
}
