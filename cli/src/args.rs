//! What can be typed. How a value is read is in `values`, what a command does with it in `commands`.

mod lists;
mod orders;
mod values;

use crate::commands::regex::args::RegexArgs;
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::BanTime;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use lists::{ExportArgs, ImportArgs};
pub use orders::{BanArgs, UnbanArgs, Waiting};
use std::path::PathBuf;
use values::{allow_time, assignment, host_port, jail_name, override_time, target, token_id, ttl_ms};

/// Where the node listens when nobody says otherwise.
pub const SOCKET_DEFAULT: &str = "/run/bannkreis/control.sock";
/// Where `check` reads when nobody says otherwise.
pub const CONFIG_DIR_DEFAULT: &str = "/etc/fail2ban";
/// So many targets fit into one call.
pub const TARGETS_MAX: usize = 1_000;
/// Nobody waits longer than this for an answer, in ms: 10 minutes.
pub const WAIT_MAX_MS: u64 = 600_000;
/// No token counts longer than this, in ms: 30 days.
pub const TOKEN_TTL_MAX_MS: u64 = 30 * 24 * 3_600 * 1_000;

const AFTER_HELP: &str = "\
Lengths of time are written as in fail2ban: 600, 10m, 1h, 1d 12h, -1 (for ever).

Exit codes:
  0  done
  1  refused, or an error
  2  not understood: see the usage
  3  the daemon can not be reached
  4  the outcome is unknown: repeat the command with the id that is printed
  5  done, but not enforced on every node yet
255  nothing could be tested (regex only)";

const LOCAL_HELP: &str = "\
With --local it is about this host only, whatever the cluster says, and for a day unless --for says
otherwise. It needs no other node, and is kept over a restart.
  ban TARGET --local          blocks TARGET here, in the place of what was decided before
  unban TARGET --local        takes such a block back; without one it lets TARGET through here,
                              whatever is banned
  ban TARGET --local --end    takes a block back, and does nothing else
  unban TARGET --local --end  takes back that TARGET is let through: what is banned is blocked again
`bannkreis bans` and `why` show what was decided, by whom and why.";

/// What `import --help` ends with.
const IMPORT_HELP: &str = "\
Nobody is banned for a shorter time by it, and it can be repeated. A mistake in a text keeps all of it from being taken
over; what is refused for what it is (an address of a node, a jail that no node has) is named, and the rest is taken over.
fail2ban's database is /var/lib/fail2ban/fail2ban.sqlite3; bans in it that are over count where ban times grow.";

/// What `pause --help` ends with.
const PAUSE_HELP: &str = "\
Offenders are counted, shared and blocked on the other hosts meanwhile; what is banned is blocked here again when the time
is over. It needs no other node, and is kept over a restart. When the daemon does not answer: `bannkreisd --flush`.";

/// Asks a bannkreis node, and tells it what to do.
#[derive(Debug, Parser)]
#[command(name = "bannkreis", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// The node's control socket.
    #[arg(long, global = true, env = "BANNKREIS_SOCKET", value_name = "PATH", default_value = SOCKET_DEFAULT)]
    pub socket: PathBuf,
    /// Asks a node on another host instead, with a person's certificate: see `pki issue`.
    #[arg(long, global = true, env = "BANNKREIS_CONNECT", value_name = "HOST:PORT", value_parser = host_port)]
    pub connect: Option<String>,
    /// With --connect: the directory that `pki issue` has made.
    #[arg(long, global = true, env = "BANNKREIS_KEYS", value_name = "DIR", default_value = ".")]
    pub keys: PathBuf,
    /// Tables for people, JSON for programs.
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub output: Output,
    /// When to colour the text.
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people.
    Table,
    /// One JSON document; see docs/cli-json.md.
    Json,
}

/// When text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// When a terminal shows it and NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// How this node and its jails are.
    Status {
        /// Only this jail, with the addresses banned in it.
        jail: Option<String>,
    },
    /// Ban addresses on all nodes; with --local block them on this host only.
    #[command(after_help = LOCAL_HELP)]
    Ban(BanArgs),
    /// Lift bans on all nodes; with --local let addresses through on this host only.
    #[command(after_help = LOCAL_HELP)]
    Unban(UnbanArgs),
    /// List everything that is banned or blocked.
    Bans {
        /// Only bans in this jail.
        #[arg(long, value_parser = jail_name)]
        jail: Option<JailName>,
        /// Only bans that this node brought in: its name or id.
        #[arg(long)]
        node: Option<String>,
        /// Only bans since then: a length of time ago (1h) or a time (2026-03-01T12:00).
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// What this host's firewall holds, what it has dropped for each jail, and how often it was repaired.
    Firewall,
    /// Let everybody through on this host for a while, whatever is banned; other hosts go on blocking.
    #[command(after_help = PAUSE_HELP)]
    Pause {
        /// For how long.
        #[arg(value_name = "LENGTH", value_parser = override_time, default_value = "10m", allow_hyphen_values = true)]
        length: BanTime,
        /// Why, for those who ask later.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Block again now.
        #[arg(long, conflicts_with_all = ["length", "reason"])]
        end: bool,
    },
    /// Explain why an address is banned, or why it is not.
    Why {
        /// An address or a prefix.
        #[arg(value_parser = target)]
        target: Subnet,
    },
    /// Tell what was: bans that are over and how they ended, bans that hold, and operators' commands.
    History(HistoryArgs),
    /// Have every node forget what is over about addresses: bans, lines and commands. What holds stays.
    Forget(ForgetArgs),
    /// Take over the bans of a list: addresses in lines, the JSON of `export`, or fail2ban's database.
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Write the cluster's bans to standard output, an address a line.
    Export(ExportArgs),
    /// The allow list: what no node bans, and whose packets pass on every node.
    #[command(subcommand)]
    Allow(AllowCommand),
    /// Read a fail2ban configuration and say how each jail will run here. Needs no daemon.
    Check {
        /// The directory with jail.conf, filter.d and so on; without it /etc/fail2ban, if that is there.
        #[arg(long, value_name = "DIR")]
        config_dir: Option<PathBuf>,
    },
    /// Test a filter or an expression on a log, as fail2ban-regex does. Needs no daemon.
    #[command(version)]
    Regex(Box<RegexArgs>),
    /// The cluster: how it is, who is in it, who votes and leads.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Certificates: this node's, and those of people who ask from other hosts.
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Join tokens: each lets one host into the cluster.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// An address or a prefix; without it, everything.
    #[arg(value_parser = target)]
    pub target: Option<Subnet>,
    /// Only in this jail.
    #[arg(long, value_parser = jail_name)]
    pub jail: Option<JailName>,
    /// Only since then: a length of time ago (1h) or a time (2026-03-01T12:00).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// At most so many entries, the newest: 1 to 1000.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
}

/// Arguments of `forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Addresses and prefixes.
    #[arg(required = true, value_name = "TARGET", value_parser = target)]
    pub targets: Vec<Subnet>,
    /// Why, for those who ask later. It is told without the address: do not write it here.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How it is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What to do with the allow list.
#[derive(Debug, Subcommand)]
pub enum AllowCommand {
    /// Put entries on it. Bans inside them are lifted; one that is wider stands, but lets their packets pass.
    Add(AllowAddArgs),
    /// Take entries off it. Bans that they lifted do not come back.
    Remove(AllowRemoveArgs),
    /// Show it.
    List,
}

/// Arguments of `allow add`.
#[derive(Debug, Args)]
pub struct AllowAddArgs {
    /// Addresses and prefixes.
    #[arg(required = true, value_name = "TARGET", value_parser = target)]
    pub targets: Vec<Subnet>,
    /// For how long; without it for ever.
    #[arg(long = "for", value_name = "LENGTH", value_parser = allow_time, allow_hyphen_values = true)]
    pub length: Option<BanTime>,
    /// Who or what that is, for those who read the list later.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Also whole networks.
    #[arg(long)]
    pub force: bool,
    /// How it is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of `allow remove`.
#[derive(Debug, Args)]
pub struct AllowRemoveArgs {
    /// Entries, as `allow list` shows them.
    #[arg(required = true, value_name = "TARGET", value_parser = target)]
    pub targets: Vec<Subnet>,
    /// Why, for those who ask later.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Also when that shuts you out.
    #[arg(long)]
    pub force: bool,
    /// How it is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// The members, and how far each of them is.
    Status,
    /// Make this node a member of another cluster. It brings its bans along.
    Join {
        /// Any member of that cluster.
        #[arg(value_name = "HOST:PORT", value_parser = host_port)]
        address: String,
        /// What lets this host in: `bannkreis token create` on a member makes one.
        #[arg(long, env = "BANNKREIS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
        token: Option<String>,
        /// Reads the token from this file; - for standard input. So it is in no list of processes.
        #[arg(long, value_name = "FILE", conflicts_with = "token")]
        token_file: Option<PathBuf>,
    },
    /// Write a copy of the replicated state, as this node has it, to a file. Works without a leader too.
    Backup {
        /// Where to; - for standard output.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Put the key of the cluster's authority in, so that hosts need no new certificates after a restore. Whoever
        /// reads the file can then make members of the cluster: keep it as you keep private keys.
        #[arg(long)]
        with_keys: bool,
        /// Write nothing: say whether the FILE that is there is whole, and what it holds.
        #[arg(long, conflicts_with = "with_keys")]
        check: bool,
    },
    /// Replace this node's replicated state by a backup's; its own bans are merged in. Only on a node that is alone.
    /// Without --yes it says what that means and does nothing.
    Restore {
        /// What `bannkreis cluster backup` has written.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Go on with this node alone when the majority is gone for good, or when this node has lost its log. All bans
    /// stay. Without --yes it says what that means and does nothing.
    Recover {
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Also when there is a quorum: splits the cluster in two.
        #[arg(long)]
        force: bool,
        /// Set cluster time as well, when most clocks were wrong: `now` (this host's clock) or a time
        /// (2026-03-01T12:00). Every ban keeps what is left of it.
        #[arg(long, value_name = "TIME")]
        now: Option<String>,
    },
    /// Take this node out of its cluster. It goes on alone, with all bans.
    Leave {
        /// Also when the cluster can not be asked, or has thrown this node out.
        #[arg(long)]
        force: bool,
    },
    /// Take another node out of the cluster, and its key with it: a host that is gone, or not trusted any more.
    Remove {
        /// Its name or id.
        node: String,
    },
    /// Give a node a vote.
    Promote {
        /// Its name or id.
        node: String,
    },
    /// Take a node's vote, until it is promoted.
    Demote {
        /// Its name or id.
        node: String,
    },
    /// Trust a node again whose bans were undone (`unban --by-node`): what it brings in from now on is shared.
    Trust(TrustArgs),
    /// What steers the ban list on all nodes alike: its settings with their meaning, or `set` to change some.
    Settings {
        /// What to do; without it they are shown.
        #[command(subcommand)]
        order: Option<SettingsCommand>,
    },
    /// Let another node lead: before maintenance of the leader's host. The next commit waits for one message.
    TransferLeader {
        /// Its name or id; without it, the one that is up to date.
        node: Option<String>,
    },
}

/// What to do with the replicated settings.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Change some, together or not at all.
    Set(SettingsSetArgs),
}

/// Arguments of `cluster settings set`.
#[derive(Debug, Args)]
pub struct SettingsSetArgs {
    /// Settings with their new values, as `cluster settings` shows them.
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = assignment)]
    pub assignments: Vec<(String, String)>,
    /// Why, for those who ask later.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How it is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of `cluster trust`.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// Its name or id.
    pub node: String,
    /// Why, for those who ask later.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How it is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    /// This node's certificate, and the authorities it believes.
    Show,
    /// Make this node's certificate anew. It also does so by itself when two thirds of its time are over.
    Renew,
    /// Make a key and a certificate for a person who asks from another host.
    Issue(IssueArgs),
}

/// Arguments of `pki issue`.
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// The person, as the audit shall name them.
    pub name: String,
    /// What they may do.
    #[arg(long, value_enum)]
    pub role: PersonRole,
    /// How many days it counts: 1 to 825. It can not be taken back before.
    #[arg(long, value_name = "DAYS", default_value = "90", value_parser = clap::value_parser!(u32).range(1..=825))]
    pub days: Option<u32>,
    /// Where to put key and certificates: a directory that is not there yet. By default ./NAME.
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PersonRole {
    /// Everything.
    Admin,
    /// Ban, unban and look.
    Operator,
    /// Look.
    Viewer,
}

/// What to do with join tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token. It is shown this once.
    Create {
        /// How long it counts.
        #[arg(long, value_name = "LENGTH", value_parser = ttl_ms, default_value = "1h")]
        ttl: u64,
    },
    /// The tokens that still count.
    List,
    /// Take a token back before it is used.
    Revoke {
        /// Its id, or the first digits of it.
        #[arg(value_name = "ID", value_parser = token_id)]
        id: String,
    },
}
