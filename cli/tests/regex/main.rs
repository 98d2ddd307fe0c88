//! `bannkreis regex` on a small filter and log of our own: every block of the output, every form of `-o`, and
//! what it says when nothing can be tested.
//!
//! That the output is fail2ban-regex's own is the differential test's business.
//! `UPDATE_EXPECT=1` rewrites `tests/golden/regex*`.

mod house;
mod options;
mod progress;

use house::{FILTER, House};
use std::path::{Path, PathBuf};

fn same(file: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{}\n--- expected\n{expected}\n--- found\n{found}", path.display());
}

#[test]
fn the_blocks_stand_in_fail2bans_order() {
    let house = House::new();
    let came = house.regex(&["LOG", "door", "--print-all-matched"]);
    assert_eq!(came.code, 0);
    same("regex.txt", &came.out);
    same("regex-hints.txt", &came.hints);
    same("regex-verbose.txt", &house.out(&["LOG", "door[mode=wild]", "-vv", "--verbose-date", "-r"]));
    same("regex.json", &house.out(&["--output", "json", "LOG", "door"]));
}

#[test]
fn nothing_from_the_log_moves_the_cursor() {
    let house = House::new();
    for typed in [&["LOG", "door", "--print-all-matched", "-v"][..], &["LOG", "door", "-o", "msg"]] {
        let out = house.out(typed);
        assert!(out.contains(r"\u{1b}[31m") && !out.contains('\u{1b}'), "{out}");
    }
}

#[test]
fn one_thing_of_each_failure() {
    let house = House::new();
    let cases = [
        ("id", "192.0.2.7\n2001:db8::1\n999.1.2.3\n"),
        ("ip", "192.0.2.7\n2001:db8::1\n999.1.2.3\n"),
        ("user", "root\nNone\nmallory\n"),
        ("ip6", "None\n2001:DB8::1\nNone\n"),
        ("mlfid", "castle door[7]\ncastle door[8]\ncastle door[9]\n"),
        ("nosuch", "None\nNone\nNone\n"),
        (
            "<F-USER>@<ip> <family> <ip-rev>|<time><br><nix> <F-PORT>",
            "root@192.0.2.7 inet4 7.2.0.192.|1795168800.0\n<nix> \n\
             @2001:db8::1 inet6 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.|1795168802.0\n<nix> \n\
             mallory@999.1.2.3 None |1795168805.0\n<nix> \n",
        ),
    ];
    for (token, expected) in cases {
        assert_eq!(house.out(&["LOG", "door", "-o", token]), expected, "{token}");
    }
    let row = house.out(&["LOG", "door", "-o", "row"]);
    assert!(
        row.starts_with(
            "['192.0.2.7',\t1795168800.0,\t{'mlfid': 'castle door[7]', 'user': 'root', 'ip4': '192.0.2.7', "
        ),
        "{row}"
    );
    let message = house.out(&["LOG", "door", "--out", "<msg>!"]);
    assert!(
        message.starts_with("Nov 20 10:00:00 castle door[7]: no entry for root from 192.0.2.7!\n"),
        "{message}"
    );
    assert_eq!(house.regex(&["LOG", "door", "-o", "<bantime>"]).code, 255);
}

#[test]
fn an_expression_and_typed_lines() {
    let house = House::new();
    let out = house.out(&["2026-11-20 10:00:00 from 192.0.2.7", "from <HOST>$", "-o", "row"]);
    assert_eq!(out, "['192.0.2.7',\t1795168800.0,\t{'ip4': '192.0.2.7', 'ip6': None, 'dns': None}],\n");
    let out = house.out(&["10:00 a\nfrom 192.0.2.7\nfrom host.example", "from <HOST>$", "--usedns=no"]);
    assert!(out.contains("Use      multi line : 3 line(s)\n|  1: 10:00 a\n"), "{out}");
    assert!(out.contains("Lines: 3 lines, 0 ignored, 1 matched, 2 missed\n"), "{out}");
    let out = house.out(&[
        "-d",
        r"^\[%H:%M:%S\]",
        "--TZ",
        "UTC+0100",
        "[10:00:00] from ::1",
        "from <HOST>",
        "-o",
        "<time>",
    ]);
    assert_eq!(out, "1795165200.0\n");
    let out =
        house.out(&["-L", "2", "a 1\nb\nb 192.0.2.7", r"^a \d+<SKIPLINES>^b <HOST>", "--print-all-matched"]);
    assert!(out.contains("Use         maxlines : 2\n"), "{out}");
}

#[test]
fn a_match_over_lines_takes_them_all() {
    let house = House::new();
    let log = "Nov 20 10:00:00 login 5\nNov 20 10:00:00 other\nNov 20 10:00:01 5 failed from 192.0.2.7\n";
    house.write("door.log", log);
    let out = house.out(&[
        "-L",
        "5",
        "LOG",
        r"^ login (\d+)<SKIPLINES>^ \1 failed from <HOST>$",
        "--print-all-matched",
    ]);
    assert!(out.contains("Lines: 3 lines, 0 ignored, 2 matched, 1 missed\n"), "{out}");
    assert!(out.contains("|- Missed line(s):\n|  Nov 20 10:00:00 other\n`-\n"), "{out}");
}

#[test]
fn the_third_argument_is_an_expression() {
    let house = House::new();
    let came = house.regex(&["LOG", "door", "for root from"]);
    assert!(came.out.contains("Use ignoreregex line : for root from\n"), "{}", came.out);
    assert!(came.out.contains("Lines: 8 lines, 3 ignored, 2 matched, 3 missed\n"), "{}", came.out);
    let filter = house.path("filter.d/door.conf");
    let came = house.regex(&["LOG", "door", &filter]);
    assert!(came.hints.contains("leave the third argument away"), "{}", came.hints);
    assert_eq!(came.code, 0);
}

#[test]
fn filters_are_found_by_name_by_path_and_among_the_built_in() {
    let house = House::new();
    let filter = house.path("filter.d/door.conf");
    house.write("door.conf", FILTER);
    house.write("common-door.conf", "[DEFAULT]\n_host = nowhere\n");
    let foreign = house.path("door.conf");
    let line = "Nov 20 10:00:00 castle door[7]: no entry for root from 192.0.2.7";
    for (regex, said, n_matched) in [
        ("door", "Use   failregex filter file : door, basedir: ", 1),
        ("door.conf", "Use   failregex filter file : door, basedir: ", 1),
        (filter.as_str(), "Use   failregex filter file : door, basedir: ", 1),
        // With the file that it includes, which lies beside it.
        (foreign.as_str(), "Use   failregex file : ", 0),
        ("sshd", "Use   failregex filter file : sshd, basedir: (built in)\n", 0),
    ] {
        let out = house.out(&[line, regex]);
        assert!(out.contains(said), "{regex}: {out}");
        assert!(out.contains(&format!(" {n_matched} matched")), "{regex}: {out}");
    }
}

#[test]
fn too_many_lines_are_counted_and_not_printed() {
    let house = House::new();
    house.write("door.log", &"Nov 20 10:00:00 castle moat[1]: a fish\n".repeat(20));
    let out = house.out(&["LOG", "door"]);
    let refusal = "Missed line(s): too many to print.  Use --print-all-missed to print all 20 lines\n";
    assert!(out.ends_with(refusal), "{out}");
    let n_fish = |typed: &[&str]| house.out(typed).matches("a fish").count();
    assert_eq!(n_fish(&["LOG", "door", "--print-all-missed"]), 20);
    assert_eq!(n_fish(&["LOG", "door", "-L", "21"]), 20);
    assert_eq!(n_fish(&["LOG", "door", "--print-no-missed"]), 0);
}

#[test]
fn what_can_not_be_tested_is_said_with_255() {
    let house = House::new();
    let cases: [(&[&str], &str); 12] = [
        (&[], "provide both <LOG> and <REGEX>"),
        (&["LOG"], "provide both <LOG> and <REGEX>"),
        (&["LOG", "door", "x", "y"], "provide both <LOG> and <REGEX>"),
        (&["LOG", "window"], "there is no filter `window`"),
        (&["LOG", "nobody (here)"], "put <HOST> there"),
        (&["LOG", "(<HOST>"], "does not compile"),
        (&["LOG", "door[mode"], "never closed"),
        (&["LOG", "door[mode=]x]"], "not well formed"),
        (&["systemd-journal", "door"], "journalctl -o short-iso"),
        (&["LOG", "door", "-e", "klingon"], "klingon"),
        (&["LOG", "door", "--timezone", "Mars"], "Mars"),
        (&["LOG", "door", "--print-no-missed", "--print-all-missed"], "mutually exclusive"),
    ];
    for (typed, part) in cases {
        let came = house.regex(typed);
        assert_eq!(came.code, 255, "{typed:?}: {}", came.out);
        assert!(came.hints.contains(part), "{typed:?}: {}", came.hints);
    }
    let hint = house.regex(&["/var/log/no-such-file.log", "from <HOST>"]);
    assert!(hint.hints.contains("is no file that can be read here"), "{}", hint.hints);
}

#[test]
fn the_program_ends_as_fail2ban_regex_ends() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bannkreis"));
    let code = |typed: &[&str]| {
        let output = std::process::Command::new(&program).arg("regex").args(typed).output().unwrap();
        output.status.code()
    };
    assert_eq!(code(&["no match", "from <HOST>"]), Some(0));
    assert_eq!(code(&["no match", "from"]), Some(255));
    assert_eq!(code(&["--no-such-option"]), Some(2));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["-V"]), Some(0));
}
