//! fail2ban's classes in a process of their own: a case in, an answer per line out.
//!
//! The program is `oracle.py` beside this file. Nothing is installed: Python is told where the unpacked
//! package is.

use crate::{Case, NOW_SECONDS};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Where Debian's package has fail2ban's modules, and those its sample logs.
const MODULES: &str = "usr/lib/python3/dist-packages";
const SAMPLE_LOGS: &str = "fail2ban/tests/files/logs";

/// What a filter made of the lines of a log.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// One for each line that is tested.
    Lines(Vec<LineAnswer>),
    /// The filter can not be used.
    Refused(String),
    /// It took too long: a line on which an expression backtracks for ever.
    Hung,
}

/// What a filter made of one line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LineAnswer {
    /// What matches.
    pub(crate) found: Vec<Value>,
    /// An ignoreregex or `<F-NOFAIL>` took it.
    pub(crate) is_ignored: bool,
    /// Python raised an exception.
    pub(crate) error: Option<String>,
}

/// The process.
#[derive(Debug)]
pub(crate) struct Oracle {
    process: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Its etc/fail2ban.
    pub(crate) config: PathBuf,
    /// The directory of its sample logs.
    pub(crate) sample_logs: PathBuf,
}

impl Oracle {
    /// Starts it.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub(crate) fn start() -> Result<Oracle, String> {
        let config = std::env::var_os("BANNKREIS_FAIL2BAN_DIR")
            .ok_or("no fail2ban to compare with: BANNKREIS_FAIL2BAN_DIR=$(.ci/fail2ban-config) names one")?;
        let config = PathBuf::from(config);
        let root = config.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned();
        let modules = root.join(MODULES);
        if !modules.join("fail2ban").is_dir() {
            return Err(format!("no fail2ban to compare with: {} has no modules", modules.display()));
        }
        let mut process = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("differential/oracle.py"))
            .env("PYTHONPATH", &modules)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("python3 can not be started: {error}"))?;
        let (asked, answers) = (process.stdin.take(), process.stdout.take());
        Ok(Oracle {
            process,
            asked: asked.expect("stdin is a pipe"),
            answers: BufReader::new(answers.expect("stdout is a pipe")),
            config,
            sample_logs: modules.join(SAMPLE_LOGS),
        })
    }

    /// What becomes of the log.
    pub(crate) fn answer(&mut self, case: &Case, log: &Path) -> Answer {
        let asked = json!({
            "now": NOW_SECONDS,
            "config": self.config,
            "filter": case.filter,
            "encoding": case.encoding,
            "options": case.options,
            "every": case.every,
            "log": log,
        });
        writeln!(self.asked, "{asked}").expect("the oracle listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the oracle answers");
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the oracle has ended or speaks no JSON ({error}): {line}"));
        if let Some(error) = answer["error"].as_str() {
            return Answer::Refused(error.to_owned());
        }
        if answer["hung"] == true {
            return Answer::Hung;
        }
        let lines = answer["lines"].as_array().expect("lines");
        Answer::Lines(lines.iter().map(line_answer).collect())
    }
}

fn line_answer(line: &Value) -> LineAnswer {
    LineAnswer {
        found: line["found"].as_array().cloned().unwrap_or_default(),
        is_ignored: line["is_ignored"].as_bool().unwrap_or_default(),
        error: line["error"].as_str().map(str::to_owned),
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It waits for nothing but its input; whether it is gone already is all the same.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
