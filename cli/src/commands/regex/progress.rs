//! How far a test has come: one line on the terminal that is written over, and gone at the end.
//!
//! Only for a terminal, and only for a file that takes longer than a moment.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The line is written anew so often.
const EVERY: Duration = Duration::from_millis(200);
/// Between two looks at the clock so many lines are tested.
const LINES_PER_LOOK: u64 = 256;
const BAR_CHARS: u64 = 30;

/// The line.
#[derive(Debug)]
pub(super) struct Progress {
    n_bytes: u64,
    n_lines: u64,
    written_at: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// Of a file of `n_bytes`, if somebody is watching.
    #[must_use]
    pub(super) fn new(n_bytes: u64) -> Option<Progress> {
        let is_watched = n_bytes > 0 && io::stderr().is_terminal();
        is_watched.then(|| Progress {
            n_bytes,
            n_lines: 0,
            written_at: Some(Instant::now()),
            is_shown: false,
        })
    }

    /// One more line was tested; `n_read` bytes of the file are behind us.
    pub(super) fn line(&mut self, n_read: u64) {
        self.n_lines += 1;
        if !self.n_lines.is_multiple_of(LINES_PER_LOOK)
            || self.written_at.is_some_and(|at| at.elapsed() < EVERY)
        {
            return;
        }
        self.written_at = Some(Instant::now());
        self.is_shown = true;
        // Nobody can be told that this can not be written.
        let _ = write!(io::stderr().lock(), "\r{}", bar(n_read, self.n_bytes, self.n_lines));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            // Carriage return, and ECMA-48 EL: erase to the end of the line.
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn bar(n_read: u64, n_bytes: u64, n_lines: u64) -> String {
    let n_read = n_read.min(n_bytes);
    let n_full = n_read * BAR_CHARS / n_bytes.max(1);
    let full = "#".repeat(usize::try_from(n_full).unwrap_or_default());
    let rest = ".".repeat(usize::try_from(BAR_CHARS - n_full).unwrap_or_default());
    format!("[{full}{rest}] {:3} %, {n_lines} lines", n_read * 100 / n_bytes.max(1))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn the_bar_grows_and_is_never_longer_than_whole() {
        assert_eq!(bar(0, 100, 0), "[..............................]   0 %, 0 lines");
        assert_eq!(bar(50, 100, 7), "[###############...............]  50 %, 7 lines");
        assert_eq!(bar(200, 100, 9), "[##############################] 100 %, 9 lines");
    }
}
