//! Hosts of IPv4 behind a NAT64 translator: one network of IPv6 holds all of them, and each is counted and protected
//! as its IPv4 address is.

use crate::generated::{BEGIN, command, failure, jail, list, position};
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::command::Op;
use bannkreis_core::event::{Configuration, Event};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::Jail;
use bannkreis_core::settings::Settings;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Now, SECOND_MS, Until};
use bannkreis_core::warden::Warden;

/// 45.0.0.9 behind the translator.
const TRANSLATED: &str = "64:ff9b::2d00:9";

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

fn jail_that_ignores(ignore: &[&str]) -> Jail {
    Jail { ignore: ignore.iter().copied().map(subnet).collect(), ..jail(1, 60 * SECOND_MS) }
}

/// What a warden blocks after one failure of [`TRANSLATED`].
fn blocked(ignore: &[&str], allowed: Option<&str>) -> Vec<Subnet> {
    let (mut list, index) = list();
    if let Some(allowed) = allowed {
        let node = NodeId(1);
        let operator =
            Operator { command_id: CommandId(1), node, author: String::new(), reason: String::new() };
        let (note, author) = (String::new(), String::new());
        let entry = AllowEntry { subnet: subnet(allowed), note, author, node, until: Until::FOREVER };
        list.apply(position(index + 1), &command(BEGIN, vec![Op::Allow { operator, entry }]));
    }
    let mut warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
    let now = Now::known(BEGIN, BEGIN);
    let configuration = Configuration { jails: vec![jail_that_ignores(ignore)], ..Configuration::default() };
    let failure = failure(subnet(TRANSLATED), BEGIN);
    for event in [Event::Configured(configuration), Event::CaughtUp, Event::Failures(vec![failure])] {
        warden.step(now, event, &mut Vec::new());
    }
    warden.ruleset().elements.keys().copied().collect()
}

#[test]
fn one_host_behind_a_translator_is_blocked_and_not_all_of_them() {
    assert_eq!(blocked(&[], None), [subnet(TRANSLATED)]);
    let mut settings = Settings::at_birth([1; 16]);
    settings.counting_prefix_v4 = 24;
    assert_eq!(settings.counting_subnet(subnet(TRANSLATED)), subnet("64:ff9b::2d00:0/120"));
    // Of any other network a /64 is one customer.
    assert_eq!(settings.counting_subnet(subnet("64:ff9b:1::2d00:9")), subnet("64:ff9b:1::/64"));
    assert_eq!(settings.counting_subnet(subnet("2a01::1")), subnet("2a01::/64"));
}

#[test]
fn whoever_is_protected_is_so_behind_a_translator() {
    assert_eq!(blocked(&["45.0.0.0/24"], None), []);
    assert_eq!(blocked(&[], Some("45.0.0.9")), []);
    assert_eq!(blocked(&["45.0.1.0/24"], Some("45.0.0.8")), [subnet(TRANSLATED)]);
}

#[test]
fn only_the_well_known_prefix_translates() {
    assert_eq!(subnet(TRANSLATED).translated_v4(), Some(subnet("45.0.0.9")));
    assert_eq!(subnet("64:ff9b::2d00:0/120").translated_v4(), Some(subnet("45.0.0.0/24")));
    for other in ["64:ff9b::/64", "64:ff9b:0:0:1::9", "64:ff9b:1::9", "2a01::9", "45.0.0.9"] {
        assert_eq!(subnet(other).translated_v4(), None, "{other}");
    }
}
