//! Thousands of distinct offenders at one host within a second: all of them are blocked on every host, and whoever asks
//! meanwhile is answered.

use std::time::Duration;

use bannkreis_tests::burst;
use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::seeds::{self, Tree};

use crate::inside::{in_lab, plan};

const OFFENDERS: u32 = 5_000;
/// In a debug build, beside other tests.
const ALL_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_burst_of_offenders_is_blocked_everywhere_and_status_answers() -> Result<()> {
    let hosts = || {
        let relay = plan("mx1", seeds::strict_mail_relay("1h"));
        [plan("kopano", Tree::empty()), plan("kerio", Tree::empty()), relay].into()
    };
    in_lab(
        "many_offenders::a_burst_of_offenders_is_blocked_everywhere_and_status_answers",
        |_| hosts(),
        |lab| {
            lab.form_cluster()?;
            let course = burst::of_offenders(lab, "mx1", OFFENDERS, ALL_WITHIN)?;
            expect(course.slowest_answer <= ANSWER_MAX, || format!("{course:?}"))
        },
    )
}
