//! Judges samples twice: as `bannkreis regex` looks at a line, where everything that is labelled can be
//! compared, and as a node judges it, which must come to the same decision.

use crate::package::Package;
use crate::samples::Sample;
use bannkreis_core::failure::{LogLine, SourceId, SourcePosition};
use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::{Examined, Filter, Ignored, Judged, Mode};
use bannkreis_filter::trial::{Found, Thoroughness};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// When the samples are judged, 2005-08-14 10:00 UTC: dates without a year are labelled for it.
const NOW: Timestamp = Timestamp(1_124_013_600_000);
/// The zone that the labels are written for.
pub(crate) const ZONE: &str = "CET-01CEST-02,M3.5.0,M10.5.0";
/// Labels that say nothing about the outcome, or are compared by themselves.
const NOT_COMPARED: [&str; 4] = ["match", "time", "desc", "constraint"];

/// How a label says that a group took no part.
const NOTHING: &str = "null";

/// As fail2ban's own test looks at a line.
pub(crate) const THOROUGH: Thoroughness =
    Thoroughness { every_failregex: true, pending: false, raw_names: true };

/// The filters of one sample log, one per set of options, each with its memory.
pub(crate) struct Judging<'p> {
    package: &'p Package,
    filter: &'p str,
    /// For both ways of judging.
    filters: BTreeMap<String, [Filter; 2]>,
}

impl<'p> Judging<'p> {
    /// Judges with the filter of this name.
    pub(crate) fn new(package: &'p Package, filter: &'p str) -> Judging<'p> {
        Judging { package, filter, filters: BTreeMap::new() }
    }

    /// Judges the next line; an error says what differs from the label.
    pub(crate) fn judge(&mut self, sample: &Sample) -> Result<(), String> {
        let key = format!("{:?}", sample.parameters());
        if !self.filters.contains_key(&key) {
            let pair = self.compile(sample);
            self.filters.insert(key.clone(), pair);
        }
        let Some([tried, judged]) = self.filters.get_mut(&key) else { unreachable!() };
        let line = LogLine {
            source: SourceId(0),
            position: SourcePosition(0),
            received_at: NOW,
            written_at: None,
            text: sample.line.clone().into_bytes(),
            cut: false,
            replayed: true,
        };
        let found = tried.try_line(&line, NOW, THOROUGH).found;
        let examined = judged.examine(&line, NOW, Mode::CatchingUp);
        let failures: Vec<&Found> = found.iter().filter(|found| !found.is_nofail).collect();
        compare(sample, &failures)?;
        // `<F-NOFAIL>` outside a connection: the label takes it for no failure, a server counts it.
        let is_counted_nevertheless =
            found.first().is_some_and(|found| found.is_nofail && found.facts.group("mlfid").is_none());
        if is_counted_nevertheless { Ok(()) } else { decides_alike(failures.first().copied(), &examined) }
    }

    fn compile(&self, sample: &Sample) -> [Filter; 2] {
        let parameters = sample.parameters().into_iter().map(|(key, value)| format!("{key}=\"{value}\""));
        let parameters = parameters.collect::<Vec<_>>().join(", ");
        let name = if parameters.is_empty() {
            self.filter.to_owned()
        } else {
            format!("{}[{parameters}]", self.filter)
        };
        // The journal tells when a message was written; the message has no date.
        let more = if sample.is_from_journal() { "datepattern = {NONE}\n" } else { "" };
        self.package.compile(&name, more, zone())
    }
}

/// The zone that the labels are written for, as fail2ban's own tests set it.
pub(crate) fn zone() -> TimeZone {
    TimeZone::posix(ZONE).expect("a zone in POSIX form")
}

fn compare(sample: &Sample, found: &[&Found]) -> Result<(), String> {
    let should_match = sample.expected.get("match") == Some(&Value::Bool(true));
    let found = match (found, should_match) {
        ([], false) => return Ok(()),
        ([], true) => return Err("nothing matches".to_owned()),
        ([found, ..], false) => return Err(format!("it matches failregex {}", found.failregex)),
        ([found], true) => found,
        (found, true) => return Err(format!("{} failregexes match", found.len())),
    };
    for (key, expected) in &sample.expected {
        let got: Vec<String> = match key.as_str() {
            "host" => vec![found.id.clone().unwrap_or_default()],
            "attempts" => vec![found.facts.lines().count().to_string()],
            "users" => found.facts.users().map(str::to_owned).collect(),
            key if NOT_COMPARED.contains(&key) => continue,
            key => vec![found.facts.group(key).unwrap_or(NOTHING).to_owned()],
        };
        let expected = match expected {
            Value::Array(all) => all.iter().map(text).collect(),
            one => vec![text(one)],
        };
        if sorted(&expected) != sorted(&got) {
            return Err(format!("{key} is {got:?}, labelled {expected:?}"));
        }
    }
    if let Some(Value::String(written)) = sample.expected.get("time") {
        let labelled = DateTime::strptime("%Y-%m-%dT%H:%M:%S%.f", written)
            .map_err(|error| format!("time {written}: {error}"))?;
        let at = local_time(found.at);
        if at != Some(labelled) {
            return Err(format!("time is {at:?}, labelled {written}"));
        }
    }
    Ok(())
}

/// A node blames whom the label blames, or says why it can not.
fn decides_alike(found: Option<&Found>, examined: &Examined) -> Result<(), String> {
    let blamed = match &examined.judged {
        Judged::Failure(failure) => Some(failure.offender.to_string()),
        Judged::Ignored(Ignored::NotAnAddress(text)) => Some(text.clone()),
        // Samples without a date: a log that is caught up with says nothing about now.
        Judged::Ignored(Ignored::NoDate) if found.is_some_and(|found| found.at.is_none()) => return Ok(()),
        _ => None,
    };
    let labelled = found.and_then(|found| found.address.clone().or_else(|| found.id.clone()));
    if blamed == labelled {
        Ok(())
    } else {
        Err(format!("a node would say {:?}, not {labelled:?}", examined.judged))
    }
}

/// A label's value. An address may be written in more than one way.
fn text(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse::<IpAddr>().map_or(text, |address| address.to_string())
}

fn sorted(values: &[String]) -> Vec<&String> {
    let mut values: Vec<&String> = values.iter().collect();
    values.sort();
    values
}

fn local_time(at: Option<Timestamp>) -> Option<DateTime> {
    let millis = i64::try_from(at?.0).ok()?;
    Some(jiff::Timestamp::from_millisecond(millis).ok()?.to_zoned(zone()).datetime())
}
