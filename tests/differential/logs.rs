//! Logs by chance: which filter, with which parameters, on which lines.
//!
//! The lines come from fail2ban's own samples, which lie in the unpacked package and nowhere else.

use crate::Case;
use crate::mutate::{self, Random};
use serde_json::Value;
use std::path::Path;

/// So many lines has a log.
const LINES_MAX: u64 = 30;
const LINE_ENDS: [&str; 8] = ["\n", "\n", "\n", "\n", "\n", "\n", "\r\n", "\n\n"];
const ENCODINGS: [&str; 4] = ["UTF-8", "UTF-8", "UTF-8", "latin-1"];
const OPTIONS: [&[&str]; 6] = [&[], &[], &[], &["--usedns=no"], &["-r"], &["--timezone=UTC+0530"]];

/// The lines that fail2ban has for one filter.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The filter's name, and the file's.
    pub(crate) file: String,
    /// Parameters that the file says its lines are for; one of them is none.
    parameters: Vec<String>,
    lines: Vec<Vec<u8>>,
}

/// All samples whose filter is there, by name.
pub(crate) fn samples(directory: &Path) -> Vec<Sample> {
    let mut samples: Vec<Sample> = std::fs::read_dir(directory)
        .expect("the package has sample logs")
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            // Those two are samples of fail2ban's own tests, without a filter of that name in the package.
            (!file.starts_with("zzz-") && file != "sshd-journal").then(|| sample(file, &entry.path()))
        })
        .collect();
    samples.sort_by(|a, b| a.file.cmp(&b.file));
    samples
}

fn sample(file: String, path: &Path) -> Sample {
    let text = std::fs::read(path).expect("a sample log is readable");
    let mut parameters = vec![String::new()];
    let mut lines = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        if line.starts_with(b"#") {
            for found in parameters_in(&String::from_utf8_lossy(line)) {
                if !parameters.contains(&found) {
                    parameters.push(found);
                }
            }
        } else if !line.is_empty() {
            lines.push(line.to_vec());
        }
    }
    Sample { file, parameters, lines }
}

/// `# filterOptions: [{"mode": "ddos"}, …]` as `[mode=ddos]`.
fn parameters_in(comment: &str) -> Vec<String> {
    let Some((_, text)) = comment.split_once("filterOptions:") else { return Vec::new() };
    let Ok(options) = serde_json::from_str::<Value>(text.trim()) else { return Vec::new() };
    let options = if options.is_array() { options } else { Value::Array(vec![options]) };
    let blocks = options.as_array().into_iter().flatten().filter_map(Value::as_object);
    let spelled = |block: &serde_json::Map<String, Value>| {
        let pairs: Vec<String> = block
            .iter()
            .filter(|(key, _)| !key.starts_with("test."))
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
            .collect();
        if pairs.is_empty() { String::new() } else { format!("[{}]", pairs.join(", ")) }
    };
    blocks.map(spelled).collect()
}

/// The log of this round for a filter.
pub(crate) fn case(sample: &Sample, round: u64) -> Case {
    let name: u64 = sample.file.bytes().fold(5_381, |hash, byte| hash.wrapping_mul(33) ^ u64::from(byte));
    let mut random = Random::new(name ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let n_lines = 10 + random.below(LINES_MAX - 10);
    let mut log = Vec::new();
    for _ in 0..n_lines {
        log.extend(mutate::line(&mut random, &sample.lines));
        log.extend_from_slice(random.one_of(&LINE_ENDS).as_bytes());
    }
    let parameters = random.one_of(&sample.parameters).clone();
    Case {
        seed: round,
        filter: format!("{}{parameters}", sample.file),
        encoding: ENCODINGS[usize::try_from(random.below(4)).unwrap_or_default()],
        options: random.one_of(&OPTIONS).to_vec(),
        every: random.below(3) == 0,
        log,
    }
}
