//! The jails that the benchmark runs: those of an administrator with Kerio Connect, or Debian's own.

use crate::Result;
use bannkreis_benches::fail2ban;
use bannkreis_filter::filter::Filter;
use bannkreis_filter::reading::{self, Host, Reading};
use bannkreis_filter::this_host::DirTree;
use bannkreis_filter::tree::ConfigTree;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Enables every jail of the package, with values for those that will not start without.
const ALL_ENABLED: &str = "[DEFAULT]\nenabled = true\nblocklist_de_apikey = k\ncfemail = a@b.example\n\
                           cfapikey = k\nusedns = no\n[pass2allow-ftp]\nenabled = false\n";

/// Enables sshd alone.
const SSHD_ENABLED: &str = "[DEFAULT]\nusedns = no\n[sshd]\nenabled = true\n";

/// Which jails.
pub(crate) enum Jails {
    /// The ten of tests/samples/kerio.
    Kerio,
    /// Debian's sshd.
    Sshd,
    /// All of Debian's.
    All,
}

impl Jails {
    /// By the name that is given on the command line.
    pub(crate) fn named(name: &str) -> Result<Jails> {
        match name {
            "kerio" => Ok(Jails::Kerio),
            "sshd" => Ok(Jails::Sshd),
            "all" => Ok(Jails::All),
            _ => Err(format!("`{name}` are no jails of this benchmark").into()),
        }
    }

    /// Their filters, ready to judge.
    pub(crate) fn filters(&self) -> Result<Vec<Filter>> {
        Ok(self.read()?.jails.into_iter().map(|jail| jail.filter).collect())
    }

    /// Their names.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        Ok(self.filters()?.iter().map(|filter| filter.jail().to_string()).collect())
    }

    /// A directory in which fail2ban finds them.
    pub(crate) fn written_for_fail2ban(&self, directory: &Path) -> Result<PathBuf> {
        let config = directory.join("fail2ban");
        let stock = fail2ban::config_dir().ok_or("Debian's fail2ban is not unpacked")?;
        if config.exists() {
            std::fs::remove_dir_all(&config)?;
        }
        Command::new("cp").arg("-r").arg(stock).arg(&config).status()?;
        match self {
            Jails::Kerio => {
                Command::new("cp").arg("-r").arg(kerio().join(".")).arg(&config).status()?;
            }
            Jails::Sshd => std::fs::write(config.join("jail.local"), SSHD_ENABLED)?,
            Jails::All => std::fs::write(config.join("jail.local"), ALL_ENABLED)?,
        }
        Ok(config)
    }

    fn read(&self) -> Result<Reading> {
        let directory = match self {
            Jails::Kerio => kerio(),
            Jails::Sshd | Jails::All => fail2ban::config_dir().ok_or("Debian's fail2ban is not unpacked")?,
        };
        let host = Host {
            zone: TimeZone::UTC,
            services: &|_| None,
            is_journal_instead: &|_| false,
            config_dir: directory.display().to_string(),
        };
        let tree = DirTree::new(&directory);
        Ok(match self {
            Jails::Kerio => reading::read(&tree, &host)?,
            Jails::Sshd => reading::read(&Enabled(tree, SSHD_ENABLED), &host)?,
            Jails::All => reading::read(&Enabled(tree, ALL_ENABLED), &host)?,
        })
    }
}

/// Debian's configuration with another jail.local.
struct Enabled(DirTree, &'static str);

impl ConfigTree for Enabled {
    fn read(&self, path: &str) -> std::result::Result<Option<String>, String> {
        if path == "jail.local" { Ok(Some(self.1.to_owned())) } else { self.0.read(path) }
    }

    fn list(&self, directory: &str) -> Vec<String> {
        if directory == "jail.d" { Vec::new() } else { self.0.list(directory) }
    }

    fn shown(&self, path: &str) -> String {
        self.0.shown(path)
    }
}

fn kerio() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples/kerio")
}
