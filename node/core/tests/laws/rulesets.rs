//! `diff(a, b)` applied to `a` is `b`; applying a delta twice is applying it once; joining only adds.

use crate::generated::{BEGIN, jail_name, offender_number, ports};
use bannkreis_core::ruleset::{Chain, Element, FirewallDelta, Ruleset};
use bannkreis_core::time::{SECOND_MS, Until};
use proptest::prelude::*;

fn element() -> impl Strategy<Value = Element> {
    (0u8..2, ports(), proptest::option::of(0u64..5)).prop_map(|(jail, ports, s)| Element {
        chain: Chain { jail: jail_name(jail), ports },
        until: s.map_or(Until::FOREVER, |s| Until::at(BEGIN.plus_ms(s * SECOND_MS))),
    })
}

fn ruleset() -> impl Strategy<Value = Ruleset> {
    let elements = proptest::collection::btree_map((0u8..6).prop_map(offender_number), element(), 0..6);
    let protected = proptest::collection::btree_set((0u8..6).prop_map(offender_number), 0..4);
    (elements, protected).prop_map(|(elements, protected)| Ruleset { elements, protected })
}

proptest! {
    #[test]
    fn a_diff_leads_from_one_to_the_other(a in ruleset(), b in ruleset()) {
        let deltas = a.diff(&b);
        let mut changed = a.clone();
        for delta in &deltas {
            changed.apply(delta);
            let once = changed.clone();
            changed.apply(delta);
            prop_assert_eq!(&changed, &once);
        }
        prop_assert_eq!(&changed, &b);
        prop_assert!(b.diff(&b).is_empty());
        // Whoever must pass is protected before anybody is blocked.
        let first_block = deltas.iter().position(|delta| matches!(delta, FirewallDelta::Block { .. }));
        let last_protect = deltas.iter().rposition(|delta| matches!(delta, FirewallDelta::Protect { .. }));
        prop_assert!(first_block.zip(last_protect).is_none_or(|(block, protect)| protect < block));
    }

    #[test]
    fn a_joined_element_is_never_less_than_either(a in element(), b in element()) {
        let joined = a.joined(&b);
        prop_assert!(joined.until >= a.until && joined.until >= b.until);
        prop_assert!(joined.chain.ports.covers(&a.chain.ports) && joined.chain.ports.covers(&b.chain.ports));
        prop_assert_eq!(a.joined(&a), a.clone());
    }
}
