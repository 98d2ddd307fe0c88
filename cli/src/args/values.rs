//! What is typed for an argument, checked and turned into a value. What is wrong is answered with what to write.
//!
//! Not for which arguments there are: that is `args.rs`.

use super::{TOKEN_TTL_MAX_MS, WAIT_MAX_MS};
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::BanTime;
use bannkreis_filter::time_text;

pub(super) fn target(text: &str) -> Result<Subnet, String> {
    text.parse::<Subnet>().map_err(|error| error.to_string())
}

pub(super) fn jail_name(text: &str) -> Result<JailName, String> {
    JailName::new(text).map_err(|error| error.to_string())
}

pub(super) fn ban_time(text: &str) -> Result<BanTime, String> {
    length_or_ever(text, "a ban of no length bans nobody; write e.g. 10m, or -1 for ever")
}

pub(super) fn allow_time(text: &str) -> Result<BanTime, String> {
    length_or_ever(text, "an entry of no length allows nobody; write e.g. 30d, or -1 for ever")
}

pub(super) fn override_time(text: &str) -> Result<BanTime, String> {
    length_or_ever(text, "a decision of no length decides nothing; write e.g. 2h, or -1 for ever")
}

fn length_or_ever(text: &str, when_none: &str) -> Result<BanTime, String> {
    // fail2ban's own way to say it; any other negative number is a mistake.
    if time_text::seconds(text)? == -1.0 {
        return Ok(BanTime::Forever);
    }
    match time_text::milliseconds(text)? {
        0 => Err(when_none.to_owned()),
        ms => Ok(BanTime::Ms(ms)),
    }
}

pub(super) fn wait_ms(text: &str) -> Result<u64, String> {
    match time_text::milliseconds(text)? {
        ms if (1..=WAIT_MAX_MS).contains(&ms) => Ok(ms),
        _ => Err(format!("`{text}` is out of bounds: write 1s to 10m")),
    }
}

pub(super) fn ttl_ms(text: &str) -> Result<u64, String> {
    match time_text::milliseconds(text)? {
        ms if (1_000..=TOKEN_TTL_MAX_MS).contains(&ms) => Ok(ms),
        _ => Err(format!("`{text}` is out of bounds: write 1s to 30d")),
    }
}

pub(super) fn token_id(text: &str) -> Result<String, String> {
    let is_hex = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        Ok(text.to_owned())
    } else {
        Err("an id is hexadecimal digits, as `bannkreis token list` shows them".to_owned())
    }
}

pub(super) fn command_id(text: &str) -> Result<u128, String> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = if is_hex { u128::from_str_radix(text, 16).ok() } else { None };
    id.ok_or_else(|| "an id is 32 hexadecimal digits, as the first try printed it".to_owned())
}

pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    match parts.filter(|(key, value)| !key.is_empty() && !value.is_empty()) {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("write KEY=VALUE, e.g. reach=ports".to_owned()),
    }
}

pub(super) fn host_port(text: &str) -> Result<String, String> {
    let is_complete = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if is_complete {
        Ok(text.to_owned())
    } else {
        Err("write HOST:PORT, e.g. mx1.example.org:7420".to_owned())
    }
}
