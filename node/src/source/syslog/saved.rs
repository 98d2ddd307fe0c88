//! What is sent to this node, saved to a file: for `grep`, for `bannkreis regex`, and for jails that name that file.
//!
//! When it is large it is renamed, and the oldest part is removed. Not for what is in it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file is renamed when it has so many bytes.
const PART_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// So many parts are kept beside the file that is written to.
const N_PARTS: u32 = 4;
/// Readable for the group, as the logs of a syslog daemon are.
const MODE: u32 = 0o640;

/// A file that lines are saved to.
#[derive(Debug)]
pub(super) struct Saved {
    path: PathBuf,
    /// It, and its size.
    open: Option<(File, u64)>,
    /// What keeps it from being written, as it was said last.
    said: Option<String>,
}

impl Saved {
    /// A file that is opened when something is written.
    pub(super) fn new(path: PathBuf) -> Saved {
        Saved { path, open: None, said: None }
    }

    /// Adds whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let outcome = self.try_write(lines);
        let problem = outcome.err().map(|error| error.to_string());
        if let Some(problem) = problem.as_ref().filter(|problem| self.said.as_ref() != Some(*problem)) {
            tracing::warn!(
                "syslog.save_to = \"{}\": it can not be written: {problem}; messages are judged all the same",
                self.path.display()
            );
        }
        self.said = problem;
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        // Somebody else may have renamed or removed it.
        let is_gone = |file: &File| {
            use std::os::unix::fs::MetadataExt;
            let here = file.metadata().map(|facts| (facts.dev(), facts.ino())).ok();
            here != fs::metadata(&self.path).map(|facts| (facts.dev(), facts.ino())).ok()
        };
        if self.open.as_ref().is_some_and(|(file, _)| is_gone(file)) {
            self.open = None;
        }
        let mut outcome = Ok(());
        if self.open.as_ref().is_some_and(|(_, size)| *size >= PART_BYTES_MAX) {
            self.open = None;
            // It grows on when that is refused: nothing is lost by it.
            outcome = self.shift();
        }
        let (file, size) = match &mut self.open {
            Some(open) => open,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(MODE).open(&self.path)?;
                let facts = file.metadata()?;
                if facts.len() == 0 {
                    // By hand: the daemon's umask leaves nothing for the group.
                    file.set_permissions(Permissions::from_mode(MODE))?;
                }
                self.open.insert((file, facts.len()))
            }
        };
        file.write_all(lines)?;
        *size += lines.len() as u64;
        outcome
    }

    /// Each part gets the next number.
    fn shift(&self) -> io::Result<()> {
        for n in (1..N_PARTS).rev() {
            rename(&part(&self.path, n), &part(&self.path, n + 1))?;
        }
        rename(&self.path, &part(&self.path, 1))
    }
}

fn part(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_renamed_and_the_oldest_part_removed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("syslog.log");
        let mut saved = Saved::new(path.clone());
        for n in 0..8_u8 {
            saved.write(&[b'0' + n, b'\n']);
            // As if it were full.
            saved.open.as_mut().expect("open").1 = PART_BYTES_MAX;
        }
        let text = |path: &Path| fs::read_to_string(path).expect("text");
        assert_eq!(text(&path), "7\n");
        let parts: Vec<String> = (1..=N_PARTS).map(|n| text(&part(&path, n))).collect();
        assert_eq!(parts, ["6\n", "5\n", "4\n", "3\n"]);
        assert!(!part(&path, N_PARTS + 1).exists());
        assert_eq!(fs::metadata(&path).expect("facts").permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn what_somebody_else_renames_is_written_anew() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("syslog.log");
        let mut saved = Saved::new(path.clone());
        saved.write(b"a\n");
        fs::rename(&path, part(&path, 1)).expect("renamed");
        saved.write(b"b\n");
        assert_eq!(fs::read_to_string(&path).expect("text"), "b\n");
        // A disk that is full, or a directory that is gone, holds nothing up.
        let mut nowhere = Saved::new(directory.path().join("none/x"));
        nowhere.write(b"c\n");
        assert!(nowhere.said.is_some());
    }
}
