//! Logs that are rotated in every way under a daemon that is killed at any moment: no line is lost, and none counts twice.
//!
//! Every offender is just below or exactly at `maxretry` when all lines are read, so one line more or less shows.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::seeds::Tree;
use jiff::Timestamp;

use crate::chance::Chance;
use crate::inside::{in_lab, plan};

const N_LINES: u64 = 1_000_000;
/// In so many pieces, with something done to the logs or the daemon after each.
const N_PIECES: u64 = 60;
const N_OFFENDERS: u64 = 200;
const MOMENT_MAX: Duration = Duration::from_millis(300);
/// A million lines are read again after the last restart.
const READ_AGAIN: Duration = Duration::from_secs(120);

#[test]
fn every_line_counts_once_however_logs_are_rotated_and_the_daemon_dies() -> Result<()> {
    let name = "all_lines::every_line_counts_once_however_logs_are_rotated_and_the_daemon_dies";
    let max_retry = N_LINES / N_OFFENDERS;
    let hosts = |directory: &std::path::Path| {
        let logs = directory.join("mx1/log");
        let jail = |name: &str, filter: &str, max_retry: u64| {
            format!(
                "[{name}]\nenabled = true\nfilter = {filter}\nport = 25\nfindtime = 1d\nbantime = 1d\n\
                 maxretry = {max_retry}\nmaxmatches = 1\nlogpath = {at}/app.log\n {at}/days/*.log\n",
                at = logs.display()
            )
        };
        let jails = jail("refused", "refused", max_retry) + &jail("end", "end", 1);
        let filter = |word: &str| format!("[Definition]\nfailregex = ^\\s*app: {word} <HOST> n=\\d+$\n");
        let tree = Tree::empty()
            .with("jail.local", &jails)
            .with("filter.d/refused.conf", &filter("refused"))
            .with("filter.d/end.conf", &filter("end"))
            .with_log("app.log")
            .with_log("days/1.log");
        vec![plan("mx1", tree)]
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let mut logs = Logs::of(lab);
        let mut chance = Chance::new()?;
        let mut n_written = 0;
        // Whoever is killed before the first place is stored begins at the end: the stored places are to be there first.
        let begins = [3, 4].map(|last| IpAddr::from([192, 0, 2, last]));
        logs.end(begins)?;
        lab.host("mx1").wait_banned(&begins, READ_AGAIN)?;
        lab.host_mut("mx1").stop()?;
        lab.host_mut("mx1").start()?;
        for _ in 0..N_PIECES {
            let n_here = (N_LINES / N_PIECES).max(1);
            let lines: Vec<(u64, u64)> = (n_written..N_LINES.min(n_written + n_here))
                .map(|n| (n, n % N_OFFENDERS))
                // In the last round, every second one has no line.
                .filter(|&(n, offender)| n / N_OFFENDERS + 1 < max_retry || offender % 2 == 0)
                .collect();
            n_written += n_here;
            logs.write(
                &mut chance,
                lines.iter().map(|&(n, offender)| ("refused", offender_of(offender), n)),
            )?;
            chance.let_pass(MOMENT_MAX / 10);
            match chance.of(0..=5) {
                0 => logs.rename()?,
                1 => logs.copy_truncate()?,
                2 => logs.begin_day()?,
                3 => lab.host_mut("mx1").kill_9(),
                4 => {
                    lab.host_mut("mx1").kill_9();
                    logs.rename()?;
                    logs.begin_day()?;
                }
                _ => {}
            }
            if !lab.host("mx1").is_running() {
                lab.host_mut("mx1").launch()?;
                chance.let_pass(MOMENT_MAX);
            }
        }
        lab.host_mut("mx1").wait_ready()?;
        let rest: Vec<(u64, u64)> = (n_written..N_LINES).map(|n| (n, n % N_OFFENDERS)).collect();
        logs.write(
            &mut chance,
            rest.iter().filter(|(_, of)| of % 2 == 0).map(|&(n, of)| ("refused", offender_of(of), n)),
        )?;
        let ends = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        logs.end(ends)?;

        let of_each_second = |rest: u64| -> Vec<IpAddr> {
            (0..N_OFFENDERS).filter(|n| n % 2 == rest).map(offender_of).collect()
        };
        // All lines are read, and every line has counted.
        lab.host("mx1").wait_banned(&ends, READ_AGAIN)?;
        let full: Vec<IpAddr> = of_each_second(0).into_iter().chain(begins).chain(ends).collect();
        let banned = lab.host("mx1").wait_banned(&full, READ_AGAIN)?;
        let twice = banned.len() - full.len();
        expect(twice == 0, || format!("{twice} are banned with one line too few"))?;
        let last = (0..N_OFFENDERS).filter(|of| of % 2 == 1);
        logs.write(&mut chance, last.map(|of| ("refused", offender_of(of), N_LINES + of)))?;
        // Their last line is the one that was missing.
        lab.host("mx1").wait_banned(&of_each_second(1), READ_AGAIN)?;
        println!("{N_LINES} lines, {} and {} rotated files", logs.n_rotated, logs.day);
        Ok(())
    })
}

fn offender_of(n: u64) -> IpAddr {
    IpAddr::from([198, 51, 100, u8::try_from(n).unwrap_or(0)])
}

/// The logs of the one host: one that is rotated under its name, and one with a file for each day.
struct Logs {
    directory: PathBuf,
    n_rotated: u64,
    day: u64,
}

impl Logs {
    fn of(lab: &Lab) -> Logs {
        Logs { directory: lab.host("mx1").file("log"), n_rotated: 0, day: 1 }
    }

    fn app(&self) -> PathBuf {
        self.directory.join("app.log")
    }

    fn today(&self) -> PathBuf {
        self.directory.join(format!("days/{}.log", self.day))
    }

    /// Writes lines, each to one of the two, in writes of many lines and in halves of one.
    fn write(
        &self,
        chance: &mut Chance,
        lines: impl Iterator<Item = (&'static str, IpAddr, u64)>,
    ) -> Result<()> {
        let mut texts = [String::new(), String::new()];
        for line in lines {
            let to = &mut texts[usize::from(chance.of(0..=1) == 1)];
            to.push_str(&text(line));
        }
        for (path, text) in [self.app(), self.today()].into_iter().zip(texts) {
            let at = usize::try_from(chance.of(0..=text.len() as u64)).unwrap_or(0);
            let append = || {
                let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
                file.write_all(&text.as_bytes()[..at])?;
                file.write_all(&text.as_bytes()[at..])
            };
            append().context(|| format!("cannot write to {}", path.display()))?;
        }
        Ok(())
    }

    /// A last line in each.
    fn end(&self, ends: [IpAddr; 2]) -> Result<()> {
        for (path, end) in [self.app(), self.today()].into_iter().zip(ends) {
            let append = || {
                let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
                file.write_all(text(("end", end, 0)).as_bytes())
            };
            append().context(|| format!("cannot write to {}", path.display()))?;
        }
        Ok(())
    }

    /// As logrotate does: every part gets a higher number.
    fn rename(&mut self) -> Result<()> {
        self.shift()?;
        rename(&self.app(), &self.part(1))?;
        fs::write(self.app(), "").context(|| "cannot make the new log".to_owned())
    }

    /// As logrotate does with `copytruncate`.
    fn copy_truncate(&mut self) -> Result<()> {
        self.shift()?;
        let copy = || {
            fs::copy(self.app(), self.part(1))?;
            OpenOptions::new().write(true).open(self.app())?.set_len(0)
        };
        copy().context(|| "cannot copy and truncate the log".to_owned())
    }

    fn begin_day(&mut self) -> Result<()> {
        self.day += 1;
        fs::write(self.today(), "").context(|| "cannot make the log of the day".to_owned())
    }

    fn shift(&mut self) -> Result<()> {
        for n in (1..=self.n_rotated).rev() {
            rename(&self.part(n), &self.part(n + 1))?;
        }
        self.n_rotated += 1;
        Ok(())
    }

    fn part(&self, n: u64) -> PathBuf {
        self.directory.join(format!("app.log.{n}"))
    }
}

fn rename(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    fs::rename(from, to).context(|| format!("cannot rename {}", from.display()))
}

fn text((word, offender, n): (&str, IpAddr, u64)) -> String {
    format!("{} app: {word} {offender} n={n}\n", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"))
}
