//! What can be typed behind `import` and `export`.

use super::values::{ban_time, jail_name, wait_ms};
use bannkreis_core::jail::JailName;
use bannkreis_core::time::BanTime;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The list; - is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The jail of bans that do not tell theirs, without it `operator`; of fail2ban's database, only the bans of this jail.
    #[arg(long, value_parser = jail_name)]
    pub jail: Option<JailName>,
    /// How long bans last that do not tell their end; without it the jail's own ban time, or 1h when this node does not have
    /// the jail.
    #[arg(long = "for", value_name = "LENGTH", value_parser = ban_time, allow_hyphen_values = true)]
    pub length: Option<BanTime>,
    /// Why, for those who ask later.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Also what holds the address that you work from or addresses of nodes, and prefixes wider than /24 (IPv4) or
    /// /64 (IPv6).
    #[arg(long)]
    pub force: bool,
    /// How long to wait for the commit and for all nodes, for each thousand.
    #[arg(long, value_name = "LENGTH", value_parser = wait_ms, default_value = "5s")]
    pub wait: u64,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Only bans in this jail.
    #[arg(long, value_parser = jail_name)]
    pub jail: Option<JailName>,
    /// All that is known of each, and the allow list: for `import` on another cluster.
    #[arg(long)]
    pub json: bool,
}
