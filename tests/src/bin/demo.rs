//! `make demo`: three nodes, one attacker, real firewalls; the story of `story.rs`, told on the
//! terminal.
//!
//! It runs itself again inside fresh namespaces, so this machine's own network and firewall are never
//! touched; the first process waits, keeps the time, and removes what is left on the disk. With
//! `--sabotage PART` the nodes have that part switched off, and all is well only if the story breaks
//! at the sentence which that part is responsible for.

use std::ffi::OsString;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::programs::program;
use bannkreis_tests::lab::sandbox::{self, CannotEnter, Sandbox};
use bannkreis_tests::story::{self, Broken, Sentence};

/// How many seconds to wait before the end, so that a person can look around.
const HOLD_VARIABLE: &str = "DEMO_HOLD";
/// What the nodes are told about their sabotage.
const SABOTAGE_VARIABLE: &str = "BANNKREIS_SABOTAGE";
/// The story takes half a minute. Whatever happens, it ends after this time.
const DEMO_MAX: Duration = Duration::from_secs(120);
/// Nobody looks around for longer than this.
const HOLD_SECONDS_MAX: u64 = 3_600;

/// Each part of a node that can be switched off, and the sentence that is then no longer true.
const SABOTAGES: [(&str, Sentence); 3] =
    [("netlink", Sentence::WebClosed), ("raft", Sentence::Committed), ("filter", Sentence::WebRecognised)];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let sabotage = match arguments.as_slice() {
        [] => None,
        [flag, part] if flag == "--sabotage" => match SABOTAGES.iter().find(|(name, _)| part == name) {
            Some(sabotage) => Some(*sabotage),
            None => return usage(),
        },
        _ => return usage(),
    };
    match sandbox::inside() {
        Some(directory) => run_inside(&directory, sabotage),
        None => run_outside(&arguments),
    }
}

fn usage() -> ExitCode {
    let parts: Vec<&str> = SABOTAGES.iter().map(|(part, _)| *part).collect();
    say(&format!("usage: demo [--sabotage {}]", parts.join("|")));
    ExitCode::from(2)
}

/// Starts the second run and waits for it, for a signal, or for the end of its time.
fn run_outside(arguments: &[OsString]) -> ExitCode {
    let signals = Signals::block();
    let mut sandbox = match Sandbox::start(arguments) {
        Ok(sandbox) => sandbox,
        Err(CannotEnter::NotAllowed(reason)) => {
            say(&format!("the demo cannot run here: {reason}"));
            return ExitCode::FAILURE;
        }
        Err(CannotEnter::Broken(failed)) => {
            say(&format!("the demo cannot run: {failed}"));
            return ExitCode::FAILURE;
        }
    };
    let ends_at = Instant::now() + DEMO_MAX + hold();
    loop {
        match sandbox.try_wait() {
            Ok(Some(status)) if status.success() => return ExitCode::SUCCESS,
            Ok(Some(_)) => return ExitCode::FAILURE,
            Ok(None) => {}
            Err(error) => {
                say(&format!("cannot wait for the demo: {error}"));
                return ExitCode::FAILURE;
            }
        }
        let left = ends_at.saturating_duration_since(Instant::now());
        match signals.wait(left) {
            // A child ended: the loop finds out which way.
            Some(libc::SIGCHLD) => {}
            Some(_) => return ExitCode::from(130),
            None if left.is_zero() => {
                say(&format!("the demo did not end within {} s", DEMO_MAX.as_secs()));
                return ExitCode::FAILURE;
            }
            None => {}
        }
        // Leaving this function kills the second run with all in it, and removes its directory.
    }
}

fn run_inside(directory: &Path, sabotage: Option<(&str, Sentence)>) -> ExitCode {
    let environment: Vec<(String, String)> =
        sabotage.iter().map(|(part, _)| (SABOTAGE_VARIABLE.to_owned(), (*part).to_owned())).collect();
    let mut lab = match Lab::build(directory, story::hosts(&environment)) {
        Ok(lab) => lab,
        Err(failed) => {
            say(&format!("the lab cannot be built: {failed}"));
            return ExitCode::FAILURE;
        }
    };
    let told = story::tell(&mut lab, &mut stdout());
    hold_open(&lab);
    let verdict = match sabotage {
        None => judge_story(&told),
        Some((part, sentence)) => judge_sabotage(&told, part, sentence),
    };
    let (is_well, text) = verdict;
    if !is_well {
        say(&lab.last_words());
    }
    say(&text);
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn judge_story(told: &Result<(), Broken>) -> (bool, String) {
    match told {
        Ok(()) => (true, "every sentence holds".to_owned()),
        Err(broken) => {
            (false, format!("this sentence does not hold: {}: {}", broken.sentence, broken.reason))
        }
    }
}

fn judge_sabotage(told: &Result<(), Broken>, part: &str, wanted: Sentence) -> (bool, String) {
    match told {
        Err(broken) if broken.sentence == wanted => {
            (true, format!("well: without its {part} the story breaks at: {wanted}"))
        }
        Err(broken) => (
            false,
            format!(
                "without its {part} the story should break at: {wanted}\nbut it broke at: {}",
                broken.sentence
            ),
        ),
        Ok(()) => (
            false,
            format!(
                "the story did not notice that {part} was switched off \
                 (are the nodes built with --features bannkreis-node/sabotage?)"
            ),
        ),
    }
}

fn hold() -> Duration {
    let seconds = std::env::var(HOLD_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds.min(HOLD_SECONDS_MAX))
}

/// Waits, if asked to, and says how to look around.
fn hold_open(lab: &Lab) {
    let hold = hold();
    if hold.is_zero() {
        return;
    }
    say(&format!("\nholding for {} s. From another terminal of the same user:", hold.as_secs()));
    // Without root the namespaces belong to a user namespace, to be entered first; nsenter(1) refuses to
    // enter the one it is in.
    let enter = if sandbox::is_of_own_user() {
        "nsenter --user --preserve-credentials --target"
    } else {
        "nsenter --target"
    };
    // The nodes have been started from there already.
    let tool = program("bannkreis").unwrap_or_else(|_| "bannkreis".into());
    for host in lab.hosts() {
        if let Some(pid) = host.pid() {
            say(&format!("  {}:", host.name()));
            say(&format!("    {enter} {pid} --net nft list table inet bannkreis"));
            say(&format!("    {} --socket {} bans", tool.display(), host.file("run/control.sock").display()));
        }
    }
    let me = std::process::id();
    let attacker = lab.attacker.netns().path();
    say("  the attacker:");
    say(&format!(
        "    {enter} {me} --net={} curl -m 1 --interface 203.0.113.10 http://10.77.0.11:443",
        attacker.display()
    ));
    std::thread::sleep(hold);
}

fn say(text: &str) {
    // With nobody reading, the exit code still tells.
    let _ = writeln!(stdout(), "{text}");
}

/// The signals that end the demo, blocked so that they can be waited for.
struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks them for this process; programs that it starts get them as ever.
    fn block() -> Signals {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset(3) writes the whole set before anything reads it, and the signals exist.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            let mut set = set.assume_init();
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD] {
                libc::sigaddset(&raw mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            set
        };
        Signals(set)
    }

    /// The next of them, or `None` after that time.
    fn wait(&self, at_most: Duration) -> Option<libc::c_int> {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(at_most.subsec_millis()) * 1_000_000,
        };
        // SAFETY: the set was filled by `block`; the pointer for details may be null.
        let signal =
            unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const timeout) };
        (signal > 0).then_some(signal)
    }
}
