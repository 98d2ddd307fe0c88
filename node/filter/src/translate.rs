//! Python's regular expression syntax, written as Rust's engines understand it, with the same
//! meaning.
//!
//! Where the two read one spelling differently (`$`, `[[]`, `{,3}`, `\Z`, `\<`), the Rust spelling
//! is chosen that means what Python means. Whether an expression needs look-around or
//! back-references is not decided here: `pattern` tries the linear engine first.

/// Which engine the result is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The `regex` crate: linear time, no look-around.
    Linear,
    /// The `fancy-regex` crate: backtracking.
    Backtracking,
}

/// What ends the text that is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEnd {
    /// A line's own end: a final `\n`, before which `$` matches too.
    Line,
    /// A cut in the middle of a line: nothing may match an end there.
    Cut,
    /// Several lines, each with its own `\n`: `^` and `$` match at every one of them.
    EachLine,
}

/// What Python's `\w` stands for: all letters and all kinds of digits, but no combining marks.
const WORD: &str = r"\p{L}\p{N}_";

/// Matches nothing, in both engines.
const NEVER: &str = "[a&&b]";

/// Writes the Python expression `source` for a Rust engine.
///
/// # Errors
/// A phrase, when the expression has something in it that has no counterpart.
pub fn translate(source: &str, dialect: Dialect, end: TextEnd) -> Result<String, String> {
    let source = local_flags(source);
    let mut translator =
        Translator { chars: source.chars().collect(), at: 0, out: String::new(), dialect, end };
    while let Some(c) = translator.peek(0) {
        translator.one(c)?;
    }
    Ok(translator.out)
}

/// Whether the expression has a possessive quantifier or an atomic group: the linear engine would
/// read the first as something else.
#[must_use]
pub fn is_possessive(source: &str) -> bool {
    let mut quantified = false;
    let mut escaped = false;
    let mut in_class = false;
    for c in source.chars() {
        let plain = !escaped && !in_class;
        if plain && quantified && c == '+' {
            return true;
        }
        quantified = plain && matches!(c, '*' | '+' | '?' | '}') && !quantified;
        match c {
            '\\' => escaped = !escaped,
            '[' if plain => in_class = true,
            ']' if !escaped => in_class = false,
            _ => {}
        }
        if c != '\\' {
            escaped = false;
        }
    }
    source.contains("(?>")
}

/// `((?i)x)` and `(?:(?i)x)` become `(?i:x)`: what fail2ban does for flags that Python no longer
/// takes in the middle. The group is lost on the way, there as here.
fn local_flags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('(') {
        let escaped = rest[..at].ends_with('\\');
        let behind = &rest[at + 1..];
        let flags = behind.strip_prefix("?:").unwrap_or(behind).strip_prefix("(?").and_then(|inside| {
            let end = inside.find(')')?;
            let letters = &inside[..end];
            (end > 0 && letters.bytes().all(|b| b.is_ascii_lowercase()))
                .then_some((letters, &inside[end + 1..]))
        });
        out.push_str(&rest[..at]);
        match flags {
            Some((letters, behind)) if !escaped => {
                out.push_str("(?");
                out.push_str(letters);
                out.push(':');
                rest = behind;
            }
            _ => {
                out.push('(');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

struct Translator {
    chars: Vec<char>,
    at: usize,
    out: String,
    dialect: Dialect,
    end: TextEnd,
}

impl Translator {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().zip(self.at..).all(|(c, index)| self.chars.get(index) == Some(&c))
    }

    /// Writes `replacement` for the `length` characters here.
    fn replace(&mut self, length: usize, replacement: &str) {
        self.out.push_str(replacement);
        self.at += length;
    }

    fn one(&mut self, c: char) -> Result<(), String> {
        match c {
            '\\' => self.escape(),
            '[' => self.class(),
            '$' => {
                let dollar = match (self.end, self.dialect) {
                    (TextEnd::Cut, _) => NEVER,
                    (TextEnd::EachLine, _) => "(?m:$)",
                    (TextEnd::Line, Dialect::Linear) => r"(?:\n?\z)",
                    (TextEnd::Line, Dialect::Backtracking) => r"(?=\n?\z)",
                };
                self.replace(1, dollar);
                Ok(())
            }
            '^' if self.end == TextEnd::EachLine => {
                self.replace(1, "(?m:^)");
                Ok(())
            }
            '{' => {
                self.brace();
                Ok(())
            }
            '}' => {
                self.replace(1, r"\}");
                Ok(())
            }
            '(' if self.starts_with("(?#") => {
                while self.peek(0).is_some_and(|c| c != ')') {
                    self.at += 1;
                }
                self.at += 1;
                Ok(())
            }
            '(' if self.starts_with("(?(") => self.conditional(),
            // The look-behind at the end of <HOST>'s IPv6 part is always true where it stands.
            '(' if self.starts_with("(?<=:):)") => {
                self.replace(6, "");
                Ok(())
            }
            c => {
                self.out.push(c);
                self.at += 1;
                Ok(())
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(escaped) = self.peek(1) else { return Err("it ends with a single backslash".to_owned()) };
        match escaped {
            'Z' => self.replace(2, if self.end == TextEnd::Cut { NEVER } else { r"\z" }),
            's' => self.replace(2, r"[\s\x1c-\x1f]"),
            'S' => self.replace(2, r"[^\s\x1c-\x1f]"),
            'w' => self.replace(2, &format!("[{WORD}]")),
            'W' => self.replace(2, &format!("[^{WORD}]")),
            '0' => {
                let digits: String =
                    self.chars[self.at + 2..].iter().take(2).take_while(|c| c.is_digit(8)).collect();
                let value = u32::from_str_radix(&digits, 8).unwrap_or(0);
                self.replace(2 + digits.len(), &format!(r"\x{{{value:x}}}"));
            }
            'N' => return Err(r"\N{name} is not supported; write the character itself".to_owned()),
            '#' => self.replace(2, r"\#"),
            // These need no escape in Rust, and `\<` would be a word boundary there.
            c if "<> !\"'`@,;=%/:_".contains(c) || !c.is_ascii() => {
                self.out.push(c);
                self.at += 2;
            }
            c => {
                self.out.push('\\');
                self.out.push(c);
                self.at += 2;
            }
        }
        Ok(())
    }

    fn class(&mut self) -> Result<(), String> {
        self.replace(1, "[");
        if self.peek(0) == Some('^') {
            self.replace(1, "^");
        }
        if self.peek(0) == Some(']') {
            self.replace(1, r"\]");
        }
        loop {
            match self.peek(0) {
                None => return Err("a `[` is never closed by `]`".to_owned()),
                Some(']') => {
                    self.replace(1, "]");
                    return Ok(());
                }
                Some('\\') => {
                    let escaped = self.peek(1).ok_or("it ends with a single backslash")?;
                    match escaped {
                        's' => self.out.push_str(r"\s\x1c-\x1f"),
                        'w' => self.out.push_str(WORD),
                        'W' => self.out.push_str(&format!("[^{WORD}]")),
                        'b' => self.out.push_str(r"\x08"),
                        '<' | '>' => self.out.push(escaped),
                        c if c.is_ascii() => {
                            self.out.push('\\');
                            self.out.push(c);
                        }
                        c => self.out.push(c),
                    }
                    self.at += 2;
                }
                Some('-') if self.peek(1) == Some('-') => self.replace(1, r"\-"),
                Some(c @ ('[' | '&' | '~')) => {
                    self.out.push('\\');
                    self.out.push(c);
                    self.at += 1;
                }
                Some(c) => {
                    self.out.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// A quantifier stays (`{,n}` becomes `{0,n}`); any other brace is a brace.
    fn brace(&mut self) {
        let inside: String = self.chars[self.at + 1..].iter().take_while(|&&c| c != '}').collect();
        let closed = self.chars.get(self.at + 1 + inside.chars().count()) == Some(&'}');
        let (from, to) = inside.split_once(',').unwrap_or((&inside, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !closed || !digits(from) || !digits(to) || (from.is_empty() && to.is_empty()) {
            self.replace(1, r"\{");
            return;
        }
        let zero = if from.is_empty() { "0" } else { "" };
        self.replace(inside.len() + 2, &format!("{{{zero}{inside}}}"));
    }

    /// `(?(name)yes|no)`.
    fn conditional(&mut self) -> Result<(), String> {
        let name: String = self.chars[self.at + 3..].iter().take_while(|&&c| c != ')').collect();
        if name.is_empty() {
            return Err("a `(?(` without a group's name".to_owned());
        }
        let quoted = if name.bytes().all(|b| b.is_ascii_digit()) {
            format!("(?({name})")
        } else {
            format!("(?('{name}')")
        };
        self.replace(name.chars().count() + 4, &quoted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(source: &str) -> String {
        translate(source, Dialect::Linear, TextEnd::Line).expect("translatable")
    }

    #[test]
    fn python_spellings_become_rust_spellings_of_the_same_meaning() {
        for (python, rust) in [
            (r"a$", r"a(?:\n?\z)"),
            (r"a\$", r"a\$"),
            (r"[$]", r"[$]"),
            (r"a\Z", r"a\z"),
            (r"[^[]*", r"[^\[]*"),
            (r"[]a]", r"[\]a]"),
            (r"[a&&b~~c]", r"[a\&\&b\~\~c]"),
            (r"a{,3}", r"a{0,3}"),
            (r"a{2,}", r"a{2,}"),
            (r"a{b}", r"a\{b\}"),
            (r"\{ \}", r"\{ \}"),
            (r"\<x\>", r"<x>"),
            (r"x\s[\s-]", r"x[\s\x1c-\x1f][\s\x1c-\x1f-]"),
            (r"a(?#comment)b", r"ab"),
            (r"\w[\w.-]\W[\Wx]", r"[\p{L}\p{N}_][\p{L}\p{N}_.-][^\p{L}\p{N}_][[^\p{L}\p{N}_]x]"),
            (r"^((?i)x) (?:(?i)y)", r"^(?i:x) (?i:y)"),
            (r"(?:[0-9a-f]|(?<=:):)", r"(?:[0-9a-f]|:)"),
            (r"\012", r"\x{a}"),
        ] {
            assert_eq!(linear(python), rust);
            assert!(regex::Regex::new(rust).is_ok(), "{rust}");
        }
    }

    #[test]
    fn at_a_cut_no_end_anchor_is_left() {
        let cut = |source| translate(source, Dialect::Linear, TextEnd::Cut).expect("translatable");
        for source in ["a$", r"a\Z", "b|a$", "a(?:x|$)"] {
            let regex = regex::Regex::new(&cut(source)).expect("compiles");
            assert!(!regex.is_match("a"), "{source}");
        }
    }

    #[test]
    fn conditionals_are_quoted_for_the_backtracking_engine() {
        let fancy =
            translate("(?P<q>')?x(?(q)')$", Dialect::Backtracking, TextEnd::Line).expect("translatable");
        assert_eq!(fancy, r"(?P<q>')?x(?('q')')(?=\n?\z)");
    }

    #[test]
    fn possessive_quantifiers_are_noticed() {
        for source in ["a++", "a*+b", "a?+", "a{2}+", "(?>a)"] {
            assert!(is_possessive(source), "{source}");
        }
        for source in ["a+", r"\++", "[+*]+", "a+?b", "[*+]", r"\*+"] {
            assert!(!is_possessive(source), "{source}");
        }
    }

    #[test]
    fn unfinished_expressions_are_errors() {
        for source in ["[a", "a\\", "(?()x)"] {
            assert!(translate(source, Dialect::Linear, TextEnd::Line).is_err(), "{source}");
        }
    }
}
