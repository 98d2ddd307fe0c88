//! Every file of a node's state, damaged in every way: the node heals it, looks on as a spectator, or does not start and
//! says which file it is and what to do. Nothing that was acknowledged is ever gone without a word.
//!
//! Not for files that an operator brings along (backups, configuration), nor for damage while the node runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::daemon::{Daemon, ending};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;
use rustix::thread::CapabilitySet;

use crate::inside::{in_lab, plan};

const HOST: &str = "kopano";
const SOON: Duration = Duration::from_secs(20);
/// Before the snapshot, and after it.
const IN_SNAPSHOT: [u8; 2] = [1, 2];
const IN_LOG: [u8; 2] = [3, 4];
const PAGE_BYTES: usize = 4_096;

/// What may happen to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    CutAtTheEnd,
    CutInTheMiddle,
    ZeroedPage,
    FlippedBit,
    Emptied,
    Absent,
}

const EVERY_DAMAGE: [Damage; 6] = [
    Damage::CutAtTheEnd,
    Damage::CutInTheMiddle,
    Damage::ZeroedPage,
    Damage::FlippedBit,
    Damage::Emptied,
    Damage::Absent,
];

impl Damage {
    fn happen_to(self, file: &Path) -> std::io::Result<()> {
        let mut bytes = fs::read(file)?;
        // sled's files are longer than what is in them.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let middle = written / 2;
        match self {
            Damage::Absent => return fs::remove_file(file),
            Damage::Emptied => bytes.clear(),
            Damage::CutAtTheEnd => bytes.truncate(written.saturating_sub(3)),
            Damage::CutInTheMiddle => bytes.truncate(middle),
            Damage::ZeroedPage => {
                let start = middle / PAGE_BYTES * PAGE_BYTES;
                let end = bytes.len().min(start + PAGE_BYTES);
                bytes[start..end].fill(0);
            }
            Damage::FlippedBit => {
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 1;
                }
            }
        }
        fs::write(file, bytes)
    }
}

/// What a node makes of a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// It starts, and every ban is there.
    Heals,
    /// It starts with every ban, or looks on and says so: its log must not be believed any more.
    HealsOrLooksOn,
    /// It does not start, or it heals, or it looks on; in no case is anything missing without a word.
    Refuses,
}

/// By what a file is.
fn policy(file: &str) -> Result<Policy> {
    match file.split('/').next().unwrap_or_default() {
        "local" | "snapshots" | "reserve" => Ok(Policy::Heals),
        "raft" => Ok(Policy::HealsOrLooksOn),
        "identity" | "pki" => Ok(Policy::Refuses),
        _ => Err(Failed(format!("what becomes of {file} when it is damaged? Add it to the policy"))),
    }
}

#[test]
fn a_damaged_file_is_healed_or_named_and_no_ban_is_gone_without_a_word() -> Result<()> {
    let name = "damaged_files::a_damaged_file_is_healed_or_named_and_no_ban_is_gone_without_a_word";
    in_lab(
        name,
        |_| vec![plan(HOST, Tree::empty())],
        |lab| {
            lab.host_mut(HOST).start()?;
            ban(lab, &IN_SNAPSHOT)?;
            lab.host_mut(HOST).stop()?;
            lab.host_mut(HOST).start()?;
            ban(lab, &IN_LOG)?;
            lab.host_mut(HOST).kill_9();
            let (state, whole) = (lab.host(HOST).file("state"), lab.host(HOST).file("whole"));
            fs::rename(&state, &whole).context(|| "cannot put the state aside".to_owned())?;
            let files = files_in(&whole, &whole)?;
            for wanted in ["identity", "raft/db", "raft/synced", "local/db", "snapshots/", "pki/"] {
                expect(files.iter().any(|file| file.starts_with(wanted)), || {
                    format!("there is no {wanted} among {files:?}")
                })?;
            }
            let mut wrong = Vec::new();
            for file in &files {
                for damage in EVERY_DAMAGE {
                    let _ = fs::remove_dir_all(&state);
                    copy(&whole, &state)?;
                    damage
                        .happen_to(&state.join(file))
                        .context(|| format!("cannot damage {file}: {damage:?}"))?;
                    if let Err(why) = start_on_it(lab, file) {
                        wrong.push(format!("{file}, {damage:?}: {why}"));
                    }
                }
            }
            expect(wrong.is_empty(), || wrong.join("\n"))
        },
    )
}

fn ban(lab: &Lab, whom: &[u8]) -> Result<()> {
    let addresses = addresses(whom);
    let command: Vec<&str> =
        ["ban", "--for", "1h"].into_iter().chain(addresses.iter().map(String::as_str)).collect();
    lab.host(HOST).cli(&command)?.expect_success().map(drop)
}

fn addresses(whom: &[u8]) -> BTreeSet<String> {
    whom.iter().map(|n| format!("203.0.113.{n}")).collect()
}

/// What the node makes of it is what the policy says.
fn start_on_it(lab: &mut Lab, file: &str) -> Result<()> {
    let policy = policy(file)?;
    let from = lab.host(HOST).n_words_bytes();
    let mut daemon = lab.host(HOST).spawn_without(CapabilitySet::empty())?;
    let ended = wait_for("it starts or ends", SOON, || {
        let ended = daemon.ended().context(|| "cannot wait for the daemon".to_owned())?;
        let answers = || lab.host(HOST).cli(&["status"]).is_ok_and(|told| told.status.success());
        expect(ended.is_some() || answers(), || "neither".to_owned())?;
        Ok(ended)
    })?;
    let words = lab.host(HOST).words_since(from)?;
    let Some(status) = ended else {
        let judged = judge_running(lab, policy, &words);
        Daemon::kill_9(daemon);
        return judged;
    };
    expect(policy == Policy::Refuses, || format!("it does not start: {words}"))?;
    // 101 is a panic.
    expect(status.code().is_some_and(|code| code != 0 && code != 101), || {
        format!("{}: {words}", ending(status))
    })?;
    let last = words.lines().last().unwrap_or_default();
    let remedies = ["restore", "move ", "remove ", "leave --force", "start again", "name another"];
    expect(last.contains(file) && remedies.iter().any(|remedy| last.contains(remedy)), || {
        format!("no file or no remedy is named: {words}")
    })
}

fn judge_running(lab: &Lab, policy: Policy, words: &str) -> Result<()> {
    let host = lab.host(HOST);
    let looks_on = host.cli(&["status"])?.stdout.starts_with("spectator: ");
    let listed = committed(&host.bans()?);
    let all = addresses(&[IN_SNAPSHOT, IN_LOG].concat());
    if !looks_on {
        return expect(listed == all, || format!("without a word it lists {listed:?}: {words}"));
    }
    expect(policy != Policy::Heals, || format!("it looks on: {words}"))?;
    // Its identity may be another one's now: then the snapshots are too.
    let kept = policy == Policy::Refuses || listed.is_superset(&addresses(&IN_SNAPSHOT));
    expect(kept, || format!("it has not kept its snapshot and lists {listed:?}: {words}"))
}

/// The files below `directory`, as paths below `top`, in order.
fn files_in(top: &Path, directory: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        if path.is_dir() {
            files.extend(files_in(top, &path)?);
        } else {
            files.extend(path.strip_prefix(top).ok().map(|name| name.display().to_string()));
        }
    }
    files.sort();
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).context(|| format!("cannot make {}", to.display()))?;
    for path in entries(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot list {}", directory.display());
    let read = fs::read_dir(directory).context(cannot)?;
    read.map(|entry| entry.map(|entry| entry.path()).context(cannot)).collect()
}
