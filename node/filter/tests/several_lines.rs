//! Filters that look at several lines at once, and connections whose lines are judged together.

use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::jail::JailName;
use bannkreis_core::time::Timestamp;
use bannkreis_filter::date::convert::Zone;
use bannkreis_filter::date::templates::DefaultTemplates;
use bannkreis_filter::encoding::LogEncoding;
use bannkreis_filter::filter::{Filter, Ignored, Judged, Mode, NoMatch, Rules, Surroundings};
use bannkreis_filter::trial::Thoroughness;
use jiff::tz::TimeZone;
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use std::sync::LazyLock;

/// 2026-11-20 10:00:30 UTC.
const NOW: Timestamp = Timestamp(1_795_168_830_000);

static FORMATS: LazyLock<DefaultTemplates> = LazyLock::new(DefaultTemplates::new);

/// A session begins with one line that names the host and fails with another, others between them.
const SESSION: &str = r"^ app: (?P<n>\d+) begin <HOST>$<SKIPLINES>^ app: (?P=n) denied <F-USER>\S+</F-USER>$";

fn rules(failregex: &str, max_lines: usize) -> Rules {
    Rules { failregex: vec![failregex.to_owned()], max_lines, ..Rules::default() }
}

fn compile(rules: &Rules) -> Filter {
    let surroundings = Surroundings {
        jail: JailName::new("j").expect("a name"),
        find_time_ms: 600_000,
        zone: Zone::local(TimeZone::UTC),
        encoding: LogEncoding::Utf8,
    };
    Filter::new(rules, surroundings, &FORMATS).expect("compiles")
}

fn line(text: &[u8], cut: bool) -> LogLine {
    LogLine {
        source: SourceId(0),
        position: SourcePosition(0),
        received_at: NOW,
        written_at: None,
        text: text.to_vec(),
        cut,
        replayed: false,
    }
}

fn judge(filter: &mut Filter, message: &str) -> Judged {
    filter.judge(&line(format!("Nov 20 10:00:00 {message}").as_bytes(), false), NOW, Mode::Following)
}

/// Who failed after all of these lines, in order: addresses and accounts.
fn failures(filter: &mut Filter, messages: &[&str]) -> Vec<String> {
    let judged = messages.iter().map(|message| judge(filter, message));
    let failed = judged.filter_map(|judged| match judged {
        Judged::Failure(failure) => {
            Some(format!("{} {}", failure.offender, failure.user.unwrap_or_default()))
        }
        _ => None,
    });
    failed.collect()
}

#[test]
fn interwoven_sessions_are_told_apart() {
    let mut filter = compile(&rules(SESSION, 10));
    let lines = [
        "app: 1 begin 192.0.2.1",
        "app: 2 begin 192.0.2.2",
        "app: 3 begin 192.0.2.3",
        "app: 2 denied b",
        "app: 1 denied a",
        "app: 4 denied d",
    ];
    assert_eq!(failures(&mut filter, &lines), ["192.0.2.2 b", "192.0.2.1 a"]);
    let Judged::Failure(failure) = judge(&mut filter, "app: 3 denied c") else { panic!("no failure") };
    assert_eq!(failure.evidence, "Nov 20 10:00:00 app: 3 begin 192.0.2.3 | Nov 20 10:00:00 app: 3 denied c");
    // What has matched is gone.
    assert_eq!(judge(&mut filter, "app: 3 denied c"), Judged::NoMatch(NoMatch::Failregex));
}

#[test]
fn what_is_further_back_than_maxlines_is_forgotten() {
    let lines = ["app: 1 begin 192.0.2.1", "x", "app: 1 denied a"];
    assert_eq!(failures(&mut compile(&rules(SESSION, 3)), &lines), ["192.0.2.1 a"]);
    assert!(failures(&mut compile(&rules(SESSION, 2)), &lines).is_empty());
}

#[test]
fn ignoreregex_looks_at_the_lines_that_matched_and_takes_them_away() {
    let known = Rules { ignoreregex: vec!["denied monitor$".to_owned()], ..rules(SESSION, 10) };
    let mut filter = compile(&known);
    let lines = ["app: 1 begin 192.0.2.1", "app: 2 begin 192.0.2.2", "app: 1 denied monitor"];
    assert!(failures(&mut filter, &lines).is_empty());
    // The other session is no part of that match and is still there.
    assert_eq!(failures(&mut filter, &["app: 1 denied a", "app: 2 denied b"]), ["192.0.2.2 b"]);
}

#[test]
fn prefregex_passes_its_content_on_to_the_next_line() {
    let prefixed = Rules {
        prefregex: Some("(?s)app: <F-CONTENT>.+</F-CONTENT>$".to_owned()),
        ..rules(r"^begin <HOST>$<SKIPLINES>^.*denied <F-USER>\S+</F-USER>$", 5)
    };
    let lines = ["app: begin 192.0.2.1", "app: denied a"];
    assert!(failures(&mut compile(&prefixed), &lines).is_empty(), "the content has lost its beginning");
    let whole =
        Rules { prefregex: Some("(?s)^<F-CONTENT>.+</F-CONTENT>\\n$".to_owned()), ..rules(SESSION, 5) };
    let lines = ["app: 1 begin 192.0.2.1", "app: 1 denied a"];
    assert_eq!(failures(&mut compile(&whole), &lines), ["192.0.2.1 a"]);
}

#[test]
fn a_cut_line_and_an_old_one_do_not_enter_the_window() {
    let mut filter = compile(&rules(SESSION, 10));
    let begin = b"Nov 20 10:00:00 app: 1 begin 192.0.2.1";
    assert_eq!(
        filter.judge(&line(begin, true), NOW, Mode::Following),
        Judged::NoMatch(NoMatch::Failregex),
        "it may go on with anything"
    );
    assert!(failures(&mut filter, &["app: 1 denied a"]).is_empty());
    let old = b"Nov 20 09:00:00 app: 1 begin 192.0.2.1";
    assert_eq!(filter.judge(&line(old, false), NOW, Mode::CatchingUp), Judged::Ignored(Ignored::TooOld));
    assert!(failures(&mut filter, &["app: 1 denied a"]).is_empty());
}

#[test]
fn a_filter_of_one_line_never_sees_two() {
    let mut filter = compile(&rules(r"begin <HOST>(?:.|\n)*denied", 1));
    assert!(failures(&mut filter, &["begin 192.0.2.1", "denied"]).is_empty());
    let mut filter = compile(&rules(r"begin <HOST>(?:.|\n)*denied", 2));
    assert_eq!(failures(&mut filter, &["begin 192.0.2.1", "denied"]), ["192.0.2.1 "]);
}

fn connections() -> Filter {
    let failregex = [
        "^<F-NOFAIL>connect</F-NOFAIL> from <HOST>$",
        "^denied <F-USER>\\S+</F-USER>$",
        "^<F-MLFGAINED>welcome</F-MLFGAINED> <F-USER>\\S+</F-USER>$",
        "^<F-NOFAIL><F-MLFFORGET>bye</F-MLFFORGET></F-NOFAIL>$",
    ];
    compile(&Rules {
        prefregex: Some("^ app\\[<F-MLFID>\\d+</F-MLFID>\\]: <F-CONTENT>.+</F-CONTENT>$".to_owned()),
        failregex: failregex.map(str::to_owned).to_vec(),
        ..Rules::default()
    })
}

#[test]
fn a_failure_finds_its_address_in_the_connections_other_lines() {
    let mut filter = connections();
    assert_eq!(judge(&mut filter, "app[1]: connect from 192.0.2.1"), Judged::Ignored(Ignored::NoFail));
    assert_eq!(
        failures(&mut filter, &["app[1]: denied a", "app[1]: denied a"]),
        ["192.0.2.1 a", "192.0.2.1 a"]
    );
    // A failure that comes before the address waits for it.
    assert_eq!(judge(&mut filter, "app[2]: denied b"), Judged::Ignored(Ignored::Pending));
    assert_eq!(failures(&mut filter, &["app[2]: connect from 192.0.2.2"]), ["192.0.2.2 b"]);
}

#[test]
fn a_login_that_succeeds_is_no_failure_unless_it_was_tried_with_several_accounts() {
    let mut filter = connections();
    assert!(failures(&mut filter, &["app[1]: connect from 192.0.2.1", "app[1]: welcome a"]).is_empty());
    let several = ["app[2]: connect from 192.0.2.2", "app[2]: denied a", "app[2]: welcome b"];
    assert_eq!(failures(&mut filter, &several), ["192.0.2.2 a", "192.0.2.2 b"]);
}

#[test]
fn a_connection_that_ends_is_forgotten() {
    let mut filter = connections();
    let lines = ["app[1]: connect from 192.0.2.1", "app[1]: bye", "app[1]: denied a"];
    assert!(failures(&mut filter, &lines).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_lines_stop_us(
        lines in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<bool>()), 0..12),
        max_lines in 0_usize..5,
    ) {
        let wanted = Thoroughness { every_failregex: true, pending: true, raw_names: true };
        let prefregex = Some("(?s)^<F-CONTENT>.*</F-CONTENT>$".to_owned());
        for prefregex in [None, prefregex] {
            let mut filter = compile(&Rules { prefregex, ..rules(r"<HOST><SKIPLINES>.*<SKIPLINES>\W$", max_lines) });
            for (bytes, cut) in &lines {
                let _ = filter.judge(&line(bytes, *cut), NOW, Mode::Following);
                let _ = filter.judge(&line(bytes, *cut), NOW, Mode::CatchingUp);
                let _ = filter.try_line(&line(bytes, *cut), NOW, wanted);
            }
        }
    }
}
