//! A TOML text as a flat list of settings with their places: `[raft] heartbeat_ms` becomes
//! `raft.heartbeat_ms`.
//!
//! Not for what the settings mean.

use super::ConfigError;
use std::fmt;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// In quotes, or from the environment, where everything is text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// Something that no setting is, by its name in TOML.
    Other(&'static str),
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Given::Text(text) => write!(f, "\"{}\"", text.escape_debug()),
            Given::Number(number) => number.fmt(f),
            Given::Boolean(boolean) => boolean.fmt(f),
            Given::Other(kind) => write!(f, "({kind})"),
        }
    }
}

/// Key, place and value of everything in the file.
pub(super) fn values(path: &Path, text: &str) -> Result<Vec<(String, String, Given)>, ConfigError> {
    let at = |offset: usize| {
        let n_newlines =
            text.as_bytes()[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count();
        format!("{}:{}", path.display(), n_newlines + 1)
    };
    let table = DeTable::parse(text).map_err(|error| ConfigError {
        place: at(error.span().map_or(0, |span| span.start)),
        problem: format!("this is not TOML: {}", error.message()),
    })?;
    let mut values = Vec::new();
    for (key, value) in table.get_ref() {
        match value.get_ref() {
            DeValue::Table(section) => {
                for (inner, value) in section {
                    let key = format!("{}.{}", key.get_ref(), inner.get_ref());
                    values.push((inner.span().start, key, given(value.get_ref())));
                }
            }
            other => values.push((key.span().start, key.get_ref().to_string(), given(other))),
        }
    }
    // In the order of the file, so that the first mistake is the one that is told.
    values.sort_by_key(|(start, ..)| *start);
    Ok(values.into_iter().map(|(start, key, given)| (key, at(start), given)).collect())
}

fn given(value: &DeValue<'_>) -> Given {
    match value {
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Boolean(boolean) => Given::Boolean(*boolean),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Given::Number(number),
            Err(_) => Given::Other("a number of more than 64 bits"),
        },
        other => Given::Other(other.type_str()),
    }
}
