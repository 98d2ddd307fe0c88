//! The formats that are tried when a filter names none, in order, as data.
//!
//! Which formats there are and in which order decides what counts as the date of a line that has
//! several, so both are what a running fail2ban was observed to do. Each is tried at the line's
//! beginning first, and anywhere after that.

use super::template::Template;
use std::sync::Arc;

/// Formats of dates, the most specific first.
const FORMATS: [&str; 17] = [
    // ISO 8601 and relatives: 2026-11-20T10:00:00.123+01:00, 2026/11/20 10:00:00
    r"%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?",
    // asctime, syslog: Fri Nov 20 10:00:00.123 2026, Nov 20 10:00:00
    r"(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    // Fri Nov 20 2026 10:00:00.123
    r"(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?",
    // 20/11/2026 10:00:00, 20-11-26 10:00:00
    r"%d(?P<_sep>[-/])%m(?P=_sep)(?:%ExY|%Exy) %k:%M:%S",
    // Apache's access log: 20/Nov/2026:10:00:00 +0100
    r"%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?",
    // 11/20/2026:10:00:00
    r"%m/%d/%ExY:%H:%M:%S",
    // 11-20-2026 10:00:00.123
    r"%m-%d-%ExY %k:%M:%S(?:\.%f)?",
    "EPOCH",
    // Only a time
    "{^LN-BEG}%H:%M:%S",
    // <11/20/26@10:00:00>
    "^<%m/%d/%Exy@%H:%M:%S>",
    // MySQL: 261120 10:00:00
    "%Exy%Exm%Exd  ?%H:%M:%S",
    // Tomcat: Nov 20, 2026 10:00:00 AM
    "%b %d, %ExY %I:%M:%S %p",
    // Nov-20-26 10:00:00
    "^%b-%d-%Exy %k:%M:%S",
    // 20261120T100000
    r"%ExY%Exm%Exd(?:T|  ?)%ExH%ExM%ExS(?:[.,]%f)?(?:\s*%z)?",
    // With the zone in front: CET Nov 20 10:00:00
    r"(?:%Z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    // +01:00 Nov 20 10:00:00
    r"(?:%z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    "TAI64N",
];

/// What a format counts at the line's beginning, against 1 elsewhere.
const WEIGHT_AT_LINE_BEGIN: f64 = 100.0;

/// The default formats, compiled at first use and shared by all jails.
#[derive(Clone, Debug)]
pub struct DefaultTemplates {
    all: Vec<Arc<Template>>,
    anywhere: Vec<(&'static str, Arc<Template>)>,
}

impl DefaultTemplates {
    /// Makes the list; nothing is compiled yet.
    ///
    /// # Panics
    /// Never: the formats are constants, and a test reads every one.
    #[must_use]
    pub fn new() -> DefaultTemplates {
        let make = |pattern: &str| Template::new(pattern).expect("a constant format");
        let mut all = Vec::new();
        let mut anywhere = Vec::new();
        for format in FORMATS {
            if !format.starts_with('^') && !format.starts_with("{^LN-BEG}") {
                let mut template = make(&format!("{{^LN-BEG}}{format}"));
                template.weight = WEIGHT_AT_LINE_BEGIN;
                all.push(Arc::new(template));
            }
            anywhere.push((format, Arc::new(make(format))));
        }
        all.extend(anywhere.iter().map(|(_, template)| Arc::clone(template)));
        DefaultTemplates { all, anywhere }
    }

    /// All of them: those at the line's beginning first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Template>> {
        self.all.clone()
    }

    /// Those that match at the line's beginning only: the pattern `{^LN-BEG}` alone.
    #[must_use]
    pub fn at_line_begin(&self) -> Vec<Arc<Template>> {
        self.all.iter().filter(|template| template.at_line_begin).cloned().collect()
    }

    /// Every format, put in the place of `{DATE}` in `pattern`. One without fields has its meaning only where
    /// nothing but `{^LN-BEG}` stands before it and nothing behind it.
    ///
    /// # Errors
    /// A phrase that says what is wrong with the pattern.
    pub fn within(&self, pattern: &str) -> Result<Vec<Arc<Template>>, String> {
        let Some(at) = pattern.to_uppercase().find("{DATE}") else { return Ok(Vec::new()) };
        let (before, behind) = (&pattern[..at], &pattern[at + "{DATE}".len()..]);
        let mut templates = Vec::new();
        let is_alone = behind.is_empty() && ["", "^", "{^LN-BEG}"].contains(&before);
        for (format, _) in self.anywhere.iter().filter(|(format, _)| is_alone || format.contains('%')) {
            let bare = format.strip_prefix("{^LN-BEG}").unwrap_or(format);
            let template = Template::new(&format!("{before}{bare}{behind}"))?;
            template.check()?;
            templates.push(Arc::new(template));
        }
        Ok(templates)
    }
}

impl Default for DefaultTemplates {
    fn default() -> DefaultTemplates {
        DefaultTemplates::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_31_and_every_one_compiles() {
        let templates = DefaultTemplates::new();
        assert_eq!(templates.all().len(), 31);
        for (n, template) in templates.all().iter().enumerate() {
            assert_eq!(template.check(), Ok(()), "{n} {}", template.name);
        }
        // 14 copies at the beginning, a bare time, and two with an anchor of their own.
        assert_eq!(templates.at_line_begin().len(), 17);
        assert_eq!(templates.within(r"^<\d+>{DATE}").map(|list| list.len()), Ok(15));
        assert_eq!(templates.within("{date}").map(|list| list.len()), Ok(17));
    }
}
