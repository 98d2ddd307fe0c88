//! Lengths of time as fail2ban's users write them: `600`, `10m`, `1d 12h`, `1h-30m`, `2*1h`.
//!
//! fail2ban hands the text to Python; here it is a small calculator for numbers with units, `+`,
//! `-`, `*`, `/` and parentheses. Blanks between two parts mean `+`. Nothing else is calculated.

/// Seconds in a unit, by the names that fail2ban knows; upper and lower case are the same.
const UNITS: [(&[&str], f64); 7] = [
    (&["days", "day", "da", "dd", "d"], 86_400.0),
    (&["weeks", "week", "wee", "we", "ww", "w"], 604_800.0),
    (&["months", "month", "mon", "mo"], 2_629_800.0),
    (&["years", "year", "yea", "ye", "yy", "y"], 31_557_600.0),
    (&["seconds", "second", "secs", "sec", "se", "ss", "s"], 1.0),
    (&["minutes", "minute", "mins", "min", "mi", "mm", "m"], 60.0),
    (&["hours", "hour", "hou", "ho", "hh", "h"], 3_600.0),
];

/// No time of ours is longer: three thousand years, which fits every clock.
const SECONDS_MAX: f64 = 1e11;
/// Parentheses may be nested so deep.
const DEPTH_MAX: usize = 16;

/// The seconds that `text` means.
///
/// # Errors
/// A sentence that says what is not understood and what would be.
pub fn seconds(text: &str) -> Result<f64, String> {
    let mut calculator = Calculator { rest: text.trim(), depth: 0 };
    let failed = || {
        format!("`{text}` is no length of time; write e.g. 600, 10m, 1d 12h or -1 (units: s m h d w mo y)")
    };
    let value = calculator.sum().ok_or_else(failed)?;
    if !calculator.rest.is_empty() {
        return Err(failed());
    }
    if !value.is_finite() || value.abs() > SECONDS_MAX {
        return Err(format!(
            "`{text}` is too long a time; the longest is {SECONDS_MAX} seconds (-1 bans for ever)"
        ));
    }
    Ok(value)
}

/// The same in milliseconds, for what can not be negative.
///
/// # Errors
/// As [`seconds`], and when it is negative.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let seconds = seconds(text)?;
    if seconds < 0.0 {
        return Err(format!("`{text}` is negative; write a length of time such as 10m"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e14")]
    Ok((seconds * 1_000.0).round() as u64)
}

struct Calculator<'t> {
    rest: &'t str,
    depth: usize,
}

impl Calculator<'_> {
    fn take(&mut self, c: char) -> bool {
        let trimmed = self.rest.trim_start();
        let Some(behind) = trimmed.strip_prefix(c) else { return false };
        self.rest = behind.trim_start();
        true
    }

    fn sum(&mut self) -> Option<f64> {
        let mut total = self.product()?;
        loop {
            if self.take('+') {
                total += self.product()?;
            } else if self.take('-') {
                total -= self.product()?;
            } else if self.rest.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
                total += self.product()?;
            } else {
                return Some(total);
            }
        }
    }

    fn product(&mut self) -> Option<f64> {
        let mut total = self.factor()?;
        loop {
            if self.take('*') {
                total *= self.factor()?;
            } else if self.take('/') {
                total /= self.factor()?;
            } else {
                return Some(total);
            }
        }
    }

    fn factor(&mut self) -> Option<f64> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let value = if self.take('-') {
            -self.factor()?
        } else if self.take('(') {
            let value = self.sum()?;
            if !self.take(')') {
                return None;
            }
            value
        } else {
            self.number()?
        };
        self.depth -= 1;
        Some(value)
    }

    fn number(&mut self) -> Option<f64> {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let number: f64 = text[..end].parse().ok()?;
        let behind = text[end..].trim_start();
        let unit_end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        if unit_end == 0 {
            self.rest = &text[end..];
            return Some(number);
        }
        let unit = behind[..unit_end].to_lowercase();
        let (_, seconds) = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str()))?;
        self.rest = &behind[unit_end..];
        Some(number * seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_fail2ban_users() {
        for (text, expected) in [
            ("600", 600.0),
            ("-1", -1.0),
            ("10m", 600.0),
            ("1w 1d", 691_200.0),
            ("1d12h", 129_600.0),
            ("1h30m", 5_400.0),
            ("1.5h", 5_400.0),
            ("1h-30m", 1_800.0),
            ("2*1h", 7_200.0),
            ("3mm", 180.0),
            ("1 hour + 5min", 3_900.0),
            ("2 weeks", 1_209_600.0),
            ("1mo", 2_629_800.0),
            ("1y 6mo", 47_336_400.0),
            ("1H 2M 3S", 3_723.0),
            ("1w2d3h4m5s", 788_645.0),
            ("2mon", 5_259_600.0),
            ("(1h + 1m) * 2", 7_320.0),
            (" 5 minutes ", 300.0),
            ("60*60", 3_600.0),
            ("1d/24", 3_600.0),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_remedy() {
        for text in [
            "",
            "soon",
            "10x",
            "1h/0",
            "1h//2",
            "import os",
            "1 2 (",
            "((",
            "1e999",
            "99999999999999",
            "1h +",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(seconds(&"(".repeat(10_000)).is_err());
        assert!(seconds("soon").expect_err("refused").contains("10m"));
        assert_eq!(milliseconds("1.5s"), Ok(1_500));
        assert!(milliseconds("-1").is_err());
    }
}
