//! Names of ports: `ssh`, `https`, as iptables takes them in a jail's `port`.
//!
//! A short table of our own, so that a jail means the same ports on every host; whoever reads the
//! configuration may offer more names, for example from /etc/services.

/// Service names (IANA "Service Name and Transport Protocol Port Number Registry", with the
/// aliases that Debian's /etc/services has) and their ports.
const SERVICES: [(&str, u16); 56] = [
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("mail", 25),
    ("domain", 53),
    ("tftp", 69),
    ("http", 80),
    ("www", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ident", 113),
    ("auth", 113),
    ("nntp", 119),
    ("ntp", 123),
    ("imap", 143),
    ("imap2", 143),
    ("snmp", 161),
    ("irc", 194),
    ("ldap", 389),
    ("https", 443),
    ("smtps", 465),
    ("ssmtp", 465),
    ("urd", 465),
    ("submissions", 465),
    ("syslog", 514),
    ("submission", 587),
    ("ldaps", 636),
    ("rsync", 873),
    ("ftps-data", 989),
    ("ftps", 990),
    ("telnets", 992),
    ("imaps", 993),
    ("ircs", 994),
    ("pop3s", 995),
    ("socks", 1080),
    ("openvpn", 1194),
    ("ms-sql-s", 1433),
    ("pptp", 1723),
    ("radius", 1812),
    ("nfs", 2049),
    ("squid", 3128),
    ("mysql", 3306),
    ("ms-wbt-server", 3389),
    ("svn", 3690),
    ("sieve", 4190),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
    ("postgresql", 5432),
    ("ircd", 6667),
    ("http-alt", 8080),
    ("webmin", 10000),
];

/// The port of a service, or of a number.
#[must_use]
pub fn port(name: &str, more: &dyn Fn(&str) -> Option<u16>) -> Option<u16> {
    let name = name.trim();
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let lower = name.to_lowercase();
    SERVICES.iter().find(|(other, _)| *other == lower).map(|&(_, port)| port).or_else(|| more(name))
}

/// The ranges of a `port` option: names, numbers and `first:last`, separated by commas.
///
/// # Errors
/// A sentence that names what is no port.
pub fn ranges(text: &str, more: &dyn Fn(&str) -> Option<u16>) -> Result<Vec<(u16, u16)>, String> {
    let one = |name: &str| {
        port(name, more).ok_or_else(|| {
            format!("`{name}` in port = `{text}` is no port and no service that is known; write its number")
        })
    };
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once([':']) {
            Some((first, last)) => Ok((one(first)?, one(last)?)),
            None => {
                let port = one(part)?;
                Ok((port, port))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_ranges() {
        let none = |_: &str| None;
        assert_eq!(
            ranges("http, https,0:65535,20:ftp", &none),
            Ok(vec![(80, 80), (443, 443), (0, 65_535), (20, 21)])
        );
        assert!(ranges("nosuch", &none).expect_err("unknown").contains("write its number"));
        assert!(ranges("70000", &none).is_err());
        assert_eq!(ranges("mine", &|name| (name == "mine").then_some(7)), Ok(vec![(7, 7)]));
    }
}
