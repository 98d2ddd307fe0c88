//! Which of systemd's journals a jail reads: the parameters of `backend = systemd[…]`.
//!
//! Not for which of its entries (`journal_match`), and not for reading it (`node::source`).

use crate::parameters;
use std::fmt;

/// fail2ban's flag for the system's journals without those of users (sd_journal_open(3), `SD_JOURNAL_SYSTEM`).
const SYSTEM_ONLY: u32 = 4;

/// A journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Journal {
    /// The directory of its files, `journalpath`; the host's own when there is none.
    pub directory: Option<String>,
    /// Its files, `journalfiles`.
    pub files: Vec<String>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// Without the journals of users.
    pub is_system_only: bool,
}

impl Journal {
    /// The host's own.
    #[must_use]
    pub fn of_host() -> Journal {
        Journal { directory: None, files: Vec::new(), namespace: None, is_system_only: true }
    }

    /// Reads the value of `backend`.
    ///
    /// # Errors
    /// A parameter that is not known, or no value of its kind.
    pub fn parse(backend: &str) -> Result<Journal, String> {
        let named = parameters::parse(backend)?;
        let mut journal = Journal::of_host();
        let mut flags = None;
        for (key, value) in &named.parameters {
            match key.as_str() {
                "journalpath" => journal.directory = Some(value.clone()),
                "journalfiles" => {
                    journal.files = parameters::words(value).map(str::to_owned).collect();
                }
                "namespace" => journal.namespace = Some(value.clone()),
                "journalflags" => {
                    flags = Some(value.trim().parse::<u32>().map_err(|_| {
                        format!("`journalflags = {value}` is no number; write 4 for the system's journals, or 0 for all")
                    })?);
                }
                // Whether files that were rotated are read as well: a place in them is never lost here.
                "rotated" => {}
                other => {
                    return Err(format!(
                        "`{backend}`: `{other}` is not known; write journalpath, journalfiles, journalflags or namespace"
                    ));
                }
            }
        }
        let is_named = journal.directory.is_some() || !journal.files.is_empty();
        journal.is_system_only = flags.map_or(!is_named, |flags| flags & SYSTEM_ONLY != 0);
        Ok(journal)
    }

    /// What journalctl(1) has to be told to read it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        arguments.extend(self.directory.iter().map(|directory| format!("--directory={directory}")));
        arguments.extend(self.files.iter().map(|file| format!("--file={file}")));
        arguments.extend(self.namespace.iter().map(|namespace| format!("--namespace={namespace}")));
        if self.is_system_only {
            arguments.push("--system".to_owned());
        }
        arguments
    }
}

/// What it is stored and shown as, when it is not the host's own.
impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("journal")?;
        if *self != Journal::of_host() {
            write!(f, " {}", self.arguments().join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_what_journalctl_is_told() {
        for (backend, arguments, shown) in [
            ("systemd", &["--system"][..], "journal"),
            ("systemd[journalflags=0]", &[], "journal "),
            ("systemd[journalpath=/x]", &["--directory=/x"], "journal --directory=/x"),
            ("systemd[journalfiles=\"/a /b\"]", &["--file=/a", "--file=/b"], "journal --file=/a --file=/b"),
            (
                "systemd[namespace=mail, rotated=on]",
                &["--namespace=mail", "--system"],
                "journal --namespace=mail --system",
            ),
        ] {
            let journal = Journal::parse(backend).unwrap();
            assert_eq!(journal.arguments(), arguments, "{backend}");
            assert_eq!(journal.to_string(), shown, "{backend}");
        }
        for (backend, named) in
            [("systemd[journalflags=x]", "`journalflags = x`"), ("systemd[path=/x]", "`path`")]
        {
            assert!(Journal::parse(backend).unwrap_err().contains(named), "{backend}");
        }
    }
}
