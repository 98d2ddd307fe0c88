//! What it costs to read what others write: syslog messages over TCP beside rsyslog, a thousand files in which nothing is
//! written, and a million addresses that have each failed once.
//!
//! A node by itself, without a firewall. Not for what filters cost (`filter`).

mod failing;
mod node;
mod syslog;

use std::process::ExitCode;

use bannkreis_tests::failed::Result;

/// Files in which nothing is written.
const N_FILES: usize = 1_000;
/// What they may cost.
const FILES_RSS_MAX: u64 = 40 * 1024 * 1024;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    say("sources: what it costs to read");
    syslog::run()?;
    for n_files in [0, N_FILES] {
        let idle = node::idle(n_files)?;
        say(&format!(
            "  {n_files} files, nothing is written: {:.1} MB, {:.2} % of a processor (aim with {N_FILES}: {} MB, none)",
            idle.rss_bytes as f64 / 1e6,
            idle.cpu_share * 100.0,
            FILES_RSS_MAX / 1024 / 1024,
        ));
    }
    failing::run()
}

#[allow(clippy::print_stdout, reason = "a benchmark is there to be read")]
fn say(text: &str) {
    println!("{text}");
}
