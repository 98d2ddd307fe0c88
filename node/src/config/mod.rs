//! The daemon's configuration: `bannkreis.toml`, the environment above it, the defaults below it; and
//! the jails of a fail2ban directory.
//!
//! A setting that is not known, of the wrong type or out of range ends the start with one sentence:
//! where it stands, what is wrong, what is allowed. Nothing here opens sockets or databases. In the
//! order of suggested reading: the settings one by one, their kinds, how a file becomes values, the jails.

pub mod settings;

mod document;
pub mod jails;
mod kinds;

use bannkreis_core::subnet::Subnet;
use bannkreis_firewall::Hook;
use document::Given;
use settings::{SETTINGS, Setting};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What to do with the kernel's firewall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// nftables where it can be used, else iptables; otherwise none, with a warning.
    #[default]
    Auto,
    /// nftables, or no start.
    Nftables,
    /// ipset and iptables, or no start.
    Iptables,
    /// Nothing is blocked on this host.
    None,
}

/// Whether this node acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It proposes and blocks.
    #[default]
    Enforce,
    /// It counts and shows, stores and votes, and neither proposes nor blocks.
    Observe,
}

/// What this node is to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It reads logs and blocks, and votes where there is room.
    #[default]
    Full,
    /// It votes and stores: no logs, no firewall.
    Witness,
}

/// What is written to the log at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// And what may need somebody soon.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}

impl LogLevel {
    /// As it is written in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Where the log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error: under systemd, the journal.
    #[default]
    Stderr,
    /// This file, which is appended to.
    File(PathBuf),
}

/// The daemon's own log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// What is written at least.
    pub level: LogLevel,
    /// Where it goes.
    pub target: LogTarget,
    /// The file that has fail2ban's lines besides, if any.
    pub fail2ban: Option<PathBuf>,
}

/// Which syslog messages others may send to this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyslogConfig {
    /// Where datagrams come to.
    pub udp: Option<SocketAddr>,
    /// Where streams come to.
    pub tcp: Option<SocketAddr>,
    /// Who may send, beside this host.
    pub from: Vec<Subnet>,
    /// The file that they are saved to.
    pub save_to: Option<PathBuf>,
}

/// How nodes prove to each other who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// By certificates of the cluster's own authority.
    #[default]
    Own,
    /// By certificates of somebody else's, in files.
    Files,
    /// Not at all, and nothing is encrypted.
    Insecure,
}

/// Groups of this host whose members may use the control socket; `None`: nobody by being in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlConfig {
    /// May do everything.
    pub admin_group: Option<String>,
    /// May look, ban and unban.
    pub operator_group: Option<String>,
    /// May look.
    pub viewer_group: Option<String>,
}

/// TLS between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where certificates come from.
    pub mode: TlsMode,
    /// With `files`: the authorities that are believed.
    pub ca: PathBuf,
    /// With `files`: this node's certificate.
    pub certificate: PathBuf,
    /// With `files`: its key.
    pub key: PathBuf,
    /// With `own`: how long certificates hold.
    pub certificate_days: u32,
}

/// How pods that start at once find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The Lease that names the cluster, `NAMESPACE/NAME`; checked where it is used.
    pub lease: Option<String>,
    /// The API server, when it is not the one in the environment.
    pub server: Option<String>,
    /// The authority of its certificate.
    pub ca: PathBuf,
    /// The service account's token.
    pub token_file: PathBuf,
}

/// The clockwork of the cluster, in milliseconds. The same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftConfig {
    /// A leader says so often that it is there.
    pub heartbeat_ms: u64,
    /// Without a word from a leader for at least so long, a node stands for election.
    pub election_min_ms: u64,
    /// And at most so long; each time is random in between.
    pub election_max_ms: u64,
}

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Identity, Raft log, snapshots and the local store.
    pub state_dir: PathBuf,
    /// The control socket.
    pub run_dir: PathBuf,
    /// The fail2ban configuration; it need not exist.
    pub config_dir: PathBuf,
    /// Where other nodes reach this one.
    pub listen: SocketAddr,
    /// What other nodes are told to connect to, when it is not `listen`.
    pub advertise: Option<String>,
    /// A member of the cluster that this node joins by itself while it is alone.
    pub join: Option<String>,
    /// Where the join token is read from.
    pub token_file: Option<PathBuf>,
    /// How pods that start at once find each other.
    pub kubernetes: KubernetesConfig,
    /// Which groups of this host may do what.
    pub control: ControlConfig,
    /// How nodes prove to each other who they are.
    pub tls: TlsConfig,
    /// What people call this node.
    pub name: String,
    /// What this node is to the cluster.
    pub role: Role,
    /// What to do with the kernel's firewall.
    pub backend: Backend,
    /// Where the chains of iptables are.
    pub hook: Hook,
    /// Whether this node acts.
    pub mode: Mode,
    /// The first start reads its logs from their beginning.
    pub catch_up: bool,
    /// The daemon's own log.
    pub log: LogConfig,
    /// Which syslog messages others may send to this node.
    pub syslog: SyslogConfig,
    /// The clockwork of the cluster.
    pub raft: RaftConfig,
    /// Where the settings that are not the defaults stand.
    pub places: Places,
}

/// Where each setting stands that somebody has set. Two configurations are equal whichever way their values came:
/// all places are.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<&'static str, String>);

impl Places {
    /// As `file:line` or `environment variable NAME`; a setting that nobody has set stands in the defaults.
    #[must_use]
    pub fn of(&self, key: &str) -> &str {
        self.0.get(key).map_or("the defaults", String::as_str)
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

impl Eq for Places {}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    place: String,
    problem: String,
}

impl NodeConfig {
    /// Read when no other file is named; it need not exist.
    pub const DEFAULT_PATH: &str = "/etc/bannkreis/bannkreis.toml";

    /// A node that was not told anything, on a host of this name: it works alone, and nobody else can
    /// connect to it.
    #[must_use]
    pub fn defaults(hostname: &str) -> NodeConfig {
        NodeConfig {
            state_dir: "/var/lib/bannkreis".into(),
            run_dir: "/run/bannkreis".into(),
            config_dir: "/etc/fail2ban".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            advertise: None,
            join: None,
            token_file: None,
            kubernetes: KubernetesConfig {
                lease: None,
                server: None,
                ca: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt".into(),
                token_file: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
            },
            control: ControlConfig::default(),
            tls: TlsConfig {
                mode: TlsMode::Own,
                ca: "/etc/bannkreis/tls/ca.crt".into(),
                certificate: "/etc/bannkreis/tls/tls.crt".into(),
                key: "/etc/bannkreis/tls/tls.key".into(),
                certificate_days: 90,
            },
            name: hostname.to_owned(),
            role: Role::Full,
            backend: Backend::Auto,
            hook: Hook::Raw,
            mode: Mode::Enforce,
            catch_up: false,
            log: LogConfig::default(),
            syslog: SyslogConfig::default(),
            raft: RaftConfig { heartbeat_ms: 400, election_min_ms: 1_000, election_max_ms: 2_000 },
            places: Places::default(),
        }
    }

    /// Reads `explicit`, or [`NodeConfig::DEFAULT_PATH`] when that is there, then the environment:
    /// `BANNKREIS_` and the setting's name in capitals, with `_` for the dot.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(
        explicit: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<OsString>,
        hostname: &str,
    ) -> Result<NodeConfig, ConfigError> {
        let path = explicit.unwrap_or(Path::new(Self::DEFAULT_PATH));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && explicit.is_none() => String::new(),
            Err(error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound => "name an existing file, or none to run with the defaults",
                    io::ErrorKind::InvalidData => "write it in UTF-8",
                    _ => "make it readable for this user",
                };
                let problem = format!("the configuration can not be read: {error}; {remedy}");
                return Err(ConfigError { place: path.display().to_string(), problem });
            }
        };
        let mut reader = Reader { config: NodeConfig::defaults(hostname) };
        for (key, place, given) in document::values(path, &text)? {
            reader.set(&key, place, &given)?;
        }
        for setting in &SETTINGS {
            let variable = setting.variable();
            let Some(value) = environment(&variable) else { continue };
            let place = format!("environment variable {variable}");
            let Ok(text) = value.into_string() else {
                return Err(ConfigError { place, problem: "it is not UTF-8".into() });
            };
            reader.set(setting.key, place, &Given::Text(text))?;
        }
        reader.finish()
    }

    /// Where other nodes find this one, as `host:port`.
    #[must_use]
    pub fn advertised(&self) -> String {
        match &self.advertise {
            Some(advertise) => advertise.clone(),
            None if self.listen.ip().is_unspecified() => format!("{}:{}", self.name, self.listen.port()),
            None => self.listen.to_string(),
        }
    }

    /// The socket that the operator's tool connects to.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir.join("control.sock")
    }
}

struct Reader {
    config: NodeConfig,
}

impl Reader {
    fn set(&mut self, key: &str, place: String, given: &Given) -> Result<(), ConfigError> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
            let problem =
                format!("there is no setting `{key}`; remove it, or write one of {}", known.join(", "));
            return Err(ConfigError { place, problem });
        };
        let Setting { key, allowed, set, .. } = setting;
        match set(&mut self.config, given) {
            Ok(()) => {
                self.config.places.0.insert(key, place);
                Ok(())
            }
            Err(why) => {
                let problem = format!("`{key} = {given}` is refused: {why}; allowed is {allowed}");
                Err(ConfigError { place, problem })
            }
        }
    }

    /// What can only be checked when everything is known.
    fn finish(self) -> Result<NodeConfig, ConfigError> {
        let NodeConfig { raft, places, .. } = &self.config;
        let place = |key: &str| places.of(key).to_owned();
        let RaftConfig { heartbeat_ms, election_min_ms, election_max_ms } = *raft;
        if election_min_ms < 2 * heartbeat_ms || election_max_ms <= election_min_ms {
            let keys = ["raft.election_min_ms", "raft.election_max_ms", "raft.heartbeat_ms"];
            let given = keys.into_iter().find(|key| places.0.contains_key(key)).unwrap_or(keys[0]);
            let problem = format!(
                "raft.heartbeat_ms = {heartbeat_ms}, raft.election_min_ms = {election_min_ms} and \
                 raft.election_max_ms = {election_max_ms} do not go together; election_min_ms must be at least \
                 twice heartbeat_ms, and election_max_ms more than election_min_ms"
            );
            return Err(ConfigError { place: place(given), problem });
        }
        if self.config.kubernetes.lease.is_some() {
            let clash = if self.config.join.is_some() {
                Some(
                    "`kubernetes.lease` does not go together with `join`: both say which cluster; remove one of the two",
                )
            } else if is_loopback(&self.config.advertised()) {
                Some(
                    "`kubernetes.lease` needs an address that other pods reach: set `listen` or `advertise`, for example \
                     by BANNKREIS_ADVERTISE with the pod's address",
                )
            } else {
                None
            };
            if let Some(problem) = clash {
                return Err(ConfigError { place: place("kubernetes.lease"), problem: problem.to_owned() });
            }
        }
        let named = match self.config.backend {
            Backend::Nftables => Some("nftables"),
            Backend::Iptables => Some("iptables"),
            Backend::Auto | Backend::None => None,
        };
        if let Some(name) = named.filter(|_| self.config.role == Role::Witness) {
            let problem = format!(
                "`backend = \"{name}\"` does not go together with `role = \"witness\"`: a witness blocks nobody; \
                 remove one of the two"
            );
            return Err(ConfigError { place: place("backend"), problem });
        }
        Ok(self.config)
    }
}

fn is_loopback(host_port: &str) -> bool {
    host_port.starts_with("localhost:")
        || host_port.parse().is_ok_and(|address: SocketAddr| address.ip().is_loopback())
}

#[cfg(test)]
mod tests;
