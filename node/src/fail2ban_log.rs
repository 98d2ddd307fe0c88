//! fail2ban's own log: its lines, in its columns, for whatever reads them: exporters, panels, logwatch, `grep`.
//!
//! It is a second log beside the daemon's, and only where a file is named for it. Lines are written as events of the daemon's
//! log whose targets are the names of fail2ban's loggers. Not for files (`log_file.rs`).

use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::{BanKey, Change};
use bannkreis_core::event::{IgnoredBecause, Notable};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Timestamp, Until};
use jiff::Zoned;
use jiff::tz::TimeZone;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// All its targets begin with this.
pub const TARGETS: &str = "fail2ban.";

/// Writes what this host's warden did.
pub fn tell(notable: &Notable) {
    match notable {
        Notable::Found { jail, offender, at } => {
            tracing::info!(target: "fail2ban.filter", "[{jail}] Found {} - {}", shown(*offender), local(*at, "%Y-%m-%d %H:%M:%S"));
        }
        Notable::Ignored { jail, offender, why } => {
            let why = match why {
                IgnoredBecause::IgnoreIp => "ip",
                IgnoredBecause::OwnAddress => "ignoreself rule",
                IgnoredBecause::Protected(_) => "allow list",
                IgnoredBecause::BeforeUnban => "unban",
                IgnoredBecause::NoSuchJail => "missing jail",
            };
            tracing::info!(target: "fail2ban.filter", "[{jail}] Ignore {} by {why}", shown(*offender));
        }
        Notable::Blocked { key, is_of_low_trust, .. } => {
            // Nobody's filter for bans takes a line that goes on: it must not make more of it.
            let from = if *is_of_low_trust { " from udp" } else { "" };
            tracing::info!(target: "fail2ban.actions", "[{}] Ban {}{from}", key.jail, shown(key.subnet));
        }
        _ => {}
    }
}

/// Writes what has changed on the ban list, on the node `own`. Bans of other nodes have their origin at the end of the line,
/// where fail2ban's filter for its own log (`recidive`) takes none: each ban is counted on its origin.
pub fn tell_change(change: &Change, view: &BanView, own: NodeId, now: Timestamp) {
    match change {
        Change::Banned { key, until, count, origin } => {
            if *origin != own {
                let from = view.node(*origin).map(|entry| entry.record.name.clone()).unwrap_or_default();
                tracing::info!(target: "fail2ban.actions", "[{}] Ban {} from {from}", key.jail, shown(key.subnet));
            } else if key.jail == JailName::operator() {
                tracing::info!(target: "fail2ban.actions", "[{}] Ban {}", key.jail, shown(key.subnet));
            }
            if *count > 1 {
                increased(&key.jail, key.subnet, *count, *until, now);
            }
        }
        Change::Extended { key, .. } => {
            tracing::info!(target: "fail2ban.actions", "[{}] {} already banned", key.jail, shown(key.subnet));
        }
        _ => {}
    }
}

/// Writes that a ban has ended on this host.
pub fn tell_end(key: &BanKey) {
    tracing::info!(target: "fail2ban.actions", "[{}] Unban {}", key.jail, shown(key.subnet));
}

/// Writes what a node has missed that got the whole list anew, which tells of no changes.
pub fn tell_missed(before: &BanView, after: &BanView, own: NodeId, now: Timestamp) {
    for (key, _) in before.bans().filter(|(key, ban)| !ban.until.is_over(now) && after.ban(key).is_none()) {
        tell_end(key);
    }
    for (key, ban) in after.bans().filter(|(key, ban)| !ban.until.is_over(now) && before.ban(key).is_none()) {
        let origin = ban.origins.first().map_or(own, |origin| origin.node);
        let banned = Change::Banned { key: key.clone(), until: ban.until, count: ban.count, origin };
        tell_change(&banned, after, own, now);
    }
}

/// Writes which bans this host holds again after a start.
pub fn tell_restored(view: &BanView, now: Timestamp) {
    for (key, _) in view.bans().filter(|(_, ban)| !ban.until.is_over(now)) {
        tracing::info!(target: "fail2ban.actions", "[{}] Restore Ban {}", key.jail, shown(key.subnet));
    }
}

fn increased(jail: &JailName, subnet: Subnet, count: u32, until: Until, now: Timestamp) {
    // For ever has no end to tell.
    let Some(ms) = until.remaining_ms(now) else { return };
    let end = local(Timestamp(now.0.saturating_add(ms)), "%Y-%m-%d %H:%M:%S");
    let how_long = how_long(ms / 1_000);
    tracing::info!(
        target: "fail2ban.observer",
        "[{jail}] Increase Ban {} ({count} # {how_long} -> {end})",
        shown(subnet)
    );
}

/// As fail2ban writes times of bans: `1d 2h 3m 4s`, without what is nothing.
fn how_long(seconds: u64) -> String {
    let units = [(7 * 86_400, "w"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units {
        if rest >= unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

fn shown(offender: Subnet) -> String {
    offender.to_string()
}

fn local(at: Timestamp, format: &str) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX));
    at.map(|at| at.to_zoned(TimeZone::system()).strftime(format).to_string()).unwrap_or_default()
}

/// `2026-11-22 05:30:08,662 fail2ban.actions        [20517]: NOTICE  [jail] Ban 192.0.2.7`: fail2ban's
/// `%(asctime)s %(name)-24s[%(process)d]: %(levelname)-7s %(message)s`, in this host's time.
#[derive(Clone, Copy, Debug)]
pub struct Columns;

impl<S, N> FormatEvent<S, N> for Columns
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let name = event.metadata().target();
        // What its filters say is INFO to it, and what is done about it NOTICE, which is a level of its own there.
        let level = if name == "fail2ban.filter" { "INFO" } else { "NOTICE" };
        let (now, pid) = (Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string(), std::process::id());
        write!(writer, "{now} {name:<24}[{pid}]: {level:<7} ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::DaemonLog;
    use bannkreis_core::ban_list::BanList;
    use bannkreis_core::settings::Settings;

    const NOW: Timestamp = Timestamp(1_795_168_830_000);

    fn lines(tell: impl FnOnce()) -> Vec<String> {
        let directory = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| directory.path().join(name);
        let open = |name: &str| DaemonLog::to_file(&at(name)).expect("it can be opened");
        let subscriber = open("own").subscriber("info", Some(open("fail2ban")));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("of the daemon's own");
            tell();
        });
        let own = std::fs::read_to_string(at("own")).expect("text");
        assert!(own.ends_with("of the daemon's own\n") && own.lines().count() == 1, "{own}");
        std::fs::read_to_string(at("fail2ban")).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_have_fail2bans_columns() {
        let key = |jail: &str| BanKey {
            subnet: "192.0.2.7".parse().expect("an address"),
            jail: JailName::new(jail).expect("a name"),
        };
        let (own, other) = (NodeId(1), NodeId(2));
        let view = BanList::new(Settings::at_birth([0; 16])).view();
        let until = Until::at(Timestamp(NOW.0 + 93_784_000));
        let banned = |origin, count| Change::Banned { key: key("sshd"), until, count, origin };
        let told = lines(|| {
            let sshd = key("sshd");
            tell(&Notable::Found { jail: sshd.jail.clone(), offender: sshd.subnet, at: NOW });
            tell(&Notable::Ignored { jail: sshd.jail, offender: sshd.subnet, why: IgnoredBecause::IgnoreIp });
            tell_change(&banned(own, 2), &view, own, NOW);
            tell_change(&banned(other, 1), &view, own, NOW);
        });
        let pid = std::process::id();
        let at = local(NOW, "%Y-%m-%d %H:%M:%S");
        let end = local(Timestamp(NOW.0 + 93_784_000), "%Y-%m-%d %H:%M:%S");
        let expected = [
            format!("fail2ban.filter         [{pid}]: INFO    [sshd] Found 192.0.2.7 - {at}"),
            format!("fail2ban.filter         [{pid}]: INFO    [sshd] Ignore 192.0.2.7 by ip"),
            format!(
                "fail2ban.observer       [{pid}]: NOTICE  [sshd] Increase Ban 192.0.2.7 (2 # 1d 2h 3m 4s -> {end})"
            ),
            format!("fail2ban.actions        [{pid}]: NOTICE  [sshd] Ban 192.0.2.7 from "),
        ];
        let without_time: Vec<&str> =
            told.iter().map(|line| &line["2026-11-22 05:30:08,662 ".len()..]).collect();
        assert_eq!(without_time, expected);
        for line in told {
            let time: String = line[..23].chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
            assert_eq!(time, "9999-99-99 99:99:99,999", "{line}");
        }
    }
}
