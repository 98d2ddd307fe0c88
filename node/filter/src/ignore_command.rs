//! `ignorecommand` and `ignorecache`: a command that may excuse an offender, as a text that is safe to run.
//!
//! fail2ban writes the tags into the text of a shell. Here text from a log never becomes text of a shell:
//! a tag becomes a reference to a variable, quoted as its place demands, and its value is put into the
//! environment. Not for running it: that is the node's.

use crate::parameters;
use crate::time_text;

/// More tags than this are not replaced; nobody has as many to ask for.
pub const TAGS_MAX: usize = 32;
/// `max-count` where `ignorecache` does not say it, as in fail2ban.
const CACHE_ANSWERS_DEFAULT: usize = 100;
/// No cache remembers more answers, whatever `max-count` says.
pub const CACHE_ANSWERS_MAX: usize = 100_000;
/// `max-time` where `ignorecache` does not say it, as in fail2ban.
const CACHE_TIME_DEFAULT_MS: u64 = 300_000;

/// Something about a failure that a command may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// `<ip>`, `<fid>`: the offender's address.
    Address,
    /// `<family>`: `inet4` or `inet6`.
    Family,
    /// `<F-USER>`: the account that was tried, or nothing.
    User,
    /// `<time>`: when, in seconds since 1970.
    Time,
    /// `<failures>`: one, for each failure is asked about by itself.
    Failures,
    /// `<matches>`: the line.
    Line,
    /// `<jail>` and `<name>`: the jail.
    Jail,
}

/// The tags by their names.
const TAGS: [(&str, Tag); 11] = [
    ("ip", Tag::Address),
    ("fid", Tag::Address),
    ("F-ID", Tag::Address),
    ("F-IP4", Tag::Address),
    ("F-IP6", Tag::Address),
    ("family", Tag::Family),
    ("F-USER", Tag::User),
    ("time", Tag::Time),
    ("failures", Tag::Failures),
    ("matches", Tag::Line),
    ("name", Tag::Jail),
];

impl Tag {
    /// The environment variable that its value is in.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Tag::Address => "BANNKREIS_IP",
            Tag::Family => "BANNKREIS_FAMILY",
            Tag::User => "BANNKREIS_F_USER",
            Tag::Time => "BANNKREIS_TIME",
            Tag::Failures => "BANNKREIS_FAILURES",
            Tag::Line => "BANNKREIS_MATCHES",
            Tag::Jail => "BANNKREIS_JAIL",
        }
    }

    /// All of them.
    pub const ALL: [Tag; 7] =
        [Tag::Address, Tag::Family, Tag::User, Tag::Time, Tag::Failures, Tag::Line, Tag::Jail];
}

/// A command to ask about each failure: exit code 0 means that it does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreCommand {
    /// For `sh -c`, with every tag a reference to its variable.
    pub script: String,
    /// How long an answer holds, and for whom.
    pub cache: Option<IgnoreCache>,
    /// Tags in it that nothing is known of; they are empty.
    pub unknown_tags: Vec<String>,
}

/// `ignorecache`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreCache {
    /// What an answer is remembered by, with tags to be replaced by their values.
    pub key: Vec<KeyPart>,
    /// Answers that are remembered; of more, the oldest is forgotten.
    pub answers_max: usize,
    /// How long an answer holds, in ms.
    pub time_ms: u64,
}

/// A piece of a cache's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// As it is written.
    Text(String),
    /// The value of a tag.
    Tag(Tag),
}

/// Reads the two options; `cache` may be empty.
///
/// # Errors
/// A sentence about an `ignorecache` that is not understood.
pub fn read(command: &str, cache: &str) -> Result<IgnoreCommand, String> {
    let mut unknown_tags = Vec::new();
    let script = quoted(command, &mut unknown_tags);
    let cache = if cache.trim().is_empty() { None } else { Some(read_cache(cache, &mut unknown_tags)?) };
    Ok(IgnoreCommand { script, cache, unknown_tags })
}

fn read_cache(text: &str, unknown_tags: &mut Vec<String>) -> Result<IgnoreCache, String> {
    let failed = |why: &str| {
        format!("`ignorecache = {text}`: {why}; write e.g. key=\"<ip>\", max-count=100, max-time=5m")
    };
    let named = parameters::parse(&format!("cache[{text}]")).map_err(|why| failed(&why))?;
    let key = named.parameter("key").filter(|key| !key.is_empty()).ok_or_else(|| failed("it has no key"))?;
    let answers_max = match named.parameter("max-count") {
        None => CACHE_ANSWERS_DEFAULT,
        Some(count) => count.parse().map_err(|_| failed("its max-count is no number"))?,
    };
    let time_ms = match named.parameter("max-time") {
        None => CACHE_TIME_DEFAULT_MS,
        Some(time) => time_text::milliseconds(time).map_err(|why| failed(&why))?,
    };
    let mut parts = Vec::new();
    for part in pieces(key, unknown_tags) {
        match part {
            Piece::Text(text) => parts.push(KeyPart::Text(text.to_owned())),
            Piece::Tag(Some(tag)) => parts.push(KeyPart::Tag(tag)),
            Piece::Tag(None) => {}
        }
    }
    Ok(IgnoreCache { key: parts, answers_max: answers_max.clamp(1, CACHE_ANSWERS_MAX), time_ms })
}

enum Piece<'t> {
    Text(&'t str),
    /// `None` for a tag that nothing is known of.
    Tag(Option<Tag>),
}

/// Splits a text at its `<tags>`. A redirection such as `<file` is no tag: it is not closed, or has a blank.
fn pieces<'t>(text: &'t str, unknown: &mut Vec<String>) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    let (mut rest, mut n_tags) = (text, 0);
    let mut from = 0;
    while let Some(open) = rest[from..].find('<').map(|at| at + from) {
        let name = rest[open + 1..].find(['>', '<', ' ', '\n']).map(|end| &rest[open + 1..open + 1 + end]);
        let tag = name.filter(|name| {
            !name.is_empty()
                && rest[open + 1 + name.len()..].starts_with('>')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        });
        let Some(name) = tag.filter(|_| n_tags < TAGS_MAX) else {
            from = open + 1;
            continue;
        };
        n_tags += 1;
        let known = TAGS.iter().find(|(other, _)| *other == name).map(|&(_, tag)| tag);
        if known.is_none() && !unknown.iter().any(|other| other == name) {
            unknown.push(name.to_owned());
        }
        pieces.push(Piece::Text(&rest[..open]));
        pieces.push(Piece::Tag(known));
        rest = &rest[open + name.len() + 2..];
        from = 0;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Where in a shell's text we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    None,
    Single,
    Double,
}

/// The command with each tag as a reference to its variable that stays one word wherever it stands.
fn quoted(command: &str, unknown: &mut Vec<String>) -> String {
    let mut script = String::with_capacity(command.len() + 64);
    let mut quotes = Quotes::None;
    for piece in pieces(command, unknown) {
        match piece {
            Piece::Text(text) => {
                quotes = after(quotes, text);
                script.push_str(text);
            }
            Piece::Tag(tag) => {
                let reference = tag.map(|tag| format!("${{{}}}", tag.variable())).unwrap_or_default();
                match quotes {
                    Quotes::None => script.push_str(&format!("\"{reference}\"")),
                    Quotes::Double => script.push_str(&reference),
                    Quotes::Single => script.push_str(&format!("'\"{reference}\"'")),
                }
            }
        }
    }
    script
}

/// The quotes that are open behind `text` (POSIX, Shell Command Language, 2.2).
fn after(mut quotes: Quotes, text: &str) -> Quotes {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        quotes = match (quotes, c) {
            (Quotes::None | Quotes::Double, '\\') => {
                chars.next();
                quotes
            }
            (Quotes::None, '\'') => Quotes::Single,
            (Quotes::None, '"') => Quotes::Double,
            (Quotes::Single, '\'') | (Quotes::Double, '"') => Quotes::None,
            _ => quotes,
        };
    }
    quotes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(command: &str) -> String {
        read(command, "").expect("well formed").script
    }

    #[test]
    fn a_tag_becomes_one_quoted_word_wherever_it_stands() {
        for (command, expected) in [
            ("/bin/x <ip> y", "/bin/x \"${BANNKREIS_IP}\" y"),
            ("test \"<F-USER>\" = root", "test \"${BANNKREIS_F_USER}\" = root"),
            ("test '<F-USER>@x' = a", "test ''\"${BANNKREIS_F_USER}\"'@x' = a"),
            ("echo it\\'s <family>", "echo it\\'s \"${BANNKREIS_FAMILY}\""),
            ("grep <ip> </etc/list >/dev/null", "grep \"${BANNKREIS_IP}\" </etc/list >/dev/null"),
            ("x <nosuch>", "x \"\""),
        ] {
            assert_eq!(script(command), expected, "{command}");
        }
        assert_eq!(read("x <ip-host> <ip-host>", "").expect("known").unknown_tags, ["ip-host"]);
    }

    #[test]
    fn the_cache_has_a_key_a_number_and_a_time() {
        let cache = |text| read("x", text).map(|read| read.cache.expect("set"));
        let given = cache("key=\"<F-USER>@<ip>\", max-count=7, max-time=1m").expect("well formed");
        let key = [KeyPart::Tag(Tag::User), KeyPart::Text("@".into()), KeyPart::Tag(Tag::Address)];
        let words: Vec<&KeyPart> =
            given.key.iter().filter(|part| **part != KeyPart::Text("".into())).collect();
        assert_eq!(words, key.iter().collect::<Vec<_>>());
        assert_eq!((given.answers_max, given.time_ms), (7, 60_000));
        assert_eq!(cache("key=<ip>").expect("well formed").answers_max, 100);
        assert!(cache("max-count=7").expect_err("no key").contains("key=\"<ip>\""));
        assert!(cache("key=<ip>, max-time=soon").is_err());
    }
}
