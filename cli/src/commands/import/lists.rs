//! Lists as text: one address or prefix a line, or the JSON that `export` and `bans --output json` write.

use super::List;
use bannkreis_core::subnet::Subnet;
use bannkreis_proto::v1::import_ban::End;
use bannkreis_proto::v1::{ImportAllowed, ImportBan};
use serde_json::Value;

/// So many lines that are wrong are named.
const WRONG_NAMED_MAX: usize = 10;

/// Reads a list; `jail` and `end` are for bans that do not tell theirs.
///
/// # Errors
/// What is wrong, with its line or its place.
pub(super) fn read(text: &str, jail: &str, end: Option<End>) -> Result<List, String> {
    if text.trim_start().starts_with(['{', '[']) {
        return read_json(text, jail, end);
    }
    let mut list = List::default();
    let mut wrong = Vec::new();
    for (n, line) in (1..).zip(text.lines()) {
        let (entry, note) = line.split_once(['#', ';']).unwrap_or((line, ""));
        let mut words = entry.split_whitespace();
        let Some(target) = words.next() else { continue };
        match target.parse::<Subnet>() {
            Ok(_) => {
                let note = if note.trim().is_empty() {
                    words.collect::<Vec<_>>().join(" ")
                } else {
                    note.trim().to_owned()
                };
                list.bans.push(ImportBan {
                    target: target.to_owned(),
                    jail: jail.to_owned(),
                    end,
                    note,
                    ..ImportBan::default()
                });
            }
            Err(error) => wrong.push(format!("line {n}: {error}")),
        }
    }
    if wrong.is_empty() {
        return Ok(list);
    }
    let n_more = wrong.len().saturating_sub(WRONG_NAMED_MAX);
    wrong.truncate(WRONG_NAMED_MAX);
    if n_more > 0 {
        wrong.push(format!("and {n_more} more"));
    }
    Err(format!("{}; nothing is taken over: correct them, or put # in front of them", wrong.join("; ")))
}

fn read_json(text: &str, jail: &str, end: Option<End>) -> Result<List, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let part = |name: &str| document.get(name).and_then(Value::as_array).cloned();
    let bans = document.as_array().cloned().or_else(|| part("bans"));
    let Some(bans) = bans else {
        return Err("it is JSON without `bans`; write what `bannkreis export --json` writes".to_owned());
    };
    let mut list = List::default();
    for (n, ban) in bans.iter().enumerate() {
        // Blocks of one host are no bans of a list.
        if ban.get("kind").and_then(Value::as_str).is_some_and(|kind| kind != "ban") {
            continue;
        }
        list.bans.push(read_ban(ban, jail, end).map_err(|why| format!("bans[{n}]: {why}"))?);
    }
    for (n, entry) in part("allow").unwrap_or_default().iter().enumerate() {
        let target = target(entry).map_err(|why| format!("allow[{n}]: {why}"))?;
        let until_ms = number(entry, "until_ms").map_err(|why| format!("allow[{n}]: {why}"))?;
        list.allow.push(ImportAllowed { target, until_ms, note: text_of(entry, "note") });
    }
    Ok(list)
}

fn read_ban(ban: &Value, jail: &str, end: Option<End>) -> Result<ImportBan, String> {
    let target = target(ban)?;
    let since_ms = number(ban, "since_ms")?;
    let told_end = match ban.get("until_ms") {
        None => end,
        Some(Value::Null) => Some(End::ForEver(true)),
        Some(_) => number(ban, "until_ms")?.map(End::UntilMs),
    };
    let told_jail = text_of(ban, "jail");
    let count = number(ban, "count")?.unwrap_or_default();
    Ok(ImportBan {
        target,
        jail: if told_jail.is_empty() { jail.to_owned() } else { told_jail },
        since_ms,
        end: told_end,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        note: text_of(ban, "note"),
    })
}

/// A text alone, or the field `subnet`.
fn target(entry: &Value) -> Result<String, String> {
    let text = entry.as_str().or_else(|| entry.get("subnet")?.as_str());
    let text = text.ok_or_else(|| format!("`{entry}` has no `subnet`"))?;
    text.parse::<Subnet>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn text_of(entry: &Value, name: &str) -> String {
    entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(entry: &Value, name: &str) -> Result<Option<u64>, String> {
    match entry.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_u64().map(Some).ok_or_else(|| format!("`{name}` is `{value}`, and no whole number"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_address_with_a_note() {
        let text = "# a list\n\n192.0.2.7\n2001:db8::/48 ; a whole net\n192.0.2.0/24 seen twice\n";
        let list = read(text, "sshd", Some(End::BanTimeMs(5))).unwrap();
        let bans: Vec<(&str, &str)> = list.bans.iter().map(|ban| (&*ban.target, &*ban.note)).collect();
        assert_eq!(
            bans,
            [("192.0.2.7", ""), ("2001:db8::/48", "a whole net"), ("192.0.2.0/24", "seen twice")]
        );
        assert!(list.bans.iter().all(|ban| ban.jail == "sshd" && ban.end == Some(End::BanTimeMs(5))));
        let why = read("192.0.2.7\nmx.example.org\n192.0.2.300\n", "", None).unwrap_err();
        assert!(
            why.contains("line 2: ") && why.contains("line 3: ") && why.contains("nothing is taken over"),
            "{why}"
        );
    }

    #[test]
    fn json_tells_of_each_ban_what_it_knows() {
        let text = r#"{"bans": [
            {"subnet": "192.0.2.7", "jail": "sshd", "since_ms": 5, "until_ms": 9, "count": 3, "kind": "ban"},
            {"subnet": "192.0.2.8", "until_ms": null, "note": "why"},
            {"subnet": "192.0.2.9", "kind": "local"},
            "192.0.2.10"
          ], "allow": [{"subnet": "198.51.100.0/24", "note": "ours"}]}"#;
        let list = read(text, "operator", Some(End::BanTimeMs(7))).unwrap();
        let of =
            |n: usize| (&*list.bans[n].target, &*list.bans[n].jail, list.bans[n].end, list.bans[n].count);
        assert_eq!(of(0), ("192.0.2.7", "sshd", Some(End::UntilMs(9)), 3));
        assert_eq!(of(1), ("192.0.2.8", "operator", Some(End::ForEver(true)), 0));
        assert_eq!(of(2), ("192.0.2.10", "operator", Some(End::BanTimeMs(7)), 0));
        assert_eq!((list.bans.len(), &*list.allow[0].note), (3, "ours"));
        for (text, said) in [
            ("{}", "without `bans`"),
            ("{", "no JSON"),
            (r#"{"bans": [{"jail": "x"}]}"#, "bans[0]: "),
            (r#"["192.0.2.1", "x"]"#, "bans[1]: "),
            (r#"{"bans": [{"subnet": "192.0.2.1", "until_ms": "soon"}]}"#, "`until_ms`"),
        ] {
            let why = read(text, "", None).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }
}
