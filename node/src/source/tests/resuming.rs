//! Going on after a restart, whatever has become of the files in between.

use super::*;

/// Runs a source over "one", "two", "three", and says the checkpoints before "two" and behind
/// "three".
fn before_the_restart(logs: &mut Logs) -> (SourceCheckpoint, SourceCheckpoint) {
    logs.start();
    logs.append("log", head("a"));
    logs.append("log", "one\ntwo\nthree\n");
    let safe = logs.checkpoint_before("two");
    let read_up_to = logs.checkpoint_after("three");
    logs.stop();
    (safe, read_up_to)
}

fn texts_and_replayed(lines: &[LogLine]) -> Vec<(String, bool)> {
    texts(lines).into_iter().zip(lines.iter().map(|line| line.replayed)).collect()
}

fn expect(logs: &Logs, last: &str, expected: &[(&str, bool)]) {
    let expected: Vec<(String, bool)> = expected.iter().map(|&(text, r)| (text.to_owned(), r)).collect();
    assert_eq!(texts_and_replayed(&logs.lines_until(last)), expected);
}

#[test]
fn reading_goes_on_where_it_stopped_and_old_lines_are_replayed() {
    let mut logs = Logs::new();
    let (safe, read_up_to) = before_the_restart(&mut logs);
    logs.append("log", "while it was down\n");
    let position = safe.position;
    logs.resume(&safe);
    logs.append("log", "new\n");
    expect(&logs, "new", &[("two", true), ("three", true), ("while it was down", true), ("new", false)]);
    assert_eq!(logs.lines_until("new")[0].position, position, "positions go on");
    logs.stop();

    logs.resume(&read_up_to);
    expect(&logs, "new", &[("while it was down", true), ("new", true)]);
}

#[test]
fn a_file_that_was_rotated_meanwhile_is_read_to_its_end_first() {
    for n_rotations in 1..=3 {
        let mut logs = Logs::new();
        let (safe, _) = before_the_restart(&mut logs);
        logs.append("log", "while it was down\n");
        let mut expected = vec![("two", true), ("three", true), ("while it was down", true)];
        let names = ["between 1", "between 2", "between 3"];
        for name in &names[..n_rotations] {
            for n in (1..4).rev() {
                let _ = fs::rename(logs.path(&format!("log.{n}")), logs.path(&format!("log.{}", n + 1)));
            }
            logs.rename("log", "log.1");
            wait_for_another_file_time(&logs);
            logs.append("log", format!("{name}\n"));
            expected.push((name, true));
        }
        logs.resume(&safe);
        logs.append("log", "new\n");
        expected.push(("new", false));
        expect(&logs, "new", &expected);
    }
}

#[test]
fn a_file_that_was_copied_and_truncated_meanwhile_is_read_from_the_copy() {
    let mut logs = Logs::new();
    let (safe, _) = before_the_restart(&mut logs);
    logs.append("log", "while it was down\n");
    logs.copy_truncate("log", "log.1");
    logs.append("log", "new\n");
    logs.resume(&safe);
    expect(&logs, "new", &[("two", true), ("three", true), ("while it was down", true), ("new", true)]);
}

#[test]
fn both_files_of_an_unfinished_rotation_are_taken_up() {
    let mut logs = Logs::new();
    logs.start();
    let mut old = logs.writer("log");
    append(&mut old, head("a"));
    logs.texts_until(head("a").trim_end());
    logs.rename("log", "log.1");
    logs.append("log", "new one\n");
    logs.texts_until("new one");
    append(&mut old, "late one\n");
    let safe = logs.checkpoint_before("late one");
    logs.stop();
    append(&mut old, "late two\n");
    logs.append("log", "new two\n");

    logs.resume(&safe);
    expect(&logs, "new two", &[("late one", true), ("late two", true), ("new two", true)]);
    append(&mut old, "late three\n");
    expect(
        &logs,
        "late three",
        &[("late one", true), ("late two", true), ("new two", true), ("late three", false)],
    );
    logs.stop();

    // The old file is gone in the end: what is left is read nevertheless.
    fs::remove_file(logs.path("log.1")).expect("remove");
    logs.resume(&safe);
    logs.append("log", "end\n");
    expect(&logs, "end", &[("new two", true), ("end", false)]);
}

#[test]
fn a_file_that_is_new_altogether_is_read_from_its_beginning() {
    let mut logs = Logs::new();
    let (safe, _) = before_the_restart(&mut logs);
    fs::remove_file(logs.path("log")).expect("remove");
    logs.append("log", "another\n");
    logs.resume(&safe);
    logs.append("log", "end\n");
    expect(&logs, "end", &[("another", true), ("end", false)]);
}

#[test]
fn a_source_without_a_file_resumes_at_the_beginning_of_the_first_one() {
    let mut logs = Logs::new();
    logs.start();
    drop(logs.collected.wait("the start position", |seen| !seen.read_up_to.is_empty()));
    let checkpoint = logs.stored(SourcePosition(0));
    assert_eq!(checkpoint.files, []);
    logs.stop();
    logs.append("log", "first\n");
    logs.resume(&checkpoint);
    expect(&logs, "first", &[("first", true)]);
}

/// Waits until the file system would give a new file a later time than it gave the last one; its
/// clock may tick in steps of several milliseconds.
fn wait_for_another_file_time(logs: &Logs) {
    let modified = |name: &str| {
        fs::write(logs.path(name), "x")
            .and_then(|()| fs::metadata(logs.path(name))?.modified())
            .expect("times")
    };
    let before = modified("probe");
    while modified("probe") == before {
        std::thread::yield_now();
    }
}
