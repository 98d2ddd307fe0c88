//! The law of the ruleset: a firewall that holds `a` and is given `a.diff(b)` holds `b`.

use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::ruleset::{Chain, Element, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Timestamp, Until};
use bannkreis_firewall::{Firewall, MemoryFirewall};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use std::net::{IpAddr, Ipv6Addr};

const NOW: Timestamp = Timestamp(1_000_000);

/// Few enough that two rulesets often have one in common, and wide enough to overlap.
fn subnet() -> impl Strategy<Value = Subnet> {
    let v4 =
        (0..8_u8, 24..=32_u8).prop_map(|(last, bits)| Subnet::new(IpAddr::from([192, 0, 2, last]), bits));
    let v6 = (0..4_u16, 46..=65_u8).prop_map(|(part, bits)| {
        Subnet::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, part, part, 0, 0, 1)), bits)
    });
    prop_oneof![v4, v6].prop_map(Option::unwrap)
}

fn element() -> impl Strategy<Value = Element> {
    let until = prop_oneof![
        (0..100_u64).prop_map(|ms| Until::at(NOW.plus_ms(ms))),
        proptest::strategy::Just(Until::FOREVER)
    ];
    let ports = prop_oneof![
        proptest::strategy::Just(Ports::whole_host()),
        proptest::collection::vec(1..5_u16, 0..3).prop_map(|ports| Ports::tcp(&ports))
    ];
    ("[ab]", ports, until).prop_map(|(jail, ports, until)| Element {
        chain: Chain { jail: JailName::new(&jail).unwrap(), ports },
        until,
    })
}

fn ruleset() -> impl Strategy<Value = Ruleset> {
    let elements = proptest::collection::btree_map(subnet(), element(), 0..12);
    let protected = proptest::collection::btree_set(subnet(), 0..6);
    (elements, protected).prop_map(|(elements, protected)| Ruleset { elements, protected })
}

proptest! {
    #[test]
    fn diff_applied_to_a_is_b(a in ruleset(), b in ruleset(), cut in any::<proptest::sample::Index>()) {
        let mut firewall = MemoryFirewall::new();
        firewall.replace(NOW, &a).unwrap();
        let deltas = a.diff(&b);
        // In two parts and partly twice: order is all that counts.
        let cut = cut.index(deltas.len() + 1);
        firewall.apply(NOW, &deltas[..cut]).unwrap();
        firewall.apply(NOW, &deltas).unwrap();
        assert_eq!(firewall.ruleset(), b);
        assert_eq!(b.diff(&firewall.ruleset()), Vec::<FirewallDelta>::new());
    }
}
