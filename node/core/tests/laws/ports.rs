//! Port sets: union is a union, and `covers` is inclusion.

use crate::generated::ports;
use bannkreis_core::jail::Ports;
use proptest::prelude::*;

proptest! {
    #[test]
    fn union_is_commutative_associative_and_idempotent(a in ports(), b in ports(), c in ports()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.union(&a), a.clone());
        prop_assert_eq!(a.union(&Ports::none()), a.clone());
        prop_assert_eq!(a.union(&Ports::whole_host()), Ports::whole_host());
    }

    #[test]
    fn covers_is_what_union_does_not_change(a in ports(), b in ports()) {
        prop_assert!(a.union(&b).covers(&a) && a.union(&b).covers(&b));
        prop_assert_eq!(a.covers(&b), a.union(&b) == a);
    }

    #[test]
    fn many_ranges_become_the_whole_protocol_and_stay_a_union(
        a in proptest::collection::vec(0u16..400, 0..120),
        b in proptest::collection::vec(0u16..400, 0..120),
    ) {
        let (a, b) = (Ports::tcp(&a), Ports::tcp(&b));
        let both = a.union(&b);
        prop_assert!(both.covers(&a) && both.covers(&b));
        prop_assert_eq!(&both, &b.union(&a));
        prop_assert!(both.ranges().is_none_or(|ranges| ranges.len() <= bannkreis_core::jail::PORT_RANGES_MAX));
    }
}
