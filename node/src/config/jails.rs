//! The jails that run on this host: what `bannkreis-filter` reads from the fail2ban directory, with the
//! log files that are really there.
//!
//! A jail that can not run costs that jail and no other, and one sentence. Not for reading logs.

use bannkreis_core::jail::{Jail, JailName};
use bannkreis_filter::filter::{Filter, UseDns};
use bannkreis_filter::ignore_command::IgnoreCommand;
use bannkreis_filter::jail_config::{LogPath, Logs, ReadJail};
use bannkreis_filter::merged::ReadError;
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::this_host::log_glob::LogGlob;
use bannkreis_filter::this_host::{DirTree, instead_of_log, is_journal_instead, log_remarks, service_port};
use jiff::tz::TimeZone;
use std::path::Path;

/// A jail that runs on this host.
#[derive(Debug)]
pub struct LoadedJail {
    /// What the warden needs.
    pub jail: Jail,
    /// What judges its lines.
    pub filter: Filter,
    /// The filter's name as the jail gives it, with its parameters.
    pub filter_name: String,
    /// What it reads, each once. No file for a jail that counts bans, unless fail2ban's log is there.
    pub logs: Logs,
    /// `backend = polling`.
    pub is_polled: bool,
    /// The line that says so, as `file:line`.
    pub log_place: Option<String>,
    /// `usedns`.
    pub use_dns: UseDns,
    /// `ignorecommand`.
    pub ignore_command: Option<IgnoreCommand>,
    /// Names in `ignoreip`.
    pub ignore_names: Vec<String>,
}

/// All jails of this host.
#[derive(Debug, Default)]
pub struct LoadedJails {
    /// Those that run, in the order of the configuration.
    pub jails: Vec<LoadedJail>,
    /// Sentences for the operator: what does not run and why, and what looks like a mistake.
    pub warnings: Vec<String>,
}

/// Reads the fail2ban configuration in `config_dir`, which need not exist, on top of our own base.
///
/// # Errors
/// When a file of the jail configuration itself is malformed or can not be read.
pub fn load(config_dir: &Path) -> Result<LoadedJails, ReadError> {
    let tree = DirTree::new(config_dir);
    let host = Host {
        zone: TimeZone::system(),
        services: &service_port,
        is_journal_instead: &is_journal_instead,
        config_dir: config_dir.display().to_string(),
    };
    let reading = reading::read(&tree, &host)?;
    let mut loaded = LoadedJails {
        warnings: reading.warnings().iter().map(ToString::to_string).collect(),
        jails: Vec::new(),
    };
    loaded.warnings.extend(reading.errors.iter().map(ToString::to_string));
    for jail in reading.jails {
        match with_logs(jail, &mut loaded.warnings) {
            Ok(jail) => loaded.jails.push(jail),
            Err(warning) => loaded.warnings.push(warning),
        }
    }
    Ok(loaded)
}

fn with_logs(read: ReadJail, warnings: &mut Vec<String>) -> Result<LoadedJail, String> {
    let name = read.jail.name.clone();
    let remarks = log_remarks(&read);
    let log_place = read.log_place().map(ToString::to_string);
    warnings.extend(remarks.iter().map(ToString::to_string));
    let logs = match read.logs {
        // Its bans are counted without any log.
        Logs::Journal(..) if read.jail.counts_bans => Logs::Files(Vec::new()),
        Logs::Journal(..) => read.logs,
        Logs::Files(patterns) => {
            let why = remarks.first().map(|remark| remark.sentence.as_str());
            files(&name, &patterns, read.jail.counts_bans, why, warnings)?
        }
    };
    Ok(LoadedJail {
        jail: read.jail,
        filter: read.filter,
        filter_name: read.filter_name,
        logs,
        is_polled: read.is_polled,
        log_place,
        use_dns: read.use_dns,
        ignore_command: read.ignore_command,
        ignore_names: read.ignore_names,
    })
}

/// The files of a jail; none for one that counts bans, unless fail2ban's log is there.
fn files(
    jail: &JailName,
    patterns: &[LogPath],
    counts_bans: bool,
    why_none: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Logs, String> {
    let logs = logs_of(patterns);
    if logs.is_empty() && !counts_bans {
        let why = why_none.unwrap_or("its logpath is empty");
        return Err(format!(
            "jail [{jail}] is skipped, because it has no log file: {why}; set its logpath, or set `enabled = false`"
        ));
    }
    let is_there = |log: &LogPath| log.is_syslog() || !LogGlob::new(&log.glob).look().files.is_empty();
    if logs.iter().any(is_there) {
        return Ok(Logs::Files(logs));
    }
    if counts_bans {
        return Ok(Logs::Files(Vec::new()));
    }
    let paths: Vec<&str> = logs.iter().map(|log| log.glob.as_str()).collect();
    warnings.push(format!(
        "jail [{jail}] waits for its log: {} is not there; it is read as soon as it is there, so start the service \
         that writes it, correct the jail's logpath, or set `enabled = false`",
        paths.join(", ")
    ));
    Ok(Logs::Files(logs))
}

/// What can be a log, each once.
fn logs_of(patterns: &[LogPath]) -> Vec<LogPath> {
    let mut logs: Vec<LogPath> = Vec::new();
    for log in patterns {
        let is_something_else =
            !LogGlob::new(&log.glob).has_wildcards() && instead_of_log(&log.glob).is_some();
        if !is_something_else && !logs.iter().any(|known| known.glob == log.glob) {
            logs.push(log.clone());
        }
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    /// Loads a tree with this jail.local, in which `LOGS` stands for the directory of the logs.
    fn load_text(jail_local: &str, logs: &[&str]) -> (LoadedJails, PathBuf) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let text = jail_local.replace("LOGS", &directory.path().display().to_string());
        fs::write(directory.path().join("jail.local"), text).expect("write");
        fs::create_dir(directory.path().join("filter.d")).expect("mkdir");
        let filter = "[Definition]\nfailregex = ^refused <HOST>$\n";
        fs::write(directory.path().join("filter.d/mine.conf"), filter).expect("write");
        for log in logs {
            fs::write(directory.path().join(log), "").expect("write");
        }
        (load(directory.path()).expect("well formed"), directory.path().to_owned())
    }

    fn names(loaded: &LoadedJails) -> Vec<&str> {
        loaded.jails.iter().map(|jail| jail.jail.name.as_str()).collect()
    }

    #[test]
    fn a_jail_has_its_logs_each_once_and_waits_for_those_that_are_not_there() {
        let text = "[a]\nenabled = true\nfilter = mine\nport = 80\nbackend = polling\n\
                    logpath = LOGS/*.log\n  LOGS/later tail\n  LOGS/later\n";
        for files in [&["one.log"][..], &[]] {
            let (loaded, at) = load_text(text, files);
            let log = |name: &str, tail| LogPath { glob: at.join(name).display().to_string(), tail };
            assert_eq!(loaded.jails[0].logs, Logs::Files(vec![log("*.log", false), log("later", true)]));
            assert!(loaded.jails[0].is_polled);
            let n_waiting = loaded.warnings.iter().filter(|warning| warning.contains("[a] waits")).count();
            assert_eq!(n_waiting, usize::from(files.is_empty()), "{:?}", loaded.warnings);
        }
    }

    #[test]
    fn a_jail_whose_log_is_not_there_or_with_a_mistake_costs_no_other() {
        let text = "[good]\nenabled = true\nfilter = mine\nport = 80\nlogpath = LOGS/one.log\n\
                    [nolog]\nenabled = true\nfilter = mine\nport = 80\nlogpath = LOGS/nothing.log\n\
                    [nofilter]\nenabled = true\nfilter = nosuch\nport = 80\nlogpath = LOGS/one.log\n";
        let (loaded, at) = load_text(text, &["one.log"]);
        assert_eq!(names(&loaded), ["good", "nolog"]);
        let about = |word: &str| loaded.warnings.iter().filter(|warning| warning.contains(word)).count();
        assert_eq!(about("[nolog]"), 1, "{:?}", loaded.warnings);
        assert_eq!(about(&at.join("nothing.log").display().to_string()), 1);
        assert_eq!(about("nosuch"), 1, "{:?}", loaded.warnings);
    }

    #[test]
    fn what_is_no_log_is_named_with_its_line_and_not_read() {
        let text = "[a]\nenabled = true\nfilter = mine\nport = 80\nlogpath = LOGS/one.log\n  LOGS/filter.d\n\
                    [b]\nenabled = true\nfilter = mine\nport = 80\nlogpath = /dev/null\n";
        let (loaded, at) = load_text(text, &["one.log"]);
        assert_eq!(names(&loaded), ["a"]);
        let one = LogPath { glob: at.join("one.log").display().to_string(), tail: false };
        assert_eq!(loaded.jails[0].logs, Logs::Files(vec![one]));
        let is_said = |line: u32, what: &str| {
            let place = format!("{}:{line}: ", at.join("jail.local").display());
            loaded.warnings.iter().any(|warning| warning.starts_with(&place) && warning.contains(what))
        };
        assert!(is_said(5, "filter.d is a directory"), "{:?}", loaded.warnings);
        assert!(is_said(11, "/dev/null is a device"), "{:?}", loaded.warnings);
        assert!(loaded.warnings.iter().any(|warning| warning.contains("[b] is skipped")));
    }

    #[test]
    fn an_include_that_is_not_there_is_named_with_its_line() {
        let text = "[INCLUDES]\nbefore = nowhere.conf\nafter = mine.local\n[a]\nenabled = true\nfilter = mine\n\
                    port = 80\nlogpath = LOGS/one.log\n";
        let (loaded, at) = load_text(text, &["one.log"]);
        assert_eq!(names(&loaded), ["a"]);
        let place = format!("{}:2: `nowhere.conf`", at.join("jail.local").display());
        let n_said = loaded.warnings.iter().filter(|warning| warning.starts_with(&place)).count();
        assert_eq!((n_said, loaded.warnings.len()), (1, 1), "{:?}", loaded.warnings);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_empty_tree() {
        let loaded = load(Path::new("/nowhere/fail2ban")).expect("an empty tree is well formed");
        assert_eq!(names(&loaded), Vec::<&str>::new());
    }
}
