//! From a jail's actions to the ports that its bans close.
//!
//! The firewall actions that fail2ban ships are known by name; what they would run is not run,
//! because bannkreis blocks by itself. All other actions are named as not run. Not for running
//! anything.

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
    /// Everything, though fail2ban would use a firewall that does not exist here.
    ForeignFirewall,
}

/// fail2ban's firewall actions, by file name without .conf.
const STOCK: [(&str, Closes); 31] = [
    ("iptables", Closes::GivenPorts),
    ("iptables-multiport", Closes::GivenPorts),
    ("iptables-multiport-log", Closes::GivenPorts),
    ("iptables-new", Closes::GivenPorts),
    ("iptables-ipset", Closes::GivenPorts),
    ("iptables-ipset-proto4", Closes::GivenPorts),
    ("iptables-ipset-proto6", Closes::GivenPorts),
    ("iptables-allports", Closes::AllPorts),
    ("iptables-ipset-proto6-allports", Closes::AllPorts),
    ("iptables-xt_recent-echo", Closes::AllPorts),
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
];

/// What a jail's `action` option means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actions {
    /// What bans close.
    pub ports: Ports,
    /// Sentences about what is not done.
    pub remarks: Vec<String>,
}

/// Reads the `action` option of `jail`.
///
/// # Errors
/// A sentence about an action that is malformed, or about a port or protocol that is none.
pub fn read(jail: &str, text: &str, more: &dyn Fn(&str) -> Option<u16>) -> Result<Actions, String> {
    let mut actions = Actions { ports: Ports::none(), remarks: Vec::new() };
    for part in parameters::split(text) {
        let action = parameters::parse(part).map_err(|why| format!("action: {why}"))?;
        let Some(&(_, closes)) = STOCK.iter().find(|(name, _)| *name == action.name) else {
            actions.remarks.push(unsupported::action_not_run(&action.name));
            continue;
        };
        if let Some(verdict) = action.parameter("blocktype").filter(|verdict| lets_through(verdict)) {
            return Err(unsupported::action_that_opens(&action.name, verdict));
        }
        for (parameter, value) in &action.parameters {
            actions.remarks.extend(unsupported::parameter_without_effect(&action.name, parameter, value));
        }
        let ports = closed_by(&action, closes, more, &mut actions.remarks)?;
        actions.ports = actions.ports.union(&ports);
    }
    if actions.ports.is_none() {
        actions.remarks.push(unsupported::nothing_closed(jail));
    }
    Ok(actions)
}

/// Some jails turn an action round: whoever is "banned" gets in.
fn lets_through(verdict: &str) -> bool {
    ["RETURN", "ACCEPT"].contains(&verdict.trim().to_uppercase().as_str())
}

fn closed_by(
    action: &Named,
    closes: Closes,
    more: &dyn Fn(&str) -> Option<u16>,
    remarks: &mut Vec<String>,
) -> Result<Ports, String> {
    let closes = match action.parameter("type") {
        Some("allports") => Closes::AllPorts,
        Some("oneport" | "multiport") => Closes::GivenPorts,
        _ => closes,
    };
    match closes {
        Closes::WholeHost => return Ok(Ports::whole_host()),
        Closes::ForeignFirewall => {
            remarks.push(unsupported::foreign_firewall(&action.name));
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
            remarks.push(unsupported::action_without_port(&action.name));
        }
        services::ranges(text.unwrap_or("ssh"), more)?
    };
    let mut ranges = Vec::new();
    for name in parameters::words(protocols) {
        let protocol = Protocol::from_name(&name.to_lowercase()).ok_or_else(|| {
            format!("protocol = `{name}` of action `{}` is not known; write tcp, udp or all", action.name)
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

    fn ports(text: &str) -> String {
        read("j", text, &|_| None).expect("well formed").ports.to_string()
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
            (r#"iptables[port="0:65535"]"#, "all/tcp"),
            ("a[port=80] iptables-multiport[port=25]\n iptables-multiport[port=\"80,443\"]", "25,80,443/tcp"),
        ] {
            assert_eq!(ports(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_done_is_said() {
        let remarks = |text| read("j", text, &|_| None).expect("well formed").remarks.join("\n");
        assert!(remarks("sendmail-whois[dest=x]").contains("action `sendmail-whois` is not run yet"));
        assert!(
            remarks("sendmail").contains("closes nothing here")
                || remarks("sendmail").contains("close nothing")
        );
        assert!(remarks("iptables").contains("means ssh"));
        assert!(remarks("iptables[port=22, chain=DOCKER-USER]").contains("`chain = DOCKER-USER`"));
        assert_eq!(remarks("iptables[port=22, chain=\"<known/chain>\"]"), "");
        assert!(read("j", "iptables[port=nosuch]", &|_| None).is_err());
        assert!(read("j", "iptables[port=22, protocol=nosuch]", &|_| None).is_err());
        assert!(read("j", "iptables[port", &|_| None).is_err());
        let turned_round = read("j", "iptables[port=21, blocktype=RETURN, returntype=DROP]", &|_| None);
        assert!(turned_round.expect_err("refused").contains("lets in"));
    }
}
