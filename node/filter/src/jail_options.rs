//! The single options of a jail: from their text to what they mean.
//!
//! Which text an option has is worked out in `jail_config`; here numbers become numbers, times
//! times and expressions rules, or an error that names the option and its line.

use crate::date::convert::Zone;
use crate::date::zones;
use crate::encoding::LogEncoding;
use crate::filter::{Rules, UseDns};
use crate::growth::{self, GrowthOptions};
use crate::interpolate::{Value, Vars};
use crate::jail_config::{JailError, LogPath, Logs, Reader, is_true};
use crate::parameters;
use crate::reading::Host;
use crate::time_text;
use crate::unsupported;
use bannkreis_core::jail::BanPolicy;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::BanTime;

/// `findtime` and `bantime` where nothing sets them.
const TIME_DEFAULT: &str = "10m";

impl Reader<'_> {
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

    pub(crate) fn ignored(&mut self) -> Vec<Subnet> {
        let text = self.text("ignoreip").unwrap_or_default().to_owned();
        let mut subnets = Vec::new();
        for word in parameters::words(&text) {
            match ignored_subnet(word) {
                Some(subnet) => subnets.push(subnet),
                None => self.remark("ignoreip", unsupported::ignoreip_name(word)),
            }
        }
        subnets
    }

    pub(crate) fn logs(&mut self, from_journal: bool, filter_values: &Vars) -> Logs {
        if from_journal {
            self.remark("backend", unsupported::journal_backend());
            let text = self.text("journalmatch").map(str::to_owned);
            let text =
                text.or_else(|| Some(filter_values.get("journalmatch")?.text.clone())).unwrap_or_default();
            return Logs::Journal(
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect(),
            );
        }
        let text = self.text("logpath").unwrap_or_default();
        let path = |line: &str| match line.rsplit_once(' ') {
            Some((glob, "tail")) => LogPath { glob: glob.trim().to_owned(), tail: true },
            Some((glob, "head")) => LogPath { glob: glob.trim().to_owned(), tail: false },
            _ => LogPath { glob: line.to_owned(), tail: false },
        };
        Logs::Files(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(path).collect())
    }

    /// The value of an option of the filter: the jail's own stands above the filter's.
    pub(crate) fn filter_value<'v>(&'v self, option: &str, filter_values: &'v Vars) -> Option<&'v Value> {
        self.values
            .get(option)
            .or_else(|| filter_values.get(option))
            .filter(|value| !value.text.trim().is_empty())
    }

    pub(crate) fn rules(&mut self, filter_values: &Vars) -> Result<Rules, JailError> {
        let text = |option: &str| self.filter_value(option, filter_values).map(|value| value.text.clone());
        let lines = |option: &str| {
            let text = text(option).unwrap_or_default();
            text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect::<Vec<String>>()
        };
        if let Some(maxlines) = text("maxlines")
            && !["0", "1"].contains(&maxlines.trim())
        {
            return Err(self.error_in("maxlines", filter_values, unsupported::multi_line(maxlines.trim())));
        }
        let rules = Rules {
            prefregex: text("prefregex"),
            failregex: lines("failregex"),
            ignoreregex: lines("ignoreregex"),
            datepattern: text("datepattern").unwrap_or_default(),
            use_dns: match text("usedns").as_deref().map(str::trim) {
                None | Some("warn") => UseDns::Warn,
                Some("yes") => UseDns::Yes,
                Some("no") => UseDns::No,
                Some("raw") => UseDns::Raw,
                Some(other) => {
                    let problem = format!("`usedns = {other}` is not known; write yes, warn, no or raw");
                    return Err(self.error_in("usedns", filter_values, problem));
                }
            },
        };
        if rules.failregex.is_empty() {
            let problem = "it has no failregex, so no line could ever be a failure; give the jail a filter, or a \
                           failregex of its own";
            return Err(self.error_in("failregex", filter_values, problem.to_owned()));
        }
        Ok(rules)
    }

    pub(crate) fn error_in(&self, option: &str, filter_values: &Vars, problem: String) -> JailError {
        let place = self.filter_value(option, filter_values).and_then(|value| value.places.first()).cloned();
        JailError { jail: self.jail.to_owned(), place: place.or_else(|| self.place("filter")), problem }
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
