//! The map is true: what ARCHITECTURE.md and the other pages name is there, every crate is on the
//! map, every invariant names a test that exists, and every command is explained.

use crate::layers::manifests;
use crate::tree::{TextFile, expect_none, root, rust_files, text_files};

/// The words in ARCHITECTURE.md that stand before the names of the tests of an invariant.
const GUARDED_BY: &str = "Guarded by";

/// How many lines above a test's name its attribute may stand: other attributes and its documentation.
const ATTRIBUTE_LINES_MAX: usize = 8;

/// Directories that build tools fill: a page may name them although they are not in the tree.
const BUILT: [&str; 1] = ["target/"];

#[test]
fn every_path_on_the_map_exists() {
    let map = page("ARCHITECTURE.md");
    let top: Vec<String> = top_level_directories();
    let broken: Vec<String> = paths_named_in(&map.text, &top)
        .into_iter()
        .filter(|path| !root().join(path).exists())
        .map(|path| format!("ARCHITECTURE.md names {path}, which is not there"))
        .collect();
    expect_none("the map names only what is there", &broken);
}

#[test]
fn every_crate_is_on_the_map() {
    let map = page("ARCHITECTURE.md");
    let broken: Vec<String> = manifests()
        .keys()
        .filter_map(|path| path.strip_suffix("/Cargo.toml"))
        .filter(|directory| !map.text.contains(*directory))
        .map(|directory| format!("{directory} is not in ARCHITECTURE.md"))
        .collect();
    expect_none("every crate is on the map", &broken);
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let map = page("ARCHITECTURE.md");
    let sources = rust_files();
    let is_a_test = |name: &str| sources.iter().any(|file| defines_test(&file.text, name));
    let invariants = invariants(&map.text);
    assert!(!invariants.is_empty(), "ARCHITECTURE.md has no numbered list under a heading with `nvariants`");
    let mut broken = Vec::new();
    for (title, text) in invariants {
        let guards = guards(&text);
        if guards.is_empty() {
            broken.push(format!("{title}: no `{GUARDED_BY}` followed by the name of a test"));
        }
        for guard in guards {
            let function = guard.rsplit("::").next().unwrap_or(guard);
            if !root().join(guard).exists() && !is_a_test(function) {
                broken.push(format!("{title}: there is no test {guard}"));
            }
        }
    }
    expect_none("an invariant that no test guards is a wish", &broken);
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in text_files().iter().filter(|file| file.path.ends_with(".md")) {
        let directory = root().join(&page.path);
        let directory = directory.parent().expect("a page lies in a directory");
        for link in links(&page.text) {
            let (path, _anchor) = link.split_once('#').unwrap_or((link, ""));
            let is_elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !is_elsewhere && !directory.join(path).exists() {
                broken.push(format!("{}: {link}", page.path));
            }
        }
    }
    expect_none("a link that leads nowhere", &broken);
}

#[test]
fn every_decision_is_in_the_index() {
    let index = page("docs/decisions/README.md");
    let broken: Vec<String> = text_files()
        .iter()
        .filter_map(|file| file.path.strip_prefix("docs/decisions/"))
        .filter(|name| *name != "README.md" && !index.text.contains(*name))
        .map(|name| format!("docs/decisions/README.md does not list {name}"))
        .collect();
    expect_none("a decision that nobody finds is taken twice", &broken);
}

#[test]
fn every_command_is_explained() {
    let makefile = page("Makefile");
    let targets =
        makefile.text.lines().find_map(|line| line.strip_prefix(".PHONY:")).expect("a list of targets");
    let broken: Vec<String> = targets
        .split_whitespace()
        .filter(|target| {
            let explained = format!("{target}: ## ");
            !makefile.text.lines().any(|line| line.starts_with(&explained))
        })
        .map(|target| format!("make {target}"))
        .collect();
    expect_none("every target has a sentence after ##, which `make` prints", &broken);
}

fn page(path: &str) -> TextFile {
    text_files().into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"))
}

fn top_level_directories() -> Vec<String> {
    let entries = std::fs::read_dir(root()).expect("the root can be listed");
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("{}/", entry.file_name().to_string_lossy()))
        .filter(|name| !BUILT.contains(&name.as_str()))
        .collect()
}

/// Every word of the page that begins with a top-level directory. `a/{b,c}.rs` is two paths, and of a
/// pattern such as `a/b/*.rs` only the directory before the star is looked for.
fn paths_named_in(text: &str, top: &[String]) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || "._-/{},*".contains(c);
    let mut paths = Vec::new();
    for word in text.split(|c: char| !is_part(c)) {
        let word = word.trim_end_matches(['.', ',', '-']);
        if !top.iter().any(|directory| word.starts_with(directory.as_str())) {
            continue;
        }
        for path in braces_expanded(word) {
            let path = path.split('*').next().unwrap_or_default();
            let path =
                if word.contains('*') { path.rsplit_once('/').map_or("", |(head, _)| head) } else { path };
            paths.push(path.to_owned());
        }
    }
    paths
}

/// `a{b,c}d` as `abd` and `acd`; without a closed pair of braces the word itself, cut at the comma
/// that only belongs to the sentence.
fn braces_expanded(word: &str) -> Vec<String> {
    let open_and_close = word.find('{').and_then(|open| word.find('}').map(|close| (open, close)));
    match open_and_close {
        Some((open, close)) if open < close => word[open + 1..close]
            .split(',')
            .flat_map(|middle| braces_expanded(&format!("{}{middle}{}", &word[..open], &word[close + 1..])))
            .collect(),
        _ => word.split(',').next().map(str::to_owned).into_iter().collect(),
    }
}

/// The numbered items under the heading that speaks of invariants: the first words, and the whole item.
fn invariants(text: &str) -> Vec<(String, String)> {
    let mut items: Vec<(String, String)> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with('#') {
            is_inside = line.contains("nvariants");
        } else if is_inside {
            let is_numbered = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
            if is_numbered {
                items.push((line.chars().take(60).collect(), line.to_owned()));
            } else if let Some((_, item)) = items.last_mut() {
                item.push(' ');
                item.push_str(line);
            }
        }
    }
    items
}

/// Whether the source defines a function of that name with a test's attribute in the lines above it.
fn defines_test(source: &str, name: &str) -> bool {
    let definition = format!("fn {name}(");
    source.match_indices(&definition).any(|(at, _)| {
        source[..at].lines().rev().take(ATTRIBUTE_LINES_MAX).any(|line| line.trim_end().ends_with("test]"))
    })
}

/// The names in backquotes between `Guarded by` and the end of its sentence.
fn guards(invariant: &str) -> Vec<&str> {
    let Some((_, after)) = invariant.split_once(GUARDED_BY) else { return Vec::new() };
    let sentence = after.split(". ").next().unwrap_or(after);
    sentence.split('`').skip(1).step_by(2).collect()
}

/// The targets of the page's Markdown links.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn paths_links_and_guards_are_found_in_a_page() {
    let top = ["node/".to_owned(), "docs/".to_owned()];
    let text = "See `node/src/{wire,control}.rs`, [the words](docs/glossary.md#words), node/core, and \
                node/core/src/*.rs. Not http://example.org/node/x or node.";
    assert_eq!(
        paths_named_in(text, &top),
        ["node/src/wire.rs", "node/src/control.rs", "docs/glossary.md", "node/core", "node/core/src"]
    );
    assert_eq!(links(text), ["docs/glossary.md#words"]);

    let text = "# Invariants\n1. **The core is told the time.** Guarded by `core::a` and\n   `b`. Planted: `c`.\n2. Alone.\n# Next\n3. x";
    let invariants = invariants(text);
    assert_eq!(invariants.len(), 2);
    assert_eq!(guards(&invariants[0].1), ["core::a", "b"]);
    assert!(guards(&invariants[1].1).is_empty());

    assert!(defines_test("#[tokio::test]\nasync fn a() {}", "a"));
    assert!(!defines_test("#[test]\nfn b() {}", "a"));
    assert!(!defines_test("fn a() {}", "a"));
}
