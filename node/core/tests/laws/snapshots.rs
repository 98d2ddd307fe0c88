//! A ban list that goes through its records is the same list, and stays so under further commands.

use crate::generated::{applied, command, history, position};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::settings::Settings;
use proptest::prelude::*;

proptest! {
    #[test]
    fn records_give_an_equal_list_that_goes_on_alike(before in history(30), after in history(10)) {
        let (mut list, mut index, mut at) = applied(&before);
        // Other settings than the list's own: all of them have to come from the records.
        let mut copy = BanList::new(Settings { quota_burst: 77, ..Settings::at_birth([9; 16]) });
        list.records().for_each(|record| copy.restore(record));
        prop_assert_eq!(&copy, &list);
        prop_assert_eq!(copy.n_bans(), list.n_bans());
        for (passed_ms, op) in after {
            at = at.plus_ms(passed_ms);
            index += 1;
            let command = command(at, vec![op]);
            let results = list.apply(position(index), &command);
            prop_assert_eq!(copy.apply(position(index), &command), results);
            prop_assert_eq!(&copy, &list);
        }
    }
}
