//! Any text: lists of expressions find the same by automata that know bytes and by engines that know characters.
//!
//! The first byte says whether the text was cut. Not for what is right: see the tests of node/filter.
#![no_main]

#[path = "../../node/filter/tests/same_verdicts/modes.rs"]
mod modes;

use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use modes::List;
use std::cell::RefCell;

/// Filters that are built in, with expressions of all kinds.
const JAILS: &str = "
[DEFAULT]
enabled = true
logpath = /x
[sshd]
[postfix]
[dovecot]
";

/// Expressions that tell letters from what is none, capitals from small ones, and quotes from each other.
const MADE_UP: [&str; 4] = [
    r"\bgrün\w* <HOST>$",
    r"^(?P<user>\w+)\W<ADDR>",
    r"(?i)kiss <HOST>$",
    r"^(?!.*good)\s*\S+ (?P<q>')?\w+(?(q)') denied <HOST>$",
];

fn lists() -> Vec<List> {
    let tree = MemoryTree::new("/f/").with("jail.local", JAILS);
    let host = Host { zone: TimeZone::UTC, services: &|_| None, is_journal_instead: &|_| false, config_dir: String::new() };
    let reading = reading::read(&tree, &host).expect("well formed");
    let mut lists: Vec<List> = reading.jails.iter().flat_map(|jail| modes::lists(&jail.filter)).collect();
    lists.extend([List::new(&MADE_UP), List::over_lines(&MADE_UP)]);
    lists
}

thread_local! {
    static LISTS: RefCell<Vec<List>> = RefCell::new(lists());
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else { return };
    let (text, is_cut) = (String::from_utf8_lossy(text), first % 4 == 0);
    LISTS.with_borrow_mut(|lists| {
        for list in lists {
            list.compare(&text, is_cut);
        }
    });
});
