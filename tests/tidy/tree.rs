//! The repository as a list of text files, and the one way a rule reports what it found.
//!
//! It knows no rules. Build output and git's own files are not part of the tree.

use std::fs;
use std::path::{Path, PathBuf};

/// What tools made, not people: directories, and in a further work tree `.git` is a file.
const NOT_OURS: [&str; 2] = ["target", ".git"];

/// One text file of the repository.
pub(crate) struct TextFile {
    /// The path from the root of the repository, with `/` between its parts.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

impl TextFile {
    /// Whether the file lies in the directory `dir`, given from the root, without a final `/`.
    pub(crate) fn is_in(&self, dir: &str) -> bool {
        self.path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The root of the repository: the directory above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the crate lies in a directory of the repository").to_path_buf()
}

/// Every text file of the repository, sorted by path. Files that are not UTF-8 are left out.
pub(crate) fn text_files() -> Vec<TextFile> {
    let root = root();
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
        for entry in entries {
            let entry = entry.expect("an entry of a directory that could be opened");
            let name = entry.file_name();
            let file_type = entry.file_type().expect("the type of a directory entry");
            if NOT_OURS.iter().any(|not_ours| name == *not_ours) {
                continue;
            }
            if file_type.is_dir() {
                directories.push(entry.path());
            } else if file_type.is_file() {
                // A file may vanish between the listing and the reading: then it is no part of the tree.
                let Ok(bytes) = fs::read(entry.path()) else { continue };
                let Ok(text) = String::from_utf8(bytes) else { continue };
                let path = entry.path();
                let path = path.strip_prefix(&root).expect("found below the root");
                files.push(TextFile { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Every Rust file of the repository.
pub(crate) fn rust_files() -> Vec<TextFile> {
    text_files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Fails with the rule and every place that breaks it; passes if there is none.
pub(crate) fn expect_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n  {}\n", broken.join("\n  "));
}
