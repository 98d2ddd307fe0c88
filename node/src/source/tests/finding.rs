//! Wildcards: files that appear, get other names, and go.

use super::*;

/// Follows a pattern of the directory.
fn follow(logs: &mut Logs, pattern: &str) {
    logs.start_with(vec![logs.log(pattern)], Beginnings::default());
}

/// The names of the files that are followed.
fn followed(logs: &Logs) -> Vec<String> {
    let name = |path: &str| {
        Path::new(path).strip_prefix(logs.directory.path()).expect("inside").display().to_string()
    };
    let mut names: Vec<String> = logs.handle().status().iter().map(|status| name(&status.name)).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_appears_is_read_from_its_beginning() {
    let mut logs = Logs::new();
    logs.append("a.log", "before\n");
    follow(&mut logs, "*.log");
    logs.append("b.log", "one\n");
    logs.append("other.txt", "not this\n");
    logs.texts_until("one");
    logs.append("a.log", "two\n");
    logs.texts_until("two");
    logs.append("b.log", "three\n");
    assert_eq!(logs.texts_until("three"), ["one", "two", "three"]);
    assert_eq!(followed(&logs), ["a.log", "b.log"]);
}

#[test]
fn so_is_one_in_a_directory_that_appears() {
    let mut logs = Logs::new();
    follow(&mut logs, "*/x/*.log");
    fs::create_dir_all(logs.path("a/x")).expect("made");
    logs.append("a/x/1.log", "one\n");
    logs.texts_until("one");
    fs::create_dir_all(logs.path("elsewhere/x")).expect("made");
    logs.append("elsewhere/x/1.log", "two\n");
    logs.texts_until("two");
    assert_eq!(followed(&logs), ["a/x/1.log", "elsewhere/x/1.log"]);
}

#[test]
fn lines_that_were_in_it_when_it_appeared_count_as_old_as_they_are() {
    let mut logs = Logs::new();
    follow(&mut logs, "*.log");
    logs.append("restored", "old\n");
    logs.rename("restored", "restored.log");
    logs.texts_until("old");
    logs.append("restored.log", "new\n");
    let lines = logs.lines_until("new");
    assert_eq!(lines.iter().map(|line| line.replayed).collect::<Vec<_>>(), [true, false]);
}

/// Rotation under the same wildcards: with a number behind the name, with a date before its ending, with a name that looks
/// like no rotation at all.
#[test]
fn a_file_that_gets_another_name_is_not_read_again() {
    for rotated in ["a.log.1", "a-20261130.log", "a-old.log"] {
        let mut logs = Logs::new();
        logs.append("a.log", head("a"));
        follow(&mut logs, "*log*");
        logs.append("a.log", "one\n");
        logs.texts_until("one");
        logs.rename("a.log", rotated);
        logs.append(rotated, "late\n");
        logs.texts_until("late");
        logs.append("a.log", "two\n");
        logs.texts_until("two");
        // Long after, when nobody writes to the old one any more, it is let go.
        logs.clock.boottime_ms.fetch_add(crate::source::followed_path::LINGER_MS + 1, Ordering::SeqCst);
        logs.append("a.log", "three\n");
        logs.texts_until("three");
        logs.append("b.log", "four\n");
        assert_eq!(logs.texts_until("four"), ["one", "late", "two", "three", "four"], "{rotated}");
    }
}

#[test]
fn a_file_that_is_deleted_is_over_and_may_come_again() {
    let mut logs = Logs::new();
    follow(&mut logs, "*.log");
    logs.append("a.log", "one\n");
    logs.append("b.log", "two\n");
    drop(logs.collected.wait("both", |seen| seen.lines.len() == 2));
    fs::remove_file(logs.path("a.log")).expect("removed");
    // Its last writer may still have it open.
    logs.clock.boottime_ms.fetch_add(crate::source::followed_path::LINGER_MS + 1, Ordering::SeqCst);
    logs.append("b.log", "three\n");
    drop(logs.collected.wait("the end of the first", |seen| seen.open.len() == 1));
    assert_eq!(followed(&logs), ["b.log"]);
    logs.append("a.log", "four\n");
    logs.texts_until("four");
    assert_eq!(followed(&logs), ["a.log", "b.log"]);
}

#[test]
fn two_names_of_one_file_are_one_log() {
    let mut logs = Logs::new();
    logs.append("today.log", "");
    link(&logs.path("today.log"), &logs.path("current.log"));
    follow(&mut logs, "*.log");
    logs.append("today.log", "one\n");
    logs.append("end.log", "two\n");
    assert_eq!(logs.texts_until("two"), ["one", "two"]);
    assert_eq!(followed(&logs), ["current.log", "end.log"]);
}

#[test]
fn a_file_that_several_logs_name_is_read_once_for_all_of_them() {
    let mut logs = Logs::new();
    logs.append("a.log", "");
    let named = ["*.log", "a.*", "a.log"].map(|name| logs.log(name));
    logs.start_with(named.to_vec(), Beginnings::default());
    logs.append("a.log", "one\n");
    logs.append("a.log", "two\n");
    assert_eq!(logs.texts_until("two"), ["one", "two"]);
    let seen = logs.collected.seen.lock().expect("no panic");
    let mut of: Vec<LogId> = seen.open[&SOURCE].clone();
    of.sort_unstable();
    assert_eq!(of, [0, 1, 2].map(LogId));
}

#[test]
fn a_file_that_appeared_while_nobody_looked_is_read_from_its_beginning() {
    let mut logs = Logs::new();
    logs.append("a.log", "before\n");
    follow(&mut logs, "*.log");
    let stored = logs.handle().beginnings();
    logs.stop();
    logs.append("a.log", "one\n");
    logs.append("b.log", "two\n");
    logs.start_with(vec![logs.log("*.log")], kept(stored));
    drop(logs.collected.wait("both", |seen| seen.lines.len() == 2));
    logs.append("a.log", "end\n");
    let lines = logs.lines_until("end");
    assert_eq!(lines.iter().filter(|line| line.replayed).count(), 2);
    assert!(!texts(&lines).contains(&"before".to_owned()));
}
