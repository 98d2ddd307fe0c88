//! `<HOST>` and its family inside regular expressions, replaced by what they match.
//!
//! Not for `<name>` tags of the configuration (`tags`), which are gone when this is reached.

/// What `<HOST>` may match besides addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostNames {
    /// Names of hosts too.
    Allowed,
    /// `usedns = no`: addresses only.
    Refused,
}

const IP4: &str = r"(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})";
const IP6: &str = r"(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|::){1,7}(?:[0-9a-fA-F]{1,4}|:))";
const DNS: &str = r"(?P<dns>[\w\-.^_]*\w)";
const CIDR: &str = r"(?P<cidr>\d+)";

/// The expression with its tags replaced. What looks like a tag and is none stays as text, as in
/// fail2ban: `<F-foo>`, `<FOO>`, a closing tag that was never opened.
#[must_use]
pub fn resolve(source: &str, names: HostNames) -> String {
    let mut out = String::with_capacity(source.len() + 128);
    let mut opened: Vec<&str> = Vec::new();
    let mut skipped = 0;
    let mut rest = source;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(length) = tag_length(rest) else {
            out.push('<');
            rest = &rest[1..];
            continue;
        };
        let (tag, behind) = rest.split_at(length);
        let inside = &tag[1..length - 1];
        if inside == "SKIPLINES" {
            out.push_str(&format!(r"\n(?P<skiplines{skipped}>(?:(?:.*\n)*?))"));
            skipped += 1;
        } else if let Some(expression) = fixed(inside, names) {
            out.push_str(&expression);
        } else if let Some(name) = inside.strip_prefix("/F-").filter(|name| is_custom(name)) {
            out.push_str(if opened.contains(&name) { ")" } else { tag });
        } else if let Some(name) = inside.strip_prefix("F-").filter(|name| is_custom(name)) {
            opened.push(name);
            out.push_str(&format!("(?P<{}>", group_name(name)));
        } else {
            out.push_str(tag);
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn fixed(tag: &str, names: HostNames) -> Option<String> {
    let tag = tag.strip_prefix("F-").and_then(|tag| tag.strip_suffix('/')).map_or_else(
        || Some(tag).filter(|tag| ["HOST", "IP4", "IP6", "DNS", "ADDR", "CIDR", "SUBNET"].contains(tag)),
        |tag| Some(tag).filter(|tag| *tag != "HOST"),
    )?;
    let address = || format!(r"\[?(?:{IP4}|{IP6})\]?");
    Some(match tag {
        "HOST" if names == HostNames::Allowed => format!("(?:{}|{DNS})", address()),
        "HOST" | "ADDR" => address(),
        "IP4" => IP4.to_owned(),
        "IP6" => IP6.to_owned(),
        "DNS" => DNS.to_owned(),
        "CIDR" => CIDR.to_owned(),
        "SUBNET" => format!(r"\[?(?:{IP4}|{IP6})(?:/{CIDR})?\]?"),
        "ID" => r"(?P<fid>\S+)".to_owned(),
        "PORT" => r"(?P<fport>\w+)".to_owned(),
        _ => return None,
    })
}

/// The length of `</?[\w\-]+/?>` at the beginning of `text`.
fn tag_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('<')?;
    let inside = inside.strip_prefix('/').unwrap_or(inside);
    let name = inside.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))?;
    let behind = inside[name..].strip_prefix('/').unwrap_or(&inside[name..]);
    let behind = behind.strip_prefix('>')?;
    (name > 0).then(|| text.len() - behind.len())
}

fn is_custom(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// The group that a custom tag becomes.
#[must_use]
pub fn group_name(tag: &str) -> String {
    match tag.to_lowercase().as_str() {
        "id" => "fid".to_owned(),
        "port" => "fport".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_tags_become_groups_and_other_text_stays() {
        for (source, expected) in [
            ("<F-USER>x</F-USER>", "(?P<user>x)"),
            ("<F-ID>x</F-ID><F-PORT/>", r"(?P<fid>x)(?P<fport>\w+)"),
            ("<F-foo> </F-USER> <FOO> <F-FOO/> < HOST>", "<F-foo> </F-USER> <FOO> <F-FOO/> < HOST>"),
            ("(?P<a>x)(?<=y)<<", "(?P<a>x)(?<=y)<<"),
            ("<SKIPLINES><SKIPLINES>", r"\n(?P<skiplines0>(?:(?:.*\n)*?))\n(?P<skiplines1>(?:(?:.*\n)*?))"),
        ] {
            assert_eq!(resolve(source, HostNames::Allowed), expected);
        }
    }

    #[test]
    fn host_matches_names_unless_they_are_refused() {
        assert!(resolve("<HOST>", HostNames::Allowed).contains("(?P<dns>"));
        assert!(!resolve("<HOST>", HostNames::Refused).contains("(?P<dns>"));
        assert!(resolve("<SUBNET>", HostNames::Refused).contains("(?P<cidr>"));
        assert_eq!(resolve("<IP4>", HostNames::Refused), resolve("<F-IP4/>", HostNames::Allowed));
    }
}
