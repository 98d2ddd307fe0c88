//! Every planted bug still has its place in the sources, and who has to notice it is there: a plant for which that is not
//! so would be found only after the simulations have run.
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

/// The rest of the first line of a plant's header that begins with `word: `.
fn header<'p>(patch: &'p str, word: &str) -> Option<&'p str> {
    patch.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(": "))
}

#[test]
fn somebody_has_to_notice_every_planted_bug() {
    let files = text_files();
    // Where those who may notice stand, and what their names look like there.
    let is_named = |room: &str, name: &dyn Fn(&TextFile) -> bool| {
        files.iter().filter(|file| file.is_in(room) && file.path.ends_with(".rs")).any(name)
    };
    let is_test = |room: &str, test: &str| {
        let (module, name) = test.rsplit_once("::").unwrap_or(("", test));
        is_named(room, &|file| file.path.contains(module) && file.text.contains(&format!("fn {name}(")))
    };
    let mut broken = Vec::new();
    for plant in files.iter().filter(|file| file.is_in("tests/planted") && file.path.ends_with(".patch")) {
        let header = |word| header(&plant.text, word);
        let is_there = match (header("Breaks"), header("Story"), header("Law")) {
            (Some(promise), None, None) => {
                let text = format!("\"{promise}\"");
                let has = |file: &TextFile| file.text.contains(&text);
                is_named("tests/sim", &has) || is_named("node/raft/src/simulated", &has)
            }
            (None, Some(story), None) => is_test("tests/sim/scenarios", story),
            (None, None, Some(law)) => is_test("node/core/tests/laws", law),
            _ => false,
        };
        if !is_there {
            broken.push(format!("{}: nobody is there who could notice", plant.path));
        }
    }
    expect_none("somebody has to notice every planted bug", &broken);
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
