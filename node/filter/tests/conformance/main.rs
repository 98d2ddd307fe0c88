//! fail2ban's own labelled sample logs, judged by our filters: match, offender, time, attributes.
//!
//! The filters and the samples come from Debian's package, unpacked by `.ci/fail2ban-config`; nothing of it
//! is in this repository. Every labelled line is judged with every set of options that its block names, as
//! fail2ban's own test does. What differs is listed in `differences` with its reason, and a difference that
//! is gone fails the test too.

mod package;

mod differences;
mod judging;
mod samples;

mod beside;
mod mutation;

use differences::DIFFERENCES;
use judging::Judging;
use package::Package;
use std::collections::BTreeSet;

/// How many records Debian 12's package has; another version has another number.
const RECORDS: (&str, usize) = ("1.0.2", 1_627);

#[test]
fn every_labelled_line_is_judged_as_fail2ban_judges_it() {
    let Some(package) = Package::find() else {
        println!(
            "SKIPPED: BANNKREIS_FAIL2BAN_DIR names no etc/fail2ban of an unpacked Debian package with its tests"
        );
        return;
    };
    let mut records = 0;
    let mut different = BTreeSet::new();
    let mut unexpected = Vec::new();
    for filter in package.filters() {
        let mut judging = Judging::new(&package, &filter);
        for sample in samples::read(&package, &filter) {
            records += 1;
            let Err(difference) = judging.judge(&sample) else { continue };
            different.insert((filter.clone(), sample.file.clone(), sample.line_number));
            let is_listed = DIFFERENCES.iter().any(|listed| {
                (listed.filter, listed.file, listed.line) == (&filter, &sample.file, sample.line_number)
            });
            if !is_listed {
                let options = &sample.options;
                unexpected.push(format!(
                    "{filter} {options:?}, {}:{}: {difference}\n    {}",
                    sample.file, sample.line_number, sample.line
                ));
            }
        }
    }
    println!("{records} records of fail2ban {}, {} different", package.version(), different.len());
    assert!(
        unexpected.is_empty(),
        "{} records are judged differently:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
    if package.version() == RECORDS.0 {
        assert_eq!(records, RECORDS.1, "every record was judged");
        for listed in DIFFERENCES {
            assert!(
                different.contains(&(listed.filter.to_owned(), listed.file.to_owned(), listed.line)),
                "{} {}:{} is judged as fail2ban does now: take it off the list ({})",
                listed.filter,
                listed.file,
                listed.line,
                listed.reason
            );
        }
    }
}
