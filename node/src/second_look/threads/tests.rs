//! Failures that are looked at twice, with a made-up resolver and real commands.

use super::*;
use bannkreis_core::event_id::LineDigest;
use bannkreis_core::time::{Now, Timestamp};
use bannkreis_filter::ignore_command;
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::time::Duration;

/// No answer takes longer, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(30);

struct StoppedClock;

impl Clock for StoppedClock {
    fn wall(&self) -> Timestamp {
        Timestamp(1_000_000)
    }
    fn boottime_ms(&self) -> u64 {
        1_000_000
    }
    fn now(&self) -> Now {
        Now::known(self.wall(), self.wall())
    }
}

/// One host with two addresses; the others have none.
struct Book;

impl Names for Book {
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        match name {
            "two.example" => Ok(vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()]),
            _ => Err("no such name".to_owned()),
        }
    }
}

const SOURCE: SourceId = SourceId(7);

fn failure(offender: &str, user: &str, position: u64) -> Failure {
    Failure {
        jail: JailName::new("j").unwrap(),
        offender: offender.parse().unwrap(),
        at: Timestamp(1),
        evidence: "a line".to_owned(),
        line: LineDigest::default(),
        user: Some(user.to_owned()),
        source: SOURCE,
        position: SourcePosition(position),
        replayed: false,
    }
}

/// A second look with this command, and what it tells the warden.
fn second_look(command: &str, cache: &str) -> (SecondLook, Receiver<Event>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let tell: Tell = Arc::new(move |event| drop(tell.lock().unwrap().send(event)));
    let ignore_command = (!command.is_empty()).then(|| ignore_command::read(command, cache).unwrap());
    let jail = JailQuestions { jail: JailName::new("j").unwrap(), use_dns: UseDns::Warn, ignore_command };
    (SecondLook::new(vec![jail], Arc::new(Book), tell, Arc::new(StoppedClock)), told)
}

/// The next events in short: offenders, or how far the source was read.
fn next(told: &Receiver<Event>) -> String {
    match told.recv_timeout(DEADLINE).expect("an answer") {
        Event::Failures(failures) => {
            let offenders: Vec<String> =
                failures.iter().map(|failure| failure.offender.to_string()).collect();
            offenders.join(" ")
        }
        Event::ReadUpTo { position, .. } => format!("read {}", position.0),
        other => format!("{other:?}"),
    }
}

#[test]
fn without_a_command_failures_pass() {
    let (mut look, told) = second_look("", "");
    assert!(look.look(failure("192.0.2.9", "u", 1)).is_some());
    look.read_up_to(SOURCE, SourcePosition(5));
    assert_eq!(next(&told), "read 5");
}

#[test]
fn a_command_excuses_by_its_exit_code_and_the_position_waits_for_it() {
    let (mut look, told) = second_look("test <ip> = 192.0.2.9 -a '<F-USER>' = \"a b\"", "");
    assert!(look.look(failure("192.0.2.9", "a b", 10)).is_none());
    look.read_up_to(SOURCE, SourcePosition(20));
    let first = next(&told);
    assert!(first == "read 10" || first == "read 20", "{first}");
    if first == "read 10" {
        assert_eq!(next(&told), "read 20", "it is excused");
    }
    assert!(look.look(failure("192.0.2.9", "c", 30)).is_none());
    assert_eq!(next(&told), "192.0.2.9", "another account is not");
    look.read_up_to(SOURCE, SourcePosition(40));
    while next(&told) != "read 40" {}
}

#[test]
fn what_can_not_be_asked_counts() {
    for command in ["exit 2", "/nowhere/command <ip>", "kill -9 $$"] {
        let (mut look, told) = second_look(command, "");
        assert!(look.look(failure("192.0.2.9", "u", 1)).is_none());
        assert_eq!(next(&told), "192.0.2.9", "{command}");
    }
}

#[test]
fn answers_are_remembered_by_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("asked");
    let command = format!("echo <F-USER> >> {}; test <F-USER> = good", file.display());
    let (mut look, told) = second_look(&command, "key=\"<F-USER>\", max-count=2, max-time=1m");
    assert!(look.look(failure("192.0.2.1", "bad", 1)).is_none());
    assert_eq!(next(&told), "192.0.2.1");
    assert!(look.look(failure("192.0.2.2", "bad", 2)).is_some(), "known, and it counts");
    assert!(look.look(failure("192.0.2.1", "good", 3)).is_none());
    look.read_up_to(SOURCE, SourcePosition(9));
    while next(&told) != "read 9" {}
    assert!(look.look(failure("192.0.2.3", "good", 4)).is_none(), "known, and it is excused");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "bad\ngood\n");
}

#[test]
fn a_name_becomes_its_addresses_and_each_is_asked_about() {
    let named = |name: &str, position| NamedFailure {
        name: name.to_owned(),
        failure: failure("0.0.0.0", "u", position),
    };
    let (mut look, told) = second_look("", "");
    look.look_up(named("two.example", 1));
    assert_eq!(next(&told), "192.0.2.1 192.0.2.2");
    let (mut look, told) = second_look("test <ip> = 192.0.2.1", "");
    look.look_up(named("two.example", 1));
    assert_eq!(next(&told), "192.0.2.2");
    look.look_up(named("none.example", 2));
    look.read_up_to(SOURCE, SourcePosition(8));
    while next(&told) != "read 8" {}
}

#[test]
fn questions_beyond_the_bound_are_dropped_and_hold_nothing() {
    // It waits for as long as the directory is there.
    let dir = tempfile::tempdir().unwrap();
    let wait = format!("while test -d {}; do sleep 0.05; done", dir.path().display());
    let (mut look, told) = second_look(&wait, "");
    for n in 0..QUESTIONS_MAX + COMMAND_THREADS + 5 {
        assert!(look.look(failure("192.0.2.1", "u", 100 + n as u64)).is_none());
    }
    look.read_up_to(SOURCE, SourcePosition(1_000_000));
    assert_eq!(next(&told), "read 100", "the first one is still asked about");
}
