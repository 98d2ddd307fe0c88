//! Formats of dates as fail2ban-regex names them: `%Y-%m-%d` is shown as `Year-Month-Day`.
//!
//! Only names; what a format matches is in `bannkreis_filter::date`.

/// Fields and their names, the two-letter families first.
const FIELDS: [(&str, &str); 17] = [
    ("a", "DAY"),
    ("A", "DAYNAME"),
    ("b", "MON"),
    ("B", "MONTH"),
    ("d", "Day"),
    ("H", "24hour"),
    ("I", "12hour"),
    ("j", "Yearday"),
    ("m", "Month"),
    ("M", "Minute"),
    ("p", "AMPM"),
    ("S", "Second"),
    ("U", "Yearweek"),
    ("w", "Weekday"),
    ("W", "Yearweek"),
    ("y", "Year2"),
    ("Y", "Year"),
];
const MORE_FIELDS: [(&str, &str); 3] = [("z", "Zone offset"), ("f", "Microseconds"), ("Z", "Zone name")];

/// The name of the format that `pattern` describes.
#[must_use]
pub(super) fn shown(pattern: &str) -> String {
    match pattern.strip_prefix("{^LN-BEG}").unwrap_or(pattern) {
        "EPOCH" => return pattern.replace("EPOCH", "Epoch"),
        "LEPOCH" => return pattern.replace("LEPOCH", "LongEpoch"),
        _ => {}
    }
    let mut name = String::with_capacity(pattern.len() * 2);
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        name.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let (prefix, letter) = match behind.strip_prefix("Ex") {
            Some(letter) => ("Ex", letter),
            None => ("", behind),
        };
        let field = letter.chars().next().map(|c| &letter[..c.len_utf8()]).unwrap_or_default();
        match FIELDS.iter().chain(&MORE_FIELDS).find(|(known, _)| *known == field) {
            Some((_, spoken)) => {
                name.push_str(prefix);
                name.push_str(spoken);
            }
            None if field == "%" => name.push('%'),
            None => name.push_str(&format!("%{prefix}{field}")),
        }
        rest = &letter[field.len()..];
    }
    name.push_str(rest);
    name
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn formats_have_the_names_that_fail2ban_gives_them() {
        for (pattern, name) in [
            (
                r"{^LN-BEG}(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
                r"{^LN-BEG}(?:DAY )?MON Day %k:Minute:Second(?:\.Microseconds)?(?: ExYear)?",
            ),
            ("{^LN-BEG}EPOCH", "{^LN-BEG}Epoch"),
            ("%Exy%Exm%Exd  ?%H:%M:%S", "ExYear2ExMonthExDay  ?24hour:Minute:Second"),
            ("TAI64N", "TAI64N"),
            ("100%% %z", "100% Zone offset"),
        ] {
            assert_eq!(shown(pattern), name);
        }
    }
}
