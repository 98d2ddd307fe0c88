//! What kinds of values settings have: how each is read, and what is wrong with one that is none.
//!
//! Not for which setting has which (`settings.rs`).

use super::document::Given;
use bannkreis_core::subnet::Subnet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The longest name of a node.
const NODE_NAME_BYTES_MAX: usize = 64;

pub(super) fn text(given: &Given) -> Result<&str, String> {
    match given {
        Given::Text(text) => Ok(text),
        _ => Err("it is not a text in quotes".into()),
    }
}

pub(super) fn path(given: &Given) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(given)?);
    if path.is_absolute() { Ok(path) } else { Err("it does not begin with /".into()) }
}

pub(super) fn optional_path(given: &Given) -> Result<Option<PathBuf>, String> {
    if text(given)?.is_empty() { Ok(None) } else { path(given).map(Some) }
}

/// Checked as to its form only: what the letters may be is Kubernetes' rule.
pub(super) fn lease(given: &Given) -> Result<Option<String>, String> {
    let text = text(given)?;
    if text.is_empty() {
        return Ok(None);
    }
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Some(text.to_owned())),
        _ => Err("it is not NAMESPACE/NAME".into()),
    }
}

pub(super) fn boolean(given: &Given) -> Result<bool, String> {
    match given {
        Given::Boolean(boolean) => Ok(*boolean),
        Given::Text(text) => text.parse().map_err(|_| "it is neither true nor false".into()),
        _ => Err("it is neither true nor false".into()),
    }
}

pub(super) fn number(given: &Given, allowed: RangeInclusive<u64>) -> Result<u64, String> {
    let number = match given {
        Given::Number(number) => u64::try_from(*number).ok(),
        Given::Text(text) => text.parse().ok(),
        _ => return Err("it is not a whole number".into()),
    };
    number.filter(|number| allowed.contains(number)).ok_or_else(|| "it is not in that range".into())
}

pub(super) fn one_of<T: Copy>(given: &Given, choices: &[(&str, T)]) -> Result<T, String> {
    let text = text(given)?;
    let chosen = choices.iter().find(|(name, _)| *name == text);
    chosen.map(|(_, choice)| *choice).ok_or_else(|| "it is none of the choices".into())
}

pub(super) fn address(given: &Given) -> Result<SocketAddr, String> {
    text(given)?.parse().map_err(|_| "it is not an address with a port; a name can not be listened on".into())
}

pub(super) fn optional_address(given: &Given) -> Result<Option<SocketAddr>, String> {
    if text(given)?.is_empty() { Ok(None) } else { address(given).map(Some) }
}

/// Addresses and networks, with spaces or commas between them.
pub(super) fn networks(given: &Given) -> Result<Vec<Subnet>, String> {
    let words = text(given)?.split([' ', ',']).filter(|word| !word.is_empty());
    words
        .map(|word| word.parse().map_err(|_| format!("`{word}` is neither an address nor a network")))
        .collect()
}

pub(super) fn host_and_port(given: &Given) -> Result<Option<String>, String> {
    let text = text(given)?;
    if text.is_empty() {
        return Ok(None);
    }
    let (host, port) = text.rsplit_once(':').ok_or("it has no port")?;
    if !port.parse().is_ok_and(|port: u16| port > 0) {
        return Err("its port is not a number from 1 to 65535".into());
    }
    let is_in_brackets = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host.contains(char::is_whitespace) || (host.contains(':') && !is_in_brackets) {
        return Err("its host is not a name or an address (an IPv6 address stands in brackets)".into());
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if address.is_ok_and(|address| address.is_unspecified()) {
        return Err("nobody can connect to that address: it stands for all of this host's own".into());
    }
    Ok(Some(text.to_owned()))
}

pub(super) fn name(given: &Given) -> Result<Option<String>, String> {
    let text = text(given)?;
    if text.len() > NODE_NAME_BYTES_MAX {
        return Err(format!("it has {} bytes", text.len()));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it has a space or a control character in it".into());
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
