//! What can be typed behind `ban` and `unban`, and how an order is waited for.

use super::values::{ban_time, command_id, jail_name, override_time, target, wait_ms};
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::BanTime;
use clap::Args;

/// Arguments of `ban`.
#[derive(Debug, Args)]
pub struct BanArgs {
    /// Addresses and prefixes.
    #[arg(required = true, value_name = "TARGET", value_parser = target)]
    pub targets: Vec<Subnet>,
    /// The jail to ban in; without it the jail `operator`.
    #[arg(long, value_parser = jail_name)]
    pub jail: Option<JailName>,
    /// For how long; without it the jail's own ban time, or 1h when this node does not have the jail, or with --local a
    /// day.
    #[arg(long = "for", value_name = "LENGTH", value_parser = ban_time, allow_hyphen_values = true)]
    pub length: Option<BanTime>,
    /// Why, for those who ask later.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Also what holds the address that you work from or addresses of nodes, and prefixes wider than /24 (IPv4) or
    /// /64 (IPv6).
    #[arg(long)]
    pub force: bool,
    /// Only on this host: see below.
    #[arg(long, conflicts_with_all = ["jail", "wait", "id"])]
    pub local: bool,
    /// With --local: take a block back.
    #[arg(long, requires = "local", conflicts_with_all = ["length", "reason", "force"])]
    pub end: bool,
    /// How it is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of `unban`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("selection").required(true).args(["targets", "all", "by_node"])))]
pub struct UnbanArgs {
    /// Addresses and prefixes: all bans inside them are lifted.
    #[arg(value_name = "TARGET", value_parser = target)]
    pub targets: Vec<Subnet>,
    /// Lift every ban.
    #[arg(long)]
    pub all: bool,
    /// Lift what this node (name or id) has brought in, and trust it no longer.
    #[arg(long, value_name = "NODE", conflicts_with = "jail")]
    pub by_node: Option<String>,
    /// Only bans in this jail.
    #[arg(long, value_parser = jail_name)]
    pub jail: Option<JailName>,
    /// Why, for those who ask later.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only on this host: see below.
    #[arg(long, conflicts_with_all = ["all", "by_node", "jail", "wait", "id"])]
    pub local: bool,
    /// With --local: for how long; without it a day.
    #[arg(long = "for", value_name = "LENGTH", value_parser = override_time, allow_hyphen_values = true, requires = "local")]
    pub length: Option<BanTime>,
    /// With --local: take back that it is let through.
    #[arg(long, requires = "local", conflicts_with_all = ["length", "reason"])]
    pub end: bool,
    /// With --local: also whole networks, and when that shuts you out.
    #[arg(long, requires = "local")]
    pub force: bool,
    /// How it is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// How an outcome is waited for.
#[derive(Debug, Args)]
pub struct Waiting {
    /// How long to wait for the commit and for all nodes, in all.
    #[arg(long, value_name = "LENGTH", value_parser = wait_ms, default_value = "5s")]
    pub wait: u64,
    /// Repeats the command with this id, whose outcome was unknown: it is done at most once.
    #[arg(long, value_name = "ID", value_parser = command_id)]
    pub id: Option<u128>,
}
