//! A program that is run in a lab as a whole, such as a benchmark: outside it starts itself again inside fresh
//! namespaces, inside it does its work.
//!
//! Not for tests: each of those has a lab of its own (`tests/e2e/inside.rs`).

use std::ffi::OsString;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use crate::failed::Result;
use crate::lab::sandbox::{self, CannotEnter, Sandbox};

/// Runs `body` inside, with a directory below `parent` that it may fill. Says `SKIPPED:` and why, where no namespaces
/// are allowed.
pub fn run(name: &str, parent: &Path, body: impl FnOnce(&Path) -> Result<()>) -> ExitCode {
    let Some(directory) = sandbox::inside() else { return run_outside(name, parent) };
    match body(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            say(&format!("{name} failed: {failed}"));
            ExitCode::FAILURE
        }
    }
}

fn run_outside(name: &str, parent: &Path) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match Sandbox::start_in(Some(parent), &arguments) {
        Ok(mut sandbox) => match sandbox.wait() {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        },
        Err(CannotEnter::NotAllowed(reason)) => {
            say(&format!("SKIPPED: {name}: {reason}"));
            ExitCode::SUCCESS
        }
        Err(CannotEnter::Broken(failed)) => {
            say(&format!("{name} cannot run: {failed}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line, past whatever catches the output of tests.
pub fn say(text: &str) {
    // With nobody reading there is nothing to be done.
    let _ = writeln!(stdout(), "{text}");
}
