//! One configuration file: the dialect of ini that fail2ban reads, with its errors.
//!
//! The dialect is that of Python's `configparser` with inline comments after `;`. Not for how
//! several files become one (`merged`), nor for `%(names)s` in values (`interpolate`).

use crate::base;
use std::fmt;
use std::sync::Arc;

/// A line of a configuration file, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as it is shown to people.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u32,
}

/// Which of the files of one name a line is in: each lies above those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Compiled in.
    BuiltIn,
    /// NAME.conf, or a file that it includes.
    Conf,
    /// NAME.d/*.conf
    ConfDirectory,
    /// NAME.local
    Local,
    /// NAME.d/*.local
    LocalDirectory,
}

impl Layer {
    /// The layer of the file that people know by this name.
    #[must_use]
    pub fn of_file(file: &str) -> Layer {
        if file.starts_with(base::SHOWN_AS.trim_end()) {
            return Layer::BuiltIn;
        }
        let directory = file.rsplit('/').nth(1).unwrap_or_default();
        let is_inside = directory.ends_with(".d") && !["filter.d", "action.d"].contains(&directory);
        match (file.ends_with(".local"), is_inside) {
            (false, false) => Layer::Conf,
            (false, true) => Layer::ConfDirectory,
            (true, false) => Layer::Local,
            (true, true) => Layer::LocalDirectory,
        }
    }

    /// A word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Layer::BuiltIn => "built_in",
            Layer::Conf => "conf",
            Layer::ConfDirectory => "conf_d",
            Layer::Local => "local",
            Layer::LocalDirectory => "local_d",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A value as it is written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The value with its lines joined by `\n`; nothing in it is replaced yet.
    pub text: String,
    /// The line with the option's name on it.
    pub place: Place,
}

/// A section of one file: options in the order they are written, names in lower case.
#[derive(Clone, Debug)]
pub struct IniSection {
    /// The text between the brackets.
    pub name: String,
    /// Option names and values.
    pub options: Vec<(String, Raw)>,
}

/// A mistake in the form of a configuration file; fail2ban refuses to start on it, and so do we.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IniError {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub problem: String,
}

impl fmt::Display for IniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for IniError {}

/// Reads the text of the file that people know as `shown`.
///
/// # Errors
/// The first mistake: text before a section, a line without `=`, a section or an option twice.
pub fn parse(shown: &str, text: &str) -> Result<Vec<IniSection>, IniError> {
    let mut reader = Reader { file: Arc::from(shown), sections: Vec::new(), open: false, indent: 0 };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    for (line, number) in text.split('\n').zip(1..) {
        reader.line(line, number)?;
    }
    for section in &mut reader.sections {
        for (_, raw) in &mut section.options {
            raw.text.truncate(raw.text.trim_end().len());
        }
    }
    Ok(reader.sections)
}

struct Reader {
    file: Arc<str>,
    sections: Vec<IniSection>,
    /// The last option of the last section goes on when a deeper indented line follows.
    open: bool,
    indent: usize,
}

impl Reader {
    fn line(&mut self, line: &str, number: u32) -> Result<(), IniError> {
        let comment = comment_start(line);
        let value = line[..comment.unwrap_or(line.len())].trim();
        if value.is_empty() {
            // An empty line belongs to the value; a line that is only a comment leaves no trace.
            if comment.is_none()
                && self.open
                && let Some(text) = self.open_value()
            {
                text.push('\n');
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        if self.open
            && indent > self.indent
            && let Some(text) = self.open_value()
        {
            text.push('\n');
            text.push_str(value);
            return Ok(());
        }
        self.indent = indent;
        match section_name(value) {
            Some(name) => self.section(name, number),
            None => self.option(value, number),
        }
    }

    fn open_value(&mut self) -> Option<&mut String> {
        Some(&mut self.sections.last_mut()?.options.last_mut()?.1.text)
    }

    fn section(&mut self, name: &str, number: u32) -> Result<(), IniError> {
        self.open = false;
        if name != "DEFAULT" && self.sections.iter().any(|section| section.name == name) {
            return Err(self.error(
                number,
                format!("section [{name}] is in this file a second time; put its options into the first one"),
            ));
        }
        // A second [DEFAULT] goes on with the first one, so it moves to the end, where options go.
        match self.sections.iter().position(|section| section.name == name) {
            Some(index) => {
                let section = self.sections.remove(index);
                self.sections.push(section);
            }
            None => self.sections.push(IniSection { name: name.to_owned(), options: Vec::new() }),
        }
        Ok(())
    }

    fn option(&mut self, value: &str, number: u32) -> Result<(), IniError> {
        let split = value.find(['=', ':']);
        let place = Place { file: Arc::clone(&self.file), line: number };
        let Some(section) = self.sections.last_mut() else {
            return Err(self.error(
                number,
                format!("`{value}` stands before any [section]; put a line such as [DEFAULT] above it"),
            ));
        };
        let Some(split) = split.filter(|&split| !value[..split].trim().is_empty()) else {
            return Err(self.error(
                number,
                format!(
                    "`{value}` is no `option = value`; indent the line if it continues the value above it, \
                 or begin it with # if it is a comment"
                ),
            ));
        };
        let name = value[..split].trim_end().to_lowercase();
        if section.options.iter().any(|(other, _)| *other == name) {
            let problem = format!(
                "option `{name}` is in section [{}] of this file a second time; keep one of them",
                section.name
            );
            return Err(self.error(number, problem));
        }
        let text = value[split + 1..].trim().to_owned();
        section.options.push((name, Raw { text, place }));
        self.open = true;
        Ok(())
    }

    fn error(&self, line: u32, problem: String) -> IniError {
        IniError { place: Place { file: Arc::clone(&self.file), line }, problem }
    }
}

/// Where a comment begins: at the line's beginning with `#` or `;`, behind a blank only with `;`.
fn comment_start(line: &str) -> Option<usize> {
    if line.trim_start().starts_with(['#', ';']) {
        return Some(0);
    }
    line.match_indices(';')
        .map(|(index, _)| index)
        .find(|&index| line[..index].chars().next_back().is_some_and(char::is_whitespace))
}

/// `[name]`, with anything behind the last closing bracket ignored, as configparser does.
fn section_name(value: &str) -> Option<&str> {
    let inside = &value.strip_prefix('[')?;
    let end = inside.rfind(']')?;
    (end > 0).then(|| &inside[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        parse("t", &format!("[s]\n{text}")).expect("well formed")[0].options[0].1.text.clone()
    }

    fn problem(text: &str) -> String {
        parse("t", text).expect_err("malformed").to_string()
    }

    #[test]
    fn values_comments_and_continuations_are_read_as_configparser_reads_them() {
        for (text, expected) in [
            ("a = 1 ; c", "1"),
            ("a = 1;c", "1;c"),
            ("a = 1 # c", "1 # c"),
            ("a : 1", "1"),
            ("a = b = c", "b = c"),
            ("a = 1\n  2 ; c\n 3", "1\n2\n3"),
            ("a = 1\n 2\n\n 3\n\n", "1\n2\n\n3"),
            ("a = 1\n# c\n; d\n 2", "1\n2"),
            ("a = \"1\" ", "\"1\""),
            ("a =\n  x\n", "\nx"),
            ("a = 1\r\n  2\r\n", "1\n2"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn option_names_are_lower_case_and_sections_are_not() {
        let sections = parse("t", "[Definition]\nFailRegex = x\n").expect("well formed");
        assert_eq!(sections[0].name, "Definition");
        assert_eq!(sections[0].options[0].0, "failregex");
        assert_eq!(sections[0].options[0].1.place.line, 2);
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        assert!(problem("a = 1").starts_with("t:1: `a = 1` stands before any [section]"));
        assert!(problem("[s]\nnonsense\n").starts_with("t:2: `nonsense` is no `option = value`"));
        assert!(problem("[s]\na=1\n[s]\n").starts_with("t:3: section [s]"));
        assert!(problem("[s]\na=1\nA=2\n").starts_with("t:3: option `a`"));
    }

    #[test]
    fn a_files_name_tells_its_layer() {
        for (file, layer) in [
            ("(built in) jail.conf", "built_in"),
            ("/etc/fail2ban/jail.conf", "conf"),
            ("/etc/fail2ban/jail.d/x.conf", "conf_d"),
            ("/etc/fail2ban/filter.d/sshd.local", "local"),
            ("/etc/fail2ban/filter.d/sshd.d/x.local", "local_d"),
        ] {
            assert_eq!(Layer::of_file(file).as_str(), layer, "{file}");
        }
    }

    #[test]
    fn an_action_at_column_0_is_an_option_with_a_strange_name() {
        let text = "[j]\naction = a[x=1]\niptables-multiport[name=HTTP, port=\"80\"]\n";
        let sections = parse("t", text).expect("well formed");
        assert_eq!(sections[0].options[1].0, "iptables-multiport[name");
        assert_eq!(sections[0].options[1].1.text, "HTTP, port=\"80\"]");
    }

    #[test]
    fn a_second_default_section_goes_on_with_the_first() {
        let sections = parse("t", "[DEFAULT]\na=1\n[s]\nb=1\n[DEFAULT]\nc=1\n").expect("well formed");
        assert_eq!(sections.iter().filter(|s| s.name == "DEFAULT").count(), 1);
    }
}
