//! The single options of a jail: from their text to what they mean.
//!
//! Which text an option has is worked out in `jail_text`; here numbers become numbers, times
//! times and expressions rules, or an error that names the option and its line.

use crate::container_path::ContainerPath;
use crate::date::convert::Zone;
use crate::date::zones;
use crate::encoding::LogEncoding;
use crate::filter::{Rules, UseDns};
use crate::growth::{self, GrowthOptions};
use crate::host_name::is_host_name;
use crate::ignore_command::{self, IgnoreCommand};
use crate::jail_config::{Logs, log_paths};
use crate::jail_text::{JailError, JailText, is_true};
use crate::journal::Journal;
use crate::journal_match::JournalMatch;
use crate::multiline::WINDOW_LINES_MAX;
use crate::parameters;
use crate::reading::Host;
use crate::syslog_path::SyslogPath;
use crate::time_text;
use crate::unsupported;
use bannkreis_core::jail::{BanPolicy, Scope};
use bannkreis_core::reach::Reach;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::BanTime;

/// `findtime` and `bantime` where nothing sets them.
const TIME_DEFAULT: &str = "10m";
/// fail2ban's datepattern for logs whose lines have none.
const NO_DATES: &str = "{NONE}";
/// A jail's `ignoreip` may have so many names; what is beyond is not looked up, and said so.
pub(crate) const IGNORED_NAMES_MAX: usize = 64;

impl JailText {
    /// A number from 0 on; what is none is remarked on and replaced, as in fail2ban.
    pub(crate) fn number(&mut self, option: &str, default: u32) -> u32 {
        let Some(text) = self.text(option).map(str::to_owned) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.remark(option, unsupported::not_a_number(option, &text, default));
            default
        })
    }

    pub(crate) fn find_time(&self) -> Result<u64, JailError> {
        let text = self.text("findtime").unwrap_or(TIME_DEFAULT);
        match time_text::milliseconds(text) {
            Ok(0) => Err(self.error("findtime", "findtime = 0 counts nothing; write e.g. 10m".to_owned())),
            Ok(time) => Ok(time),
            Err(why) => Err(self.error("findtime", format!("findtime: {why}"))),
        }
    }

    /// What its bans close on other nodes: an option of ours.
    pub(crate) fn reach(&self) -> Result<Option<Reach>, JailError> {
        let Some(word) = self.text("reach").map(str::trim).filter(|word| !word.is_empty()) else {
            return Ok(None);
        };
        let why = "write `ports`, and its bans close on other hosts what they close here; `guarded`, and those hosts close \
                   what their own jails guard as well; `host`, and they close everything";
        let reach = Reach::of_word(word);
        reach.map(Some).ok_or_else(|| self.error("reach", format!("reach = {word} means nothing; {why}")))
    }

    /// Whether failures are counted with those of other hosts: an option of ours.
    pub(crate) fn scope(&self) -> Result<Scope, JailError> {
        match self.text("scope").map_or("cluster", str::trim) {
            "cluster" => Ok(Scope::Cluster),
            "local" => Ok(Scope::Local),
            other => {
                let why =
                    "write `cluster`, and its failures count together with those of other hosts, or `local`";
                Err(self.error("scope", format!("scope = {other} means nothing; {why}")))
            }
        }
    }

    pub(crate) fn policy(&self) -> Result<BanPolicy, JailError> {
        let text = self.text("bantime").unwrap_or(TIME_DEFAULT);
        let failed = |why| self.error("bantime", format!("bantime: {why}"));
        if time_text::seconds(text).map_err(failed)? == -1.0 {
            return Ok(BanPolicy::fixed(BanTime::Forever));
        }
        let ban_time_ms = time_text::milliseconds(text).map_err(failed)?;
        let own = |option: &str| self.text(option).map(str::to_owned);
        let growth = if self.text("bantime.increment").is_some_and(is_true) {
            let options = GrowthOptions {
                factor: own("bantime.factor"),
                formula: own("bantime.formula"),
                multipliers: own("bantime.multipliers"),
                maxtime: own("bantime.maxtime"),
                rndtime: own("bantime.rndtime"),
                overall_jails: self.text("bantime.overalljails").is_some_and(is_true),
            };
            Some(growth::table(ban_time_ms, &options).map_err(|why| self.error("bantime.increment", why))?)
        } else {
            None
        };
        Ok(BanPolicy { ban_time: BanTime::Ms(ban_time_ms), growth })
    }

    /// The addresses in `ignoreip`, and the names.
    pub(crate) fn ignored(&mut self) -> (Vec<Subnet>, Vec<String>) {
        let text = self.text("ignoreip").unwrap_or_default().to_owned();
        let (mut subnets, mut names) = (Vec::new(), Vec::new());
        for word in parameters::words(&text) {
            match ignored_subnet(word) {
                Some(subnet) => subnets.push(subnet),
                None if !is_host_name(word) => self.remark("ignoreip", unsupported::ignoreip_word(word)),
                None if names.len() >= IGNORED_NAMES_MAX => {
                    self.remark("ignoreip", unsupported::too_many_names(word, IGNORED_NAMES_MAX));
                }
                None => names.push(word.to_owned()),
            }
        }
        (subnets, names)
    }

    pub(crate) fn ignore_command(&mut self) -> Result<Option<IgnoreCommand>, JailError> {
        let cache = self.text("ignorecache").unwrap_or_default().to_owned();
        let Some(command) = self.text("ignorecommand").map(str::to_owned) else {
            if !cache.is_empty() {
                self.remark("ignorecache", unsupported::cache_without_command());
            }
            return Ok(None);
        };
        let read = ignore_command::read(&command, &cache).map_err(|why| self.error("ignorecache", why))?;
        for tag in &read.unknown_tags {
            self.remark("ignorecommand", unsupported::tag_of_ignorecommand(tag));
        }
        Ok(Some(read))
    }

    pub(crate) fn logs(&mut self) -> Result<Logs, JailError> {
        if self.from_journal {
            let backend = self.text("backend").filter(|backend| backend.starts_with("systemd"));
            let journal = backend.map_or(Ok(Journal::of_host()), Journal::parse);
            let journal = journal.map_err(|why| self.error("backend", why))?;
            let text = self.filter_value("journalmatch").map(|value| value.text.as_str()).unwrap_or_default();
            let matches = JournalMatch::parse(text).map_err(|why| self.error_in("journalmatch", why))?;
            if matches.is_everything() {
                self.remark("backend", unsupported::whole_journal());
            }
            return Ok(Logs::Journal(journal, matches));
        }
        if let Some(sentence) = self.text("backend").and_then(unsupported::backend) {
            self.remark("backend", sentence);
        }
        let logs = log_paths(self.text("logpath").unwrap_or_default());
        let refused = |path: &str| match path {
            path if ContainerPath::is_one(path) => ContainerPath::parse(path).err(),
            path if SyslogPath::is_one(path) => SyslogPath::parse(path).err(),
            _ => None,
        };
        if let Some(why) = logs.iter().find_map(|log| refused(&log.glob)) {
            return Err(self.error("logpath", why));
        }
        Ok(Logs::Files(logs))
    }

    pub(crate) fn rules(&mut self) -> Result<Rules, JailError> {
        let max_lines = self.max_lines()?;
        if max_lines > WINDOW_LINES_MAX {
            self.remark("maxlines", unsupported::too_many_lines(max_lines, WINDOW_LINES_MAX));
        }
        let text = |option: &str| self.filter_value(option).map(|value| value.text.clone());
        let lines = |option: &str| {
            let text = text(option).unwrap_or_default();
            text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect::<Vec<String>>()
        };
        let rules = Rules {
            prefregex: text("prefregex"),
            failregex: lines("failregex"),
            ignoreregex: lines("ignoreregex"),
            // Each entry of a journal has its time beside it, and its text need not have one.
            datepattern: if self.from_journal {
                NO_DATES.to_owned()
            } else {
                text("datepattern").unwrap_or_default()
            },
            max_lines,
            use_dns: match text("usedns").as_deref().map(str::trim) {
                None | Some("warn") => UseDns::Warn,
                Some("yes") => UseDns::Yes,
                Some("no") => UseDns::No,
                Some("raw") => UseDns::Raw,
                Some(other) => {
                    let problem = format!("`usedns = {other}` is not known; write yes, warn, no or raw");
                    return Err(self.error_in("usedns", problem));
                }
            },
        };
        if rules.use_dns == UseDns::Raw {
            self.remark("usedns", unsupported::names_are_no_addresses());
        }
        if rules.failregex.is_empty() {
            let problem = "it has no failregex, so no line could ever be a failure; give the jail a filter, or a \
                           failregex of its own";
            return Err(self.error_in("failregex", problem.to_owned()));
        }
        Ok(rules)
    }

    fn max_lines(&self) -> Result<usize, JailError> {
        let Some(value) = self.filter_value("maxlines") else { return Ok(1) };
        value.text.trim().parse().map_err(|_| {
            let problem = format!("`maxlines = {}` is no number from 1 on", value.text.trim());
            self.error_in("maxlines", problem)
        })
    }

    pub(crate) fn zone(&self, host: &Host<'_>) -> Result<Zone, JailError> {
        let Some(text) = self.text("logtimezone") else { return Ok(Zone::local(host.zone.clone())) };
        let offset = zones::offset_minutes(&text.to_uppercase()).ok_or_else(|| {
            self.error(
                "logtimezone",
                format!("`logtimezone = {text}` is no zone; write e.g. UTC or UTC+0100"),
            )
        })?;
        Ok(Zone { local: host.zone.clone(), log_offset_minutes: Some(offset) })
    }

    pub(crate) fn encoding(&mut self) -> LogEncoding {
        let Some(text) = self.text("logencoding").map(str::to_owned) else { return LogEncoding::Utf8 };
        LogEncoding::from_name(&text).unwrap_or_else(|| {
            self.remark("logencoding", unsupported::encoding(&text));
            LogEncoding::Utf8
        })
    }
}

/// An address, a prefix, or an address with an IPv4 netmask.
fn ignored_subnet(word: &str) -> Option<Subnet> {
    if let Ok(subnet) = word.parse() {
        return Some(subnet);
    }
    let (address, mask) = word.split_once('/')?;
    let mask = u32::from(mask.parse::<std::net::Ipv4Addr>().ok()?);
    let length = mask.leading_ones();
    if mask.count_ones() != length {
        return None;
    }
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    Subnet::new(address.into(), u8::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_addresses_may_have_a_prefix_or_a_netmask() {
        for (word, expected) in [
            ("127.0.0.1/8", "127.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("172.16.0.0/255.240.0.0", "172.16.0.0/12"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(ignored_subnet(word).map(|subnet| subnet.to_string()).as_deref(), Some(expected));
        }
        for word in ["host.example", "10.0.0.0/255.0.255.0", "10.0.0.0/99", "file:/etc/hosts"] {
            assert_eq!(ignored_subnet(word), None, "{word}");
        }
    }
}
