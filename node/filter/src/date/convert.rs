//! From the fields of a date to a point in time.
//!
//! What a line leaves out is filled in from now: a missing year is this year, or the last one if
//! that would be more than a day ahead; a missing day is today, or yesterday if that would be
//! ahead. Fractions of seconds are dropped, as fail2ban does.

use super::template::{Hit, Kind};
use super::tokens::{DAYS, MONTHS};
use super::zones;
use bannkreis_core::time::{DAY_MS, Timestamp};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

/// How times without a zone of their own are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Where this host is.
    pub local: TimeZone,
    /// `logtimezone`: minutes east of UTC.
    pub log_offset_minutes: Option<i32>,
}

impl Zone {
    /// Times without a zone are this host's local time.
    #[must_use]
    pub fn local(local: TimeZone) -> Zone {
        Zone { local, log_offset_minutes: None }
    }
}

/// The time that `hit` means, as seen at `now`; `None` when there is no such day, hour or zone.
#[must_use]
pub fn to_timestamp(kind: Kind, hit: &Hit<'_>, now: Timestamp, zone: &Zone) -> Option<Timestamp> {
    match kind {
        Kind::Epoch { long } => epoch(hit.fields.first()?.1, long),
        Kind::Tai64n => {
            let seconds = u64::from_str_radix(hit.fields.first()?.1.get(2..17)?, 16).ok()?;
            Some(Timestamp(seconds.checked_mul(1_000)?))
        }
        Kind::Fields => from_fields(&hit.fields, now, zone),
    }
}

fn epoch(digits: &str, long: bool) -> Option<Timestamp> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number: u64 = whole.parse().ok()?;
    if long && digits.len() >= 16 && fraction.is_empty() {
        return Some(Timestamp(number / 1_000));
    }
    if long && digits.len() >= 13 {
        return Some(Timestamp(number));
    }
    let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(Timestamp(number.checked_mul(1_000)?.checked_add(millis)?))
}

#[derive(Default)]
struct Parts {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    hour: i8,
    minute: i8,
    second: i8,
    /// Monday is 0.
    weekday: Option<i32>,
    day_of_year: Option<i32>,
    /// The week, and the weekday that it begins with.
    week: Option<(i32, i32)>,
    offset_minutes: Option<i32>,
}

impl Parts {
    fn read(fields: &[(char, &str)]) -> Option<Parts> {
        let mut parts = Parts::default();
        let half = fields.iter().find(|(letter, _)| *letter == 'p').map(|(_, text)| text.to_lowercase());
        for &(letter, text) in fields {
            let number = || text.trim().parse::<i16>().ok();
            let small = || text.trim().parse::<i8>().ok();
            let position = |names: &[&str]| {
                let text = text.to_lowercase();
                names.iter().position(|name| name.starts_with(&text) && text.len() >= 3)
            };
            match letter {
                'Y' => parts.year = Some(number()?),
                'y' => parts.year = Some(number()? + 2000),
                'm' => parts.month = Some(small()?),
                'b' | 'B' => parts.month = Some(i8::try_from(position(&MONTHS)?).ok()? + 1),
                'd' => parts.day = Some(small()?),
                'H' => parts.hour = small()?,
                // 12 is the first hour of its half; 13 and later are hours of no clock, taken as they are.
                'I' => {
                    let hour = small()?;
                    parts.hour = match (hour, half.as_deref()) {
                        (12, None | Some("am")) => 0,
                        (12, _) => 12,
                        (hour, Some("pm")) => hour + 12,
                        (hour, _) => hour,
                    };
                }
                'M' => parts.minute = small()?,
                'S' => parts.second = small()?,
                'a' | 'A' => parts.weekday = Some(i32::try_from(position(&DAYS)?).ok()?),
                'w' => parts.weekday = Some((i32::from(number()?) + 6) % 7),
                'j' => parts.day_of_year = Some(i32::from(number()?)),
                'U' => parts.week = Some((i32::from(number()?), 6)),
                'W' => parts.week = Some((i32::from(number()?), 0)),
                'z' | 'Z' => parts.offset_minutes = Some(zones::offset_minutes(text)?),
                _ => {}
            }
        }
        Some(parts)
    }

    fn time(&self) -> Option<Time> {
        Time::new(self.hour, self.minute, self.second, 0).ok()
    }

    /// The day of the year that a week and a weekday name.
    fn day_of_year(&self, year: i16) -> Option<i32> {
        if self.day_of_year.is_some() {
            return self.day_of_year;
        }
        let ((week, week_begin), weekday) = (self.week?, self.weekday?);
        let first = i32::from(Date::new(year, 1, 1).ok()?.weekday().to_monday_zero_offset());
        let from_week_begin = |weekday: i32| (weekday - week_begin).rem_euclid(7);
        let week_0_days = (7 - from_week_begin(first)) % 7;
        Some(if week == 0 {
            1 + from_week_begin(weekday) - from_week_begin(first)
        } else {
            1 + week_0_days + 7 * (week - 1) + from_week_begin(weekday)
        })
    }
}

fn from_fields(fields: &[(char, &str)], now: Timestamp, zone: &Zone) -> Option<Timestamp> {
    let parts = Parts::read(fields)?;
    let now_civil = instant(now)?.to_zoned(zone.local.clone()).datetime();
    let mut year = parts.year.unwrap_or(now_civil.year());
    let (mut month, mut day) = (parts.month, parts.day);
    if (month.is_none() || day.is_none())
        && let Some(day_of_year) = parts.day_of_year(year)
    {
        let date = Date::new(year, 1, 1).ok()?.checked_add(jiff::Span::new().days(day_of_year - 1)).ok()?;
        // The last days of week 0 belong to the year before.
        (year, month, day) = (date.year(), Some(date.month()), Some(date.day()));
    }
    let is_today = month.is_none() && day.is_none();
    let (month, day) = if is_today { (now_civil.month(), now_civil.day()) } else { (month?, day?) };
    let make = |date: Date| in_zone(date.to_datetime(parts.time()?), parts.offset_minutes, zone);
    let date = Date::new(year, month, day).ok()?;
    let at = make(date)?;
    // The same hour of the day before: a change to or from summer time may lie between the two.
    if is_today && at > now {
        return make(date.yesterday().ok()?);
    }
    if parts.year.is_none() && at > now.plus_ms(DAY_MS) {
        return make(Date::new(year - 1, month, day).ok()?);
    }
    Some(at)
}

fn in_zone(civil: DateTime, offset_minutes: Option<i32>, zone: &Zone) -> Option<Timestamp> {
    let zone = match offset_minutes.or(zone.log_offset_minutes) {
        Some(minutes) => TimeZone::fixed(Offset::from_seconds(minutes * 60).ok()?),
        None => zone.local.clone(),
    };
    let millis = zone.to_timestamp(civil).ok()?.as_millisecond();
    u64::try_from(millis).ok().map(Timestamp)
}

fn instant(now: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::template::Template;

    /// 2026-11-20 10:00:30 UTC.
    const NOW: Timestamp = Timestamp(1_795_168_830_000);

    fn at(pattern: &str, text: &str, zone: &Zone) -> Option<String> {
        let template = Template::new(pattern).expect("a pattern");
        let hit = template.search(text, 0..text.len())?;
        let time = to_timestamp(template.kind, &hit, NOW, zone)?;
        Some(instant(time)?.to_string())
    }

    #[test]
    fn fields_are_read_with_their_zone_or_the_local_one() {
        let utc = Zone::local(TimeZone::UTC);
        let plus_two = Zone { log_offset_minutes: Some(120), ..utc.clone() };
        for (pattern, text, expected) in [
            ("%Y-%m-%d %H:%M:%S", "2026-11-20 10:00:00", "2026-11-20T10:00:00Z"),
            ("%Y-%m-%dT%H:%M:%S%z", "2026-11-20T10:00:00+01:00", "2026-11-20T09:00:00Z"),
            ("%b %d %k:%M:%S", "Nov 20  9:00:00", "2026-11-20T09:00:00Z"),
            ("%b %d %H:%M:%S", "Nov 22 10:00:00", "2025-11-22T10:00:00Z"),
            ("%b %d %H:%M:%S", "nov 21 10:00:00", "2026-11-21T10:00:00Z"),
            ("%H:%M:%S", "10:00:29", "2026-11-20T10:00:29Z"),
            ("%H:%M:%S", "10:01:00", "2026-11-19T10:01:00Z"),
            ("%y%m%d %H:%M:%S", "261120 10:00:00", "2026-11-20T10:00:00Z"),
            ("%b %d, %Y %I:%M:%S %p", "Nov 20, 2026 12:00:00 AM", "2026-11-20T00:00:00Z"),
            ("%b %d, %Y %I:%M:%S %p", "Nov 20, 2026 1:00:00 pm", "2026-11-20T13:00:00Z"),
            ("%Y %j %H", "2026 324 10", "2026-11-20T10:00:00Z"),
            ("%a %W %Y", "Fri 46 2026", "2026-11-20T00:00:00Z"),
            ("%a %W %Y", "Mon 0 2026", "2025-12-29T00:00:00Z"),
            ("%Y-%m-%d %l:%M", "2026-11-20 13:00", "2026-11-20T13:00:00Z"),
            ("%Y-%m-%d %H:%M:%S %Exz", "2026-11-20 10:00:00 CET+01", "2026-11-20T08:00:00Z"),
            ("%c", "Fri Nov 20 10:00:00 2026", "2026-11-20T10:00:00Z"),
            ("%x %X", "11/20/26 10:00:00", "2026-11-20T10:00:00Z"),
            ("EPOCH", "1795168800.500", "2026-11-20T10:00:00.5Z"),
            ("LEPOCH", "1795168800123", "2026-11-20T10:00:00.123Z"),
            ("TAI64N", "@400000006b000000deadbeef", "2026-11-20T08:08:32Z"),
        ] {
            assert_eq!(at(pattern, text, &utc).as_deref(), Some(expected), "{pattern} {text}");
        }
        assert_eq!(at("%Y-%m-%d %H", "2026-11-20 10", &plus_two).as_deref(), Some("2026-11-20T08:00:00Z"));
    }

    #[test]
    fn a_time_without_a_date_is_the_last_such_time_on_the_clock() {
        let zone = Zone::local(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0").expect("a zone"));
        let at = |now: &str, text: &str| {
            let now: jiff::Timestamp = now.parse().expect("a time");
            let now = Timestamp(u64::try_from(now.as_millisecond()).expect("after 1970"));
            let template = Template::new("%H:%M:%S").expect("a pattern");
            let hit = template.search(text, 0..text.len()).expect("matches");
            to_timestamp(template.kind, &hit, now, &zone).and_then(instant).map(|at| at.to_string())
        };
        assert_eq!(at("2026-03-29T01:20:00Z", "07:42:38").as_deref(), Some("2026-03-28T06:42:38Z"));
        assert_eq!(at("2026-03-29T10:00:00Z", "12:00:00").as_deref(), Some("2026-03-29T10:00:00Z"));
    }

    #[test]
    fn days_that_do_not_exist_are_no_dates() {
        let utc = Zone::local(TimeZone::UTC);
        for (pattern, text) in [
            ("%Y-%m-%d", "2026-02-30"),
            ("%Y-%m-%d %H:%M:%S", "2026-11-20 10:00:60"),
            ("%Y-%m-%d %k", "2026-11-20 29"),
            ("%Y-%m-%d %l %p", "2026-11-20 13 pm"),
            ("%Y-%m-%d %H %Exz", "2026-11-20 10 XYZ"),
            ("%b %d", "Feb 29"),
        ] {
            assert_eq!(at(pattern, text, &utc), None, "{text}");
        }
    }
}
