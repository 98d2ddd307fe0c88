//! `cluster settings`: what steers the ban list on all nodes alike, by the names and words that people type.
//!
//! Not for a host's own configuration, nor for the key of the event ids, which is a secret and never changes.

use super::answers::Snapshot;
use super::commands::{self, Given};
use super::{NodeApi, Peer, enforcement};
use bannkreis_core::command::Op;
use bannkreis_core::reach::Reach;
use bannkreis_core::settings::{PrivateOffenders, Setting, Settings};
use bannkreis_core::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use bannkreis_filter::time_text;
use bannkreis_proto::v1;
use std::collections::BTreeSet;
use tonic::Status;

/// One that nobody may set or see.
const EVENT_KEY: &str = "event_key";

/// A setting as people know it.
struct Known {
    key: &'static str,
    meaning: &'static str,
    values: Values,
    /// Its value, as it is typed.
    shown: fn(&Settings) -> String,
}

/// What may be typed for it.
enum Values {
    Words(&'static [(&'static str, Setting)]),
    Prefix { min: u8, max: u8, setting: fn(u8) -> Setting },
    Number { min: u32, max: u32, setting: fn(u32) -> Setting },
    LengthMs { min: u64, max: u64, setting: fn(u64) -> Setting },
}

const REACH: &[(&str, Setting)] = &[
    ("guarded", Setting::Reach(Reach::Guarded)),
    ("ports", Setting::Reach(Reach::Ports)),
    ("host", Setting::Reach(Reach::Host)),
];

const PRIVATE_OFFENDERS: &[(&str, Setting)] = &[
    ("share", Setting::PrivateOffenders(PrivateOffenders::Share)),
    ("origin", Setting::PrivateOffenders(PrivateOffenders::Origin)),
];

/// All that may be set, in the order in which they are shown.
const KNOWN: &[Known] = &[
    Known {
        key: "reach",
        meaning: "what a ban closes on nodes that did not see the attack: the jail's ports and those of the node's own \
                  jails, all where it has none (guarded), the jail's ports (ports), or all (host)",
        values: Values::Words(REACH),
        shown: |settings| settings.reach.as_str().to_owned(),
    },
    Known {
        key: "private_offenders",
        meaning: "whether offenders in private ranges are banned everywhere (share) or blocked where they were seen \
                  (origin)",
        values: Values::Words(PRIVATE_OFFENDERS),
        shown: |settings| match settings.private_offenders {
            PrivateOffenders::Share => "share".to_owned(),
            PrivateOffenders::Origin => "origin".to_owned(),
        },
    },
    Known {
        key: "counting_prefix_v4",
        meaning: "an offender of IPv4 is a network of this prefix, from the next failure on",
        values: Values::Prefix { min: 16, max: 32, setting: Setting::CountingPrefixV4 },
        shown: |settings| settings.counting_prefix_v4.to_string(),
    },
    Known {
        key: "counting_prefix_v6",
        meaning: "an offender of IPv6 is a network of this prefix, from the next failure on",
        values: Values::Prefix { min: 32, max: 128, setting: Setting::CountingPrefixV6 },
        shown: |settings| settings.counting_prefix_v6.to_string(),
    },
    Known {
        key: "widest_prefix_v4",
        meaning: "no log bans a wider network of IPv4; `ban` asks for --force beyond it, and beyond /24 always",
        values: Values::Prefix { min: 8, max: 32, setting: Setting::WidestPrefixV4 },
        shown: |settings| settings.widest_prefix_v4.to_string(),
    },
    Known {
        key: "widest_prefix_v6",
        meaning: "no log bans a wider network of IPv6; `ban` asks for --force beyond it, and beyond /64 always",
        values: Values::Prefix { min: 16, max: 128, setting: Setting::WidestPrefixV6 },
        shown: |settings| settings.widest_prefix_v6.to_string(),
    },
    Known {
        key: "quota_per_minute",
        meaning: "so many bans per minute may one node bring in for their full time; those beyond are damped",
        values: Values::Number { min: 1, max: 1_000_000, setting: Setting::QuotaPerMinute },
        shown: |settings| settings.quota_per_minute.to_string(),
    },
    Known {
        key: "quota_burst",
        meaning: "so many may it bring in at once after a rest",
        values: Values::Number { min: 1, max: 1_000_000, setting: Setting::QuotaBurst },
        shown: |settings| settings.quota_burst.to_string(),
    },
    Known {
        key: "damped",
        meaning: "a damped ban lasts so long at most",
        values: Values::LengthMs { min: MINUTE_MS, max: DAY_MS, setting: Setting::DampedMs },
        shown: |settings| length(settings.damped_ms),
    },
    Known {
        key: "damped_live_max",
        meaning: "so many damped bans of one node may be alive; those beyond are not shared",
        values: Values::Number { min: 0, max: 1_000_000, setting: Setting::DampedLiveMax },
        shown: |settings| settings.damped_live_max.to_string(),
    },
    Known {
        key: "tombstone_retention",
        meaning: "how long it is remembered that somebody was let go, so that older evidence bans nobody again",
        values: Values::LengthMs {
            min: 7 * DAY_MS,
            max: 365 * DAY_MS,
            setting: Setting::TombstoneRetentionMs,
        },
        shown: |settings| length(settings.tombstone_retention_ms),
    },
    Known {
        key: "history_retention",
        meaning: "how long ended bans are remembered: they make later ones longer",
        values: Values::LengthMs { min: HOUR_MS, max: 3_650 * DAY_MS, setting: Setting::HistoryRetentionMs },
        shown: |settings| length(settings.history_retention_ms),
    },
    Known {
        key: "skew_max",
        meaning: "a host whose clock is further off than this is named in `cluster status`",
        values: Values::LengthMs { min: SECOND_MS, max: HOUR_MS, setting: Setting::SkewMaxMs },
        shown: |settings| length(settings.skew_max_ms),
    },
];

impl Known {
    /// What may be typed, for people.
    fn allowed(&self) -> String {
        match &self.values {
            Values::Words(words) => words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "),
            Values::Prefix { min, max, .. } => format!("{min} to {max}"),
            Values::Number { min, max, .. } => format!("{min} to {max}"),
            Values::LengthMs { min, max, .. } => format!("{} to {}", length(*min), length(*max)),
        }
    }

    /// The setting with the value that was typed, if it may have it.
    fn read(&self, value: &str) -> Option<Setting> {
        match &self.values {
            Values::Words(words) => {
                words.iter().find(|(word, _)| *word == value).map(|(_, setting)| *setting)
            }
            Values::Prefix { min, max, setting } => {
                let length = value.strip_prefix('/').unwrap_or(value).parse().ok()?;
                (*min..=*max).contains(&length).then(|| setting(length))
            }
            Values::Number { min, max, setting } => {
                let number = value.parse().ok()?;
                (*min..=*max).contains(&number).then(|| setting(number))
            }
            Values::LengthMs { min, max, setting } => {
                let ms = time_text::milliseconds(value).ok()?;
                ((*min..=*max).contains(&ms) && ms.is_multiple_of(SECOND_MS)).then(|| setting(ms))
            }
        }
    }

    fn info(&self, settings: &Settings, before: &Settings) -> v1::SettingInfo {
        v1::SettingInfo {
            key: self.key.to_owned(),
            value: (self.shown)(settings),
            default_value: (self.shown)(&Settings::at_birth([0; 16])),
            meaning: self.meaning.to_owned(),
            allowed: self.allowed(),
            previous_value: (self.shown)(before),
        }
    }
}

/// A setting with its value, as it is typed.
pub(super) fn assignment(setting: &Setting) -> String {
    let mut settings = Settings::at_birth([0; 16]);
    settings.set(*setting);
    let known = KNOWN.iter().map(|known| (known, (known.shown)(&settings)));
    let mut of_its_kind = known.filter(|(known, value)| known.read(value) == Some(*setting));
    match of_its_kind.next() {
        Some((known, value)) => format!("{}={value}", known.key),
        None => "something that can not be typed".to_owned(),
    }
}

/// A length of time as it can be typed again, exactly.
fn length(ms: u64) -> String {
    let seconds = ms / SECOND_MS;
    let units =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts: Vec<String> =
        units.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Answers `cluster settings`.
pub(super) async fn list(api: &dyn NodeApi) -> Result<v1::ListSettingsResponse, Status> {
    let snapshot = Snapshot::take_counts(api).await?;
    let settings = snapshot.view.settings();
    Ok(v1::ListSettingsResponse {
        state: Some(snapshot.state()),
        settings: KNOWN.iter().map(|known| known.info(settings, settings)).collect(),
    })
}

/// Executes `cluster settings set`.
pub(super) async fn set(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::SetSettingsRequest,
) -> Result<v1::SetSettingsResponse, Status> {
    let deadline = commands::deadline(request.wait_ms)?;
    let before = Snapshot::take_counts(api).await?;
    let (keys, fields) = read(&request.assignments, before.view.settings())?;
    let operator = Given::by(peer, &request.command_id, &request.reason)?.operator(0);
    let op = Op::Settings { operator, fields };
    let (settled, position) = commands::commit(api, std::slice::from_ref(&op), deadline).await;
    enforcement::wait(api, position, deadline).await;
    let after = Snapshot::take_counts(api).await?;
    let set = KNOWN.iter().filter(|known| keys.contains(known.key));
    let named: Vec<&str> = KNOWN.iter().map(|known| known.key).filter(|key| keys.contains(key)).collect();
    let results = settled.into_iter().map(|settled| commands::result(named.join(", "), &op, settled));
    Ok(v1::SetSettingsResponse {
        state: Some(after.state()),
        results: results.collect(),
        enforcement: enforcement::list(&after, position),
        settings: set.map(|known| known.info(after.view.settings(), before.view.settings())).collect(),
    })
}

/// What `KEY=VALUE` says, each checked by itself and then all of it together.
fn read(
    assignments: &[v1::Assignment],
    current: &Settings,
) -> Result<(BTreeSet<&'static str>, Vec<Setting>), Status> {
    let refused = |why: String| Err(Status::invalid_argument(why));
    if assignments.is_empty() {
        return refused("nothing to set: write KEY=VALUE".to_owned());
    }
    let (mut keys, mut fields, mut settings) = (BTreeSet::new(), Vec::new(), *current);
    for v1::Assignment { key, value } in assignments {
        if key == EVENT_KEY {
            return refused(format!(
                "{EVENT_KEY} is made when a cluster is born, is not shown, and never changes: what nodes tell each other \
                 of failures would not be recognised any more"
            ));
        }
        let Some(known) = KNOWN.iter().find(|known| known.key == key) else {
            let all: Vec<&str> = KNOWN.iter().map(|known| known.key).collect();
            return refused(format!("no setting `{}`; there are: {}", key.escape_debug(), all.join(", ")));
        };
        let Some(setting) = known.read(value) else {
            return refused(format!(
                "`{}` is no value for {key}: write one of {}",
                value.escape_debug(),
                known.allowed()
            ));
        };
        if !keys.insert(known.key) {
            return refused(format!("{key} is set twice: write it once"));
        }
        settings.set(setting);
        fields.push(setting);
    }
    let pairs = [
        ("v4", settings.counting_prefix_v4, settings.widest_prefix_v4),
        ("v6", settings.counting_prefix_v6, settings.widest_prefix_v6),
    ];
    for (family, counting, widest) in pairs {
        if counting < widest {
            return refused(format!(
                "counting_prefix_{family} would be {counting} and widest_prefix_{family} {widest}: every offender would be \
                 too wide to be banned; set widest_prefix_{family}={counting} or less as well"
            ));
        }
    }
    Ok((keys, fields))
}

#[cfg(test)]
mod tests {
    use super::{EVENT_KEY, KNOWN, assignment, length, read};
    use bannkreis_core::settings::{Setting, Settings};
    use bannkreis_proto::v1::Assignment;
    use std::collections::BTreeSet;

    fn told(assignments: &[(&str, &str)]) -> Result<Vec<Setting>, String> {
        let assignment =
            |(key, value): &(&str, &str)| Assignment { key: (*key).into(), value: (*value).into() };
        let assignments: Vec<Assignment> = assignments.iter().map(assignment).collect();
        let read = read(&assignments, &Settings::at_birth([7; 16]));
        read.map(|(_, fields)| fields).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn what_is_shown_can_be_typed_and_every_setting_but_the_key_is_there() {
        let born = Settings::at_birth([7; 16]);
        let typed: Vec<Setting> =
            KNOWN.iter().map(|known| known.read(&(known.shown)(&born)).unwrap()).collect();
        let fields: Vec<Setting> =
            born.fields().into_iter().filter(|field| !matches!(field, Setting::EventKey(_))).collect();
        assert_eq!(typed.len(), fields.len());
        let told: Vec<String> = typed.iter().map(assignment).collect();
        let shown: Vec<String> =
            KNOWN.iter().map(|known| format!("{}={}", known.key, (known.shown)(&born))).collect();
        assert_eq!(told, shown);
        assert!(fields.iter().all(|field| typed.contains(field)), "{typed:?}");
        let keys: BTreeSet<&str> = KNOWN.iter().map(|known| known.key).collect();
        assert!(keys.len() == KNOWN.len() && !keys.contains(EVENT_KEY));
    }

    #[test]
    fn a_setting_is_checked_by_itself_and_with_the_others() {
        assert_eq!(told(&[("reach", "ports"), ("damped", "90s")]).map(|fields| fields.len()), Ok(2));
        assert_eq!(told(&[("counting_prefix_v4", "/24")]), Ok(vec![Setting::CountingPrefixV4(24)]));
        let cases: [(&[(&str, &str)], &str); 9] = [
            (&[], "nothing to set"),
            (&[("event_key", "00")], "never changes"),
            (&[("reech", "ports")], "no setting `reech`; there are: reach, "),
            (&[("reach", "Ports")], "`Ports` is no value for reach: write one of guarded, ports, host"),
            (&[("skew_max", "2h")], "`2h` is no value for skew_max: write one of 1s to 1h"),
            (&[("quota_burst", "0")], "1 to 1000000"),
            (&[("reach", "host"), ("reach", "ports")], "set twice"),
            (&[("widest_prefix_v6", "80")], "set widest_prefix_v6=64 or less as well"),
            (&[("tombstone_retention", "1d")], "7d to 365d"),
        ];
        for (assignments, part) in cases {
            let refused = told(assignments).unwrap_err();
            assert!(refused.contains(part), "{part:?} in {refused:?}");
        }
    }

    #[test]
    fn lengths_are_exact() {
        assert_eq!(
            [0, 90_000, 600_000, 604_800_000, 90_061_000].map(length),
            ["0s", "1m 30s", "10m", "7d", "1d 1h 1m 1s"]
        );
    }
}
