//! One word per thing: the words that the glossary refuses are not in the names we give.
//!
//! Only names that are given here count, in definitions and in file names. Names of other people's
//! crates, text, and comments that explain a word of the field are not ours to judge.

use crate::code::{code_only, identifiers, line_number};
use crate::tree::{expect_none, rust_files, text_files};

/// The heading in docs/glossary.md under which the refused words stand, one backquoted word each.
const REFUSED_HEADING: &str = "## Refused in names";

/// What a name is given after.
const DEFINING: [&str; 10] =
    ["mod", "fn", "struct", "enum", "union", "trait", "type", "const", "static", "let"];

#[test]
fn names_use_the_words_of_the_glossary() {
    let refused = refused_words();
    let mut broken = Vec::new();
    for file in rust_files() {
        let code = code_only(&file.text);
        let words = identifiers(&code);
        for pair in words.windows(2) {
            let ((_, before), (at, name)) = (pair[0], pair[1]);
            if (DEFINING.contains(&before) || before == "mut")
                && let Some(word) = parts(name).into_iter().find(|part| refused.contains(part))
            {
                broken.push(format!("{}:{}: {name} ({word})", file.path, line_number(&code, at)));
            }
        }
    }
    for file in text_files() {
        let of_others = file.is_in("tests/samples") || file.is_in("deploy");
        if !of_others && let Some(word) = parts(&file.path).into_iter().find(|part| refused.contains(part)) {
            broken.push(format!("{} ({word})", file.path));
        }
    }
    expect_none("docs/glossary.md has a better word for this", &broken);
}

fn refused_words() -> Vec<String> {
    let files = text_files();
    let glossary =
        files.iter().find(|file| file.path == "docs/glossary.md").expect("docs/glossary.md exists");
    let (_, section) = glossary.text.split_once(REFUSED_HEADING).expect("the glossary lists refused words");
    let section = section.split("\n## ").next().unwrap_or(section);
    let words: Vec<String> = section.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(words.len() >= 5, "the list of refused words was read wrongly: {words:?}");
    words
}

/// The words of a name, in lower case: `BanList`, `ban_list` and `ban-list.md` begin alike.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut previous_is_lower = false;
    for c in name.chars() {
        let begins_word = c.is_uppercase() && previous_is_lower;
        if begins_word || !c.is_alphanumeric() {
            parts.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(last) = parts.last_mut()
        {
            last.extend(c.to_lowercase());
        }
        previous_is_lower = c.is_lowercase() || c.is_numeric();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[test]
fn names_fall_into_words() {
    assert_eq!(parts("BanListView"), ["ban", "list", "view"]);
    assert_eq!(parts("node/src/log_store.rs"), ["node", "src", "log", "store", "rs"]);
    assert_eq!(parts("RETRY_MAX"), ["retry", "max"]);
}
