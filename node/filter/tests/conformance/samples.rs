//! The labels of a sample log: what each line is expected to be, with which options of its filter.
//!
//! A label is a comment before the line: `failJSON` says what the line is, `filterOptions` and
//! `fileOptions` with which parameters the filter is used from here on, `addFILE` which log comes next.

use crate::package::Package;
use serde_json::{Map, Value};

/// JSON's idea of a dictionary.
pub(crate) type Dictionary = Map<String, Value>;

/// One line with one set of options.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The log.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line_number: usize,
    /// The line.
    pub(crate) line: String,
    /// The filter's options, those for the test among them.
    pub(crate) options: Dictionary,
    /// What is expected; empty for a line without a label, which must not match.
    pub(crate) expected: Dictionary,
}

impl Sample {
    /// The parameters of the filter.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        let all = self.options.iter().filter(|(key, _)| !key.starts_with("test."));
        all.map(|(key, value)| (key.clone(), value.as_str().expect("parameters are text").to_owned()))
            .collect()
    }

    /// The line comes from the journal, where the date is known without it.
    pub(crate) fn is_from_journal(&self) -> bool {
        self.options.get("logtype").is_some_and(|value| value == "journal")
    }
}

/// Every line of the samples of `filter` with every set of options that is in force for it, in order.
pub(crate) fn read(package: &Package, filter: &str) -> Vec<Sample> {
    let mut reader = Reader {
        filter,
        common: Dictionary::new(),
        sets: Vec::new(),
        is_left_out: false,
        samples: Vec::new(),
    };
    let mut files = vec![filter.to_owned()];
    let mut next = 0;
    // The list grows while the logs are read.
    while let Some(file) = files.get(next).cloned() {
        next += 1;
        reader.read(&file, &package.sample(&file), &mut files);
    }
    reader.samples
}

struct Reader<'a> {
    filter: &'a str,
    common: Dictionary,
    /// The sets of options in force.
    sets: Vec<Dictionary>,
    /// The block belongs to another filter.
    is_left_out: bool,
    samples: Vec<Sample>,
}

impl Reader<'_> {
    fn read(&mut self, file: &str, lines: &[String], files: &mut Vec<String>) {
        self.is_left_out = false;
        let mut numbered = lines.iter().zip(1..);
        while let Some((line, line_number)) = numbered.next() {
            match label(line) {
                Some(("fileOptions", Value::Object(options))) => self.common = options,
                Some(("filterOptions", Value::Array(sets))) => self.take_sets(sets),
                Some(("filterOptions", set)) => self.take_sets(vec![set]),
                Some(("addFILE", Value::String(file))) => files.push(file),
                Some(("failJSON", Value::Object(expected))) => {
                    let (line, line_number) = numbered.next().expect("a label has a line");
                    self.add(file, line_number, line, &expected);
                }
                Some(other) => panic!("{file}:{line_number}: {other:?} is no label"),
                None if line.starts_with('#') || line.trim().is_empty() => {}
                None => self.add(file, line_number, line, &Dictionary::new()),
            }
        }
    }

    fn take_sets(&mut self, sets: Vec<Value>) {
        self.sets.clear();
        self.is_left_out = false;
        for set in sets {
            let Value::Object(own) = set else { panic!("options are a dictionary") };
            let mut options = self.common.clone();
            options.extend(own);
            if let Some(condition) = options.get("test.condition") {
                self.is_left_out = !holds(condition, self.filter, &options);
            }
            if !self.is_left_out {
                self.sets.push(options);
            }
        }
    }

    fn add(&mut self, file: &str, line_number: usize, line: &str, expected: &Dictionary) {
        if self.is_left_out {
            return;
        }
        if self.sets.is_empty() {
            self.sets.push(Dictionary::new());
        }
        for options in &self.sets {
            if expected.get("constraint").is_some_and(|constraint| !holds(constraint, self.filter, options)) {
                continue;
            }
            let before = options.get("test.prefix-line").and_then(Value::as_str).unwrap_or_default();
            self.samples.push(Sample {
                file: file.to_owned(),
                line_number,
                line: format!("{before}{line}"),
                options: options.clone(),
                expected: expected.clone(),
            });
        }
    }
}

/// `# failJSON: {…}` and its like.
fn label(line: &str) -> Option<(&str, Value)> {
    let text = line.strip_prefix('#')?.trim_start_matches('#');
    let (name, json) = text.strip_prefix(' ').unwrap_or(text).split_once(':')?;
    if !["failJSON", "fileOptions", "filterOptions", "addFILE"].contains(&name) {
        return None;
    }
    Some((name, serde_json::from_str(json).unwrap_or_else(|error| panic!("{line}: {error}"))))
}

/// A condition such as `name == 'sshd'` or `opts.get('mode') != 'normal'`.
fn holds(condition: &Value, filter: &str, options: &Dictionary) -> bool {
    let condition = condition.as_str().expect("a condition is text");
    let (left, right, is_equal) = match (condition.split_once("=="), condition.split_once("!=")) {
        (Some((left, right)), _) => (left.trim(), right.trim(), true),
        (_, Some((left, right))) => (left.trim(), right.trim(), false),
        _ => panic!("{condition}: only == and != are known"),
    };
    let value = match left.strip_prefix("opts.get('").and_then(|rest| rest.strip_suffix("')")) {
        Some(key) => options.get(key).and_then(Value::as_str),
        None if left == "name" => Some(filter),
        None => panic!("{condition}: only name and opts.get are known"),
    };
    (value == Some(right.trim_matches('\''))) == is_equal
}
