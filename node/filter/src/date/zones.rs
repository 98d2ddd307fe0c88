//! Names and offsets of time zones as they stand in log lines and in `logtimezone`.
//!
//! A name here is a fixed offset: CET is +1 in summer too, as in fail2ban. For the zone that this
//! host lives in, with its summer time, the caller passes a `jiff::tz::TimeZone`.

/// Minutes east of UTC, and the names of zones that are so far. Where a name is used on several continents
/// the offset is the one that fail2ban takes.
const NAMES: [(i32, &str); 37] = [
    (-660, "NUT SST"),
    (-600, "CKT HAST HST TAHT TKT"),
    (-570, "MART MIT"),
    (-540, "AKST GAMT GIT HADT HNY"),
    (-480, "AKDT CIST HAY HNP PST PT"),
    (-420, "HAP HNR MST PDT"),
    (-360, "CST EAST GALT HAR HNC MDT"),
    (-300, "CDT COT EASST ECT EST ET HAC HNE PET"),
    (-270, "HLV VET"),
    (-240, "AST BOT CLT COST EDT FKT GYT HAE HNA PYT"),
    (-210, "HNT NST NT"),
    (-180, "ADT ART BRT CLST FKST GFT HAA PMST PYST SRT UYT WGT"),
    (-150, "HAT NDT"),
    (-120, "BRST FNT PMDT UYST WGST"),
    (-60, "AZOT CVT EGT"),
    (0, "EGST GMT UTC WET WT"),
    (60, "CET DFT WAT WEDT WEST"),
    (120, "CAT CEDT CEST EET SAST WAST"),
    (180, "EAT EEDT EEST IDT MSK"),
    (210, "IRST"),
    (240, "AMT AZT GET GST KUYT MSD MUT RET SAMT SCT"),
    (270, "AFT IRDT"),
    (300, "AMST AQTT AZST HMT MAWT MVT PKT TFT TJT TMT UZT YEKT"),
    (330, "SLT"),
    (345, "NPT"),
    (360, "ALMT BIOT BTT IOT KGT NOVT OMST YEKST"),
    (390, "CCT MMT"),
    (420, "CXT DAVT HOVT ICT KRAT NOVST OMSST THA WIB"),
    (480, "ACT AWST BDT BNT CAST HKT IRKT KRAST MYT PHT SGT ULAT WITA WST"),
    (540, "AWDT IRKST JST KST PWT TLT WDT WIT YAKT"),
    (570, "ACST"),
    (600, "AEST PGT VLAT YAKST YAPT"),
    (630, "ACDT LHST"),
    (660, "AEDT LHDT MAGT NCT PONT SBT VLAST VUT"),
    (690, "NFT"),
    (720, "ANAST ANAT FJT GILT MAGST MHT NZST PETST PETT TVT WFT"),
    (780, "FJST NZDT"),
];

/// The offset in minutes east of UTC that `zone` means: `Z`, `UTC`, `CET`, `+0100`, `-05:30`,
/// `UTC+02`, or a single military letter. `None` when it is no zone that is known.
#[must_use]
pub fn offset_minutes(zone: &str) -> Option<i32> {
    let sign_at = zone.find(['+', '-']).unwrap_or(zone.len());
    let (name, offset) = zone.split_at(sign_at);
    let base = if name.is_empty() { 0 } else { named_minutes(name)? };
    if offset.is_empty() {
        return (!name.is_empty()).then_some(base);
    }
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits: String = offset[1..].chars().filter(|&c| c != ':').collect();
    if !digits.starts_with(['0', '1']) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i32>().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    Some(base + sign * (hours * 60 + minutes))
}

fn named_minutes(name: &str) -> Option<i32> {
    if let [letter @ b'A'..=b'Z'] = name.as_bytes() {
        // ACP 121, the military zones: A to M without J are east, N to Y are west.
        let letter = i32::from(*letter);
        let hours = match letter - i32::from(b'A') {
            n @ 0..=8 => n + 1,
            n @ 10..=12 => n,
            n @ 13..=24 => 12 - n,
            25 => 0,
            _ => return None,
        };
        return Some(hours * 60);
    }
    let (minutes, _) = NAMES.iter().find(|(_, names)| names.split(' ').any(|other| other == name))?;
    Some(*minutes)
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
            ("NPT", 345),
            ("NST", -210),
        ] {
            assert_eq!(offset_minutes(zone), Some(minutes), "{zone}");
        }
        for zone in ["", "J", "NOPE", "cet", "+1", "+01x0", "+2000", "Europe/Vienna"] {
            assert_eq!(offset_minutes(zone), None, "{zone}");
        }
    }
}
