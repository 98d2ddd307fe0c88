//! Files that are renamed, copied and truncated while they are read.

use super::*;
use crate::source::FILES_OPEN_MAX;
use crate::source::followed_path::LINGER_MS;
use std::os::unix::fs::MetadataExt;
use std::thread;

#[test]
fn a_renamed_file_is_read_on_beside_its_successor() {
    let mut logs = Logs::new();
    logs.start();
    let mut old = logs.writer("log");
    append(&mut old, "one\n");
    logs.texts_until("one");
    logs.rename("log", "log.1");
    append(&mut old, "late, and there is no new file yet\n");
    logs.texts_until("late, and there is no new file yet");
    logs.append("log", "new one\n");
    logs.texts_until("new one");
    append(&mut old, "late, beside the new file\n");
    logs.texts_until("late, beside the new file");
    logs.append("log", "new two\n");
    assert_eq!(
        logs.texts_until("new two"),
        ["one", "late, and there is no new file yet", "new one", "late, beside the new file", "new two"]
    );
    assert_eq!(logs.checkpoint_after("new two").files.len(), 2);

    fs::remove_file(logs.path("log.1")).expect("remove");
    logs.append("log", "after the removal\n");
    logs.texts_until("after the removal");
    logs.append("log", "end\n");
    assert_eq!(logs.checkpoint_after("end").files.len(), 1, "a deleted file is let go");
}

#[test]
fn a_renamed_file_is_let_go_when_it_has_been_quiet() {
    let mut logs = Logs::new();
    logs.append("log", "before\n");
    logs.start();
    logs.rename("log", "log.1");
    logs.append("log", "new\n");
    assert_eq!(logs.checkpoint_after("new").files.len(), 2);
    logs.clock.boottime_ms.store(LINGER_MS, Ordering::SeqCst);
    logs.append("log", "newer\n");
    logs.texts_until("newer");
    logs.append("log", "newest\n");
    assert_eq!(logs.checkpoint_after("newest").files.len(), 1);
}

#[test]
fn more_rotations_than_files_may_be_open_lose_nothing_that_was_written_before_them() {
    let mut logs = Logs::new();
    logs.start();
    logs.append("log", "one\n");
    logs.texts_until("one");
    let gate = logs.stand_still();
    let n_rotations = FILES_OPEN_MAX + 4;
    for n in 0..n_rotations {
        logs.append("log", format!("unread {n}\n"));
        logs.rename("log", &format!("log.{n}"));
    }
    logs.append("log", "end\n");
    drop(gate);
    let mut texts = logs.texts_until("end");
    // Files that were written to in the same tick of the kernel's clock are told apart by nothing.
    texts.sort_unstable();
    let unread = (0..n_rotations).map(|n| format!("unread {n}"));
    let mut all: Vec<String> = ["one", "gate", "end"].map(str::to_owned).into_iter().chain(unread).collect();
    all.sort_unstable();
    assert_eq!(texts, all);
}

#[test]
fn what_a_truncation_took_is_read_from_the_copy() {
    let mut logs = Logs::new();
    logs.start();
    logs.append("log", head("a"));
    logs.texts_until(head("a").trim_end());
    let gate = logs.stand_still();
    logs.append("log", "half a ");
    logs.copy_truncate("log", "log.1");
    let copy = logs.path("log.1");
    append(&mut OpenOptions::new().append(true).open(copy).expect("open"), "line, of the copy\n");
    logs.append("log", "new\n");
    drop(gate);
    assert_eq!(logs.texts_until("new"), [head("a").trim_end(), "gate", "half a line, of the copy", "new"]);
}

#[test]
fn a_truncated_file_that_grew_past_the_old_place_is_read_from_its_beginning() {
    let mut logs = Logs::new();
    logs.start();
    logs.append("log", head("a"));
    logs.texts_until(head("a").trim_end());
    let gate = logs.stand_still();
    fs::write(logs.path("log"), "").expect("truncate");
    logs.append("log", head("b").repeat(3));
    logs.append("log", "end\n");
    drop(gate);
    let b = head("b").trim_end().to_owned();
    assert_eq!(logs.texts_until("end"), [head("a").trim_end(), "gate", &b, &b, &b, "end"]);
}

#[test]
fn a_truncated_file_of_exactly_the_old_size_is_read_from_its_beginning() {
    for seconds_later in [0, 3_600] {
        let mut logs = Logs::new();
        logs.start();
        logs.append("log", head("a"));
        logs.texts_until(head("a").trim_end());
        let gate = logs.stand_still();
        logs.clock.boottime_ms.store(seconds_later * 1_000, Ordering::SeqCst);
        let changed = || {
            let facts = fs::metadata(logs.path("log")).expect("it is there");
            (facts.ctime(), facts.ctime_nsec())
        };
        let before = changed();
        let rewrite = || {
            fs::write(logs.path("log"), "").expect("truncate");
            logs.append("log", head("b"));
            logs.append("log", "same\n");
            changed()
        };
        // Old kernels count these times in ticks, and after an hour they are all there is to go by.
        while rewrite() == before && seconds_later > 0 {}
        drop(gate);
        assert_eq!(logs.texts_until("same"), [head("a").trim_end(), "gate", head("b").trim_end(), "same"]);
    }
}

#[test]
fn nul_bytes_that_a_writer_leaves_after_a_truncation_are_skipped() {
    let mut logs = Logs::new();
    // A writer without O_APPEND goes on at its old offset: the file begins with a hole.
    let mut writer = File::create(logs.path("log")).expect("create");
    logs.start();
    append(&mut writer, head("a"));
    logs.texts_until(head("a").trim_end());
    logs.copy_truncate("log", "log.1");
    append(&mut writer, "new\n");
    assert_eq!(logs.texts_until("new"), [head("a").trim_end(), "new"]);
}

/// Writes `n_lines` numbered lines and calls `rotate` after every `every` of them.
fn numbered(logs: &mut Logs, n_lines: u32, every: u32, rotate: impl Fn(&Path, u32) + Send) {
    logs.start();
    let directory = logs.directory.path().to_owned();
    thread::scope(|scope| {
        scope.spawn(move || {
            let open = || OpenOptions::new().append(true).create(true).open(directory.join("log"));
            let mut log = open().expect("open");
            let mut previous = open().expect("open");
            for n in 0..n_lines {
                if n % every == 0 {
                    rotate(&directory, n / every);
                    previous = std::mem::replace(&mut log, open().expect("open"));
                }
                // Some writers have not noticed the rotation yet.
                let writer = if n % every < every / 10 && n % 2 == 0 { &mut previous } else { &mut log };
                append(writer, format!("{n}\n"));
            }
        });
    });
    let seen = logs.collected.wait("all lines", |seen| seen.lines.len() >= n_lines as usize);
    let mut numbers: Vec<u32> =
        texts(&seen.lines).iter().map(|text| text.parse().expect("a number")).collect();
    numbers.sort_unstable();
    let doubled = numbers.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!((numbers.len(), doubled), (n_lines as usize, None), "lines, and one that came twice");
    let positions = seen.lines.iter().map(|line| line.position);
    assert!(positions.clone().zip(positions.skip(1)).all(|(a, b)| a < b), "positions grow");
}

#[test]
fn no_line_is_lost_or_doubled_by_a_hundred_rotations() {
    let mut logs = Logs::new();
    numbered(&mut logs, 100_000, 1_000, |directory, n| {
        fs::rename(directory.join("log"), directory.join(format!("log.{n}"))).expect("rename");
    });
}

#[test]
fn no_line_is_lost_or_doubled_when_names_are_shifted() {
    let mut logs = Logs::new();
    numbered(&mut logs, 20_000, 1_000, |directory, _| {
        for n in (1..30).rev() {
            let _ = fs::rename(directory.join(format!("log.{n}")), directory.join(format!("log.{}", n + 1)));
        }
        fs::rename(directory.join("log"), directory.join("log.1")).expect("rename");
    });
}
