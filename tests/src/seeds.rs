//! What the hosts of the lab are configured with, and the lines their services log.
//!
//! Kopano's and Kerio's files are those of two articles on fail2ban, as they stand there. The lines
//! carry the time of now, because a node does not ban for lines of yesterday.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;

use crate::failed::{Context, Result};

/// Apache's error log, below /var/log.
pub const APACHE_ERROR_LOG: &str = "apache2/error.log";
/// Where Kerio Connect's messages arrive by syslog, below /var/log.
pub const KERIO_LOG: &str = "maillog";
/// The log of the mail relay, below /var/log.
pub const MAIL_LOG: &str = "mail.log";

/// A configuration directory and the log files that go with it.
#[derive(Clone, Default)]
pub struct Tree {
    files: Vec<(String, String)>,
    logs: Vec<&'static str>,
}

impl Tree {
    /// Nothing: a node that watches nothing.
    #[must_use]
    pub fn empty() -> Tree {
        Tree::default()
    }

    /// What is in a directory and below it; files that are no text are left out.
    ///
    /// # Errors
    /// When it can not be read.
    pub fn of(directory: &Path) -> Result<Tree> {
        let mut tree = Tree::default();
        let mut below = vec![directory.to_owned()];
        while let Some(here) = below.pop() {
            let entries = fs::read_dir(&here).context(|| format!("cannot list {}", here.display()))?;
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    below.push(path);
                } else if let (Ok(text), Ok(name)) = (fs::read_to_string(&path), path.strip_prefix(directory))
                {
                    tree = tree.with(&name.display().to_string(), &text);
                }
            }
        }
        Ok(tree)
    }

    /// The same with one more file, or with another text in it.
    #[must_use]
    pub fn with(mut self, path: &str, text: &str) -> Tree {
        self.files.retain(|(known, _)| known != path);
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// The same with one more log, which is there and empty.
    #[must_use]
    pub fn with_log(mut self, name: &'static str) -> Tree {
        self.logs.push(name);
        self
    }

    /// Writes the files below `config` and makes the logs below `logs`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, config: &Path, logs: &Path) -> Result<()> {
        let logs = self.logs.iter().map(|name| (logs.join(name), ""));
        let files = self.files.iter().map(|(path, text)| (config.join(path), text.as_str()));
        for (path, text) in files.chain(logs) {
            let write = || {
                fs::create_dir_all(path.parent().unwrap_or(config))?;
                fs::write(&path, text)
            };
            write().context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// A Kopano groupware server: bans for failed logins to the WebApp, closing 443 there.
#[must_use]
pub fn kopano() -> Tree {
    Tree::empty()
        .with("jail.local", include_str!("../samples/kopano/jail.local"))
        .with(
            "filter.d/kopano-webapp-auth.conf",
            include_str!("../samples/kopano/filter.d/kopano-webapp-auth.conf"),
        )
        .with_log(APACHE_ERROR_LOG)
}

/// A Kerio Connect mail server: ten jails, most of which ban at the first line.
#[must_use]
pub fn kerio() -> Tree {
    [
        ("jail.local", include_str!("../samples/kerio/jail.local")),
        ("filter.d/kerio-auth.conf", include_str!("../samples/kerio/filter.d/kerio-auth.conf")),
        ("filter.d/spam-blacklisted.conf", include_str!("../samples/kerio/filter.d/spam-blacklisted.conf")),
        ("filter.d/spam-detected.conf", include_str!("../samples/kerio/filter.d/spam-detected.conf")),
        ("filter.d/spam-harvest.conf", include_str!("../samples/kerio/filter.d/spam-harvest.conf")),
        ("filter.d/spam-missingauth.conf", include_str!("../samples/kerio/filter.d/spam-missingauth.conf")),
        ("filter.d/spam-rejected.conf", include_str!("../samples/kerio/filter.d/spam-rejected.conf")),
        ("filter.d/spam-relay.conf", include_str!("../samples/kerio/filter.d/spam-relay.conf")),
        ("filter.d/spam-smtp.conf", include_str!("../samples/kerio/filter.d/spam-smtp.conf")),
        ("filter.d/spam-unknownrcpt.conf", include_str!("../samples/kerio/filter.d/spam-unknownrcpt.conf")),
        ("filter.d/w00tw00t.conf", include_str!("../samples/kerio/filter.d/w00tw00t.conf")),
    ]
    .into_iter()
    .fold(Tree::empty(), |tree, (path, text)| tree.with(path, text))
    .with_log(KERIO_LOG)
}

/// A mail relay with one of the jails that bannkreis brings along.
#[must_use]
pub fn mail_relay() -> Tree {
    Tree::empty().with("jail.local", "[postfix]\nenabled = true\n").with_log(MAIL_LOG)
}

/// A relay whose jail bans for `ban_time` at the first failed login.
#[must_use]
pub fn strict_mail_relay(ban_time: &str) -> Tree {
    let jail = format!("[postfix-sasl]\nenabled = true\nmaxretry = 1\nbantime = {ban_time}\n");
    Tree::empty().with("jail.local", &jail).with_log(MAIL_LOG)
}

/// What Apache logs for a failed login to Kopano's WebApp.
#[must_use]
pub fn kopano_failure(client: IpAddr, user: &str) -> String {
    kopano_failure_at(Timestamp::now(), client, user)
}

/// The same at another time than now.
#[must_use]
pub fn kopano_failure_at(at: Timestamp, client: IpAddr, user: &str) -> String {
    let at = at.strftime("%a %b %d %H:%M:%S.%6f %Y").to_string();
    format!(
        "[{at}] [php7:notice] [pid 2211] [client {client}:51234] Kopano WebApp user: {user}: authentication \
         failure at MAPI, referer: https://mail.example.org/webapp/?logon"
    )
}

/// What Kerio logs when a sender stands on a blocklist of the net: jail spam-blacklisted, for a week.
#[must_use]
pub fn kerio_listed_sender(client: IpAddr) -> String {
    format!(
        "{} kerio kerio-connect[811]: IP address {client} found in DNS blacklist NiX Spam, mail from \
         <promo@bulk.example> to <info@meinedomain.tld>",
        syslog_time()
    )
}

/// What Kerio logs for a search for addresses: jail spam-harvest, for a week.
#[must_use]
pub fn kerio_harvest(client: IpAddr) -> String {
    format!("{} kerio kerio-connect[811]: Directory harvest attack from {client} detected", syslog_time())
}

/// What Kerio logs for a local sender who has not logged in: jail spam-missingauth, at the third line.
#[must_use]
pub fn kerio_missing_login(client: IpAddr) -> String {
    format!(
        "{} kerio kerio-connect[811]: Message from IP address {client} was rejected because of missing \
         authentification for local domain sender <bob@meinedomain.tld>",
        syslog_time()
    )
}

/// What Postfix logs for a failed login.
#[must_use]
pub fn postfix_failure(client: IpAddr) -> String {
    format!(
        "{} mx1 postfix/smtpd[4711]: warning: unknown[{client}]: SASL LOGIN authentication failed: \
         authentication failure",
        syslog_time()
    )
}

fn syslog_time() -> String {
    Timestamp::now().strftime("%b %e %H:%M:%S").to_string()
}
