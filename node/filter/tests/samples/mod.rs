//! The labelled samples of tests/samples, read.
//!
//! Not for the logs of the articles, which `articles` reads as the logs that they are.

use std::path::Path;

/// What a sample is there to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A failure, and whose.
    Positive,
    /// What looks like one and is none.
    Negative,
    /// A line by which somebody wants to have somebody else banned, or to get away.
    Hostile,
}

/// One line, or several that belong together, with what becomes of each.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Its place, for people: `sshd/lines:12`.
    pub file: String,
    /// The filter with its parameters.
    pub filter: String,
    /// What it is there to show.
    pub kind: Kind,
    /// Outcome and text of each line.
    pub lines: Vec<(String, String)>,
}

/// Every sample of every filter.
pub(crate) fn all() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/samples");
    let mut names: Vec<String> = std::fs::read_dir(&root)
        .expect("readable")
        .flatten()
        .filter(|entry| entry.path().join("lines").is_file())
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names.iter().flat_map(|name| of_filter(&root, name)).collect()
}

fn of_filter(root: &Path, name: &str) -> Vec<Sample> {
    let text = std::fs::read_to_string(root.join(name).join("lines")).expect("readable");
    let mut filter = name.to_owned();
    let mut kind = Kind::Positive;
    let mut samples: Vec<Sample> = Vec::new();
    for (written, number) in text.lines().zip(1..) {
        let file = format!("{name}/lines:{number}");
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        if let Some(named) = written.strip_prefix("filter ") {
            filter = named.to_owned();
            continue;
        }
        kind = match written {
            "positive" => Kind::Positive,
            "negative" => Kind::Negative,
            "hostile" => Kind::Hostile,
            _ => kind,
        };
        if ["positive", "negative", "hostile"].contains(&written) {
            continue;
        }
        let Some((expected, line)) = written.split_once(" | ") else { panic!("{file}: no ` | `: {written}") };
        // A line that belongs to the one above begins with a plus.
        match (expected.strip_prefix("+ "), samples.last_mut()) {
            (Some(expected), Some(above)) => above.lines.push((expected.to_owned(), line.to_owned())),
            _ => samples.push(Sample {
                file,
                filter: filter.clone(),
                kind,
                lines: vec![(expected.to_owned(), line.to_owned())],
            }),
        }
    }
    samples
}
