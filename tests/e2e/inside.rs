//! Runs the body of one test inside fresh namespaces: this test program starts itself again, for that
//! test alone.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use bannkreis_tests::failed::{Failed, Result};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::disk::{self, Disk};
use bannkreis_tests::lab::host::HostPlan;
use bannkreis_tests::lab::sandbox::{self, CannotEnter, Sandbox};
use bannkreis_tests::seeds::Tree;

/// A heartbeat and an election that suit hosts which are one bridge apart, so that tests that kill
/// leaders need not wait long.
pub(crate) const QUICK_RAFT: &str =
    "[raft]\nheartbeat_ms = 60\nelection_min_ms = 300\nelection_max_ms = 600\n";

/// Runs `body` with a lab of these hosts. `test` is the whole name of the calling test.
pub(crate) fn in_lab(
    test: &str,
    plans: impl FnOnce(&Path) -> Vec<HostPlan>,
    body: impl FnOnce(&mut Lab) -> Result<()>,
) -> Result<()> {
    let Some(directory) = sandbox::inside() else { return run_again(test) };
    let mut lab = Lab::build(&directory, plans(&directory))?;
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mut lab)));
    if !matches!(result, Ok(Ok(()))) {
        // Lost words do not make the failure another one.
        let _ = writeln!(std::io::stdout(), "{}", lab.last_words());
    }
    match result {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Three hosts in one cluster, each with its `state/` on a disk of its own; skipped where none can be mounted.
pub(crate) fn on_disks(test: &str, body: impl FnOnce(&mut Lab, Vec<Disk>) -> Result<()>) -> Result<()> {
    if sandbox::inside().is_some() && sandbox::is_of_own_user() {
        return skip(test, "without root no disk can be mounted");
    }
    if let Some(why) = disk::is_missing() {
        return skip(test, &why);
    }
    in_lab(test, three_quiet_hosts, |lab| {
        let hosts = lab.hosts().iter();
        let disks = hosts.map(|host| Disk::make(&host.file("")));
        let disks = disks.collect::<Result<Vec<Disk>>>()?;
        lab.form_cluster()?;
        body(lab, disks)
    })
}

/// The three hosts of most tests, which watch nothing: bans come from operators.
pub(crate) fn three_quiet_hosts(_: &Path) -> Vec<HostPlan> {
    ["kopano", "kerio", "mx1"].map(|name| plan(name, Tree::empty())).into()
}

/// A host with quick elections.
pub(crate) fn plan(name: &'static str, tree: Tree) -> HostPlan {
    HostPlan { name, tree, settings: QUICK_RAFT.to_owned(), environment: Vec::new() }
}

/// Says that this test can not run here, and why: to the program's own output, which the scripts read even where
/// passing tests are silent.
pub(crate) fn skip(test: &str, reason: &str) -> Result<()> {
    let _ = writeln!(std::io::stdout(), "SKIPPED: {test}: {reason}");
    Ok(())
}

fn run_again(test: &str) -> Result<()> {
    let arguments: Vec<OsString> =
        [test, "--exact", "--nocapture", "--test-threads=1"].map(OsString::from).into();
    let mut sandbox = match Sandbox::start(&arguments) {
        Ok(sandbox) => sandbox,
        Err(CannotEnter::NotAllowed(reason)) => {
            return skip(test, &reason);
        }
        Err(CannotEnter::Broken(failed)) => return Err(failed),
    };
    let status =
        sandbox.wait().map_err(|error| Failed(format!("cannot wait for the run inside: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failed(format!("{test} failed inside its lab"))) }
}
