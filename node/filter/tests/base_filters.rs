//! Our own filters on lines as the servers write them: who is blamed, and who must not be.
//!
//! The lines stand in tests/samples/FILTER/lines, with what becomes of each; tests/samples/README.md says
//! how to read them. Every sample is judged as it stands; the failures among them are then judged cut off
//! at every place and with forged lines in place of the user's name, and may not blame anybody else.

mod samples;

use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::{Judged, Mode};
use bannkreis_filter::jail_config::ReadJail;
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;
use samples::{Kind, Sample};
use std::collections::BTreeSet;

/// 2026-11-20 10:00:30 UTC, just after the samples were written.
const NOW: Timestamp = Timestamp(1_795_168_830_000);

/// Addresses of those whom the hostile samples want to have banned (RFC 5737 TEST-NET-2, RFC 3849).
const VICTIMS: [&str; 2] = ["198.51.100.", "2001:db8:bad:"];

/// A failure is cut at so many places from its address on.
const CUTS_MAX: usize = 80;

/// A jail with this filter, as `filter = …` names it.
fn jail(filter: &str) -> ReadJail {
    let text = format!("[sample]\nenabled = true\nfilter = {filter}\nlogpath = /x\n");
    let user = MemoryTree::new("/f/").with("jail.local", &text);
    let host = Host {
        zone: TimeZone::UTC,
        services: &|_| None,
        is_journal_instead: &|_| false,
        config_dir: String::new(),
    };
    let mut reading = reading::read(&user, &host).expect("well formed");
    assert_eq!(reading.errors, [], "{filter}");
    reading.jails.remove(0)
}

/// One jail per filter; the lines of all its samples go through it, one after the other.
#[derive(Default)]
struct Jails(Vec<(String, ReadJail)>);

impl Jails {
    fn of(&mut self, filter: &str) -> &mut ReadJail {
        let index = self.0.iter().position(|(name, _)| name == filter).unwrap_or_else(|| {
            self.0.push((filter.to_owned(), jail(filter)));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }
}

fn line(text: &str, cut: bool) -> LogLine {
    LogLine {
        source: SourceId(0),
        position: SourcePosition(0),
        received_at: NOW,
        written_at: None,
        text: text.as_bytes().to_vec(),
        cut,
        replayed: false,
    }
}

/// What becomes of a line, in the words of the samples.
fn outcome(jail: &mut ReadJail, text: &str, cut: bool) -> String {
    match jail.filter.judge(&line(text, cut), NOW, Mode::Following) {
        Judged::Failure(failure) => match failure.user {
            Some(user) => format!("{} {user}", failure.offender),
            None => failure.offender.to_string(),
        },
        Judged::NoMatch(_) => "-".to_owned(),
        other => other.reason().to_owned(),
    }
}

fn offender(outcome: &str) -> Option<&str> {
    let first = outcome.split(' ').next()?;
    first.contains(['.', ':']).then_some(first)
}

#[test]
fn every_sample_is_judged_as_it_says() {
    let mut wrong = Vec::new();
    let mut jails = Jails::default();
    for sample in samples::all() {
        let jail = jails.of(&sample.filter);
        for (expected, text) in &sample.lines {
            let got = outcome(jail, text, false);
            if got != *expected {
                wrong.push(format!(
                    "{}: {}: expected `{expected}`, got `{got}`: {text}",
                    sample.file, sample.filter
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_filter_of_the_base_has_samples_of_each_kind() {
    let has = |filter: &str, kind: Kind| {
        samples::all()
            .iter()
            .any(|sample| sample.file.starts_with(&format!("{filter}/")) && sample.kind == kind)
    };
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/base/filter.d");
    for entry in std::fs::read_dir(directory).expect("readable").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        let filter = name.trim_end_matches(".conf");
        if filter == "common" || filter.ends_with("-common") {
            continue;
        }
        for kind in [Kind::Positive, Kind::Negative, Kind::Hostile] {
            assert!(has(filter, kind), "{filter} has no {kind:?} sample");
        }
    }
}

#[test]
fn no_sample_blames_a_victim() {
    for Sample { file, lines, kind, .. } in samples::all() {
        for (expected, text) in lines {
            let victim = VICTIMS.iter().any(|victim| expected.starts_with(victim));
            assert!(!victim, "{file}: {text}");
            if kind == Kind::Negative {
                assert!(offender(&expected).is_none(), "{file}: {text}");
            }
        }
    }
}

/// The samples that are one line and a failure: filter, outcome, line.
fn failures() -> Vec<(String, String, String)> {
    let single = samples::all().into_iter().filter(|sample| sample.lines.len() == 1);
    single
        .filter_map(|sample| {
            let (expected, text) = sample.lines.into_iter().next()?;
            offender(&expected)?;
            Some((sample.filter, expected, text))
        })
        .collect()
}

#[test]
fn a_line_that_is_cut_off_blames_the_same_or_nobody() {
    let mut jails = Jails::default();
    for (filter, expected, text) in failures() {
        let jail = jails.of(&filter);
        // Before its address nothing can be blamed, and far behind it little changes.
        let from = offender(&expected).and_then(|address| text.find(address)).unwrap_or(0);
        let near = from + 1..from + CUTS_MAX;
        for end in text.char_indices().map(|(index, _)| index).filter(|index| near.contains(index)) {
            let got = outcome(jail, &text[..end], true);
            let blamed = offender(&got);
            assert!(
                blamed.is_none() || blamed == offender(&expected),
                "{filter}: {got} for {}",
                &text[..end]
            );
        }
    }
}

#[test]
fn a_forged_name_blames_nobody_else() {
    const VICTIM: &str = "198.51.100.9";
    let mut jails = Jails::default();
    let mut tried = 0;
    for (filter, expected, text) in failures() {
        let Some((offender, user)) = expected.split_once(' ') else { continue };
        let Some(at) = text.find(user) else { continue };
        let message = text.split_once("]: ").map_or(text.as_str(), |(_, message)| message);
        let mut forged = BTreeSet::new();
        // The line itself, whole and in parts, with the victim's address in place of the offender's.
        for whole in [text.as_str(), message, &text[at..], &text[at + user.len()..]] {
            let whole = whole.replace(offender, VICTIM);
            forged.extend([
                whole.clone(),
                format!("x{whole}"),
                format!("x{whole}y"),
                format!("{user}{whole} "),
            ]);
        }
        for name in forged {
            let hostile = format!("{}{name}{}", &text[..at], &text[at + user.len()..]);
            let got = outcome(jails.of(&filter), &hostile, false);
            assert!(!got.contains(VICTIM) || got.starts_with(offender), "{filter}: {got} for {hostile}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}
