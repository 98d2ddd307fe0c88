//! `journalmatch`: which entries of systemd's journal a jail reads.
//!
//! Its language is that of journalctl(1): fields with the same name are alternatives, fields with different names must all be
//! there, and `+` or a new line begins another alternative. Not for reading the journal (`node::source`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// systemd.journal-fields(7): a field's name is no longer.
const NAME_BYTES_MAX: usize = 64;

/// Which entries are meant; without any match, all are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalMatch {
    any: Vec<BTreeMap<String, BTreeSet<String>>>,
}

impl JournalMatch {
    /// Reads the value of `journalmatch`.
    ///
    /// # Errors
    /// A word that is neither `+` nor `FIELD=value`, with what to write instead.
    pub fn parse(text: &str) -> Result<JournalMatch, String> {
        let mut any = Vec::new();
        for line in text.lines() {
            let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for word in words(line)? {
                if word == "+" {
                    any.push(std::mem::take(&mut all));
                    continue;
                }
                let (name, value) = word.split_once('=').filter(|(name, _)| is_name(name)).ok_or_else(|| {
                    format!("`journalmatch`: `{word}` is no match; write FIELD=value, such as _SYSTEMD_UNIT=ssh.service, or +")
                })?;
                all.entry(name.to_owned()).or_default().insert(value.to_owned());
            }
            any.push(all);
        }
        any.retain(|all| !all.is_empty());
        Ok(JournalMatch { any })
    }

    /// Whether every entry is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.any.is_empty()
    }

    /// Whether an entry is meant; `has` says whether it has a field with a value.
    pub fn is(&self, has: impl Fn(&str, &str) -> bool) -> bool {
        let is_all = |all: &BTreeMap<String, BTreeSet<String>>| {
            all.iter().all(|(name, values)| values.iter().any(|value| has(name, value)))
        };
        self.is_everything() || self.any.iter().any(is_all)
    }

    /// The names of the fields that it looks at.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.any.iter().flat_map(|all| all.keys()).map(String::as_str)
    }

    /// Entries that are meant by one of several, as arguments of journalctl; none when every entry is.
    #[must_use]
    pub fn arguments(several: &[&JournalMatch]) -> Vec<String> {
        if several.iter().any(|one| one.is_everything()) {
            return Vec::new();
        }
        let alternatives: BTreeSet<&BTreeMap<String, BTreeSet<String>>> =
            several.iter().flat_map(|one| &one.any).collect();
        let mut arguments = Vec::new();
        for all in alternatives {
            if !arguments.is_empty() {
                arguments.push("+".to_owned());
            }
            arguments.extend(
                all.iter()
                    .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}"))),
            );
        }
        arguments
    }
}

/// As journalctl would be told, and as `fail2ban-client status` shows it.
impl fmt::Display for JournalMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, all) in self.any.iter().enumerate() {
            let words: Vec<String> = all
                .iter()
                .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")))
                .collect();
            write!(f, "{}{}", if n == 0 { "" } else { " + " }, words.join(" "))?;
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Words as the shell separates them: quotes and backslashes keep a space.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        return Err(format!("`journalmatch`: the quote {open} in `{}` has no end; close it", line.trim()));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str, entry: &[(&str, &str)]) -> bool {
        JournalMatch::parse(text).unwrap().is(|name, value| entry.contains(&(name, value)))
    }

    #[test]
    fn the_same_field_is_an_alternative_and_another_one_a_condition() {
        let ssh = [("_SYSTEMD_UNIT", "ssh.service"), ("_COMM", "sshd")];
        assert!(is("_SYSTEMD_UNIT=ssh.service", &ssh));
        assert!(is("_SYSTEMD_UNIT=ssh.service _COMM=sshd", &ssh));
        assert!(!is("_SYSTEMD_UNIT=ssh.service _COMM=other", &ssh));
        assert!(is("_SYSTEMD_UNIT=sshd.service _SYSTEMD_UNIT=ssh.service", &ssh));
        assert!(is("_SYSTEMD_UNIT=other + _COMM=sshd", &ssh));
        assert!(is("_SYSTEMD_UNIT=other\n _COMM=sshd", &ssh));
        assert!(!is("_SYSTEMD_UNIT=other + _COMM=other", &ssh));
        assert!(is("", &ssh) && is("+", &ssh));
    }

    #[test]
    fn what_is_no_match_is_named() {
        for (text, named) in
            [("sshd", "`sshd`"), ("unit=x", "`unit=x`"), ("=x", "`=x`"), ("A=\"x", "quote \"")]
        {
            let why = JournalMatch::parse(text).unwrap_err();
            assert!(why.contains(named), "{why}");
        }
    }

    #[test]
    fn several_are_one_question_to_journalctl() {
        let parse = |text: &str| JournalMatch::parse(text).unwrap();
        let (one, other) = (parse("A=1 B='2 3' A=4"), parse("C=5 + A=1 A=4 B=2\\ 3"));
        assert_eq!(JournalMatch::arguments(&[&one, &other]), ["A=1", "A=4", "B=2 3", "+", "C=5"]);
        assert_eq!(JournalMatch::arguments(&[&one, &parse("")]), Vec::<String>::new());
        assert_eq!(other.to_string(), "C=5 + A=1 A=4 B=2 3");
    }
}
