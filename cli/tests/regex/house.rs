//! A small house with a filter and a log of its own, in which `bannkreis regex` is run.
//!
//! Not for what comes out: that is asked in the files beside.

use bannkreis_cli::args::{Cli, Command};
use bannkreis_cli::commands::regex::{self, Printer};
use bannkreis_cli::text::Style;
use bannkreis_core::time::Timestamp;
use clap::Parser;
use jiff::tz::TimeZone;

/// 2026-11-20 10:00:30 UTC.
const NOW: Timestamp = Timestamp(1_795_168_830_000);

pub(crate) const FILTER: &str = r"[INCLUDES]
before = common-door.conf

[Definition]
prefregex = ^ <F-MLFID><_host> door\[\d+\]</F-MLFID>: <F-CONTENT>.+</F-CONTENT>$
failregex = ^no entry for <F-USER>.*</F-USER> from <HOST>$
            ^knock-<mode> from <HOST>
            ^<F-NOFAIL>leaves</F-NOFAIL> by <HOST>$
ignoreregex = for porter from
datepattern = {^LN-BEG}
mode = normal
";

const LOG: &str = "Nov 20 10:00:00 castle door[7]: no entry for root from 192.0.2.7
Nov 20 10:00:01 castle door[7]: leaves by 192.0.2.7

# a comment
Nov 20 10:00:02 castle door[8]: knock-normal from 2001:DB8::1 with \x1b[31ma hammer
Nov 20 10:00:03 castle door[9]: no entry for porter from 192.0.2.9
Nov 20 10:00:04 castle door[9]: no entry for eve from cellar.example
Nov 20 10:00:05 castle door[9]: no entry for mallory from 999.1.2.3
Nov 20 10:00:06 castle moat[1]: a fish
no date castle
unended";

pub(crate) struct House {
    dir: tempfile::TempDir,
}

/// What came out: the code, standard output and standard error.
pub(crate) struct Came {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) hints: String,
}

impl House {
    pub(crate) fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("filter.d")).unwrap();
        let house = House { dir };
        house.write("filter.d/door.conf", FILTER);
        house.write("filter.d/common-door.conf", "[DEFAULT]\n_host = \\w+\n");
        house.write("door.log", LOG);
        house
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// Runs it with this house's configuration; `LOG` is the log.
    pub(crate) fn regex(&self, typed: &[&str]) -> Came {
        let (config, log) = (self.dir.path().display().to_string(), self.path("door.log"));
        let typed = typed.iter().map(|&word| if word == "LOG" { log.as_str() } else { word });
        let cli =
            Cli::try_parse_from(["bannkreis", "regex", "-c", &config].into_iter().chain(typed)).unwrap();
        let Command::Regex(args) = &cli.command else { panic!("regex was typed") };
        let (mut out, mut hints) = (Vec::new(), Vec::new());
        let style = Style { color: false, zone: TimeZone::UTC };
        let mut printer = Printer { out: &mut out, hints: &mut hints, output: cli.output };
        let result = regex::run(args, NOW, &style, &mut printer);
        let (code, failure) = match result {
            Ok(exit) => (exit.code(), String::new()),
            Err(failure) => (failure.exit.code(), failure.message),
        };
        let plain = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap().replace(&config, "HOUSE");
            let lines = text.split_inclusive('\n').map(|line| match line.starts_with("[processed in ") {
                true => "[processed in 0.00 sec]\n",
                false => line,
            });
            lines.collect::<String>()
        };
        Came { code, out: plain(out), hints: plain(hints) + &failure.replace(&config, "HOUSE") }
    }

    pub(crate) fn out(&self, typed: &[&str]) -> String {
        let came = self.regex(typed);
        assert_eq!(came.code, 0, "{typed:?}: {}", came.hints);
        came.out
    }
}
