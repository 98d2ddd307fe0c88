//! Rules about single files: each says what it is for, fits in a head, is finished, and names no
//! place of the machine it was written on.

use crate::code::{code_only, line_number};
use crate::tree::{TextFile, expect_none, rust_files, text_files};

/// More lines than this and a file holds more than one idea.
const FILE_LINES_MAX: usize = 600;

/// Files that may be longer, each with the reason: a list is one idea, however long.
const LONG_LISTS: [(&str, &str); 0] = [];

/// Names of this rule's own file, whose text has to name what it refuses.
const THIS_FILE: &str = "tests/tidy/sources.rs";

#[test]
fn every_file_opens_with_what_it_is_for() {
    let broken: Vec<String> = rust_files()
        .iter()
        .filter(|file| !file.text.trim_start().starts_with("//!"))
        .map(|file| file.path.clone())
        .collect();
    expect_none("every Rust file opens with a //! paragraph: what it is for and what it is not for", &broken);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let code = code_only(&file.text);
        for unfinished in ["todo!", "unimplemented!", "dbg!"] {
            broken.extend(places(&file.path, &code, unfinished));
        }
    }
    for file in text_files().iter().filter(|file| file.path != THIS_FILE) {
        for mark in ["FIXME", "TODO", "XXX"] {
            broken.extend(words(file, mark));
        }
    }
    expect_none("unfinished work is an issue, not a mark in the code", &broken);
}

#[test]
fn every_file_fits_in_a_head() {
    let broken: Vec<String> = rust_files()
        .iter()
        .filter(|file| !LONG_LISTS.iter().any(|(path, _)| *path == file.path))
        .map(|file| (file.text.lines().count(), &file.path))
        .filter(|(n_lines, _)| *n_lines > FILE_LINES_MAX)
        .map(|(n_lines, path)| format!("{path}: {n_lines} lines"))
        .collect();
    expect_none(
        &format!("a file of more than {FILE_LINES_MAX} lines holds more than one idea: split it by ideas"),
        &broken,
    );
}

#[test]
fn no_file_names_a_place_of_somebodys_machine() {
    let mut broken = Vec::new();
    for file in text_files().iter().filter(|file| file.path != THIS_FILE) {
        for directory in ["/work", "/root", "/farm"] {
            for (at, _) in file.text.match_indices(directory) {
                let before = file.text[..at].chars().next_back();
                let after = file.text[at + directory.len()..].chars().next();
                let is_start = !before.is_some_and(|c| c.is_alphanumeric() || "._-/*}~$".contains(c));
                let is_whole = !after.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c));
                if is_start && is_whole {
                    broken.push(format!("{}:{}: {directory}", file.path, line_number(&file.text, at)));
                }
            }
        }
    }
    expect_none("paths of the machine something was written on mean nothing elsewhere", &broken);
}

/// Every place where `text` stands in the code.
fn places(path: &str, code: &str, text: &str) -> Vec<String> {
    code.match_indices(text).map(|(at, _)| format!("{path}:{}: {text}", line_number(code, at))).collect()
}

/// Every place where `word` stands in the file as a word of its own.
fn words(file: &TextFile, word: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    file.text
        .match_indices(word)
        .filter(|(at, _)| !file.text[..*at].chars().next_back().is_some_and(is_part))
        .filter(|(at, _)| !file.text[at + word.len()..].chars().next().is_some_and(is_part))
        .map(|(at, _)| format!("{}:{}: {word}", file.path, line_number(&file.text, at)))
        .collect()
}
