//! `bannkreisd`: reads the command line and the configuration, sets up the log, and runs the daemon; or opens the
//! firewall where none does.
//!
//! Everything that can be wrong before the daemon runs ends here in one message on standard error.

use bannkreis_core::subnet::Subnet;
use bannkreis_node::config::{LogTarget, NodeConfig};
use bannkreis_node::emergency::{self, Opening};
use bannkreis_node::host::HostFacts;
use bannkreis_node::log_file::{self, DaemonLog, ReopenSignals};
use bannkreis_node::{app, open_files, startup, vital_threads};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Keeps this host's firewall equal to the cluster's ban list, and the cluster's ban list informed by this
/// host's logs.
#[derive(Debug, Parser)]
#[command(name = "bannkreisd", version)]
struct Arguments {
    /// The configuration [default: /etc/bannkreis/bannkreis.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do not run: delete everything that a bannkreisd has left in this host's firewall, so that nobody is blocked
    #[arg(long, conflicts_with_all = ["config", "release"])]
    flush: bool,
    /// Do not run: let this address or network pass, whatever a bannkreisd has left in this host's firewall
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    release: Option<Subnet>,
    /// With --flush or --release: end a bannkreisd that hangs and keeps others from the firewall
    #[arg(long)]
    kill: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let opening = match (arguments.flush, arguments.release) {
        (true, _) => Some(Opening::All),
        (false, released) => released.map(Opening::Only),
    };
    let done = match opening {
        Some(opening) => emergency::open(opening, arguments.kill).map(|said| say(&said)),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), startup::StartupError> {
    // Evidence quotes other people's logs: what this process makes is its user's alone, unless it says otherwise.
    // SAFETY: umask(2) takes any mode, and no other thread runs yet.
    unsafe { libc::umask(0o077) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(startup::StartupError::of)?;
    let entered = runtime.enter();
    let signals = ReopenSignals::new().map_err(startup::StartupError::of)?;
    drop(entered);
    let hostname = HostFacts::read().hostname;
    let environment = |name: &str| std::env::var_os(name);
    let config = NodeConfig::load(arguments.config.as_deref(), &environment, &hostname)
        .map_err(startup::StartupError::of)?;
    let logs = set_up_logs(&config)?;
    open_files::allow_many();
    vital_threads::end_with_the_process();
    runtime.spawn(log_file::reopen_on(logs, signals));
    runtime.block_on(app::run(config))
}

fn set_up_logs(config: &NodeConfig) -> Result<Vec<DaemonLog>, startup::StartupError> {
    // openraft writes several lines per heartbeat; only what it warns of is for people.
    let level = config.log.level.as_str();
    let filter = format!("{level},openraft=error,sled=warn,h2=warn,hyper=warn,tower=warn");
    let log = match &config.log.target {
        LogTarget::Stderr => DaemonLog::to_stderr(),
        LogTarget::File(path) => DaemonLog::to_file(path)?,
    };
    let fail2ban = config.log.fail2ban.as_deref().map(DaemonLog::to_file).transpose()?;
    tracing::subscriber::set_global_default(log.clone().subscriber(&filter, fail2ban.clone()))
        .map_err(startup::StartupError::of)?;
    Ok(std::iter::once(log).chain(fail2ban).collect())
}

#[allow(clippy::print_stdout, reason = "what was done, where no daemon runs that could log it")]
fn say(said: &str) {
    println!("bannkreisd: {said}");
}

#[allow(clippy::print_stderr, reason = "the one message of a start that failed, which no log may hide")]
fn complain(error: &str) {
    eprintln!("bannkreisd: {error}");
}
