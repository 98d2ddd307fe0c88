//! Every setting of `bannkreis.toml`: its name, what it is for, what it may be. The reference that is
//! shipped is made of this table, and so are the names of environment variables.
//!
//! Not for where values come from (`document.rs`), nor for the jails: those stay in fail2ban's files.

use super::document::Given;
use super::kinds::{
    address, boolean, host_and_port, lease, name, networks, number, one_of, optional_address, optional_path,
    path, text,
};
use super::{Backend, Hook, LogLevel, LogTarget, Mode, NodeConfig, Role, TlsMode};

/// The longest heartbeat or election time: a minute without a leader is too long already.
const TIME_MS_MAX: u64 = 60_000;

type Set = fn(&mut NodeConfig, &Given) -> Result<(), String>;

/// One setting.
pub struct Setting {
    /// Its name; `section.name` inside a section.
    pub key: &'static str,
    /// The default as it would be written.
    pub default: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// What it may be.
    pub allowed: &'static str,
    pub(super) set: Set,
}

impl Setting {
    /// The environment variable that overrides it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("BANNKREIS_{}", self.key.to_uppercase().replace('.', "_"))
    }
}

/// All settings. Those of a section follow one another.
pub static SETTINGS: [Setting; 35] = [
    Setting {
        key: "state_dir",
        default: "\"/var/lib/bannkreis\"",
        purpose: "What outlives a restart: the node's identity, the Raft log, snapshots, places in logs.",
        allowed: "an absolute path",
        set: |config, given| put(&mut config.state_dir, path(given)),
    },
    Setting {
        key: "run_dir",
        default: "\"/run/bannkreis\"",
        purpose: "Holds control.sock, by which `bannkreis` talks to this node.",
        allowed: "an absolute path",
        set: |config, given| put(&mut config.run_dir, path(given)),
    },
    Setting {
        key: "config_dir",
        default: "\"/etc/fail2ban\"",
        purpose: "The fail2ban configuration with the jails. It need not exist: then only the built-in jails \
                  are known.",
        allowed: "an absolute path",
        set: |config, given| put(&mut config.config_dir, path(given)),
    },
    Setting {
        key: "listen",
        default: "\"127.0.0.1:7420\"",
        purpose: "Where other nodes reach this one.",
        allowed: "an address and a port, such as \"10.0.0.5:7420\" or \"[::]:7420\"",
        set: |config, given| put(&mut config.listen, address(given)),
    },
    Setting {
        key: "advertise",
        default: "\"\"",
        purpose: "What other nodes connect to, when that is not what this one listens on. Empty: the address \
                  of `listen`, or this node's name when it listens everywhere.",
        allowed: "a host and a port, such as \"kopano.example.org:7420\", or \"\"",
        set: |config, given| put(&mut config.advertise, host_and_port(given)),
    },
    Setting {
        key: "join",
        default: "\"\"",
        purpose: "A member of the cluster that this node joins by itself as long as it is alone, for images and \
                  Ansible; the same as `bannkreis cluster join`. Empty: it waits to be told.",
        allowed: "a host and a port, such as \"kopano.example.org:7420\", or \"\"",
        set: |config, given| put(&mut config.join, host_and_port(given)),
    },
    Setting {
        key: "token_file",
        default: "\"\"",
        purpose: "With `join`: the file with the join token (`bannkreis token create` on a member). It is read \
                  again before each attempt, and never written. Empty: no token is needed there.",
        allowed: "an absolute path, or \"\"",
        set: |config, given| put(&mut config.token_file, optional_path(given)),
    },
    Setting {
        key: "name",
        default: "\"\"",
        purpose: "What people call this node. Empty: the host's name.",
        allowed: "up to 64 bytes without spaces",
        set: |config, given| {
            if let Some(name) = name(given)? {
                config.name = name;
            }
            Ok(())
        },
    },
    Setting {
        key: "role",
        default: "\"full\"",
        purpose: "What this node is to the cluster. A `witness` votes and stores, reads no logs and has no firewall: \
                  the third vote for a pair, on any small host. It needs neither root nor CAP_NET_ADMIN. What a \
                  full node has blocked on its host before ends with its time, or with `nft delete table inet \
                  bannkreis`.",
        allowed: "\"full\" or \"witness\"",
        set: |config, given| {
            put(&mut config.role, one_of(given, &[("full", Role::Full), ("witness", Role::Witness)]))
        },
    },
    Setting {
        key: "backend",
        default: "\"auto\"",
        purpose: "How offenders are blocked. `auto` takes nftables where it can be used, else iptables with ipset, \
                  and goes on without blocking, and says so, where neither can; `status` names the choice and why. \
                  `nftables` and `iptables` do not start where they can not be used; `none` never blocks.",
        allowed: "\"auto\", \"nftables\", \"iptables\" or \"none\"",
        set: |config, given| {
            let choices = [
                ("auto", Backend::Auto),
                ("nftables", Backend::Nftables),
                ("iptables", Backend::Iptables),
                ("none", Backend::None),
            ];
            put(&mut config.backend, one_of(given, &choices))
        },
    },
    Setting {
        key: "hook",
        default: "\"raw\"",
        purpose: "Where iptables asks: `raw` before everything else, containers' traffic included. `input` has the \
                  chains where fail2ban has them, so that `iptables -vnL` shows them; what is sent on to a \
                  container is asked under the container's port there. nftables always asks first of all.",
        allowed: "\"raw\" or \"input\"",
        set: |config, given| {
            put(&mut config.hook, one_of(given, &[("raw", Hook::Raw), ("input", Hook::Input)]))
        },
    },
    Setting {
        key: "mode",
        default: "\"enforce\"",
        purpose: "`observe` counts and shows, stores and votes, but proposes and blocks nothing.",
        allowed: "\"enforce\" or \"observe\"",
        set: |config, given| {
            let choices = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
            put(&mut config.mode, one_of(given, &choices))
        },
    },
    Setting {
        key: "catch_up",
        default: "false",
        purpose: "Whether the very first start reads logs from their beginning. Otherwise nobody is banned \
                  for what was written before it.",
        allowed: "true or false",
        set: |config, given| put(&mut config.catch_up, boolean(given)),
    },
    Setting {
        key: "log.level",
        default: "\"info\"",
        purpose: "What the daemon writes to its own log at least.",
        allowed: "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        set: |config, given| {
            let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
            put(&mut config.log.level, one_of(given, &levels.map(|level| (level.as_str(), level))))
        },
    },
    Setting {
        key: "log.target",
        default: "\"stderr\"",
        purpose: "Where the daemon's own log goes; under systemd, `stderr` is the journal. A file is opened anew at \
                  SIGHUP or SIGUSR1, for logrotate's `postrotate`.",
        allowed: "\"stderr\" or the absolute path of a file",
        set: |config, given| {
            let target =
                if text(given)? == "stderr" { LogTarget::Stderr } else { LogTarget::File(path(given)?) };
            put(&mut config.log.target, Ok(target))
        },
    },
    Setting {
        key: "log.fail2ban",
        default: "\"\"",
        purpose: "A file with the lines that fail2ban writes to its log, in its columns: Found, Ban, Unban, Restore Ban, \
                  Increase Ban. For exporters, panels and logwatch; it is opened anew as log.target is. Bans of other \
                  nodes have ` from` and the node at the end of the line. Empty: no such file.",
        allowed: "an absolute path, such as \"/var/log/fail2ban.log\", or \"\"",
        set: |config, given| put(&mut config.log.fail2ban, optional_path(given)),
    },
    Setting {
        key: "syslog.udp",
        default: "\"\"",
        purpose: "Where syslog messages (RFC 3164 and RFC 5424) may be sent by UDP. Anybody can write any sender on a \
                  datagram: what comes from another host bans for an hour at most, on this host only, and never counts \
                  for the cluster. Jails name messages by `logpath = syslog://?facility=mail&program=kerio*&host=…`. \
                  Empty: nowhere.",
        allowed: "an address and a port, such as \"10.0.0.5:514\", or \"\"",
        set: |config, given| put(&mut config.syslog.udp, optional_address(given)),
    },
    Setting {
        key: "syslog.tcp",
        default: "\"\"",
        purpose: "Where they may be sent by TCP, with their length in front or a line end behind. These count as this \
                  host's own logs do. Empty: nowhere.",
        allowed: "an address and a port, such as \"10.0.0.5:514\", or \"\"",
        set: |config, given| put(&mut config.syslog.tcp, optional_address(given)),
    },
    Setting {
        key: "syslog.from",
        default: "\"\"",
        purpose: "Who may send them, beside this host itself by its loopback address.",
        allowed: "addresses and networks with spaces or commas between them, such as \"10.0.0.0/24 2001:db8::/64\", or \"\"",
        set: |config, given| put(&mut config.syslog.from, networks(given)),
    },
    Setting {
        key: "syslog.save_to",
        default: "\"\"",
        purpose: "A file to which all of them are saved as lines, for grep, `bannkreis regex`, and jails that name it as \
                  their log; only from a file can they be counted again after a restart. At 64 MiB it is renamed, and \
                  four older parts are kept. What is sent by UDP from other hosts goes to a file of this name and \
                  `.udp`. Empty: nothing is saved.",
        allowed: "an absolute path, such as \"/var/log/maillog\", or \"\"",
        set: |config, given| put(&mut config.syslog.save_to, optional_path(given)),
    },
    Setting {
        key: "control.admin_group",
        default: "\"\"",
        purpose: "Whoever is in this group of this host may do everything with `bannkreis`, as root and the daemon's own \
                  user may. What counts is who `getent group` says is in it, and the first group of a process; further \
                  groups that only a process was given do not. Empty: nobody else.",
        allowed: "the name of a group, or \"\"",
        set: |config, given| put(&mut config.control.admin_group, name(given)),
    },
    Setting {
        key: "control.operator_group",
        default: "\"\"",
        purpose: "Whoever is in this group may look, ban and unban. Empty: nobody else.",
        allowed: "the name of a group, or \"\"",
        set: |config, given| put(&mut config.control.operator_group, name(given)),
    },
    Setting {
        key: "control.viewer_group",
        default: "\"\"",
        purpose: "Whoever is in this group may look. Empty: nobody else.",
        allowed: "the name of a group, or \"\"",
        set: |config, given| put(&mut config.control.viewer_group, name(given)),
    },
    Setting {
        key: "tls.mode",
        default: "\"own\"",
        purpose: "How nodes prove to each other who they are. `own`: by certificates of the cluster's own \
                  authority, which need no care. `files`: by certificates of yours, such as cert-manager's. \
                  `insecure`: not at all; whoever reaches the port can ban and unban.",
        allowed: "\"own\", \"files\" or \"insecure\"",
        set: |config, given| {
            let choices = [("own", TlsMode::Own), ("files", TlsMode::Files), ("insecure", TlsMode::Insecure)];
            put(&mut config.tls.mode, one_of(given, &choices))
        },
    },
    Setting {
        key: "tls.ca",
        default: "\"/etc/bannkreis/tls/ca.crt\"",
        purpose: "With `files`: the authorities (PEM) whose certificates are believed. Let it sign for this \
                  cluster only: whoever has a certificate with the organisational unit `admin`, `operator` or \
                  `viewer` is a person who may do that. Changed files are read within a minute, without a \
                  restart.",
        allowed: "an absolute path",
        set: |config, given| put(&mut config.tls.ca, path(given)),
    },
    Setting {
        key: "tls.certificate",
        default: "\"/etc/bannkreis/tls/tls.crt\"",
        purpose: "With `files`: this node's certificate (PEM), for the host that other nodes connect to, and \
                  for use as server and as client.",
        allowed: "an absolute path",
        set: |config, given| put(&mut config.tls.certificate, path(given)),
    },
    Setting {
        key: "tls.key",
        default: "\"/etc/bannkreis/tls/tls.key\"",
        purpose: "With `files`: the key of this node's certificate (PEM).",
        allowed: "an absolute path",
        set: |config, given| put(&mut config.tls.key, path(given)),
    },
    Setting {
        key: "tls.certificate_days",
        default: "90",
        purpose: "With `own`: certificates hold so long, in days; they are renewed after two thirds of it.",
        allowed: "a whole number from 1 to 3650",
        set: |config, given| {
            let days = number(given, 1..=3_650)?;
            put(&mut config.tls.certificate_days, u32::try_from(days).map_err(|error| error.to_string()))
        },
    },
    Setting {
        key: "kubernetes.lease",
        default: "\"\"",
        purpose: "The Lease (coordination.k8s.io/v1) that says which cluster the pods of a DaemonSet belong to: the \
                  first one creates it, the others join that one's cluster. The service account needs get, create \
                  and update on leases. In the TLS mode `own` every node needs a join token of its own in \
                  token_file; certificates from files need none. Empty: no Lease.",
        allowed: "\"NAMESPACE/NAME\", or \"\"",
        set: |config, given| put(&mut config.kubernetes.lease, lease(given)),
    },
    Setting {
        key: "kubernetes.server",
        default: "\"\"",
        purpose: "The API server. Empty: the one that every pod finds in its environment.",
        allowed: "a host and a port, such as \"10.96.0.1:443\", or \"\"",
        set: |config, given| put(&mut config.kubernetes.server, host_and_port(given)),
    },
    Setting {
        key: "kubernetes.ca",
        default: "\"/var/run/secrets/kubernetes.io/serviceaccount/ca.crt\"",
        purpose: "The authority (PEM) of the API server's certificate.",
        allowed: "an absolute path",
        set: |config, given| put(&mut config.kubernetes.ca, path(given)),
    },
    Setting {
        key: "kubernetes.token_file",
        default: "\"/var/run/secrets/kubernetes.io/serviceaccount/token\"",
        purpose: "The token of the pod's service account. It is read again before each call.",
        allowed: "an absolute path",
        set: |config, given| put(&mut config.kubernetes.token_file, path(given)),
    },
    Setting {
        key: "raft.heartbeat_ms",
        default: "400",
        purpose: "A leader says so often that it is there. These three times are the same on all nodes.",
        allowed: "a whole number from 10 to 60000",
        set: |config, given| put(&mut config.raft.heartbeat_ms, number(given, 10..=TIME_MS_MAX)),
    },
    Setting {
        key: "raft.election_min_ms",
        default: "1000",
        purpose: "Without a leader for so long, a node stands for election.",
        allowed: "a whole number from 20 to 60000",
        set: |config, given| put(&mut config.raft.election_min_ms, number(given, 20..=TIME_MS_MAX)),
    },
    Setting {
        key: "raft.election_max_ms",
        default: "2000",
        purpose: "The longest such time; each one is random in between.",
        allowed: "a whole number from 21 to 60000",
        set: |config, given| put(&mut config.raft.election_max_ms, number(given, 21..=TIME_MS_MAX)),
    },
];

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

/// The commented reference of all settings, as it is shipped: every line that sets something is the
/// default, and commented out.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# bannkreis: the configuration of one node. Every setting is shown with its default, which holds while\n\
         # the line is commented out. An environment variable overrides each of them. Jails, filters and their\n\
         # logs are not here: they are read from the fail2ban configuration (config_dir).\n",
    );
    let mut section = "";
    for setting in &SETTINGS {
        let (of, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if of != section {
            text.push_str(&format!("\n[{of}]\n"));
            section = of;
        }
        text.push('\n');
        for line in folded(setting.purpose) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("# Allowed: {}.\n", setting.allowed));
        text.push_str(&format!("# Environment: {}\n", setting.variable()));
        text.push_str(&format!("#{name} = {}\n", setting.default));
    }
    text
}

fn folded(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let needs_line = lines.last().is_some_and(|line| line.len() + word.len() > 98);
        if needs_line {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
