//! fail2ban's database: its bans come along, with how often each offender was banned before.
//!
//! Read by SQLite's own code, for fail2ban may be writing to it. Not for its jails and logs, which are read from where they
//! are.

use super::List;
use bannkreis_core::subnet::Subnet;
use bannkreis_proto::v1::import_ban::End;
use bannkreis_proto::v1::{ImportBan, ImportRefusal};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// fail2ban writes for moments.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Reads all bans, of one jail or of all.
///
/// # Errors
/// When it is no database of fail2ban's, or of a release that did not keep bans.
pub(super) fn read(path: &Path, jail: Option<&str>) -> Result<List, String> {
    let said = |error: rusqlite::Error| format!("fail2ban's database can not be read: {error}");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(said)?;
    database.busy_timeout(BUSY_MAX).map_err(said)?;
    let has_bips = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'bips'";
    if database.query_row(has_bips, [], |row| row.get::<_, u32>(0)).map_err(said)? == 0 {
        return Err(
            "it has no table `bips`, in which fail2ban keeps its bans since 0.11; start a newer fail2ban \
                    once, which converts it"
                .to_owned(),
        );
    }
    let mut bans = database
        .prepare("SELECT jail, ip, timeofban, bantime, bancount, data FROM bips ORDER BY timeofban, jail, ip")
        .map_err(said)?;
    let rows = bans.query_map([], ban).map_err(said)?;
    let mut list = List::default();
    for row in rows {
        let ban = row.map_err(said)?;
        if jail.is_some_and(|jail| jail != ban.jail) {
            continue;
        }
        if ban.target.parse::<Subnet>().is_err() {
            let why = "it is no address, and only addresses are banned".to_owned();
            list.refused.push(ImportRefusal { target: ban.target, jail: ban.jail, why });
            continue;
        }
        list.bans.push(ban);
    }
    Ok(list)
}

/// Times are seconds since 1970; a ban of a negative length ends never.
fn ban(row: &Row<'_>) -> rusqlite::Result<ImportBan> {
    let (since_s, ban_time_s): (i64, i64) = (row.get("timeofban")?, row.get("bantime")?);
    let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
    let end = match ban_time_s {
        0.. => End::UntilMs(ms(since_s.saturating_add(ban_time_s))),
        _ => End::ForEver(true),
    };
    // What it was banned for: the last of the lines that fail2ban has kept.
    // Text, or bytes where fail2ban has found some that are no UTF-8.
    let data = match row.get_ref("data")? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => String::new(),
    };
    let data: Value = serde_json::from_str(&data).unwrap_or_default();
    let note = match data.get("matches").and_then(Value::as_array).and_then(|lines| lines.last()) {
        Some(Value::String(line)) => line.clone(),
        // Date by itself: `[before, date, after]`.
        Some(Value::Array(parts)) => parts.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    };
    Ok(ImportBan {
        target: row.get("ip")?,
        jail: row.get("jail")?,
        since_ms: Some(ms(since_s)),
        end: Some(end),
        count: row.get::<_, Option<i64>>("bancount")?.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        note: cut(note.trim()),
    })
}

/// As much as is kept of a note.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(bannkreis_proto::convert::bounds::TEXT_BYTES_MAX);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As fail2ban's own code makes it (its format 4).
    const SCHEMA: &str = "CREATE TABLE bips(ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, \
                          bantime INTEGER NOT NULL, bancount INTEGER NOT NULL default 1, data JSON, \
                          PRIMARY KEY(ip, jail));";

    #[test]
    fn each_ban_comes_with_its_times_its_count_and_its_last_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fail2ban.sqlite3");
        let database = Connection::open(&path).unwrap();
        database.execute_batch(SCHEMA).unwrap();
        for (ip, jail, since, ban_time, count, data) in [
            ("192.0.2.7", "sshd", 1_000, 600, 3, r#"{"matches": ["first", "last"], "failures": 5}"#),
            ("2001:db8::7", "sshd", 1_001, -1, 1, r#"{"matches": [["Nov 22 ", "05:30:08", " x"]]}"#),
            ("198.51.100.0/24", "postfix", 1_002, 60, 1, "{}"),
            ("alice", "login", 1_003, 60, 1, "no JSON"),
        ] {
            let values = rusqlite::params![ip, jail, since, ban_time, count, data.as_bytes()];
            database.execute("INSERT INTO bips VALUES (?, ?, ?, ?, ?, ?)", values).unwrap();
        }
        // It may be writing.
        let list = read(&path, None).unwrap();
        let seen: Vec<_> = list
            .bans
            .iter()
            .map(|ban| (&*ban.target, ban.since_ms, ban.end, ban.count, &*ban.note))
            .collect();
        assert_eq!(
            seen,
            [
                ("192.0.2.7", Some(1_000_000), Some(End::UntilMs(1_600_000)), 3, "last"),
                ("2001:db8::7", Some(1_001_000), Some(End::ForEver(true)), 1, "Nov 22 05:30:08 x"),
                ("198.51.100.0/24", Some(1_002_000), Some(End::UntilMs(1_062_000)), 1, ""),
            ]
        );
        assert_eq!(list.refused.iter().map(|refusal| &*refusal.target).collect::<Vec<_>>(), ["alice"]);
        assert_eq!(read(&path, Some("postfix")).unwrap().bans.len(), 1);
        database.execute_batch("DROP TABLE bips").unwrap();
        assert!(read(&path, None).unwrap_err().contains("`bips`"));
    }
}
