//! From a jail's actions to the ports that its bans close.
//!
//! The firewall actions that fail2ban ships are known by name, and an action of the user's that includes
//! one of their files is known by that; what they would run is not run, because bannkreis blocks by
//! itself. All other actions are named as not run. Not for running anything.

use crate::action_text::ActionText;
use crate::definition::DefinitionError;
use crate::parameters::{self, Named};
use crate::services;
use crate::unsupported;
use bannkreis_core::jail::{PortRange, Ports, Protocol};

/// What a stock action closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closes {
    /// The ports in its parameter `port`.
    GivenPorts,
    /// All ports of its parameter `protocol`.
    AllPorts,
    /// Everything.
    WholeHost,
    /// Everything, or the ports that the jail gives: fail2ban would use a firewall that Linux does not have.
    ForeignFirewall,
}

/// fail2ban's firewall actions, by file name without .conf.
const STOCK: [(&str, Closes); 33] = [
    ("iptables", Closes::GivenPorts),
    ("iptables-multiport", Closes::GivenPorts),
    ("iptables-multiport-log", Closes::GivenPorts),
    ("iptables-new", Closes::GivenPorts),
    ("iptables-ipset", Closes::GivenPorts),
    ("iptables-ipset-proto4", Closes::GivenPorts),
    ("iptables-ipset-proto6", Closes::GivenPorts),
    ("iptables-allports", Closes::AllPorts),
    ("iptables-ipset-proto6-allports", Closes::AllPorts),
    ("iptables-xt_recent-echo", Closes::WholeHost),
    ("symbiosis-blacklist-allports", Closes::WholeHost),
    ("nftables", Closes::GivenPorts),
    ("nftables-multiport", Closes::GivenPorts),
    ("nftables-allports", Closes::AllPorts),
    ("firewallcmd-multiport", Closes::GivenPorts),
    ("firewallcmd-new", Closes::GivenPorts),
    ("firewallcmd-ipset", Closes::GivenPorts),
    ("firewallcmd-rich-rules", Closes::GivenPorts),
    ("firewallcmd-rich-logging", Closes::GivenPorts),
    ("firewallcmd-allports", Closes::AllPorts),
    ("ufw", Closes::WholeHost),
    ("shorewall", Closes::WholeHost),
    ("shorewall-ipset-proto6", Closes::WholeHost),
    ("route", Closes::WholeHost),
    ("hostsdeny", Closes::WholeHost),
    ("apf", Closes::WholeHost),
    ("pf", Closes::ForeignFirewall),
    ("ipfw", Closes::ForeignFirewall),
    ("bsd-ipfw", Closes::ForeignFirewall),
    ("ipfilter", Closes::ForeignFirewall),
    ("npf", Closes::ForeignFirewall),
    ("osx-ipfw", Closes::ForeignFirewall),
    ("osx-afctl", Closes::ForeignFirewall),
];

/// What a jail's actions mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// What bans close.
    pub ports: Ports,
    /// Sentences about what is not done.
    pub remarks: Vec<String>,
}

/// What the `actions` of `jail` close.
///
/// # Errors
/// A sentence about a port or protocol that is none, or about an action that opens.
pub fn closed(
    jail: &str,
    actions: &[ActionText],
    more: &dyn Fn(&str) -> Option<u16>,
) -> Result<Closed, String> {
    let mut closed = Closed { ports: Ports::none(), remarks: Vec::new() };
    for action in actions {
        let named = &action.named;
        let Some(closes) = stock(&named.name).or_else(|| built_on(action)) else {
            closed.remarks.push(unsupported::action_not_run(&named.name));
            continue;
        };
        if let Some(verdict) = action.parameter("blocktype").filter(|verdict| lets_through(verdict)) {
            return Err(unsupported::action_that_opens(&named.name, verdict));
        }
        for (parameter, value) in &named.parameters {
            closed.remarks.extend(unsupported::parameter_without_effect(&named.name, parameter, value));
        }
        let ports = closed_by(action, closes, more, &mut closed.remarks)?;
        closed.ports = closed.ports.union(&ports);
    }
    if closed.ports.is_none() {
        closed.remarks.push(unsupported::nothing_closed(jail));
    }
    Ok(closed)
}

fn stock(name: &str) -> Option<Closes> {
    STOCK.iter().find(|(other, _)| *other == name).map(|&(_, closes)| closes)
}

/// What a stock action closes whose file this one includes.
fn built_on(action: &ActionText) -> Option<Closes> {
    let mut stems =
        action.files.iter().rev().filter_map(|file| file.rsplit('/').next()?.strip_suffix(".conf"));
    let of = |stem: &str| if stem == "firewallcmd-common" { Some(Closes::GivenPorts) } else { stock(stem) };
    stems.find_map(of)
}

/// What is to be said about a file of an action that can not be used. Our own firewall needs none.
pub(crate) fn unread(named: &Named, problem: &DefinitionError) -> Option<String> {
    let is_missing = matches!(problem, DefinitionError::Missing { .. });
    let is_expected = stock(&named.name).is_some() || named.name.ends_with(".py");
    (!is_missing || !is_expected).then(|| unsupported::action_unreadable(&named.name, &problem.to_string()))
}

/// Some jails turn an action round: whoever is "banned" gets in.
fn lets_through(verdict: &str) -> bool {
    ["RETURN", "ACCEPT"].contains(&verdict.trim().to_uppercase().as_str())
}

fn closed_by(
    action: &ActionText,
    closes: Closes,
    more: &dyn Fn(&str) -> Option<u16>,
    remarks: &mut Vec<String>,
) -> Result<Ports, String> {
    let name = &action.named.name;
    let kind = action.parameter("type").or_else(|| action.named.parameter("actiontype"));
    let closes = match kind.map(|kind| kind.trim_matches(['<', '>'])) {
        _ if closes == Closes::WholeHost => closes,
        Some("allports") if closes != Closes::ForeignFirewall => Closes::AllPorts,
        Some("oneport" | "multiport") => Closes::GivenPorts,
        // firewalld's way of saying so.
        Some("") if name.starts_with("firewallcmd-") => return Ok(Ports::whole_host()),
        _ if closes == Closes::ForeignFirewall && action.named.parameter("port").is_some() => {
            Closes::GivenPorts
        }
        _ => closes,
    };
    match closes {
        Closes::WholeHost => return Ok(Ports::whole_host()),
        Closes::ForeignFirewall => {
            remarks.push(unsupported::foreign_firewall(name));
            return Ok(Ports::whole_host());
        }
        Closes::GivenPorts | Closes::AllPorts => {}
    }
    let protocols = action.parameter("protocol").filter(|text| !text.is_empty()).unwrap_or("tcp");
    if protocols.eq_ignore_ascii_case("all") {
        return Ok(Ports::whole_host());
    }
    let port_ranges = if closes == Closes::AllPorts {
        vec![(0, u16::MAX)]
    } else {
        let text = action.parameter("port").filter(|text| !text.is_empty());
        if text.is_none() {
            remarks.push(unsupported::action_without_port(name));
        }
        services::ranges(text.unwrap_or("ssh"), more)?
    };
    let mut ranges = Vec::new();
    for word in parameters::words(protocols) {
        let protocol = Protocol::from_name(&word.to_lowercase()).ok_or_else(|| {
            format!("protocol = `{word}` of action `{name}` is not known; write tcp, udp or all")
        })?;
        if protocol.has_ports() {
            ranges.extend(port_ranges.iter().map(|&(first, last)| PortRange { protocol, first, last }));
        } else {
            ranges.push(PortRange { protocol, first: 0, last: u16::MAX });
        }
    }
    Ok(Ports::from_ranges(ranges))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpolate::Vars;

    fn actions(text: &str) -> Vec<ActionText> {
        let one = |part: &str| {
            let named = parameters::parse(part).expect("well formed");
            let (options, parameters) = (Vars::new(), Vars::new());
            ActionText {
                name: named.name.clone(),
                named,
                options,
                parameters,
                files: Vec::new(),
                remarks: Vec::new(),
            }
        };
        parameters::split(text).into_iter().map(one).collect()
    }

    fn read(text: &str) -> Result<Closed, String> {
        closed("j", &actions(text), &|_| None)
    }

    fn ports(text: &str) -> String {
        read(text).expect("well formed").ports.to_string()
    }

    #[test]
    fn firewall_actions_close_their_ports() {
        for (text, expected) in [
            (r#"iptables-multiport[name=SMTP, port="25,465,587", protocol=tcp]"#, "25,465,587/tcp"),
            ("nftables[type=multiport, port=ssh]", "22/tcp"),
            ("iptables-allports[protocol=udp]", "all/udp"),
            ("iptables-allports[protocol=all]", "all ports"),
            (r#"nftables-multiport[port="53", protocol="tcp,udp"]"#, "53/tcp 53/udp"),
            ("ufw", "all ports"),
            ("pf", "all ports"),
            (r#"pf[port="25,80"]"#, "25,80/tcp"),
            ("iptables-xt_recent-echo[port=22]", "all ports"),
            (r#"firewallcmd-ipset[port=22, actiontype="<allports>"]"#, "all/tcp"),
            (r#"firewallcmd-ipset[port=22, actiontype=""]"#, "all ports"),
            (r#"iptables[port="0:65535"]"#, "all/tcp"),
            ("a[port=80] iptables-multiport[port=25]\n iptables-multiport[port=\"80,443\"]", "25,80,443/tcp"),
        ] {
            assert_eq!(ports(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_done_is_said() {
        let remarks = |text| read(text).expect("well formed").remarks.join("\n");
        assert!(remarks("sendmail-whois[dest=x]").contains("action `sendmail-whois` is not run yet"));
        assert!(
            remarks("sendmail").contains("closes nothing here")
                || remarks("sendmail").contains("close nothing")
        );
        assert!(remarks("sendmail").contains("no mail is sent"));
        assert!(remarks("smtp.py[x=1]").contains("it needs Python"));
        assert!(remarks("iptables").contains("means ssh"));
        assert!(remarks("iptables[port=22, chain=DOCKER-USER]").contains("`chain = DOCKER-USER`"));
        assert_eq!(remarks("iptables[port=22, chain=\"<known/chain>\"]"), "");
        assert!(read("iptables[port=nosuch]").is_err());
        assert!(read("iptables[port=22, protocol=nosuch]").is_err());
        let mut own = actions("mine[port=22]");
        own[0].files = vec!["/f/action.d/iptables.conf".to_owned(), "/f/action.d/mine.conf".to_owned()];
        assert_eq!(closed("j", &own, &|_| None).expect("well formed").ports.to_string(), "22/tcp");
        let turned_round = read("iptables[port=21, blocktype=RETURN, returntype=DROP]");
        assert!(turned_round.expect_err("refused").contains("lets in"));
    }
}
