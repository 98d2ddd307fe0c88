//! Each option of `bannkreis regex`: what it prints, and the code that the program ends with when it is wrong.
//!
//! The codes are compared with fail2ban-regex's own where that is unpacked. Not for the blocks of the output.

use crate::house::House;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const LINE: &str = "2026-11-20 10:00:00 from 192.0.2.7";
const REGEX: &str = "from <HOST>$";

/// Options, fail2ban-regex's code, and ours. `DIR` stands for a directory of configuration.
///
/// 2 is the answer to options that do not exist or have no number where there must be one, 255 means that nothing was
/// tested. Where fail2ban-regex ends with a traceback that is 1, and we say what is wrong.
const CODES: [(&[&str], i32, i32); 39] = [
    (&[], 0, 0),
    (&["--help"], 0, 0),
    (&["-V"], 0, 0),
    (&["--no-such-option"], 2, 2),
    (&["--print-all"], 2, 2),
    // What is typed twice counts as it was typed last.
    (&["-c", "/nonexistent", "-c", "DIR"], 0, 0),
    (&["-o", "ip", "-o", "<nosuch>"], 0, 0),
    (&["-r", "-r", "--no-check-all", "--no-check-all"], 0, 0),
    (&["--print-no-missed", "--print-no-missed"], 0, 0),
    (&["--usedns", "no", "--usedns", "yes"], 0, 0),
    (&["-e", "latin-1", "-e", "UTF_8"], 0, 0),
    (&["-d", "%Q", "-d", "{DATE}"], 0, 0),
    (&["-L", "x"], 2, 2),
    (&["-L", "0"], 0, 0),
    (&["-L", "-1"], 255, 255),
    (&["--verbosity", "x"], 2, 2),
    (&["--verbosity", "-1"], 0, 0),
    (&["--verbosity", "9", "-vvv"], 0, 0),
    (&["-d", "%Q"], 255, 255),
    (&["-d", ""], 0, 0),
    (&["--timezone", "Mars"], 255, 255),
    (&["--usedns=maybe"], 0, 0),
    (&["--usedns="], 0, 0),
    (&["--usedns=RAW"], 0, 0),
    (&["-l", "info"], 0, 0),
    (&["-l", "HEAVYDEBUG"], 0, 0),
    (&["-l", "10"], 0, 0),
    (&["-l", "nonsense"], 1, 255),
    (&["-l", ""], 1, 255),
    (&["-m", "_SYSTEMD_UNIT=sshd.service"], 0, 0),
    (&["-m", "nonsense"], 0, 0),
    (&["-o", ""], 0, 0),
    (&["-o", "<bantime>"], 1, 255),
    (&["-o", "<ipfailures>"], 1, 255),
    // Known to fail2ban only.
    (&["-o", "<raw-ticket>"], 0, 255),
    // It notices only when the log is a file, with a traceback.
    (&["-e", "nonsense"], 0, 255),
    (&["--print-no-ignored", "--print-all-ignored"], 255, 255),
    (&["--print-no-missed", "--print-all-missed"], 255, 255),
    (&["-t", "--full-traceback", "-D", "--VD", "--TZ", "CET", "-e", "ascii"], 0, 0),
];

fn code(program: &mut Command, options: &[&str], config_dir: &str) -> i32 {
    let options = options.iter().map(|&word| if word == "DIR" { config_dir } else { word });
    let ended = program.args(options).args([LINE, REGEX]).stdin(Stdio::null()).output().expect("it starts");
    ended.status.code().expect("no signal")
}

#[test]
fn wrong_options_end_with_the_code_of_fail2ban_regex() {
    let house = House::new();
    let config_dir = house.path("");
    for (options, _, expected) in CODES {
        let mut program = Command::new(env!("CARGO_BIN_EXE_bannkreis"));
        assert_eq!(code(program.arg("regex"), options, &config_dir), expected, "{options:?}");
    }
    let Some(fail2ban) = std::env::var_os("BANNKREIS_FAIL2BAN_DIR").filter(|dir| !dir.is_empty()) else {
        println!("SKIPPED: no fail2ban to compare with; .ci/fail2ban-config unpacks one");
        return;
    };
    let root = PathBuf::from(fail2ban).join("../..");
    for (options, expected, _) in CODES {
        let mut program = Command::new("python3");
        program.arg(root.join("usr/bin/fail2ban-regex")).args(["-c", &config_dir]);
        program.env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"));
        assert_eq!(code(&mut program, options, &config_dir), expected, "fail2ban-regex {options:?}");
    }
}

#[test]
fn options_that_have_no_effect_change_nothing() {
    let house = House::new();
    let plain = house.out(&["LOG", "door"]);
    for options in [
        &["-l", "debug"][..],
        &["--log-level=HEAVYDEBUG"],
        &["-m", "_SYSTEMD_UNIT=door.service"],
        &["--journalmatch", "_SYSTEMD_UNIT=door.service + _COMM=door"],
        &["-t"],
        &["--full-traceback"],
        &["-D"],
        &["--usedns=warn"],
    ] {
        assert_eq!(house.out(&[options, &["LOG", "door"]].concat()), plain, "{options:?}");
    }
}

#[test]
fn an_unknown_usedns_counts_as_no_and_that_is_said() {
    let house = House::new();
    let typed = |option: &'static str| ["from host.example", REGEX, option];
    assert_eq!(house.out(&typed("--usedns=maybe")), house.out(&typed("--usedns=no")));
    assert!(house.out(&typed("--usedns=maybe")).contains("Failregex: 0 total"));
    let hints = house.regex(&typed("--usedns=maybe")).hints;
    assert!(hints.contains("--usedns maybe is not known and counts as no"), "{hints}");
}

#[test]
fn ignored_lines_are_printed_all_some_or_none() {
    let house = House::new();
    let ignored = "|- Ignored line(s):\n\
                   |  Nov 20 10:00:01 castle door[7]: leaves by 192.0.2.7\n\
                   |  Nov 20 10:00:03 castle door[9]: no entry for porter from 192.0.2.9\n`-\n";
    let refused = "Ignored line(s): too many to print.  Use --print-all-ignored to print all 2 lines\n";
    let whole = house.out(&["LOG", "door"]);
    assert!(whole.contains(ignored), "{whole}");
    assert_eq!(house.out(&["LOG", "door", "--print-all-ignored"]), whole);
    let none = house.out(&["LOG", "door", "--print-no-ignored"]);
    assert_eq!(none, whole.replace(ignored, ""));
    assert!(none.contains(" 2 ignored, "), "they are counted: {none}");
    let few = house.out(&["LOG", "door", "-L", "1"]);
    assert!(few.contains(refused) && !few.contains("192.0.2.9"), "{few}");
    let all = house.out(&["LOG", "door", "-L", "1", "--print-all-ignored"]);
    assert!(all.contains(ignored) && !all.contains(refused), "{all}");
}

#[test]
fn a_row_is_the_whole_of_a_failure_in_python() {
    let house = House::new();
    let id = "'192.0.2.7',\t1795168800.0,\t{'mlfid': 'castle door[7]', 'user': 'root', 'ip4': '192.0.2.7', \
              'ip6': None, 'dns': None";
    let rows = house.out(&["LOG", "door", "-o", "row"]);
    let first = rows.lines().next().expect("a failure");
    assert!(first.starts_with(&format!("[{id}")) && first.ends_with("}],"), "{first}");
    // A line without a date has none here, as in fail2ban.
    let undated = house.out(&["from 192.0.2.7", REGEX, "-o", "row"]);
    assert_eq!(undated, "['192.0.2.7',\tNone,\t{'ip4': '192.0.2.7', 'ip6': None, 'dns': None}],\n");
}

#[test]
fn fid_is_what_is_counted_and_may_be_no_address() {
    let house = House::new();
    let typed = ["user eve from 192.0.2.7", "user <F-ID>\\w+</F-ID> from <ADDR>$", "-o"];
    for (token, expected) in [("fid", "eve\n"), ("id", "eve\n"), ("ip", "192.0.2.7\n")] {
        assert_eq!(house.out(&[&typed[..], &[token]].concat()), expected, "{token}");
    }
}

#[test]
fn every_format_is_shown_with_v_also_without_a_hit() {
    let house = House::new();
    let formats = |typed: &[&str]| {
        let out = house.out(typed);
        let block = out.split("Date template hits:\n").nth(1).expect("a block").to_owned();
        let lines = block.lines().take_while(|line| *line != "`-").filter(|line| line.starts_with("|  ["));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = formats(&["LOG", "door"]);
    let verbose = formats(&["LOG", "door", "-v"]);
    assert_eq!(plain.len(), 1, "{plain:?}");
    assert_eq!(verbose[0], plain[0]);
    assert!(verbose.len() > 10 && verbose[1..].iter().all(|line| line.starts_with("|  [0] ")), "{verbose:?}");
    assert_eq!(formats(&["LOG", "door", "--verbosity=1"]), verbose);
    assert_eq!(formats(&["LOG", "door", "-vv", "--verbosity=0"]), plain);
}

#[test]
fn a_line_without_a_date_is_from_now() {
    let house = House::new();
    assert_eq!(house.out(&["from 192.0.2.7", REGEX, "-o", "<time>"]), "1795168830.0\n");
    let came = house.regex(&["from 192.0.2.7", REGEX, "-v"]);
    assert!(came.out.contains("|      192.0.2.7  Fri Nov 20 10:00:30 2026\n"), "{}", came.out);
    assert!(came.hints.contains("1 failure has no date that can be read"), "{}", came.hints);
}

/// fail2ban-regex 1.0.2 counts a prefix once more for each ignoreregex of a third argument, or ends with a traceback.
#[test]
fn a_third_argument_does_not_change_the_count_of_prefixes() {
    let house = House::new();
    let n_prefixes = |typed: &[&str]| {
        let out = house.out(typed);
        out.lines().find_map(|line| line.strip_prefix("Prefregex: ")).map(str::to_owned)
    };
    assert_eq!(n_prefixes(&["LOG", "door"]), Some("6 total".to_owned()));
    assert_eq!(n_prefixes(&["LOG", "door", "for root from"]), Some("6 total".to_owned()));
}
