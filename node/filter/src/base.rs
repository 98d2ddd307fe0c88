//! Our own configuration, compiled in: what is there when nothing of fail2ban is installed.
//!
//! The files in `base/` offer jails and filters, and the names that users' files build on: `%(sshd_log)s`,
//! `%(apache_error_log)s`, `%(_apache_error_client)s`, `%(__prefix_line)s`, `%(action_)s`. The user's tree
//! lies on top of them, file by file (`tree::Layered`); a jail that the user's tree only names is completed
//! by [`complete`]. Not for reading any of it (`merged`, `definition`).

use crate::merged::{self, Merged, Options, ReadError};
use crate::tree::{ConfigTree, MemoryTree};

macro_rules! files {
    ($($path:literal),* $(,)?) => { [$(($path, include_str!(concat!("base/", $path)))),*] };
}

/// The files of the base with their texts.
const FILES: [(&str, &str); 41] = files![
    "jail.conf",
    "paths-common.conf",
    "paths-debian.conf",
    "paths-fedora.conf",
    "paths-arch.conf",
    "paths-opensuse.conf",
    "filter.d/common.conf",
    "filter.d/sshd.conf",
    "filter.d/apache-common.conf",
    "filter.d/apache-auth.conf",
    "filter.d/apache-badbots.conf",
    "filter.d/apache-botsearch.conf",
    "filter.d/apache-nohome.conf",
    "filter.d/apache-noscript.conf",
    "filter.d/apache-overflows.conf",
    "filter.d/botsearch-common.conf",
    "filter.d/nginx-access-common.conf",
    "filter.d/nginx-bad-request.conf",
    "filter.d/nginx-botsearch.conf",
    "filter.d/nginx-error-common.conf",
    "filter.d/nginx-http-auth.conf",
    "filter.d/nginx-limit-req.conf",
    "filter.d/postfix.conf",
    "filter.d/dovecot.conf",
    "filter.d/kopano-common.conf",
    "filter.d/kopano-gateway.conf",
    "filter.d/kopano-ical.conf",
    "filter.d/kopano-server.conf",
    "filter.d/kopano-webapp.conf",
    "filter.d/z-push.conf",
    "filter.d/gromox.conf",
    "filter.d/grommunio-dav.conf",
    "filter.d/kerio-common.conf",
    "filter.d/kerio.conf",
    "filter.d/kerio-mail.conf",
    "filter.d/kerio-security.conf",
    "filter.d/kerio-spam.conf",
    "filter.d/kerio-web.conf",
    "filter.d/roundcube-auth.conf",
    "filter.d/sogo-auth.conf",
    "filter.d/recidive.conf",
];

/// How people are told that a file is one of these, in front of its path.
pub const SHOWN_AS: &str = "(built in) ";

/// Where a host says which distribution it is, os-release(5).
pub const OS_RELEASE: &str = "/etc/os-release";

/// The options that say what a jail is; a section with none of them only names a jail.
const DESCRIBING: [&str; 5] = ["filter", "failregex", "logpath", "backend", "journalmatch"];

/// A family of distributions, which decides where logs are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Debian, Ubuntu; also whatever we do not know.
    Debian,
    /// Fedora, Red Hat Enterprise Linux, Rocky, Alma.
    Fedora,
    /// Arch Linux.
    Arch,
    /// openSUSE, SUSE Linux Enterprise.
    OpenSuse,
}

impl Distribution {
    /// The family that this host belongs to, by the ID and ID_LIKE of its os-release(5); `tree` is the
    /// user's configuration, through which an absolute path is one of the host.
    #[must_use]
    pub fn of_host(tree: &dyn ConfigTree) -> Distribution {
        tree.read(OS_RELEASE)
            .ok()
            .flatten()
            .map_or(Distribution::Debian, |text| Distribution::of_os_release(&text))
    }

    fn of_os_release(text: &str) -> Distribution {
        // ID stands for itself; of ID_LIKE the closest relative comes first.
        let value = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_default().trim_matches(['"', '\''])
        };
        let mut names = value("ID").split_whitespace().chain(value("ID_LIKE").split_whitespace());
        names
            .find_map(|name| match name {
                "debian" | "ubuntu" => Some(Distribution::Debian),
                "fedora" | "rhel" | "centos" | "rocky" | "almalinux" => Some(Distribution::Fedora),
                "arch" => Some(Distribution::Arch),
                "suse" | "opensuse" | "sles" => Some(Distribution::OpenSuse),
                _ => None,
            })
            .unwrap_or(Distribution::Debian)
    }

    fn paths_file(self) -> &'static str {
        match self {
            Distribution::Debian => "paths-debian.conf",
            Distribution::Fedora => "paths-fedora.conf",
            Distribution::Arch => "paths-arch.conf",
            Distribution::OpenSuse => "paths-opensuse.conf",
        }
    }
}

/// The base as a tree, with the paths of `distribution`.
#[must_use]
pub fn tree(distribution: Distribution) -> MemoryTree {
    // jail.conf includes one name; which file that means is decided here.
    let chosen = format!("[INCLUDES]\nbefore = {}\n", distribution.paths_file());
    FILES
        .iter()
        .fold(MemoryTree::new(SHOWN_AS), |tree, (path, text)| tree.with(path, text))
        .with("paths-distribution.conf", &chosen)
}

/// Describes the jails that the user's files name and nobody there describes: with a jail.conf of
/// fail2ban's, `[kopano-gateway]` and `enabled = true` would be a jail without a log, which fail2ban refuses;
/// here it is the base's jail of that name. A section that says itself what it filters or reads stays as it
/// is, whatever the base has under its name.
///
/// # Errors
/// Never with the files above; a test reads them all.
pub fn complete(merged: &mut Merged, distribution: Distribution) -> Result<(), ReadError> {
    let undescribed = |options: &Options| !DESCRIBING.iter().any(|option| options.contains_key(*option));
    if !merged.sections.iter().any(|(_, options)| undescribed(options)) {
        return Ok(());
    }
    let Some(base) = merged::read(&tree(distribution), "jail")? else { return Ok(()) };
    // A jail.conf of old may not say that a jail reads the filter of its name.
    let implied: Vec<_> = base
        .defaults
        .iter()
        .filter(|(option, _)| ["filter", "mode"].contains(&option.as_str()))
        .filter(|(option, _)| !merged.defaults.contains_key(*option))
        .collect();
    let mut completed = false;
    for (name, options) in &mut merged.sections {
        let Some(ours) = base.section(name).filter(|_| undescribed(options)) else { continue };
        for (option, raw) in ours.iter().chain(implied.iter().copied()) {
            options.entry(option.clone()).or_insert_with(|| raw.clone());
        }
        completed = true;
    }
    if completed {
        // What our sections name and the user's files may not have: places of logs, kinds of sources, actions.
        let needed = |option: &str| {
            option == "backend"
                || option.starts_with("banaction")
                || option.starts_with("syslog_")
                || option.ends_with("_log")
                || option.ends_with("_backend")
        };
        for (option, raw) in base.defaults.iter().filter(|(option, _)| needed(option)) {
            merged.defaults.entry(option.clone()).or_insert_with(|| raw.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_its_relatives() {
        for (text, expected) in [
            ("ID=debian\n", Distribution::Debian),
            ("NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Distribution::Debian),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Distribution::Fedora),
            ("ID=ol\nID_LIKE=fedora\n", Distribution::Fedora),
            ("ID=manjaro\nID_LIKE=arch\n", Distribution::Arch),
            ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", Distribution::OpenSuse),
            ("ID=plan9\n", Distribution::Debian),
            ("", Distribution::Debian),
        ] {
            assert_eq!(Distribution::of_os_release(text), expected, "{text}");
        }
    }

    #[test]
    fn every_file_of_the_base_is_compiled_in() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/base");
        let mut found = Vec::new();
        for directory in ["", "filter.d"] {
            for entry in std::fs::read_dir(root.join(directory)).expect("readable").flatten() {
                if entry.path().is_file() {
                    let name = entry.file_name().into_string().expect("a name");
                    found.push(if directory.is_empty() { name } else { format!("{directory}/{name}") });
                }
            }
        }
        found.sort();
        let mut listed: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }
}
