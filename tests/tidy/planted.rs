//! Every planted bug still has its place in the sources: a plant that does not would be found only after the simulations
//! have run.
//!
//! Not whether it is caught: that is `tests/planted/run`.

use crate::tree::{TextFile, expect_none, text_files};
use std::collections::BTreeMap;

/// What a patch expects to find in a file, in one piece.
struct Hunk<'a> {
    path: &'a str,
    before: String,
}

fn hunks(patch: &str) -> Vec<Hunk<'_>> {
    let mut hunks = Vec::new();
    let mut path = "";
    for line in patch.lines() {
        if let Some(named) = line.strip_prefix("--- a/") {
            path = named;
        } else if line.starts_with("@@ ") {
            hunks.push(Hunk { path, before: String::new() });
        } else if let (Some(hunk), Some(kept)) =
            (hunks.last_mut(), line.strip_prefix(' ').or_else(|| line.strip_prefix('-')))
            && !line.starts_with("---")
        {
            hunk.before.push_str(kept);
            hunk.before.push('\n');
        }
    }
    hunks
}

#[test]
fn every_planted_bug_has_its_place() {
    let files = text_files();
    let texts: BTreeMap<&str, &str> =
        files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let is_plant = |file: &&TextFile| file.is_in("tests/planted") && file.path.ends_with(".patch");
    let mut broken = Vec::new();
    for plant in files.iter().filter(is_plant) {
        let hunks = hunks(&plant.text);
        if hunks.is_empty() {
            broken.push(format!("{} plants nothing", plant.path));
        }
        for Hunk { path, before } in hunks {
            if !texts.get(path).is_some_and(|text| text.contains(&before)) {
                broken.push(format!("{}: {path} has no such lines:\n{before}", plant.path));
            }
        }
    }
    expect_none("every planted bug has its place in the sources", &broken);
}
