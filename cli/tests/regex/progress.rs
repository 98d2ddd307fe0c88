//! How far a long test has come, on a real pseudo-terminal: shown where somebody watches, gone at the end, and
//! nowhere else.
//!
//! Not for how the bar is drawn.

use crate::house::House;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

/// A test of so many lines takes longer than the moment after which a bar is shown, on the fastest machine.
const LINES_MAX: usize = 20_000_000;

/// Runs a test of the house's log; what came to standard output, and to a standard error that is a terminal.
fn watched(house: &House) -> (String, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("it is ours");
    let name = ptsname(&terminal, Vec::new()).expect("it has a name").into_string().expect("in ASCII");
    let side = File::options().read(true).write(true).open(name).expect("its other side");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bannkreis"));
    command.args(["regex", "-c", &house.path(""), &house.path("door.log"), "door", "--print-no-missed"]);
    let program = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(side).spawn().expect("started");
    // The side that the program writes to is open in nobody else then.
    drop(command);
    let mut seen = Vec::new();
    // On Linux a terminal that nobody has open any more ends with EIO.
    let _ = File::from(terminal).read_to_end(&mut seen);
    let output = program.wait_with_output().expect("it ends");
    assert!(output.status.success());
    (String::from_utf8(output.stdout).expect("text"), String::from_utf8(seen).expect("text"))
}

#[test]
fn a_bar_is_shown_on_a_terminal_and_taken_away() {
    let house = House::new();
    let line = "Nov 20 10:00:04 castle door[9]: no entry for eve from cellar.example\n";
    let mut n_lines = 2_000;
    let (out, seen) = loop {
        house.write("door.log", &line.repeat(n_lines));
        let (out, seen) = watched(&house);
        // A test that takes only a moment shows none.
        if seen.contains('\r') && seen.contains("lines\r") {
            break (out, seen);
        }
        n_lines *= 4;
        assert!(n_lines < LINES_MAX, "no bar: {seen:?}");
    };
    let (bars, rest) = seen.rsplit_once("\r\u{1b}[K").expect("the line is erased");
    for bar in bars.split('\r').skip(1) {
        let (drawn, words) = bar.split_once("] ").expect("a bar and words");
        assert!(drawn.len() == 31 && drawn.starts_with('['), "{bar:?}");
        assert!(words.contains(" %, ") && words.ends_with(" lines"), "{bar:?}");
    }
    assert!(rest.contains("bannkreis: ") && rest.contains("cellar.example"), "hints come after it: {rest:?}");
    assert!(!out.contains('\r') && out.contains(&format!("Lines: {n_lines} lines, ")), "{out}");

    // The same without a terminal.
    let mut program = Command::new(env!("CARGO_BIN_EXE_bannkreis"));
    program.args(["regex", "-c", &house.path(""), &house.path("door.log"), "door"]);
    let unwatched = program.stdin(Stdio::null()).output().expect("started");
    assert!(unwatched.status.success() && !unwatched.stderr.contains(&b'\r'));
}
