//! Names of chains and sets, and what is written down beside them, so that people and a later process know what they
//! are.
//!
//! Names are short and plain whatever a jail is called: a chain's has at most 28 bytes, a set's 31.

use bannkreis_core::jail::{JailName, PortRange, Ports, Protocol};
use bannkreis_core::ruleset::Chain;

/// The chain that everything of ours is reached from.
pub(crate) const BASE_CHAIN: &str = "bannkreis";

/// Chains of jails begin like those that fail2ban makes, so that what people look for finds them.
const CLASS_PREFIX: &str = "f2b-";

/// So much of a jail's name stands in that of its chain.
const JAIL_CHARS_MAX: usize = 18;

/// A comment has at most this many bytes (xt_comment).
const COMMENT_BYTES_MAX: usize = 255;

/// What a later release must know to take over what this one has left.
const LAYOUT_VERSION: u32 = 1;

/// Which of the rulesets that this host had one after the other: they do not share sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GenerationNumber(pub(crate) u32);

impl GenerationNumber {
    /// The one after it.
    pub(crate) fn next(self) -> GenerationNumber {
        GenerationNumber(self.0.wrapping_add(1))
    }

    /// The set of what is blocked by a class.
    pub(crate) fn blocked(self, class: u32, v4: bool) -> String {
        format!("bannkreis{}-{:x}-{class}", family(v4), self.0)
    }

    /// The set of what passes.
    pub(crate) fn protected(self, v4: bool) -> String {
        format!("bannkreis{}-{:x}-pass", family(v4), self.0)
    }

    /// Of which generation a set with this name is; `None` when it is not ours.
    pub(crate) fn of_set(name: &str) -> Option<GenerationNumber> {
        let rest = name.strip_prefix("bannkreis4-").or_else(|| name.strip_prefix("bannkreis6-"))?;
        let (hex, _) = rest.split_once('-')?;
        u32::from_str_radix(hex, 16).ok().map(GenerationNumber)
    }

    /// The comment of the first rule of all: says which generation is in force.
    pub(crate) fn marker(self) -> String {
        format!("bannkreis layout {LAYOUT_VERSION} generation {:x}", self.0)
    }

    /// Reads a marker out of a rule; `None` for anything else, also one of another layout.
    pub(crate) fn in_rule(rule: &str) -> Option<GenerationNumber> {
        let (_, hex) = rule.split_once(&format!("bannkreis layout {LAYOUT_VERSION} generation "))?;
        let hex = hex.split(|c: char| !c.is_ascii_hexdigit()).next()?;
        u32::from_str_radix(hex, 16).ok().map(GenerationNumber)
    }
}

fn family(v4: bool) -> char {
    if v4 { '4' } else { '6' }
}

/// The chain of a class. Its number makes it one of its own when a jail closes different ports; and two generations that
/// follow each other have different ones, so that those of the old one can be read when nobody uses them any more.
pub(crate) fn class_chain(number: GenerationNumber, class: u32, jail: &JailName) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let jail: String = jail.as_str().chars().take(JAIL_CHARS_MAX).map(plain).collect();
    let parity = if number.0.is_multiple_of(2) { "b" } else { "" };
    format!("{CLASS_PREFIX}{jail}-{class}{parity}")
}

/// Whether a chain may be that of a class, by its name.
pub(crate) fn is_class_chain(name: &str) -> bool {
    let number = name.strip_prefix(CLASS_PREFIX).and_then(|rest| rest.rsplit_once('-'));
    number.is_some_and(|(_, number)| {
        let digits = number.strip_suffix('b').unwrap_or(number);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The comment of a class chain's first rule: its number, and, where there is room, what it is for.
pub(crate) fn describe(class: u32, chain: &Chain) -> String {
    let known =
        format!("class {class} jail {} ports {}", plain_text(chain.jail.as_str()), ports(&chain.ports));
    if known.len() <= COMMENT_BYTES_MAX { known } else { format!("class {class}") }
}

/// Reads what [`describe`] wrote out of a rule: the number of a class and, when it is known, its chain.
pub(crate) fn described(rule: &str) -> Option<(u32, Option<Chain>)> {
    let (_, comment) = rule.split_once("--comment \"class ")?;
    let (comment, _) = comment.split_once('"')?;
    let mut words = comment.split(' ');
    let class = words.next()?.parse().ok()?;
    let chain = match (words.next(), words.next(), words.next(), words.next()) {
        (Some("jail"), Some(jail), Some("ports"), Some(ports)) => {
            let jail = JailName::new(&from_plain_text(jail)?).ok()?;
            Some(Chain { jail, ports: ports_of(ports)? })
        }
        _ => None,
    };
    Some((class, chain))
}

/// A name without anything that means something in a comment or between two.
fn plain_text(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let written =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") };
    name.bytes().map(written).collect()
}

fn from_plain_text(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn ports(ports: &Ports) -> String {
    let range = |range: &PortRange| format!("{}/{}-{}", range.protocol.0, range.first, range.last);
    match ports.ranges() {
        None => "all".to_owned(),
        Some([]) => "none".to_owned(),
        Some(ranges) => ranges.iter().map(range).collect::<Vec<_>>().join(","),
    }
}

fn ports_of(text: &str) -> Option<Ports> {
    let range = |text: &str| {
        let (protocol, ports) = text.split_once('/')?;
        let (first, last) = ports.split_once('-')?;
        let protocol = Protocol(protocol.parse().ok()?);
        Some(PortRange { protocol, first: first.parse().ok()?, last: last.parse().ok()? })
    };
    match text {
        "all" => Some(Ports::whole_host()),
        "none" => Some(Ports::none()),
        ranges => ranges.split(',').map(range).collect::<Option<Vec<_>>>().map(Ports::from_ranges),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(jail: &str, ports: Ports) -> Chain {
        Chain { jail: JailName::new(jail).unwrap(), ports }
    }

    #[test]
    fn names_are_short_and_tell_what_they_are() {
        let seven = GenerationNumber(0xffff_ffff);
        assert_eq!(seven.blocked(4_095, false), "bannkreis6-ffffffff-4095");
        assert!(seven.blocked(4_095, true).len() <= 31);
        assert_eq!(GenerationNumber::of_set("bannkreis4-1f-pass"), Some(GenerationNumber(0x1f)));
        assert_eq!(GenerationNumber::of_set("blocklist"), None);
        let even = GenerationNumber(2);
        let name = class_chain(even, 4_095, &JailName::new("kopano-webapp-auth-and-more").unwrap());
        assert_eq!(name, "f2b-kopano-webapp-auth-4095b");
        assert!(name.len() <= 28);
        assert!(is_class_chain("f2b-sshd-1") && is_class_chain("f2b-a-b-12b") && !is_class_chain("f2b-sshd"));
        assert!(!is_class_chain("f2b-sshd-b") && !is_class_chain("DOCKER-1"));
        assert_eq!(class_chain(seven, 1, &JailName::new("a;b\"c").unwrap()), "f2b-a_b_c-1");
    }

    #[test]
    fn a_marker_is_found_in_its_rule() {
        let rule = format!(
            "-A bannkreis -i lo -m comment --comment \"{}\" -j RETURN",
            GenerationNumber(0x2a).marker()
        );
        assert_eq!(GenerationNumber::in_rule(&rule), Some(GenerationNumber(0x2a)));
        assert_eq!(GenerationNumber::in_rule("-A bannkreis -j RETURN"), None);
        assert_eq!(GenerationNumber::in_rule("--comment \"bannkreis layout 99 generation 1\""), None);
    }

    #[test]
    fn descriptions_are_read_as_they_were_written() {
        let udp = PortRange { protocol: Protocol::UDP, first: 500, last: 4_500 };
        let mixed = Ports::tcp(&[25, 465]).union(&Ports::from_ranges(vec![udp]));
        for ports in [Ports::whole_host(), Ports::none(), mixed] {
            for jail in ["sshd", "a\"b c%\\", "übel"] {
                let Ok(name) = JailName::new(jail) else { continue };
                let chain = Chain { jail: name, ports: ports.clone() };
                let comment = describe(7, &chain);
                assert!(
                    comment.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
                        && !comment.contains('"')
                );
                let rule = format!("-A f2b-x-7 -m comment --comment \"{comment}\" -j RETURN");
                assert_eq!(described(&rule), Some((7, Some(chain))));
            }
        }
        let many = Ports::tcp(&(0..40).map(|n| n * 10 + 1).collect::<Vec<u16>>());
        let rule = format!("--comment \"{}\"", describe(8, &chain("j", many)));
        assert_eq!(described(&rule), Some((8, None)));
    }
}
