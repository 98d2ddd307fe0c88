//! `%Y-%m-%d %H:%M:%S` as a regular expression with one named group per field.
//!
//! The letters are those of strptime(3), with fail2ban's additions: `%k` and `%l` take a leading
//! blank, `%Ex…` takes exactly two digits, `%ExY` takes a year of this century.

/// Names of days and months as they stand in logs, which are written in the C locale.
pub const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// Monday first.
pub const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The expression that a pattern with `%` stands for.
///
/// # Errors
/// A phrase, when a `%` is followed by something that is no field.
pub fn expand(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() * 4);
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let length = if behind.starts_with("Ex") { 3 } else { 1 };
        let name: String = behind.chars().take(length).collect();
        match field(&name) {
            Some(expression) => out.push_str(&expression),
            None => {
                return Err(format!("`%{name}` is no field of a date; write `%%` for a percent sign"));
            }
        }
        rest = &behind[name.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether the pattern has fields made of letters, which are matched in either case.
#[must_use]
pub fn has_letters(pattern: &str) -> bool {
    let mut bytes = pattern.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            match bytes.next() {
                Some(b'a' | b'A' | b'b' | b'B' | b'p' | b'c') => return true,
                _ => continue,
            }
        }
    }
    false
}

fn field(name: &str) -> Option<String> {
    const ABBREVIATION: &str = "[A-Z](?:[A-Z]{2,4})?";
    const CLASSIC_DAY: &str = r"(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])";
    const CLASSIC_TIME: &str = r"(?P<H>2[0-3]|[0-1]\d|\d):(?P<M>[0-5]\d|\d):(?P<S>6[0-1]|[0-5]\d|\d)";
    let of = |expression: &str| Some(expression.to_owned());
    let names = |group: &str, names: &[&str], length: usize| {
        let mut all: Vec<&str> = names.iter().map(|name| &name[..name.len().min(length)]).collect();
        // The longest first, so that no name hides a longer one.
        all.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Some(format!("(?P<{group}>{})", all.join("|")))
    };
    match name {
        "%" => of("%"),
        "a" => names("a", &DAYS, 3),
        "A" => names("A", &DAYS, usize::MAX),
        "b" => names("b", &MONTHS, 3),
        "B" => names("B", &MONTHS, usize::MAX),
        "d" => of(r"(?P<d>[1-2]\d|[0 ]?[1-9]|3[0-1])"),
        "Exd" => of(r"(?P<d>[1-2]\d|0[1-9]|3[0-1])"),
        "m" => of("(?P<m>0?[1-9]|1[0-2])"),
        "Exm" => of("(?P<m>0[1-9]|1[0-2])"),
        "Y" => of(r"(?P<Y>\d{4})"),
        "ExY" => of(r"(?P<Y>20\d\d)"),
        "y" => of(r"(?P<y>\d\d)"),
        "Exy" => of(r"(?P<y>\d{2})"),
        "H" => of(r"(?P<H>[0-1]?\d|2[0-3])"),
        "ExH" => of(r"(?P<H>[0-1]\d|2[0-3])"),
        "k" => of(r" ?(?P<H>[0-2]?\d)"),
        "Exk" => of(r" ?(?P<H>[0-1]?\d|2[0-3])"),
        "I" => of("(?P<I>1[0-2]|0[1-9]|[1-9])"),
        "l" => of(r" ?(?P<I>1?\d)"),
        "Exl" => of(r" ?(?P<I>1[0-2]|\d)"),
        "M" => of(r"(?P<M>[0-5]?\d)"),
        "ExM" => of(r"(?P<M>[0-5]\d)"),
        "S" => of(r"(?P<S>[0-5]?\d|6[0-1])"),
        "ExS" => of(r"(?P<S>[0-5]\d|6[0-1])"),
        "f" => of("(?P<f>[0-9]{1,6})"),
        "p" => of("(?P<p>am|pm)"),
        "j" => of(r"(?P<j>36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9])"),
        "w" => of("(?P<w>[0-6])"),
        "U" => of(r"(?P<U>5[0-3]|[0-4]\d|\d)"),
        "W" => of(r"(?P<W>5[0-3]|[0-4]\d|\d)"),
        // Fields that a date may have and that say nothing which the others do not say.
        "G" => of(r"(?P<G>\d\d\d\d)"),
        "u" => of("(?P<u>[1-7])"),
        "V" => of(r"(?P<V>5[0-3]|0[1-9]|[1-4]\d|\d)"),
        // The C locale's own way of writing date and time, date, time.
        "c" => Some(format!(
            r"{}\s+{}\s+{CLASSIC_DAY}\s+{CLASSIC_TIME}\s+(?P<Y>\d\d\d\d)",
            names("a", &DAYS, 3)?,
            names("b", &MONTHS, 3)?
        )),
        "x" => Some(format!(r"(?P<m>1[0-2]|0[1-9]|[1-9])/{CLASSIC_DAY}/(?P<y>\d\d)")),
        "X" => of(CLASSIC_TIME),
        "z" => of(r"(?P<z>Z|UTC|GMT|[+-][01]\d(?::?\d{2})?)"),
        "Z" => of("(?P<Z>Z|[A-Z]{3,5})"),
        "Exz" => Some(format!(r"(?P<z>(?:{ABBREVIATION})?[+-][01]\d(?::?\d{{2}})?|{ABBREVIATION})")),
        "ExZ" => Some(format!("(?P<Z>{ABBREVIATION})")),
        _ => None,
    }
}

/// Writes an expression with a back-reference to a group of single characters, such as
/// `%Y(?P<_sep>[-/.])%m(?P=_sep)%d`, as one alternative per character, so that the linear engine
/// takes it. Groups of later alternatives get the suffix `__1`, `__2`, …: see [`plain_name`].
#[must_use]
pub fn without_back_reference(expression: &str) -> Option<String> {
    let at = expression.find("(?P=")?;
    let name = &expression[at + 4..at + expression[at..].find(')')?];
    let reference = format!("(?P={name})");
    let opening = format!("(?P<{name}>[");
    let class_at = expression.find(&opening)? + opening.len();
    let class_end = class_at + expression[class_at..].find("])")?;
    let class = &expression[class_at..class_end];
    let group = format!("(?P<{name}>[{class}])");
    // A leading `-` and plain punctuation are single characters; ranges and escapes are not handled.
    if class.contains(['\\', '^', '[']) || class.get(1..).is_some_and(|tail| tail.contains('-')) {
        return None;
    }
    let alternatives: Vec<String> = class
        .chars()
        .enumerate()
        .map(|(n, c)| {
            let literal = regex::escape(&c.to_string());
            let one = expression.replace(&group, &literal).replace(&reference, &literal);
            if n == 0 { one } else { with_suffix(&one, n) }
        })
        .collect();
    Some(format!("(?:{})", alternatives.join("|")))
}

fn with_suffix(expression: &str, number: usize) -> String {
    let mut out = String::with_capacity(expression.len() + 64);
    let mut rest = expression;
    while let Some(at) = rest.find("(?P<") {
        let end = at + rest[at..].find('>').unwrap_or(rest.len() - at - 1);
        out.push_str(&rest[..end]);
        out.push_str(&format!("__{number}"));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// A group's name without the suffix of [`without_back_reference`].
#[must_use]
pub fn plain_name(group: &str) -> &str {
    group.split_once("__").map_or(group, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_groups_and_unknown_ones_are_refused() {
        let expression = expand(r"^\[%d/%b/%Y:%H:%M:%S %z\] 100%%").expect("all fields are known");
        let regex = regex::Regex::new(&format!("(?i){expression}")).expect("compiles");
        let found = regex.captures("[09/Nov/2026:08:07:06 +0100] 100%").expect("matches");
        assert_eq!((&found["d"], &found["b"], &found["z"]), ("09", "Nov", "+0100"));
        assert!(expand("%Q").is_err());
        assert!(expand("100%").is_err());
    }

    #[test]
    fn letters_are_noticed_but_not_behind_a_percent_sign() {
        assert!(has_letters("%d/%b"));
        assert!(!has_letters("%d%%b %Exd"));
    }

    #[test]
    fn a_separator_that_comes_twice_becomes_alternatives() {
        let expression = expand("%Y(?P<_sep>[-/.])%m(?P=_sep)%d").expect("known");
        let linear = without_back_reference(&expression).expect("single characters");
        let regex = regex::Regex::new(&linear).expect("linear");
        assert!(regex.is_match("2026/11/20") && regex.is_match("2026-11-20") && regex.is_match("2026.11.20"));
        assert!(!regex.is_match("2026/11-20"));
        assert_eq!(plain_name("Y__2"), "Y");
    }
}
