//! The arithmetic of `bantime.formula` and `bantime.factor`: as much of Python as such formulas use.
//!
//! Numbers, `+ - * / // % ** << >>`, comparisons, `a if condition else b`, `not and or`, a few functions and
//! constants of `math`, and the names that the caller knows (`ban.Time`, `ban.Count`, `banFactor`). Values are
//! floating-point numbers, as they are when fail2ban is done with a formula. Nothing else of Python is here,
//! and nothing can be called that is not in `FUNCTIONS`.

/// A formula is not read beyond this.
pub const FORMULA_BYTES_MAX: usize = 4_096;
/// Parentheses, powers and conditions may be nested so deep.
const DEPTH_MAX: usize = 32;

/// A function of numbers, and how many it takes (at least, at most).
type Function = (&'static str, usize, usize, fn(&[f64]) -> f64);

/// What a formula may call.
const FUNCTIONS: [Function; 15] = [
    ("math.exp", 1, 1, |a| a[0].exp()),
    ("math.log", 1, 2, |a| if a.len() == 1 { a[0].ln() } else { a[0].ln() / a[1].ln() }),
    ("math.log2", 1, 1, |a| a[0].log2()),
    ("math.log10", 1, 1, |a| a[0].log10()),
    ("math.sqrt", 1, 1, |a| a[0].sqrt()),
    ("math.pow", 2, 2, |a| a[0].powf(a[1])),
    ("pow", 2, 2, |a| a[0].powf(a[1])),
    ("math.floor", 1, 1, |a| a[0].floor()),
    ("math.ceil", 1, 1, |a| a[0].ceil()),
    ("int", 1, 1, |a| a[0].trunc()),
    ("float", 1, 1, |a| a[0]),
    ("round", 1, 1, |a| a[0].round_ties_even()),
    ("abs", 1, 1, |a| a[0].abs()),
    ("min", 1, 16, |a| a.iter().copied().fold(f64::INFINITY, f64::min)),
    ("max", 1, 16, |a| a.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
];

/// What `text` comes to, with the values of `names`.
///
/// # Errors
/// What is not understood, and where; or that the outcome is no number.
pub fn evaluate(text: &str, names: &[(&str, f64)]) -> Result<f64, String> {
    if text.len() > FORMULA_BYTES_MAX {
        return Err(format!("it is longer than {FORMULA_BYTES_MAX} bytes"));
    }
    let mut reader = Reader { text, rest: text, names, depth: 0 };
    let value = reader.condition()?;
    if !reader.rest.trim_start().is_empty() {
        return Err(reader.unexpected());
    }
    if value.is_nan() {
        return Err("its value is no number".to_owned());
    }
    Ok(value)
}

struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
    names: &'t [(&'t str, f64)],
    depth: usize,
}

/// The outcome of a part of a formula.
type Number = Result<f64, String>;

impl<'t> Reader<'t> {
    fn unexpected(&self) -> String {
        let rest = self.rest.trim_start();
        if rest.is_empty() {
            return "it ends too early".to_owned();
        }
        let word: String = rest.chars().take(20).collect();
        let at = self.text[..self.text.len() - rest.len()].chars().count() + 1;
        format!("`{word}` at character {at} is not understood")
    }

    fn take(&mut self, symbol: &str) -> bool {
        let Some(behind) = self.rest.trim_start().strip_prefix(symbol) else { return false };
        self.rest = behind;
        true
    }

    /// Takes an operator, unless it is only the beginning of a longer one.
    fn take_only(&mut self, symbol: &str, not: &[&str]) -> bool {
        let rest = self.rest.trim_start();
        !not.iter().any(|longer| rest.starts_with(longer)) && self.take(symbol)
    }

    /// Takes a word that is not part of a longer one.
    fn word(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let is_it = rest.strip_prefix(word).is_some_and(|behind| !behind.starts_with(is_name));
        is_it && self.take(word)
    }

    fn deeper(&mut self, part: fn(&mut Self) -> Number) -> Number {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} levels deep"));
        }
        let value = part(self);
        self.depth -= 1;
        value
    }

    /// `a if condition else b`
    fn condition(&mut self) -> Number {
        let value = self.or()?;
        if !self.word("if") {
            return Ok(value);
        }
        let condition = self.or()?;
        if !self.word("else") {
            return Err(self.unexpected());
        }
        let other = self.deeper(Self::condition)?;
        Ok(if condition != 0.0 { value } else { other })
    }

    fn or(&mut self) -> Number {
        let mut value = self.and()?;
        while self.word("or") {
            let right = self.and()?;
            value = if value != 0.0 { value } else { right };
        }
        Ok(value)
    }

    fn and(&mut self) -> Number {
        let mut value = self.not()?;
        while self.word("and") {
            let right = self.not()?;
            value = if value == 0.0 { value } else { right };
        }
        Ok(value)
    }

    fn not(&mut self) -> Number {
        if self.word("not") {
            return Ok(truth(self.deeper(Self::not)? == 0.0));
        }
        self.comparison()
    }

    /// `a < b <= c` holds when both parts do.
    fn comparison(&mut self) -> Number {
        let mut left = self.shift()?;
        let mut outcome = None;
        loop {
            let compare: fn(f64, f64) -> bool = if self.take("<=") {
                |a, b| a <= b
            } else if self.take(">=") {
                |a, b| a >= b
            } else if self.take("==") {
                |a, b| a == b
            } else if self.take("!=") {
                |a, b| a != b
            } else if self.take_only("<", &["<<"]) {
                |a, b| a < b
            } else if self.take_only(">", &[">>"]) {
                |a, b| a > b
            } else {
                return Ok(outcome.map_or(left, truth));
            };
            let right = self.shift()?;
            outcome = Some(outcome.unwrap_or(true) && compare(left, right));
            left = right;
        }
    }

    fn shift(&mut self) -> Number {
        let mut value = self.sum()?;
        loop {
            if self.take("<<") {
                value *= self.sum()?.exp2();
            } else if self.take(">>") {
                value = (value / self.sum()?.exp2()).floor();
            } else {
                return Ok(value);
            }
        }
    }

    fn sum(&mut self) -> Number {
        let mut value = self.product()?;
        loop {
            if self.take("+") {
                value += self.product()?;
            } else if self.take("-") {
                value -= self.product()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Number {
        let mut value = self.sign()?;
        loop {
            if self.take_only("*", &["**"]) {
                value *= self.sign()?;
            } else if self.take("//") {
                value = (value / self.divisor()?).floor();
            } else if self.take("/") {
                value /= self.divisor()?;
            } else if self.take("%") {
                let divisor = self.divisor()?;
                value -= divisor * (value / divisor).floor();
            } else {
                return Ok(value);
            }
        }
    }

    fn divisor(&mut self) -> Number {
        let value = self.sign()?;
        if value == 0.0 { Err("it divides by zero".to_owned()) } else { Ok(value) }
    }

    fn sign(&mut self) -> Number {
        if self.take("-") {
            return Ok(-self.deeper(Self::sign)?);
        }
        if self.take("+") {
            return self.deeper(Self::sign);
        }
        let value = self.atom()?;
        if self.take("**") { Ok(value.powf(self.deeper(Self::sign)?)) } else { Ok(value) }
    }

    fn atom(&mut self) -> Number {
        if self.take("(") {
            let value = self.deeper(Self::condition)?;
            return if self.take(")") { Ok(value) } else { Err(self.unexpected()) };
        }
        let rest = self.rest.trim_start();
        if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return self.number();
        }
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        let constants = [("math.pi", std::f64::consts::PI), ("math.e", std::f64::consts::E)];
        if let Some((_, value)) = self.names.iter().chain(&constants).find(|(other, _)| *other == name) {
            self.take(name);
            return Ok(*value);
        }
        let Some(&(_, least, most, function)) = FUNCTIONS.iter().find(|(other, ..)| *other == name) else {
            return Err(self.unexpected());
        };
        self.take(name);
        let arguments = self.arguments()?;
        if arguments.len() < least || arguments.len() > most {
            return Err(format!("{name}() does not take {} values", arguments.len()));
        }
        Ok(function(&arguments))
    }

    fn arguments(&mut self) -> Result<Vec<f64>, String> {
        let mut arguments = Vec::new();
        if !self.take("(") {
            return Err(self.unexpected());
        }
        while !self.take(")") {
            if !arguments.is_empty() && !self.take(",") {
                return Err(self.unexpected());
            }
            arguments.push(self.deeper(Self::condition)?);
        }
        Ok(arguments)
    }

    /// `12`, `1.5`, `.5`, `1e3`
    fn number(&mut self) -> Number {
        let rest = self.rest.trim_start();
        let mut end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        if let Some(behind) = rest[end..].strip_prefix(['e', 'E']) {
            let digits = behind.strip_prefix(['+', '-']).unwrap_or(behind);
            let n_digits = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            if n_digits > 0 {
                end += 1 + (behind.len() - digits.len()) + n_digits;
            }
        }
        let value = rest[..end].parse().map_err(|_| self.unexpected())?;
        self.rest = &rest[end..];
        Ok(value)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<f64, String> {
        evaluate(text, &[("ban.Time", 600.0), ("ban.Count", 3.0), ("banFactor", 2.0)])
    }

    #[test]
    fn arithmetic_is_pythons() {
        for (text, expected) in [
            ("2 + 3 * 4", 14.0),
            ("-2 ** 2", -4.0),
            ("2 ** -1", 0.5),
            ("7 // 2 + 7 % 4 + -7 % 4", 7.0),
            ("1 << 3 + 1", 16.0),
            ("(1 if 2 < 3 <= 3 else 0) + (5 if not 0 and 0 or 0 else 6)", 7.0),
            ("1e3 + .5 + 1.5E-1", 1000.65),
            ("min(3, 1, 2) + max(1, 2) + int(2.9) + abs(-1)", 6.0),
            ("math.log(8, 2) + math.sqrt(16) + math.pow(2, 3)", 15.0),
            ("ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor", 9600.0),
            ("round(2.5) + round(3.5)", 6.0),
        ] {
            assert!((value(text).expect(text) - expected).abs() < 1e-9, "{text}: {:?}", value(text));
        }
        let grown = value("ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)");
        assert!((grown.expect("known") - 600.0 * 6.0_f64.exp()).abs() < 1e-6);
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        assert_eq!(
            value("1 + __import__('os')"),
            Err("`__import__('os')` at character 5 is not understood".to_owned())
        );
        for text in [
            "",
            "1 +",
            "1 2",
            "(1",
            "ban.Nothing",
            "math.exp",
            "math.exp(1, 2)",
            "1/0",
            "1 if 2",
            "a=1",
            "1..2",
        ] {
            assert!(value(text).is_err(), "{text}");
        }
        assert!(value(&"(".repeat(5_000)).is_err());
        assert!(value(&"-".repeat(4_000)).expect_err("deep").contains("levels deep"));
        assert!(value("(0-1) ** 0.5").expect_err("complex").contains("no number"));
    }
}
