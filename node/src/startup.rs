//! What a start reads and opens before anything runs, each with one clear sentence when it can not: the
//! jails, the firewall, the store, and where each log is read from.

use crate::config::jails::LoadedJail;
use crate::config::{Backend, Mode, NodeConfig, Role, SyslogConfig};
use crate::local_store::{Batch, Key, LocalStore};
use crate::second_look::JailQuestions;
use crate::source::{Beginnings, FilesSpec, LogKind, LogSpec, SourcesHandle, SyslogPlan, Trust};
use bannkreis_core::failure::LogId;
use bannkreis_core::jail::JailName;
use bannkreis_filter::filter::Filter;
use bannkreis_filter::jail_config::{LogPath, Logs};
use bannkreis_filter::syslog_path::SyslogPath;
use bannkreis_filter::this_host::log_glob::LogGlob;
use bannkreis_firewall::{BackendChoice, Firewall, FirewallError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Places in so many logs are kept whose files are gone.
const PLACES_OF_NOTHING_MAX: usize = 4096;

/// Why the node does not start: one sentence that names the thing, the value, the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupError(pub String);

impl StartupError {
    /// The sentence of another error.
    pub fn of(error: impl fmt::Display) -> StartupError {
        StartupError(error.to_string())
    }
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StartupError {}

/// The jails that will run, and what is to be said about them.
pub struct Setup {
    /// Each with its filter and its logs.
    pub jails: Vec<LoadedJail>,
    /// Those that read messages once more, with filters of their own for what is of low trust: a filter remembers lines,
    /// and what anybody may have sent must not be put together with others.
    pub of_low_trust: Vec<LoadedJail>,
    /// Sentences for the operator.
    pub warnings: Vec<String>,
    /// Count and show only.
    pub observe: bool,
}

impl Setup {
    /// What the jails want to know of their failures before these count.
    #[must_use]
    pub fn questions(&self) -> Vec<JailQuestions> {
        let of = |jail: &LoadedJail| JailQuestions {
            jail: jail.jail.name.clone(),
            use_dns: jail.use_dns,
            ignore_command: jail.ignore_command.clone(),
        };
        self.jails.iter().map(of).collect()
    }

    /// The jails with names in `ignoreip`.
    #[must_use]
    pub fn names_in_ignoreip(&self) -> Vec<(JailName, Vec<String>)> {
        let with_names = self.jails.iter().filter(|jail| !jail.ignore_names.is_empty());
        with_names.map(|jail| (jail.jail.name.clone(), jail.ignore_names.clone())).collect()
    }
}

/// Which jail reads which log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The jail.
    pub jail: JailName,
    /// The log.
    pub log: LogId,
    /// As the jail names it.
    pub name: String,
}

/// Reads the fail2ban tree on top of our own base. A witness has no jails, and proposes nothing.
///
/// # Errors
/// When the jail configuration itself can not be read. A jail with a mistake is left out with a warning.
pub fn read_jails(config: &NodeConfig) -> Result<Setup, StartupError> {
    if config.role == Role::Witness {
        let (jails, of_low_trust, warnings) = (Vec::new(), Vec::new(), Vec::new());
        return Ok(Setup { jails, of_low_trust, warnings, observe: true });
    }
    let mut loaded = crate::config::jails::load(&config.config_dir).map_err(StartupError::of)?;
    if let Some(own) = &config.log.fail2ban {
        leave_out(&mut loaded.jails, own);
    }
    let reads_messages = |jail: &&LoadedJail| match &jail.logs {
        Logs::Files(paths) => paths.iter().any(LogPath::is_syslog),
        Logs::Journal(..) => false,
    };
    if !syslog_plan(&config.syslog).is_on() {
        loaded.warnings.extend(loaded.jails.iter().filter(reads_messages).map(|jail| {
            format!(
                "jail [{}] reads syslog messages, and nobody can send any to this node; set `syslog.udp` or `syslog.tcp` \
                 in bannkreis.toml",
                jail.jail.name
            )
        }));
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if loaded.jails.is_empty() {
        tracing::warn!(
            "no jail is enabled, so this host recognises no attackers; it blocks whom other nodes ban \
             (enable jails in {})",
            config.config_dir.join("jail.local").display()
        );
    }
    let mut of_low_trust = Vec::new();
    if config.syslog.udp.is_some_and(|udp| !udp.ip().is_loopback()) {
        of_low_trust = crate::config::jails::load(&config.config_dir).map_err(StartupError::of)?.jails;
        of_low_trust.retain_mut(|jail| match &mut jail.logs {
            Logs::Files(paths) => {
                paths.retain(LogPath::is_syslog);
                !paths.is_empty()
            }
            Logs::Journal(..) => false,
        });
    }
    let observe = config.mode == Mode::Observe;
    Ok(Setup { jails: loaded.jails, of_low_trust, warnings: loaded.warnings, observe })
}

/// Jails that count bans count those that this node writes to fail2ban's log already.
fn leave_out(jails: &mut [LoadedJail], own: &Path) {
    for jail in jails.iter_mut().filter(|jail| jail.jail.counts_bans) {
        if let Logs::Files(paths) = &mut jail.logs {
            paths.retain(|path| {
                Path::new(&path.glob) != own
                    && !LogGlob::new(&path.glob).look().files.iter().any(|file| file == own)
            });
        }
    }
}

/// This host's firewall, opened.
pub struct OpenFirewall {
    /// It.
    pub firewall: Box<dyn Firewall>,
    /// Why it is this one: the words behind its name.
    pub why: String,
    /// What the operator must know.
    pub warnings: Vec<String>,
}

/// Opens the firewall that the configuration names, or the best there is.
///
/// # Errors
/// When a backend was asked for by name and can not work.
pub fn open_firewall(config: &NodeConfig) -> Result<OpenFirewall, StartupError> {
    let asked = match config.backend {
        _ if config.role == Role::Witness => (BackendChoice::None, "a witness blocks nobody"),
        Backend::Auto => return best_firewall(config),
        Backend::Nftables => (BackendChoice::Nftables, "as configured"),
        Backend::Iptables => (BackendChoice::Iptables(config.hook), "as configured"),
        Backend::None => (BackendChoice::None, "as configured"),
    };
    let (choice, why) = asked;
    match bannkreis_firewall::open(choice) {
        Ok(firewall) => Ok(OpenFirewall { firewall, why: why.to_owned(), warnings: Vec::new() }),
        Err(error) => Err(StartupError(format!("{}: {error}", config.places.of("backend")))),
    }
}

/// nftables, else iptables, else nothing is blocked.
fn best_firewall(config: &NodeConfig) -> Result<OpenFirewall, StartupError> {
    let is_final = |error: &FirewallError| {
        matches!(error, FirewallError::NotPermitted { .. } | FirewallError::NotSupported { .. })
    };
    let refused = match bannkreis_firewall::open(BackendChoice::Nftables) {
        Ok(firewall) => {
            let why = "backend = auto: this kernel has it".to_owned();
            return Ok(OpenFirewall { firewall, why, warnings: Vec::new() });
        }
        Err(error) if is_final(&error) => error,
        Err(error) => return Err(StartupError(format!("{}: {error}", config.places.of("backend")))),
    };
    let mut warning = format!("NOTHING IS BLOCKED on this host: {refused}");
    // Who may not change nftables may not change ipset either.
    if let FirewallError::NotSupported { doing, .. } = &refused {
        match bannkreis_firewall::open(BackendChoice::Iptables(config.hook)) {
            Ok(firewall) => {
                let why = format!("backend = auto: there is no nftables here, {doing} failed");
                return Ok(OpenFirewall { firewall, why, warnings: Vec::new() });
            }
            Err(FirewallError::NotSupported { doing, .. }) => {
                warning.push_str(&format!("; it refused {doing} as well"));
            }
            Err(error) => warning.push_str(&format!("; and iptables can not be used either: {error}")),
        }
    }
    tracing::error!("{warning}");
    let firewall = bannkreis_firewall::open(BackendChoice::None).map_err(StartupError::of)?;
    let why = "backend = auto: neither nftables nor iptables can be used".to_owned();
    Ok(OpenFirewall { firewall, why, warnings: vec![warning] })
}

/// Makes the state's directory, or closes the one that is there, to all but the daemon's user: what is in it quotes
/// logs, and says who this node is.
///
/// # Errors
/// When there is none and none can be made.
pub fn close_state_dir(state_dir: &Path) -> Result<(), StartupError> {
    let failed = |what: &str, error: io::Error| {
        format!("state_dir = \"{}\" can not be {what}: {error}", state_dir.display())
    };
    fs::create_dir_all(state_dir).map_err(|error| {
        StartupError(format!("{}; set a directory that this user may make or write", failed("made", error)))
    })?;
    let closed = fs::metadata(state_dir).and_then(|facts| match facts.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(state_dir, Permissions::from_mode(0o700)),
    });
    if let Err(error) = closed {
        tracing::warn!(
            "{}; others may read evidence and keys in it: give it to the daemon's user and set its mode to 0700",
            failed("closed to others", error)
        );
    }
    Ok(())
}

/// Opens what survives a restart.
///
/// # Errors
/// When the directory can not be used. A corrupt database is put aside and said so.
pub fn open_store(state_dir: &Path) -> Result<LocalStore, StartupError> {
    let (store, quarantine) = LocalStore::open(state_dir).map_err(StartupError::of)?;
    if let Some(quarantine) = quarantine {
        tracing::error!(
            "the local store was corrupt ({}); it was moved to {}. Unanswered proposals and overrides of this \
             node may be lost; the cluster's ban list is not affected",
            quarantine.why,
            quarantine.place.display()
        );
    }
    Ok(store)
}

/// What is read, and by whom.
pub struct Reading {
    /// Each jail's filter, with the logs whose lines it judges.
    pub filters: Vec<(Filter, Vec<LogId>)>,
    /// Their jails and names, in the same order.
    pub filter_names: Vec<(JailName, String)>,
    /// The logs, each once.
    pub logs: Vec<LogSpec>,
    /// Where to begin with them.
    pub beginnings: Beginnings,
    /// Which jail reads which log.
    pub readers: Vec<Reader>,
}

/// The logs of all jails: each once, with the filters that judge its lines.
pub fn logs_of(
    jails: Vec<LoadedJail>,
    of_low_trust: Vec<LoadedJail>,
    store: &LocalStore,
    catch_up: bool,
) -> Reading {
    let mut logs: Vec<LogSpec> = Vec::new();
    let mut readers = Vec::new();
    let (mut filters, mut filter_names) = (Vec::new(), Vec::new());
    let jails = jails.into_iter().map(|jail| (jail, Trust::Full));
    for (jail, trust) in jails.chain(of_low_trust.into_iter().map(|jail| (jail, Trust::Low))) {
        let mut read = Vec::new();
        let reader = match &jail.log_place {
            Some(place) => format!("{place}: jail [{}]", jail.jail.name),
            None => format!("jail [{}]", jail.jail.name),
        };
        for kind in kinds(jail.logs, jail.is_polled, trust) {
            let place = logs.iter().position(|known| known.kind == kind).unwrap_or_else(|| {
                logs.push(LogSpec { kind: kind.clone(), reader: reader.clone() });
                logs.len() - 1
            });
            let log = LogId(u32::try_from(place).unwrap_or(u32::MAX));
            let name = match kind {
                LogKind::Files(files) => files.pattern,
                LogKind::Journal(journal, matches) => format!("{journal} {matches}"),
                LogKind::Syslog(path, _) => path.as_str().to_owned(),
            };
            readers.push(Reader { jail: jail.jail.name.clone(), log, name });
            read.push(log);
        }
        filters.push((jail.filter, read));
        filter_names.push((jail.jail.name, jail.filter_name));
    }
    let beginnings = Beginnings { kept: kept_places(store), catch_up };
    Reading { filters, filter_names, logs, beginnings, readers }
}

/// Where messages for the logs of syslog may come from.
#[must_use]
pub fn syslog_plan(config: &SyslogConfig) -> SyslogPlan {
    let SyslogConfig { udp, tcp, from, save_to } = config.clone();
    SyslogPlan { udp, tcp, from, save_to }
}

/// The logs of one jail, each by itself.
fn kinds(logs: Logs, is_polled: bool, trust: Trust) -> Vec<LogKind> {
    let file = |LogPath { glob: pattern, tail: is_tail }| {
        // The jail was refused when it is none that can be read.
        let syslog = SyslogPath::is_one(&pattern).then(|| SyslogPath::parse(&pattern).ok()).flatten();
        match syslog {
            Some(path) => LogKind::Syslog(path, trust),
            None => LogKind::Files(FilesSpec { pattern, is_tail, is_polled }),
        }
    };
    match logs {
        Logs::Files(paths) => paths.into_iter().map(file).collect(),
        Logs::Journal(journal, matches) => vec![LogKind::Journal(journal, matches)],
    }
}

/// Stores where each new source begins, durably: a node that dies right after its first start must not begin
/// at the end once more, behind lines that nobody has read.
///
/// # Errors
/// When the store can not be written.
pub fn store_beginnings(sources: &SourcesHandle, store: &LocalStore) -> Result<(), StartupError> {
    let mut batch = Batch::new();
    for place in sources.beginnings() {
        batch.put(Key::Source(place.name), place.bytes).map_err(StartupError::of)?;
    }
    for name in places_of_nothing(sources, store) {
        batch.delete(Key::Source(name));
    }
    store.commit(batch).and_then(|()| store.flush()).map_err(StartupError::of)
}

/// Files that are not there any more, when they are many: those of a directory that is mounted later come back.
fn places_of_nothing(sources: &SourcesHandle, store: &LocalStore) -> Vec<PathBuf> {
    let followed: BTreeSet<PathBuf> = sources.status().into_iter().map(|source| source.name.into()).collect();
    let is_gone = |path: &PathBuf| {
        let is_file = path.is_absolute() && !LogGlob::new(&path.to_string_lossy()).has_wildcards();
        is_file && !followed.contains(path) && !path.exists()
    };
    let gone: Vec<PathBuf> = kept_places(store).into_keys().filter(is_gone).collect();
    if gone.len() > PLACES_OF_NOTHING_MAX { gone } else { Vec::new() }
}

fn kept_places(store: &LocalStore) -> BTreeMap<PathBuf, Vec<u8>> {
    let kept = store.sources().map(|kept| kept.into_iter().collect());
    kept.unwrap_or_else(|error| {
        tracing::error!("where logs were read to can not be told, so they are read from their end: {error}");
        BTreeMap::new()
    })
}
