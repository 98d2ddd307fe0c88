//! The subnet map against a list that is searched from end to end.

use crate::generated::subnet;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::subnet_map::SubnetMap;
use proptest::prelude::*;
use std::collections::BTreeMap;

proptest! {
    #[test]
    fn answers_as_a_plain_list_does(
        changes in proptest::collection::vec((subnet(), proptest::option::weighted(0.7, 0u8..9)), 0..40),
        asked in subnet(),
    ) {
        let mut map: SubnetMap<u8> = SubnetMap::default();
        let mut plain: BTreeMap<Subnet, u8> = BTreeMap::new();
        for (subnet, value) in changes {
            match value {
                Some(value) => prop_assert_eq!(map.insert(subnet, value), plain.insert(subnet, value)),
                None => prop_assert_eq!(map.remove(subnet), plain.remove(&subnet)),
            }
        }
        prop_assert_eq!(map.len(), plain.len());
        prop_assert_eq!(map.get(asked), plain.get(&asked));
        let mut holding: Vec<(Subnet, u8)> = map.holding(asked).map(|(subnet, value)| (subnet, *value)).collect();
        prop_assert!(holding.windows(2).all(|pair| pair[0].0.prefix_len() < pair[1].0.prefix_len()));
        holding.sort_unstable();
        let expected: Vec<(Subnet, u8)> =
            plain.iter().filter(|(subnet, _)| subnet.contains(asked)).map(|(subnet, value)| (*subnet, *value)).collect();
        prop_assert_eq!(holding, expected);
        let inside: Vec<(Subnet, u8)> = map.inside(asked).map(|(subnet, value)| (subnet, *value)).collect();
        let expected: Vec<(Subnet, u8)> =
            plain.iter().filter(|(subnet, _)| asked.contains(**subnet)).map(|(subnet, value)| (*subnet, *value)).collect();
        prop_assert_eq!(inside, expected);
        map.retain(|_, value| value % 2 == 0);
        plain.retain(|_, value| *value % 2 == 0);
        prop_assert!(map.iter().map(|(subnet, value)| (subnet, *value)).eq(plain.iter().map(|(s, v)| (*s, *v))));
        prop_assert_eq!(map.holding(asked).count(), plain.keys().filter(|subnet| subnet.contains(asked)).count());
    }
}

proptest! {
    #[test]
    fn subnets_stand_in_the_order_of_their_addresses(a in subnet(), b in subnet()) {
        let by = |subnet: Subnet| (!subnet.is_v4(), subnet.address(), subnet.prefix_len());
        prop_assert_eq!(a.cmp(&b), by(a).cmp(&by(b)));
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
    }
}
