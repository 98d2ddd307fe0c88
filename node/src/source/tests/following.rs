//! Following one file that grows, appears, is a link, or can not be read.

use super::*;
use bannkreis_core::failure::LINE_BYTES_MAX;

#[test]
fn lines_are_handed_over_when_their_end_is_written() {
    let mut logs = Logs::new();
    logs.append("log", "before\n");
    logs.start();
    logs.append("log", "one\r\ntw");
    assert_eq!(logs.texts_until("one"), ["one"]);
    logs.append("log", b"o\n\0\0th\0ree \xff\n");
    logs.append("log", "end\n");
    let lines = logs.lines_until("end");
    assert_eq!(lines[1].text, b"two");
    assert_eq!(lines[2].text, b"th\0ree \xff");
    let positions: Vec<u64> = lines.iter().map(|line| line.position.0).collect();
    assert_eq!(positions[..3], [0, 5, 9]);
    for line in &lines {
        assert!(!line.cut && !line.replayed && line.source == SOURCE);
        assert!(line.received_at > Timestamp(1_700_000_000_000));
    }
}

#[test]
fn a_first_start_reads_only_what_ends_after_it() {
    let mut logs = Logs::new();
    logs.append("log", "old\nhalf a li");
    logs.start();
    logs.append("log", "ne\nnew\n");
    assert_eq!(logs.texts_until("new"), ["half a line", "new"]);
}

#[test]
fn catching_up_replays_what_was_there_unless_the_source_is_a_tail() {
    let mut logs = Logs::new();
    logs.append("log", "old\n");
    logs.start_with(vec![logs.log("log")], Beginnings { catch_up: true, ..Beginnings::default() });
    logs.append("log", "new\n");
    let lines = logs.lines_until("new");
    assert_eq!(lines.iter().map(|line| line.replayed).collect::<Vec<_>>(), [true, false]);
    logs.stop();

    let pattern = logs.path("log").display().to_string();
    let tail = LogKind::Files(FilesSpec { pattern, is_tail: true, is_polled: false });
    let tail = LogSpec { kind: tail, reader: READER.to_owned() };
    logs.start_with(vec![tail], Beginnings { catch_up: true, ..Beginnings::default() });
    logs.append("log", "newer\n");
    assert_eq!(logs.texts_until("newer"), ["newer"]);
}

#[test]
fn long_lines_are_cut_and_the_next_line_is_whole() {
    let mut logs = Logs::new();
    logs.start();
    let mut log = logs.writer("log");
    append(&mut log, vec![b'x'; 3 * LINE_BYTES_MAX]);
    append(&mut log, vec![b'y'; 600 * 1024]);
    append(&mut log, "\nnext\n");
    let lines = logs.lines_until("next");
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].text.len(), lines[0].cut), (LINE_BYTES_MAX, true));
    assert_eq!(lines[1].position, SourcePosition(3 * LINE_BYTES_MAX as u64 + 600 * 1024 + 1));
}

#[test]
fn a_file_may_appear_later_and_so_may_its_directory() {
    let mut logs = Logs::new();
    let path = logs.path("a/b/log");
    logs.start_with(vec![logs.log("a/b/log")], Beginnings::default());
    assert_eq!(logs.handle().status()[0].size_bytes, None);
    fs::create_dir_all(path.parent().expect("a/b")).expect("mkdir");
    logs.append("a/b/log", "first\n");
    assert_eq!(logs.texts_until("first"), ["first"]);
    let status = &logs.handle().status()[0];
    assert_eq!(
        (status.size_bytes, status.error.clone(), status.name.clone()),
        (Some(6), None, path.display().to_string())
    );
}

#[test]
fn a_link_that_is_turned_to_another_file_is_followed() {
    let mut logs = Logs::new();
    logs.append("monday", "before\n");
    link(&logs.path("monday"), &logs.path("log"));
    logs.start();
    logs.append("monday", "one\n");
    logs.texts_until("one");
    logs.append("tuesday", "two\n");
    link(&logs.path("tuesday"), &logs.path("new link"));
    logs.rename("new link", "log");
    logs.texts_until("two");
    logs.append("monday", "late\n");
    logs.texts_until("late");
    logs.append("tuesday", "three\n");
    assert_eq!(logs.texts_until("three"), ["one", "two", "late", "three"]);
}

#[test]
fn what_is_no_file_is_told_and_read_when_it_becomes_one() {
    let mut logs = Logs::new();
    fs::create_dir(logs.path("log")).expect("mkdir");
    logs.start();
    let error = logs.handle().status()[0].error.clone().expect("a directory is no log");
    assert!(error.contains("not a regular file"), "{error}");
    fs::remove_dir(logs.path("log")).expect("rmdir");
    logs.append("log", "now\n");
    logs.texts_until("now");
    assert_eq!(logs.handle().status()[0].error, None);
}

#[test]
fn two_sources_may_read_one_file() {
    let mut logs = Logs::new();
    logs.append("log", "");
    link(&logs.path("log"), &logs.path("other"));
    logs.start_with(vec![logs.log("log"), logs.log("other")], Beginnings::default());
    logs.append("log", "both\n");
    let seen = logs.collected.wait("both sources' lines", |seen| seen.lines.len() == 2);
    let mut ids: Vec<u32> = seen.lines.iter().map(|line| line.source.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1]);
}
