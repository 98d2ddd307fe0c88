//! The order of a node's system calls, under strace: an order is answered after its ban is synced, and what takes the
//! place of a file is synced before, and its directory after.
//!
//! Not for whether the kernel keeps what it has synced: see `power_cut.rs`.

use std::fs;
use std::path::Path;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::strace::{self, Call, Strace, calls};
use bannkreis_tests::seeds::Tree;

use crate::inside::{in_lab, plan, skip};

const HOST: &str = "kopano";
const N_BANS: usize = 20;
/// Whole buffers, with the files behind the descriptors.
const OPTIONS: [&str; 5] = [
    "-y",
    "-s",
    "1048576",
    "-e",
    "trace=write,pwrite64,writev,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2",
];

#[test]
fn an_order_is_answered_after_its_ban_is_synced() -> Result<()> {
    traced("sync_order::an_order_is_answered_after_its_ban_is_synced", |lab| {
        lab.host_mut(HOST).start()?;
        let host = lab.host(HOST);
        let found = calls_during(host, || {
            (1..=N_BANS).try_for_each(|n| {
                let reason = reason(n);
                host.cli(&["ban", &address(n), "--reason", &reason])?.expect_success().map(drop)
            })
        })?;
        (1..=N_BANS).try_for_each(|n| answered_after_sync(&found, &reason(n), &address(n)))
    })
}

#[test]
fn what_takes_a_name_is_synced_before_and_its_directory_after() -> Result<()> {
    traced("sync_order::what_takes_a_name_is_synced_before_and_its_directory_after", |lab| {
        lab.host_mut(HOST).start()?;
        lab.host(HOST).cli(&["ban", &address(1)])?.expect_success()?;
        lab.host_mut(HOST).stop()?;
        let log = lab.host(HOST).file("state/raft");
        fs::remove_dir_all(&log).context(|| format!("cannot remove {}", log.display()))?;
        lab.host_mut(HOST).start()?;
        let host = lab.host(HOST);
        let found =
            calls_during(host, || host.cli(&["cluster", "recover", "--yes"])?.expect_success().map(drop))?;
        let renamed = renamed_files(&found, &host.file("state"));
        for wanted in ["/identity", ".snapshot"] {
            expect(renamed.iter().any(|(_, _, to)| to.ends_with(wanted)), || {
                format!("nothing became {wanted}: {renamed:?}")
            })?;
        }
        renamed.iter().try_for_each(|(rename, from, to)| renamed_durably(&found, rename, from, to))
    })
}

/// A lab of one host, if there is strace.
fn traced(test: &str, body: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    match strace::is_missing() {
        Some(why) => skip(test, &why),
        None => in_lab(test, |_| vec![plan(HOST, Tree::empty())], body),
    }
}

fn calls_during(host: &Host, body: impl FnOnce() -> Result<()>) -> Result<Vec<Call>> {
    let pid = host.pid().ok_or_else(|| Failed(format!("{} does not run", host.name())))?;
    let into = host.file("strace");
    let strace = Strace::attach(pid, &OPTIONS, &into)?;
    body()?;
    drop(strace);
    let found = fs::read_to_string(&into).context(|| format!("cannot read {}", into.display()))?;
    Ok(calls(&found))
}

fn address(n: usize) -> String {
    format!("203.0.113.{n}")
}

fn reason(n: usize) -> String {
    format!("reason-number-{n}.")
}

/// The ban with this reason was written to the log, then that was synced, then whoever had asked got an answer.
fn answered_after_sync(found: &[Call], reason: &str, address: &str) -> Result<()> {
    let on_log = |call: &&Call| call.arguments.contains("/state/raft/db>");
    let written =
        found.iter().filter(on_log).find(|call| call.name == "pwrite64" && call.arguments.contains(reason));
    let written =
        written.ok_or_else(|| Failed(format!("the ban with {reason} was not written to the log")))?;
    let is_answer = |call: &&Call| {
        call.began > written.began && call.arguments.contains("<socket:[") && call.arguments.contains(address)
    };
    let answer = found.iter().find(is_answer).ok_or_else(|| Failed(format!("no answer about {address}")))?;
    let mut syncs = found.iter().filter(on_log).filter(|call| call.name == "fdatasync" && call.is_done);
    expect(syncs.any(|sync| sync.began > written.ended && sync.ended < answer.began), || {
        format!("no sync of the log between {written:?} and {answer:?}")
    })
}

/// The renames of files in `state`, with both names. Not sled's own: without one of those it reads its whole log.
fn renamed_files(found: &[Call], state: &Path) -> Vec<(Call, String, String)> {
    let renames = found.iter().filter(|call| call.name.starts_with("rename") && call.is_done);
    let named = renames.filter_map(|call| {
        let mut names = call.arguments.split('"').skip(1).step_by(2).map(str::to_owned);
        Some((call.clone(), names.next()?, names.next()?))
    });
    let is_ours = |(_, from, to): &(Call, String, String)| {
        Path::new(to).starts_with(state)
            && !from.ends_with(".generating")
            && Path::new(from).extension().is_some()
    };
    named.filter(is_ours).collect()
}

/// All that was written to `from` was synced before it became `to`, and the directory afterwards.
fn renamed_durably(found: &[Call], rename: &Call, from: &str, to: &str) -> Result<()> {
    let on = |call: &Call, path: &str| call.arguments.contains(&format!("<{path}>"));
    let is_sync = |call: &Call| ["fsync", "fdatasync"].contains(&&call.name[..]) && call.is_done;
    let before = || found.iter().filter(|call| call.ended < rename.began && on(call, from));
    let written = before().filter(|call| call.name.contains("write")).map(|call| call.ended).max();
    let synced = before().filter(|call| is_sync(call)).map(|call| call.began).max();
    expect(written.is_some() && synced > written, || {
        format!("{from} became {to}: written at {written:?}, synced at {synced:?}")
    })?;
    let directory = Path::new(to).parent().unwrap_or(Path::new("/")).display().to_string();
    let after = found.iter().find(|call| call.began > rename.ended && is_sync(call) && on(call, &directory));
    expect(after.is_some(), || format!("{directory} was not synced after {from} became {to}"))
}

#[test]
fn an_answer_before_the_sync_is_noticed() {
    let written = "1 pwrite64(5</s/state/raft/db>, \"..reason-number-1...\", 9, 0) = 9\n";
    let sync = "1 fdatasync(5</s/state/raft/db>) = 0\n";
    let answer = "2 sendto(7<socket:[3]>, \"..203.0.113.1..\", 9, 0, NULL, 0) = 9\n";
    let judge = |lines: [&str; 3]| answered_after_sync(&calls(&lines.concat()), &reason(1), &address(1));
    assert!(judge([written, sync, answer]).is_ok());
    assert!(judge([written, answer, sync]).is_err());
    assert!(judge([sync, written, answer]).is_err());
    let failed = sync.replace("= 0", "= -1 EIO (Input/output error)");
    assert!(judge([written, &failed, answer]).is_err());
}
