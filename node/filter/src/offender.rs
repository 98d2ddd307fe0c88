//! Whom a failure blames: the groups of its expressions that name an offender.
//!
//! `<F-ID>` alone may be an address or a subnet. Where it stands beside an address it is what fail2ban
//! counts for; here an offender is always something that a firewall can close. Names are not looked up.

use crate::facts::Facts;
use crate::group_name::Name;
use crate::pattern::Pattern;
use bannkreis_core::subnet::Subnet;
use std::net::IpAddr;

/// The groups that name somebody, in fail2ban's order.
const GROUPS: [Name; 4] = [Name::IP4, Name::IP6, Name::DNS, Name::FID];

/// Whether a match of `pattern` can lead to an offender, by itself or through its connection.
pub(crate) fn can_name(pattern: &Pattern) -> bool {
    GROUPS.iter().chain(&[Name::MLFID]).any(|name| pattern.has_group(name.as_str()))
}

/// Whether the facts say who it was.
pub(crate) fn is_named(facts: &Facts) -> bool {
    GROUPS.iter().any(|&name| facts.get(name).is_some())
}

/// Who it was, or the text that is no address.
pub(crate) fn of(facts: &Facts) -> Result<Subnet, &str> {
    let Some((name, text)) = GROUPS.iter().find_map(|&name| Some((name, facts.get(name)?))) else {
        return Err("");
    };
    if name == Name::FID {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        return bare.parse().map_err(|_| text);
    }
    let address: IpAddr = text.parse().map_err(|_| text)?;
    match facts.get(Name::CIDR).filter(|cidr| !cidr.is_empty()) {
        None => Ok(Subnet::host(address)),
        Some(cidr) => cidr.parse().ok().and_then(|length| Subnet::new(address, length)).ok_or(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Groups;

    #[test]
    fn the_first_group_that_took_part_says_who_it_was() {
        for (groups, expected) in [
            (vec![("ip4", "192.0.2.1"), ("fid", "root")], Ok("192.0.2.1")),
            (vec![("ip4", "192.0.2.1"), ("cidr", "24")], Ok("192.0.2.0/24")),
            (vec![("ip4", "192.0.2.1"), ("cidr", "99")], Err("192.0.2.1")),
            (vec![("fid", "[2001:db8::1]")], Ok("2001:db8::1")),
            (vec![("fid", "192.0.2.0/24")], Ok("192.0.2.0/24")),
            (vec![("dns", "192.0.2.1"), ("fid", "192.0.2.2")], Ok("192.0.2.1")),
            (vec![("dns", "host.example")], Err("host.example")),
            (vec![("ip4", "999.0.2.1")], Err("999.0.2.1")),
            (vec![], Err("")),
        ] {
            let mut all = Groups::default();
            for (name, value) in groups {
                all.set(Name::of(name).expect("few names"), Some(value));
            }
            let facts = Facts::of(all);
            let got = of(&facts).map(|subnet| subnet.to_string());
            assert_eq!(got, expected.map(str::to_owned));
        }
    }
}
