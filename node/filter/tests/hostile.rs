//! Lines that are written to hurt: they are judged quickly, blame nobody else, and crash nothing.

use bannkreis_core::failure::{LINE_BYTES_MAX, LogLine, SourceId, SourcePosition};
use bannkreis_core::jail::JailName;
use bannkreis_core::proposal::EVIDENCE_LINE_BYTES_MAX;
use bannkreis_core::time::Timestamp;
use bannkreis_filter::date::convert::Zone;
use bannkreis_filter::date::templates::DefaultTemplates;
use bannkreis_filter::encoding::LogEncoding;
use bannkreis_filter::filter::{Filter, Ignored, Judged, Mode, NoMatch, Rules, Surroundings, UseDns};
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const NOW: Timestamp = Timestamp(1_795_168_830_000);
/// Far above what a line takes even unoptimised on a busy machine, far below what exponential
/// backtracking takes.
const LINE_TIME_MAX: Duration = Duration::from_secs(5);

/// Compiled once for all tests of this file, as for all jails of a node.
static FORMATS: LazyLock<DefaultTemplates> = LazyLock::new(DefaultTemplates::new);

fn rules(failregex: &str) -> Rules {
    Rules { failregex: vec![failregex.to_owned()], ..Rules::default() }
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

fn judge(filter: &mut Filter, text: &[u8]) -> Judged {
    filter.judge(&line(text, false), NOW, Mode::Following)
}

fn offender(judged: Judged) -> Option<String> {
    match judged {
        Judged::Failure(failure) => Some(failure.offender.to_string()),
        _ => None,
    }
}

/// Our own jails, all of them on.
fn our_filters() -> Vec<Filter> {
    let user = MemoryTree::new("/etc/fail2ban/").with("jail.local", "[DEFAULT]\nenabled = true\n");
    let host = Host {
        zone: TimeZone::UTC,
        services: &|_| None,
        is_journal_instead: &|_| false,
        config_dir: String::new(),
    };
    let reading = reading::read(&user, &host).expect("well formed");
    assert_eq!(reading.errors, []);
    reading.jails.into_iter().map(|jail| jail.filter).collect()
}

#[test]
fn a_filter_may_go_to_another_thread() {
    fn needs_send<T: Send>(_: &T) {}
    needs_send(&compile(&rules("<HOST>")));
}

#[test]
fn nested_repetitions_cost_linear_time() {
    // The shape of GHSA-33wh-ccjc-p397: words in a repeated group, and no match at the end.
    let mut nested = compile(&rules(r"^\s*smtp: (?:(?:\w+\s*)+)+\[<HOST>\] failed$"));
    let mut colons = compile(&rules(r"^\s*login: (?:[^:]+: ?)*rejected from <HOST>$"));
    for n in [26, 1_000, 8_000] {
        let started = Instant::now();
        let words = format!("Nov 20 10:00:00 smtp: {}192.0.2.5", "A ".repeat(n));
        assert_eq!(judge(&mut nested, words.as_bytes()), Judged::NoMatch(NoMatch::Failregex));
        let parts = format!("Nov 20 10:00:00 login: {}test no match", "a: ".repeat(n.min(5_000)));
        assert_eq!(judge(&mut colons, parts.as_bytes()), Judged::NoMatch(NoMatch::Failregex));
        assert!(started.elapsed() < LINE_TIME_MAX, "{n}");
    }
}

#[test]
fn a_backtracking_expression_gives_up_and_is_counted() {
    let mut filter = compile(&rules(r"^\s*(?!ok)(?P<w>\w)(?:(?:\w+\s?)+(?=\w))+(?P=w)! <HOST>$"));
    let started = Instant::now();
    let judged =
        judge(&mut filter, format!("Nov 20 10:00:00 {}b! 192.0.2.5", "ab ".repeat(2_000)).as_bytes());
    assert_eq!(judged, Judged::NoMatch(NoMatch::GaveUp));
    assert_eq!(filter.counts().gave_up, 1);
    assert!(started.elapsed() < LINE_TIME_MAX);
}

#[test]
fn our_own_filters_bear_long_lines() {
    let mut filters = our_filters();
    for piece in ["A ", "a: ", " from ", "::1:", "1.1.", " ", "]' [", "11:11:", "\u{e4}", "\0", "<>", "(,"] {
        for head in
            ["Nov 20 10:00:00 h sshd[1]: ", "[Fri Nov 20 10:00:00 2026] [error] [client 192.0.2.1] user ", ""]
        {
            let mut text = head.as_bytes().to_vec();
            while text.len() + piece.len() <= LINE_BYTES_MAX {
                text.extend_from_slice(piece.as_bytes());
            }
            for filter in &mut filters {
                let started = Instant::now();
                let whole = filter.judge(&line(&text, false), NOW, Mode::Following);
                let cut = filter.judge(&line(&text, true), NOW, Mode::Following);
                assert!(started.elapsed() < LINE_TIME_MAX, "{piece:?} {}", filter.jail());
                assert!(offender(whole).is_none() && offender(cut).is_none(), "{piece:?} {}", filter.jail());
            }
        }
    }
}

#[test]
fn padding_does_not_move_the_end_of_a_line() {
    let mut filter = compile(&rules("login failed for .* from <HOST>$"));
    let text = b"Nov 20 10:00:00 login failed for x from 198.51.100.7";
    assert_eq!(offender(judge(&mut filter, text)).as_deref(), Some("198.51.100.7"));
    // The line went on: " from 192.0.2.1", say. What stands at the cut is not its end.
    assert_eq!(offender(filter.judge(&line(text, true), NOW, Mode::Following)), None);
    let mut open = compile(&rules("^ login failed for <HOST> "));
    let text = b"Nov 20 10:00:00 login failed for 192.0.2.1 and so on";
    assert_eq!(offender(open.judge(&line(text, true), NOW, Mode::Following)).as_deref(), Some("192.0.2.1"));
}

#[test]
fn padding_does_not_move_the_end_of_what_prefregex_passes_on() {
    let mut filter = compile(&Rules {
        prefregex: Some("^ app: <F-CONTENT>.+</F-CONTENT>".to_owned()),
        ..rules("failed from <HOST>$")
    });
    let text = b"Nov 20 10:00:00 app: failed from 198.51.100.7";
    assert!(offender(judge(&mut filter, text)).is_some());
    assert_eq!(offender(filter.judge(&line(text, true), NOW, Mode::Following)), None);
}

#[test]
fn bytes_that_are_no_text_are_judged_and_leave_clean_evidence() {
    let mut filter = compile(&rules("failed for <F-USER>.*</F-USER> from <HOST>$"));
    let text = b"Nov 20 10:00:00 failed for a\xff\x00\x1b[2Jb from 192.0.2.1";
    let Judged::Failure(failure) = judge(&mut filter, text) else { panic!("no failure") };
    assert_eq!(failure.offender.to_string(), "192.0.2.1");
    assert!(!failure.evidence.chars().any(char::is_control));
    assert!(failure.user.is_some_and(|user| !user.chars().any(char::is_control)));
    let long = format!("Nov 20 10:00:00 failed for {} from 192.0.2.1", "x".repeat(10_000));
    let Judged::Failure(failure) = judge(&mut filter, long.as_bytes()) else { panic!("no failure") };
    assert!(failure.evidence.len() <= EVIDENCE_LINE_BYTES_MAX);
}

#[test]
fn what_is_no_address_is_no_offender() {
    let mut filter = compile(&rules("^ failed from <HOST>$"));
    for (text, named) in
        [("999.1.1.1", "999.1.1.1"), ("host.example", "host.example"), ("01.2.3.4", "01.2.3.4")]
    {
        let judged = judge(&mut filter, format!("Nov 20 10:00:00 failed from {text}").as_bytes());
        assert_eq!(judged, Judged::Ignored(Ignored::NotAnAddress(named.to_owned())));
    }
    assert_eq!(filter.counts().not_addresses, 3);
    let mapped = judge(&mut filter, b"Nov 20 10:00:00 failed from ::ffff:192.0.2.1");
    assert_eq!(offender(mapped).as_deref(), Some("192.0.2.1"));
    let mut addresses = compile(&Rules { use_dns: UseDns::No, ..rules("^ failed from <HOST>") });
    assert!(matches!(judge(&mut addresses, b"Nov 20 10:00:00 failed from host"), Judged::NoMatch(_)));
    let mut subnet = compile(&rules("^ failed from <SUBNET>$"));
    assert_eq!(
        offender(judge(&mut subnet, b"Nov 20 10:00:00 failed from 192.0.2.77/24")).as_deref(),
        Some("192.0.2.0/24")
    );
    assert!(matches!(judge(&mut subnet, b"Nov 20 10:00:00 failed from 192.0.2.77/99"), Judged::Ignored(_)));
}

#[test]
fn dates_far_from_now_count_as_now_or_as_too_old() {
    let mut filter = compile(&rules("failed from <HOST>$"));
    let text = b"2026-11-20 09:00:00 failed from 192.0.2.1";
    let Judged::Failure(failure) = judge(&mut filter, text) else { panic!("no failure") };
    assert_eq!(failure.at, NOW);
    assert_eq!(filter.counts().odd_dates, 1);
    let mut filter = compile(&rules("failed from <HOST>$"));
    let old = filter.judge(&line(text, false), NOW, Mode::CatchingUp);
    assert_eq!(old, Judged::Ignored(Ignored::TooOld));
    let undated = filter.judge(&line(b"failed from 192.0.2.1", false), NOW, Mode::CatchingUp);
    assert_eq!(undated, Judged::Ignored(Ignored::NoDate));
    let recent = b"2026-11-20 09:55:00 failed from 192.0.2.1";
    let Judged::Failure(failure) = filter.judge(&line(recent, false), NOW, Mode::CatchingUp) else {
        panic!("no failure")
    };
    assert_eq!(NOW.ms_since(failure.at), 330_000);
    let future = b"2026-11-20 10:01:00 failed from 192.0.2.1";
    let Judged::Failure(failure) = judge(&mut filter, future) else { panic!("no failure") };
    assert_eq!(failure.at, NOW);
}

#[test]
fn ignoreregex_looks_at_the_line_early_or_at_what_matched() {
    let fail: Vec<String> = (0..4).map(|n| format!("failed{n} from <HOST>$")).collect();
    let ignore = vec!["^ app: .*known".to_owned()];
    let prefregex = Some("^ app: (?:known )?<F-CONTENT>.+</F-CONTENT>$".to_owned());
    let text = b"Nov 20 10:00:00 app: known failed1 from 192.0.2.1";
    let many = Rules {
        failregex: fail.clone(),
        ignoreregex: ignore.clone(),
        prefregex: prefregex.clone(),
        ..Rules::default()
    };
    assert_eq!(judge(&mut compile(&many), text), Judged::Ignored(Ignored::Ignoreregex(0)));
    // With few failregex the early look is left out, and later only the content is seen.
    let few = Rules { failregex: fail[..2].to_vec(), ignoreregex: ignore, prefregex, ..Rules::default() };
    assert_eq!(offender(judge(&mut compile(&few), text)).as_deref(), Some("192.0.2.1"));
}

#[test]
fn an_embedded_client_is_not_blamed() {
    let mut filters = our_filters();
    let text =
        b"[Fri Nov 20 10:00:09 2026] [auth_basic:error] [pid 1] [client 203.0.113.9:5000] AH01618: user \
                 x] [client 1.1.1.1] user y not found: /";
    let blamed: Vec<String> = filters.iter_mut().filter_map(|filter| offender(judge(filter, text))).collect();
    assert_eq!(blamed, ["203.0.113.9"]);
    let text = b"Nov 20 10:00:09 h sshd[7]: Failed password for invalid user x from 1.1.1.1 port 22 ssh2 from 203.0.113.9 port 22 ssh2";
    let blamed: Vec<String> = filters.iter_mut().filter_map(|filter| offender(judge(filter, text))).collect();
    assert_eq!(blamed, ["203.0.113.9"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_stops_us(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in any::<bool>()) {
        let mut filter = compile(&rules("(?:failed|user) .*<HOST>$"));
        let _ = filter.judge(&line(&bytes, cut), NOW, Mode::Following);
        let _ = filter.judge(&line(&bytes, cut), NOW, Mode::CatchingUp);
    }

    #[test]
    fn no_expression_stops_us(written in "[a-z\\\\()\\[\\]{}<>?*+|^$.,:=!PFHOST/-]{0,40}") {
        let surroundings = Surroundings {
            jail: JailName::new("j").expect("a name"),
            find_time_ms: 1,
            zone: Zone::local(TimeZone::UTC),
            encoding: LogEncoding::Utf8,
        };
        let rules = Rules { failregex: vec![format!("<HOST>{written}")], ..Rules::default() };
        if let Ok(mut filter) = Filter::new(&rules, surroundings, &FORMATS) {
            let _ = filter.judge(&line(b"192.0.2.1 abc (x) {2}", false), NOW, Mode::Following);
        }
    }

    #[test]
    fn no_configuration_stops_us(text in "(\\[[a-zA-Z]{0,8}\\]\n|[a-z]{1,8} ?[=:] ?[%()a-z$<>/]{0,20}\n| [a-z]{0,5}\n|[#;\\n]){0,12}") {
        let user = MemoryTree::new("/").with("jail.local", &text);
        let host = Host { zone: TimeZone::UTC, services: &|_| None, is_journal_instead: &|_| false, config_dir: String::new() };
        let _ = reading::read(&user, &host);
    }
}
