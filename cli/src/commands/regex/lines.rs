//! The log that is tested: a file read in blocks, or lines that were typed.
//!
//! A file may be of any length; one line of it is held at a time, and of that at most what a jail would see.
//! Not for text: lines are bytes.

use super::subject::shortened;
use bannkreis_core::failure::LINE_BYTES_MAX;
use bannkreis_filter::container_lines::{ContainerLines, ENTRY_BYTES_MAX, is_of_containers};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// So much is read from a file at once.
const BLOCK_BYTES: usize = 256 * 1024;
/// So many of the lines that were typed are shown.
const TYPED_SHOWN_MAX: usize = 5;

/// Where the lines come from.
#[derive(Debug)]
pub(super) enum Lines {
    /// A file.
    File(FileLines),
    /// What was typed.
    Typed(std::vec::IntoIter<Vec<u8>>),
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Without its end, at most [`LINE_BYTES_MAX`] bytes.
    pub(super) text: Vec<u8>,
    /// It went on behind `text`.
    pub(super) cut: bool,
}

/// The lines of a file.
#[derive(Debug)]
pub(super) struct FileLines {
    reader: BufReader<File>,
    /// The file is one of a container runtime's, whose lines are taken out of it.
    container: Option<ContainerLines>,
    /// How long the file was when it was opened; 0 for a pipe.
    pub(super) n_bytes: u64,
    /// How far it has been read.
    pub(super) n_read: u64,
    /// It ends without the end of a line, and what stands there is not tested.
    pub(super) is_unended: bool,
}

/// A log that was opened, and what the user is told about it.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its lines.
    pub(super) lines: Lines,
    /// Whole lines.
    pub(super) announced: Vec<String>,
    /// What looks like a mistake.
    pub(super) hint: Option<String>,
}

/// Opens LOG as it was typed. `encoding` is only announced; with `is_buffered`, a filter sees several lines at
/// once and a typed text is shown as such.
///
/// # Errors
/// A sentence, when it is a file that can not be read, or the journal.
pub(super) fn open(log: &OsStr, encoding: &str, is_buffered: bool) -> Result<Opened, String> {
    let typed = log.to_string_lossy();
    if typed.starts_with("systemd-journal") && !Path::new(log).is_file() {
        return Err(
            "systemd-journal can not be read yet. Write the lines to a file and test that: journalctl -o \
                    short-iso > journal.log"
                .to_owned(),
        );
    }
    let path = Path::new(log);
    if path.is_file() || is_pipe(path) {
        let file = File::open(path).map_err(|error| format!("{typed} can not be read: {error}"))?;
        let n_bytes = file.metadata().map_or(0, |facts| facts.len());
        let reader = BufReader::with_capacity(BLOCK_BYTES, file);
        let announced =
            vec![format!("Use         log file : {typed}"), format!("Use         encoding : {encoding}")];
        let container =
            is_of_containers(&path.canonicalize().unwrap_or_default()).then(ContainerLines::default);
        let lines = Lines::File(FileLines { reader, container, n_bytes, n_read: 0, is_unended: false });
        return Ok(Opened { lines, announced, hint: None });
    }
    let is_like_a_path =
        (typed.starts_with(['/', '.']) || path.exists()) && !typed.contains(char::is_whitespace);
    let hint = is_like_a_path
        .then(|| format!("{typed} is no file that can be read here, so it is tested as a line of a log"));
    let parts = || log.as_bytes().split(|&byte| byte == b'\n');
    let mut announced = Vec::new();
    if !is_buffered && !typed.contains('\n') {
        announced.push(format!("Use      single line : {}", shortened(&typed)));
    } else {
        announced.push(format!("Use      multi line : {} line(s)", parts().count()));
        for (n, line) in parts().enumerate().take(TYPED_SHOWN_MAX) {
            announced.push(format!("| {:>2}: {}", n + 1, shortened(&String::from_utf8_lossy(line))));
        }
        if parts().nth(TYPED_SHOWN_MAX).is_some() {
            announced.push("| ...".to_owned());
        }
        announced.push("`-".to_owned());
    }
    let lines = parts().map(<[u8]>::to_vec).collect::<Vec<_>>();
    Ok(Opened { lines: Lines::Typed(lines.into_iter()), announced, hint })
}

/// `<(zcat …)` and `/dev/stdin` are such.
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|facts| facts.file_type().is_fifo())
}

impl Lines {
    /// The next line; `None` behind the last.
    ///
    /// # Errors
    /// When the file can not be read on.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        match self {
            Lines::Typed(lines) => Ok(lines.next().map(|text| finished(text, false))),
            Lines::File(file) => file.next(),
        }
    }
}

impl FileLines {
    /// The next line, which may be made of parts.
    fn next(&mut self) -> io::Result<Option<Line>> {
        let Some(mut container) = self.container.take() else {
            return Ok(self.next_raw(LINE_BYTES_MAX)?.map(|(text, cut)| finished(text, cut)));
        };
        let mut line = None;
        while line.is_none() {
            let Some((entry, _)) = self.next_raw(ENTRY_BYTES_MAX)? else { break };
            container.take(&entry, 0, |found| {
                line = Some(Line { text: found.text.to_vec(), cut: found.cut });
            });
        }
        self.container = Some(container);
        Ok(line)
    }

    /// What stands there up to the end of a line, at most one byte more than so many; and whether it goes on.
    fn next_raw(&mut self, n_bytes_max: usize) -> io::Result<Option<(Vec<u8>, bool)>> {
        let mut text = Vec::new();
        let mut cut = false;
        loop {
            let block = match self.reader.fill_buf() {
                Ok(block) => block,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if block.is_empty() {
                self.is_unended = !text.is_empty();
                return Ok(None);
            }
            let end = block.iter().position(|&byte| byte == b'\n');
            let part = &block[..end.unwrap_or(block.len())];
            // One byte more, so that a carriage return at the bound can be told from a longer line.
            let room = n_bytes_max + 1 - text.len();
            text.extend_from_slice(&part[..part.len().min(room)]);
            cut |= part.len() > room;
            let n_taken = part.len() + usize::from(end.is_some());
            self.reader.consume(n_taken);
            self.n_read += n_taken as u64;
            if end.is_some() {
                return Ok(Some((text, cut)));
            }
        }
    }
}

fn finished(mut text: Vec<u8>, cut: bool) -> Line {
    if !cut {
        while text.last() == Some(&b'\r') {
            text.pop();
        }
    }
    let cut = cut || text.len() > LINE_BYTES_MAX;
    text.truncate(LINE_BYTES_MAX);
    Line { text, cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<Line> {
        std::iter::from_fn(|| lines.next().expect("readable")).collect()
    }

    #[test]
    fn a_file_is_cut_into_lines_and_long_ones_are_cut_short() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let long = "x".repeat(LINE_BYTES_MAX);
        std::fs::write(&path, format!("a\r\n\nb\0c\n{long}\n{long}y\nunended")).expect("written");
        let mut opened = open(path.as_os_str(), "UTF-8", false).expect("opened");
        let lines = all(&mut opened.lines);
        let line = |text: &str, cut| Line { text: text.as_bytes().to_vec(), cut };
        assert_eq!(
            lines,
            [line("a", false), line("", false), line("b\0c", false), line(&long, false), line(&long, true)]
        );
        assert!(matches!(opened.lines, Lines::File(FileLines { is_unended: true, .. })));
    }

    #[test]
    fn what_a_container_has_written_is_taken_out_of_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let at = "2026-11-30T10:00:00.5Z";
        let text = format!(
            "{at} stdout P one \n{at} stderr F other\n{at} stdout F two\nplain\n{at} stdout P rest\n"
        );
        std::fs::write(&path, text).expect("written");
        let file = File::open(&path).expect("opened");
        let (reader, container) = (BufReader::new(file), Some(ContainerLines::default()));
        let mut lines =
            Lines::File(FileLines { reader, container, n_bytes: 0, n_read: 0, is_unended: false });
        let texts: Vec<String> =
            all(&mut lines).into_iter().map(|line| String::from_utf8(line.text).expect("text")).collect();
        assert_eq!(texts, ["other", "one two", "plain"]);
    }

    #[test]
    fn what_is_no_file_is_taken_as_lines() {
        let mut opened = open(OsStr::new("one\r\ntwo"), "UTF-8", false).expect("opened");
        assert_eq!(opened.announced, ["Use      multi line : 2 line(s)", "|  1: one\r", "|  2: two", "`-"]);
        assert_eq!(all(&mut opened.lines).len(), 2);
        let opened = open(OsStr::new("/var/log/no-such.log"), "UTF-8", false).expect("opened");
        assert!(opened.hint.is_some_and(|hint| hint.contains("no file")));
        assert!(open(OsStr::new("systemd-journal[journalflags=1]"), "UTF-8", false).is_err());
    }
}
