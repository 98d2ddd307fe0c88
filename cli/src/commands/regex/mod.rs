//! `regex`: tests a filter or an expression on a log, as fail2ban-regex does. Asks no daemon.
//!
//! In the order of suggested reading: what is typed, what is tested, on which lines, what is counted, and the
//! ways to print it.

pub mod args;
mod date_names;
mod hints;
mod lines;
mod out;
mod progress;
mod python;
mod report;
mod subject;
mod tally;
pub mod testing;

use crate::args::Output;
use crate::failure::{Exit, Failure};
use crate::text::{Style, shown, shown_json};
use args::RegexArgs;
use bannkreis_core::time::Timestamp;
use lines::Lines;
use out::Out;
use progress::Progress;
use std::io::{self, Write};
use std::time::Instant;
use tally::Tally;
use testing::Testing;

/// Output is written in pieces of this size.
const PAGE_BYTES: usize = 64 * 1024;

/// Where the output goes, and how.
pub struct Printer<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error, for hints.
    pub hints: &'a mut dyn Write,
    /// Text or JSON.
    pub output: Output,
}

/// Makes the test and prints what comes of it. `now` completes dates without a year.
///
/// # Errors
/// When nothing could be tested: what the usage, the filter or the log lacks.
pub fn run(
    args: &RegexArgs,
    now: Timestamp,
    style: &Style,
    printer: &mut Printer<'_>,
) -> Result<Exit, Failure> {
    match test(args, now, style, printer) {
        Ok(()) => Ok(Exit::Done),
        Err(Trouble::Sentence(sentence)) => Err(Failure::new(Exit::NotTested, sentence)),
        // Whoever reads has gone (`| head`): there is nobody left to tell.
        Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(Trouble::Output(error)) => {
            Err(Failure::new(Exit::NotTested, format!("the answer can not be written: {error}")))
        }
    }
}

enum Trouble {
    Sentence(String),
    Output(io::Error),
}

impl From<String> for Trouble {
    fn from(sentence: String) -> Trouble {
        Trouble::Sentence(sentence)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Output(error)
    }
}

fn test(args: &RegexArgs, now: Timestamp, style: &Style, printer: &mut Printer<'_>) -> Result<(), Trouble> {
    let out = args.out.as_deref().map(|word| Out::new(word, now)).transpose()?;
    let began = Instant::now();
    let mut testing = Testing::open(args, now, &style.zone)?;
    if out.is_none() && printer.output == Output::Table {
        let mut page = "\nRunning tests\n=============\n\n".to_owned();
        // A datepattern of several lines is shown as such.
        for line in testing.announced.iter().flat_map(|announced| announced.split('\n')) {
            page.push_str(&format!("{}\n", shown(line)));
        }
        page.push('\n');
        printer.out.write_all(page.as_bytes())?;
    }
    let mut tally = Tally::new(&testing.filter, report::wanted(args), now);
    test_lines(&mut testing, &mut tally, out.as_ref(), printer.out)?;
    if out.is_none() {
        let filter = &testing.filter;
        let page = match printer.output {
            Output::Table => report::text(&tally, filter, args, began.elapsed().as_secs_f64(), &style.zone),
            Output::Json => shown_json(&format!("{:#}\n", report::json(&tally, filter, args))),
        };
        printer.out.write_all(page.as_bytes())?;
    }
    printer.out.flush()?;
    for hint in testing.hints.iter().chain(&hints::of(&tally, &testing.lines, args)) {
        // Standard error that is gone can not be told so.
        let _ = writeln!(printer.hints, "bannkreis: {}", shown(hint));
    }
    Ok(())
}

/// Tests every line; what `-o` asks for is printed on the way.
fn test_lines(
    testing: &mut Testing,
    tally: &mut Tally,
    out: Option<&Out>,
    printed: &mut dyn Write,
) -> Result<(), Trouble> {
    let mut progress = match &testing.lines {
        Lines::File(file) => Progress::new(file.n_bytes),
        Lines::Typed(_) => None,
    };
    let mut page = String::new();
    while let Some((line, tried)) = testing.next_line()? {
        tally.add(&testing.filter.text_of(&line), line.cut, &tried);
        if let Some(out) = out
            && tried.ignoreregex.is_empty()
        {
            out.write(&mut page, &tried.found);
            if page.len() >= PAGE_BYTES {
                printed.write_all(page.as_bytes())?;
                page.clear();
            }
        }
        if let (Some(progress), Lines::File(file)) = (&mut progress, &testing.lines) {
            progress.line(file.n_read);
        }
    }
    Ok(printed.write_all(page.as_bytes())?)
}
