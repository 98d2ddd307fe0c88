//! strace(1) on a running daemon: to see the order of its system calls, or to make some of them do nothing.
//!
//! Not for what the calls mean: the tests know that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::failed::{Context, Result, expect};
use crate::lab::wait::wait_for;

/// How long it may take to catch every thread, and to let go.
const ATTACHING_MAX: Duration = Duration::from_secs(10);

/// strace on one process and all its threads. It lets go when it is dropped.
pub struct Strace {
    child: Child,
}

/// Why strace can not be used here, if so.
#[must_use]
pub fn is_missing() -> Option<String> {
    let asked = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.err().map(|error| format!("strace can not be run ({error}): apt-get install strace"))
}

impl Strace {
    /// Attaches to the process `pid`, with these options, and waits until every thread of it is seen. What strace finds
    /// goes into the file `into`.
    ///
    /// # Errors
    /// When strace can not be run, or may not.
    pub fn attach(pid: u32, options: &[&str], into: &Path) -> Result<Strace> {
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(into)
            .args(options)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .context(|| "cannot run strace".to_owned())?;
        let mut strace = Strace { child };
        wait_for("strace has every thread", ATTACHING_MAX, || {
            let ended = strace.child.try_wait().context(|| "cannot wait for strace".to_owned())?;
            expect(ended.is_none(), || "it has ended".to_owned())?;
            expect(is_traced(pid)?, || "not yet".to_owned())
        })?;
        Ok(strace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Asked in order it lets its process go on; killed with -9 it would leave a call half seen.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = wait_for("strace ends", ATTACHING_MAX, || {
            let ended = self.child.try_wait().context(|| "cannot wait for strace".to_owned())?;
            expect(ended.is_some(), || "it runs".to_owned())
        });
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A system call that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// What it was called with, as strace shows it.
    pub arguments: String,
    /// Whether it did what it was asked.
    pub is_done: bool,
    /// When it began and ended: lines of strace's, which are in order across all threads.
    pub began: usize,
    /// The same line when nothing came in between.
    pub ended: usize,
}

/// The calls in what strace has written with `-f`, in the order of their beginnings.
#[must_use]
pub fn calls(found: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut open: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (at, line) in found.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix("<unfinished ...>") {
            open.insert(thread, (at, beginning.trim_end()));
        } else if let Some((_, end)) = rest.split_once(" resumed>").filter(|_| rest.starts_with("<... ")) {
            let begun = open.remove(thread);
            calls.extend(begun.and_then(|(began, beginning)| call(&format!("{beginning}{end}"), began, at)));
        } else {
            calls.extend(call(rest, at, at));
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

/// `name(arguments) = result`; signals and ends of threads are none.
fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?.to_owned();
    Some(Call { name: name.to_owned(), arguments, is_done: !result.starts_with('-'), began, ended })
}

/// Whether all threads of a process have a tracer, proc(5).
fn is_traced(pid: u32) -> Result<bool> {
    let cannot = || format!("cannot read the threads of {pid}");
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context(cannot)? {
        let status = thread.context(cannot)?.path().join("status");
        // A thread may have ended meanwhile.
        let Ok(text) = fs::read_to_string(status) else { continue };
        if text.lines().any(|line| line.split_whitespace().eq(["TracerPid:", "0"])) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn a_call_that_others_came_in_between_is_one_call() {
    let found = calls(
        "7 fdatasync(3</d/db> <unfinished ...>\n8 write(1</d/words>, \"a = (b)\", 7) = 7\n\
         7 <... fdatasync resumed>) = -1 EIO (Input/output error)\n8 +++ exited with 0 +++\n",
    );
    let is = |call: &Call| (call.name.clone(), call.arguments.clone(), call.is_done, call.began, call.ended);
    assert_eq!(is(&found[0]), ("fdatasync".to_owned(), "3</d/db>".to_owned(), false, 0, 2));
    assert_eq!(is(&found[1]), ("write".to_owned(), "1</d/words>, \"a = (b)\", 7".to_owned(), true, 1, 1));
    assert_eq!(found.len(), 2);
}
