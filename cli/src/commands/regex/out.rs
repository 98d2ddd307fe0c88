//! `-o`: one thing of each failure, or a text with tags, and nothing else.
//!
//! What is printed is what fail2ban-regex prints, so scripts read both alike; control characters from the log
//! are written out, because they may reach a terminal.

use super::python;
use crate::text::shown;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use bannkreis_filter::regex_tags::group_name;
use bannkreis_filter::trial::Found;
use std::net::IpAddr;

/// What is printed of each failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// Who is counted: an address, or what `<F-ID>` holds.
    Id,
    /// The address, also when something else is counted.
    Ip,
    /// The lines.
    Msg,
    /// Everything, as a line of Python.
    Row,
    /// A group.
    Group(String),
    /// A text with tags. A failure without a date is from `now`.
    Template { text: String, now: Timestamp },
}

impl Out {
    /// What the word after `-o` means, `now`.
    ///
    /// # Errors
    /// A sentence, when it asks for what only a server knows.
    pub(super) fn new(word: &str, now: Timestamp) -> Result<Out, String> {
        const SERVER_ONLY: [&str; 8] = [
            "<bantime>",
            "<ipmatches>",
            "<ipjailmatches>",
            "<ipfailures>",
            "<ipjailfailures>",
            "<jail.",
            "<raw-ticket>",
            "<F-*>",
        ];
        if let Some(tag) = SERVER_ONLY.iter().find(|tag| word.contains(**tag)) {
            return Err(format!("-o: {tag} is known only where bans are made; leave it away"));
        }
        Ok(match word {
            "id" | "fid" => Out::Id,
            "ip" => Out::Ip,
            "msg" => Out::Msg,
            "row" => Out::Row,
            _ if word.contains('<') => Out::Template { text: word.to_owned(), now },
            _ => Out::Group(word.to_owned()),
        })
    }

    /// Appends what is printed of a line's failures, each line ended.
    pub(super) fn write(&self, page: &mut String, all_found: &[Found]) {
        // A template with several lines of a message comes behind those with one, as in fail2ban.
        let mut wrapped: Vec<(&Found, String)> = Vec::new();
        for found in all_found {
            match self {
                Out::Id => push_lines(page, id(found)),
                Out::Ip => push_lines(page, found.address.as_deref().unwrap_or(id(found))),
                Out::Msg => found.facts.lines().for_each(|message| push_lines(page, message)),
                Out::Row => push_lines(page, &row(found)),
                Out::Group(name) => push_lines(page, &group(found, name)),
                Out::Template { text, now } => {
                    let wraps = !wrapped.is_empty() || found.facts.lines().count() > 1;
                    if wraps && text.contains("<msg>") {
                        wrapped.push((found, filled(text, found, *now, Some("<msg>"))));
                    } else {
                        push_lines(page, &filled(text, found, *now, None));
                    }
                }
            }
        }
        for (found, text) in wrapped {
            found.facts.lines().for_each(|message| push_lines(page, &text.replace("<msg>", message)));
        }
    }
}

/// Appends a text, each of its lines made harmless and ended. Between the parts of a row stand tabs.
fn push_lines(page: &mut String, text: &str) {
    for line in text.split('\n') {
        for (n, part) in line.split('\t').enumerate() {
            page.push_str(if n > 0 { "\t" } else { "" });
            page.push_str(&shown(part));
        }
        page.push('\n');
    }
}

fn id(found: &Found) -> &str {
    found.id.as_deref().unwrap_or("None")
}

fn row(found: &Found) -> String {
    let at = found.at.map_or_else(|| "None".to_owned(), |at| python::seconds(at.0));
    let mut data: Vec<(&str, String)> =
        found.facts.groups().map(|(name, value)| (name, python::optional(value))).collect();
    if found.facts.users().next().is_some() {
        data.push(("users", python::set(found.facts.users())));
    }
    if let Some(address) = &found.address {
        data.push(("ip", python::text(address)));
    }
    let id = python::optional(found.id.as_deref());
    format!("[{id},\t{at},\t{}],", python::dictionary(data))
}

/// The value of a group, `None` when there is no such group or it took no part.
fn group(found: &Found, name: &str) -> String {
    match name {
        "users" if found.facts.users().next().is_some() => python::set(found.facts.users()),
        "matches" => {
            let lines: Vec<String> = found.facts.lines().map(python::text).collect();
            format!("[{}]", lines.join(", "))
        }
        _ => found.facts.group(name).unwrap_or("None").to_owned(),
    }
}

/// The template with its tags replaced. `msg` stands in for the message when it is put in later.
fn filled(template: &str, found: &Found, now: Timestamp, msg: Option<&str>) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        let behind = &rest[open + 1..];
        let Some(close) = behind.find(['<', '>', ' ']).filter(|&at| at > 0 && behind[at..].starts_with('>'))
        else {
            text.push('<');
            rest = behind;
            continue;
        };
        match tag(&behind[..close], found, now, msg) {
            Some(value) => text.push_str(&value),
            None => text.push_str(&rest[open..open + close + 2]),
        }
        rest = &behind[close + 1..];
    }
    text.push_str(rest);
    text
}

/// What stands for a tag; `None` leaves it as it is written.
fn tag(name: &str, found: &Found, now: Timestamp, msg: Option<&str>) -> Option<String> {
    let ip = found.address.as_deref().unwrap_or(id(found));
    let subnet = ip.parse::<Subnet>().ok();
    Some(match name {
        "ip" => ip.to_owned(),
        "fid" => id(found).to_owned(),
        "family" => match subnet {
            Some(subnet) if subnet.is_v4() => "inet4".to_owned(),
            Some(_) => "inet6".to_owned(),
            None => "None".to_owned(),
        },
        "ip-rev" => subnet.map(|subnet| reversed(subnet.address())).unwrap_or_default(),
        // No names are looked up.
        "ip-host" => "None".to_owned(),
        "failures" | "bancount" | "restored" => "0".to_owned(),
        "time" => python::seconds(found.at.unwrap_or(now).0),
        "msg" if msg.is_some() => msg?.to_owned(),
        "matches" | "msg" => found.facts.lines().collect::<Vec<_>>().join("\n"),
        "br" => "\n".to_owned(),
        "sp" => " ".to_owned(),
        _ => {
            let group = name.strip_prefix("F-")?;
            let is_group = !group.is_empty()
                && group
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '-');
            if !is_group {
                return None;
            }
            found.facts.group(&group_name(group)).unwrap_or_default().to_owned()
        }
    })
}

/// The labels of an address from the last to the first, as reverse zones have them (RFC 1035 section 3.5,
/// RFC 3596 section 2.5).
fn reversed(address: IpAddr) -> String {
    let labels: Vec<String> = match address {
        IpAddr::V4(v4) => v4.octets().iter().rev().map(ToString::to_string).collect(),
        IpAddr::V6(v6) => {
            let nibbles = format!("{:032x}", u128::from(v6));
            nibbles.chars().rev().map(|nibble| nibble.to_string()).collect()
        }
    };
    format!("{}.", labels.join("."))
}
