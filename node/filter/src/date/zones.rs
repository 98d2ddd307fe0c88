//! Names and offsets of time zones as they stand in log lines and in `logtimezone`.
//!
//! A name here is a fixed offset: CET is +1 in summer too, as in fail2ban. For the zone that this
//! host lives in, with its summer time, the caller passes a `jiff::tz::TimeZone`.

/// Zone names with their offset from UTC in hours. Where a name is used on several continents the
/// offset is the one that fail2ban takes.
const NAMES: [(&str, i32); 44] = [
    ("UTC", 0),
    ("GMT", 0),
    ("WET", 0),
    ("WEST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("WAT", 1),
    ("CAT", 2),
    ("SAST", 2),
    ("EAT", 3),
    ("IDT", 3),
    ("MSK", 3),
    ("MSD", 4),
    ("AMT", 4),
    ("GST", 4),
    ("PKT", 5),
    ("UZT", 5),
    ("YEKT", 5),
    ("NOVT", 6),
    ("ICT", 7),
    ("KRAT", 7),
    ("AWST", 8),
    ("HKT", 8),
    ("PHT", 8),
    ("SGT", 8),
    ("ULAT", 8),
    ("IRKT", 8),
    ("JST", 9),
    ("KST", 9),
    ("YAKT", 9),
    ("AST", -4),
    ("ADT", -3),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("AKST", -9),
    ("HST", -10),
];

/// The offset in minutes east of UTC that `zone` means: `Z`, `UTC`, `CET`, `+0100`, `-05:30`,
/// `UTC+02`, or a single military letter. `None` when it is no zone that is known.
#[must_use]
pub fn offset_minutes(zone: &str) -> Option<i32> {
    let sign_at = zone.find(['+', '-']).unwrap_or(zone.len());
    let (name, offset) = zone.split_at(sign_at);
    let base = if name.is_empty() { 0 } else { named_hours(name)? * 60 };
    if offset.is_empty() {
        return (!name.is_empty()).then_some(base);
    }
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits: String = offset[1..].chars().filter(|&c| c != ':').collect();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i32>().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    Some(base + sign * (hours * 60 + minutes))
}

fn named_hours(name: &str) -> Option<i32> {
    if let [letter @ b'A'..=b'Z'] = name.as_bytes() {
        // ACP 121, the military zones: A to M without J are east, N to Y are west.
        let letter = i32::from(*letter);
        return match letter - i32::from(b'A') {
            n @ 0..=8 => Some(n + 1),
            n @ 10..=12 => Some(n),
            n @ 13..=24 => Some(12 - n),
            25 => Some(0),
            _ => None,
        };
    }
    NAMES.iter().find(|(other, _)| *other == name).map(|&(_, hours)| hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_letters_and_offsets() {
        for (zone, minutes) in [
            ("Z", 0),
            ("UTC", 0),
            ("A", 60),
            ("I", 540),
            ("K", 600),
            ("M", 720),
            ("N", -60),
            ("Y", -720),
            ("CEST", 120),
            ("+0100", 60),
            ("-05:30", -330),
            ("+02", 120),
            ("UTC+0130", 90),
            ("CET-01", 0),
        ] {
            assert_eq!(offset_minutes(zone), Some(minutes), "{zone}");
        }
        for zone in ["", "J", "NOPE", "+1", "+01x0", "Europe/Vienna"] {
            assert_eq!(offset_minutes(zone), None, "{zone}");
        }
    }
}
