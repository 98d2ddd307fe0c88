//! Several files as one configuration: which files are read, in which order, and how they merge.
//!
//! For a name such as `jail` or `filter.d/sshd` these are NAME.conf, NAME.d/*.conf, NAME.local and
//! NAME.d/*.local, each with the files that it includes around it and with the .local file of each
//! of those behind it. The later file wins option by option. Not for what values mean.

use crate::ini::{self, IniError, Place, Raw};
use crate::tree::{ConfigTree, beside};
use crate::unsupported::{self, Remark};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Files of one configuration name, with everything they include.
pub const FILES_MAX: usize = 512;

/// Files may include each other so deep.
pub const INCLUDE_DEPTH_MAX: usize = 32;

/// Option names and what they are set to.
pub type Options = BTreeMap<String, Raw>;

/// Why a configuration could not be read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// A file is malformed.
    Ini(IniError),
    /// A file is there and can not be read.
    Unreadable {
        /// The file.
        file: String,
        /// Why not.
        why: String,
    },
    /// More than [`FILES_MAX`] files; includes that name each other in ever new ways do this.
    TooManyFiles {
        /// The name that was being read.
        name: String,
    },
    /// Includes more than [`INCLUDE_DEPTH_MAX`] levels deep: a file and its .local file can name each other
    /// for ever.
    IncludeLoop {
        /// The file whose includes are not followed any more.
        file: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Ini(error) => error.fmt(f),
            ReadError::Unreadable { file, why } => {
                write!(f, "{file} can not be read: {why}; make it readable, or move it away")
            }
            ReadError::IncludeLoop { file } => write!(
                f,
                "{file} is included more than {INCLUDE_DEPTH_MAX} levels deep; look for files that include each \
                 other, and take one of those lines out of [INCLUDES]"
            ),
            ReadError::TooManyFiles { name } => write!(
                f,
                "`{name}` includes more than {FILES_MAX} files; look for files that include each other"
            ),
        }
    }
}

impl std::error::Error for ReadError {}

/// The merged files of one configuration name.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// The `[DEFAULT]` sections of all files.
    pub defaults: Options,
    /// The other sections in the order in which they first appear.
    pub sections: Vec<(String, Options)>,
    /// For `%(known/option)s`: by section, what an option was before a later file changed it.
    pub known: BTreeMap<String, Options>,
    /// The files in the order in which they were read, as people know them.
    pub files: Vec<Arc<str>>,
    /// Includes of files that are not there.
    pub remarks: Vec<Remark>,
}

impl Merged {
    /// The options of a section, without the defaults.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Options> {
        self.sections.iter().find(|(other, _)| other == name).map(|(_, options)| options)
    }

    fn add(&mut self, file: Arc<str>, sections: Vec<ini::IniSection>) {
        self.files.push(file);
        for section in sections {
            if section.name == "DEFAULT" {
                self.defaults.extend(section.options);
                continue;
            }
            let (name, condition) = split_condition(&section.name);
            let options =
                section.options.into_iter().map(|(option, raw)| (format!("{option}{condition}"), raw));
            let Some((_, present)) = self.sections.iter_mut().find(|(other, _)| other == name) else {
                self.sections.push((name.to_owned(), options.collect()));
                continue;
            };
            let known = self.known.entry(name.to_owned()).or_default();
            for (option, raw) in options {
                if let Some(before) = present.insert(option.clone(), raw) {
                    known.insert(option, before);
                }
            }
        }
    }
}

/// `Init?family=inet6` is section `Init` for the condition `?family=inet6`.
fn split_condition(name: &str) -> (&str, &str) {
    match name.find('?') {
        Some(at)
            if at > 0
                && at + 1 < name.len()
                && name[..at].chars().all(|c| c.is_alphanumeric() || c == '_') =>
        {
            name.split_at(at)
        }
        _ => (name, ""),
    }
}

/// Reads and merges all files of `name`; `None` when there is not one.
///
/// # Errors
/// When a file is malformed or unreadable.
pub fn read(tree: &dyn ConfigTree, name: &str) -> Result<Option<Merged>, ReadError> {
    let mut loader = Loader { tree, name, paths: Vec::new(), remarks: Vec::new() };
    let mut first = vec![format!("{name}.conf")];
    let directory = format!("{name}.d");
    let mut listed = tree.list(&directory);
    listed.sort_unstable();
    let with_end = |end: &'static str| {
        let directory = &directory;
        listed.iter().filter(move |file| file.ends_with(end)).map(move |file| format!("{directory}/{file}"))
    };
    first.extend(with_end(".conf"));
    first.push(format!("{name}.local"));
    first.extend(with_end(".local"));
    let existing: Vec<String> = first.into_iter().filter(|path| loader.exists(path)).collect();
    loader.with_includes(&existing, &[])?;

    let mut merged = Merged { remarks: std::mem::take(&mut loader.remarks), ..Merged::default() };
    for path in &loader.paths {
        if let Some(sections) = loader.parse(path)? {
            merged.add(Arc::from(tree.shown(path)), sections);
        }
    }
    Ok((!merged.files.is_empty()).then_some(merged))
}

struct Loader<'a> {
    tree: &'a dyn ConfigTree,
    name: &'a str,
    paths: Vec<String>,
    remarks: Vec<Remark>,
}

impl Loader<'_> {
    fn exists(&self, path: &str) -> bool {
        !matches!(self.tree.read(path), Ok(None))
    }

    fn parse(&self, path: &str) -> Result<Option<Vec<ini::IniSection>>, ReadError> {
        let shown = self.tree.shown(path);
        match self.tree.read(path) {
            Ok(None) => Ok(None),
            Ok(Some(text)) => ini::parse(&shown, &text).map(Some).map_err(ReadError::Ini),
            Err(why) => Err(ReadError::Unreadable { file: shown, why }),
        }
    }

    /// Appends `paths` to what is to be read, each with its includes around it; `chain` are the
    /// files that led here, which are not included again.
    fn with_includes(&mut self, paths: &[String], chain: &[String]) -> Result<(), ReadError> {
        if chain.len() > INCLUDE_DEPTH_MAX {
            let file = chain.last().map(|path| self.tree.shown(path)).unwrap_or_default();
            return Err(ReadError::IncludeLoop { file });
        }
        for path in self.with_locals(paths) {
            let Some(sections) = self.parse(&path)? else { continue };
            let (before, after) = (includes("before", &sections), includes("after", &sections));
            self.note_missing(&path, before.iter().chain(&after));
            let beside_it = |named: Vec<(String, &Place)>| -> Vec<String> {
                named.into_iter().map(|(name, _)| beside(&path, &name)).collect()
            };
            let (before, after) = (beside_it(before), beside_it(after));
            let mut longer = chain.to_vec();
            longer.push(path.clone());
            for path in before.into_iter().filter(|path| !chain.contains(path)) {
                self.with_includes(&[path], &longer)?;
            }
            self.paths.push(path);
            if self.paths.len() > FILES_MAX {
                return Err(ReadError::TooManyFiles { name: self.name.to_owned() });
            }
            for path in after.into_iter().filter(|path| !chain.contains(path)) {
                self.with_includes(&[path], &longer)?;
            }
        }
        Ok(())
    }

    /// Says which of the includes of `path` are not there. A .local file need not be: fail2ban's own files name some
    /// for those who want them.
    fn note_missing<'p>(&mut self, path: &str, named: impl Iterator<Item = &'p (String, &'p Place)>) {
        for (name, place) in named {
            if !name.ends_with(".local") && !self.exists(&beside(path, name)) {
                let remark =
                    Remark { place: Some((*place).clone()), sentence: unsupported::include_not_there(name) };
                if !self.remarks.contains(&remark) {
                    self.remarks.push(remark);
                }
            }
        }
    }

    /// Puts the .local file of each file behind it, unless it is in the list already.
    fn with_locals(&self, paths: &[String]) -> Vec<String> {
        let mut all = Vec::with_capacity(paths.len() * 2);
        for path in paths {
            all.push(path.clone());
            let name = path.rfind('/').map_or(0, |slash| slash + 1);
            let dot = path[name..].rfind('.').filter(|&dot| dot > 0).map_or(path.len(), |dot| name + dot);
            let local = format!("{}.local", &path[..dot]);
            if !paths.contains(&local) && self.exists(&local) {
                all.push(local);
            }
        }
        all
    }
}

/// What `[INCLUDES]` names in this option, and in which line.
fn includes<'s>(option: &str, sections: &'s [ini::IniSection]) -> Vec<(String, &'s Place)> {
    sections
        .iter()
        .filter(|section| section.name == "INCLUDES")
        .flat_map(|section| &section.options)
        .filter(|(name, _)| name == option)
        .flat_map(|(_, raw)| raw.text.lines().map(move |line| (line.trim().to_owned(), &raw.place)))
        .filter(|(line, _)| !line.is_empty())
        .collect()
}

/// The line that set an option in `[DEFAULT]` or in `section`, the section winning.
#[must_use]
pub fn place_of<'a>(merged: &'a Merged, section: &str, option: &str) -> Option<&'a Place> {
    let own = merged.section(section).and_then(|options| options.get(option));
    own.or_else(|| merged.defaults.get(option)).map(|raw| &raw.place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::MemoryTree;

    #[test]
    fn files_are_read_in_fail2bans_order() {
        let tree = MemoryTree::new("/f/")
            .with("x.local", "[a]\n")
            .with("x.d/2.local", "[a]\n")
            .with("x.d/2.conf", "[a]\n")
            .with("x.d/1.conf", "[a]\n")
            .with("x.d/README", "no ini at all")
            .with("x.conf", "[INCLUDES]\nbefore = b.conf\n missing.conf\nafter = c.conf\n  d.local\n[a]\n")
            .with("b.conf", "[a]\n")
            .with("b.local", "[a]\n")
            .with("c.conf", "[INCLUDES]\nbefore = x.conf\n");
        let merged = read(&tree, "x").expect("readable").expect("there");
        let files: Vec<&str> = merged.files.iter().map(AsRef::as_ref).collect();
        // c.conf includes x.conf, which is on its own chain only when c.conf was reached from it.
        assert_eq!(
            files,
            [
                "/f/b.conf",
                "/f/b.local",
                "/f/x.conf",
                "/f/c.conf",
                "/f/x.d/1.conf",
                "/f/x.d/2.conf",
                "/f/x.local",
                "/f/x.d/2.local"
            ]
        );
        let remarks: Vec<String> = merged.remarks.iter().map(ToString::to_string).collect();
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(remarks[0].starts_with("/f/x.conf:2: `missing.conf`"), "{remarks:?}");
        assert!(read(&tree, "nothing").expect("readable").is_none());
    }

    #[test]
    fn later_files_win_and_the_value_before_is_known() {
        let tree = MemoryTree::new("/f/")
            .with("x.conf", "[DEFAULT]\nd = 1\n[s]\na = 1\nb = 1\n[Init?family=inet6]\nc = 1\n")
            .with("x.local", "[DEFAULT]\nd = 2\n[s]\na = 2\n");
        let merged = read(&tree, "x").expect("readable").expect("there");
        assert_eq!(merged.defaults["d"].text, "2");
        let section = merged.section("s").expect("there");
        assert_eq!((section["a"].text.as_str(), section["b"].text.as_str()), ("2", "1"));
        assert_eq!(section["a"].place.to_string(), "/f/x.local:4");
        assert_eq!(merged.known["s"]["a"].text, "1");
        assert!(!merged.known["s"].contains_key("b"));
        assert_eq!(merged.section("Init").expect("there")["c?family=inet6"].text, "1");
    }
}
