//! What is tested: from REGEX as it was typed, a filter's name, a filter file or an expression, to rules.
//!
//! A filter is read as the daemon reads it: the user's files on top of what is built in. Not for the log
//! (`lines`) and not for compiling (`bannkreis-filter`).

use super::args::RegexArgs;
use super::python;
use bannkreis_filter::date::templates::DefaultTemplates;
use bannkreis_filter::definition::{Definition, Kind};
use bannkreis_filter::filter::{Rules, UseDns};
use bannkreis_filter::interpolate::Vars;
use bannkreis_filter::parameters::{self, Named};
use bannkreis_filter::this_host::DirTree;
use bannkreis_filter::tree::{ConfigTree, Layered};
use std::path::{Path, PathBuf};

/// So much of a text that was typed is shown.
const SHOWN_CHARS_MAX: usize = 53;
/// Parts of a name that a filter's file ends with.
const FILE_ENDS: [&str; 3] = ["", ".conf", ".local"];

/// What is tested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    /// The expressions and the rest of the filter.
    pub(super) rules: Rules,
    /// How many lines an expression sees at once, when somebody says so.
    pub(super) maxlines: Option<usize>,
    /// What the user is told about where it came from: whole lines.
    pub(super) announced: Vec<String>,
    /// What looks like a mistake.
    pub(super) hints: Vec<String>,
}

/// Finds out what `regex` is and reads it.
///
/// # Errors
/// A sentence, when it is a filter and can not be read, or nothing that could ever match.
pub(super) fn read(regex: &str, args: &RegexArgs, config_dir: &Path) -> Result<Subject, String> {
    let mut subject = Subject::default();
    if args.maxlines.is_some_and(|n| n < 0) {
        return Err("--maxlines must be an integer greater than zero".to_owned());
    }
    if let Some(maxlines) = args.maxlines() {
        subject.set_maxlines(maxlines);
    }
    if let Some(datepattern) = &args.datepattern {
        subject.set_datepattern(datepattern);
    }
    match named_filter(regex)? {
        Some(named) if is_filter(&named, config_dir) => {
            read_filter(&mut subject, named, args, config_dir)?;
        }
        Some(named) if !regex.contains(['<', '(']) => {
            return Err(format!(
                "there is no filter `{}`: no such file in {} and none built in. If it is an expression, say with \
                 <HOST> where the offender stands",
                named.name,
                config_dir.join("filter.d").display()
            ));
        }
        _ => {
            subject.announced.push(format!("Use   failregex line : {}", shortened(regex)));
            subject.rules.failregex.push(regex.to_owned());
        }
    }
    if let Some(usedns) = &args.usedns {
        subject.rules.use_dns = use_dns(usedns).unwrap_or_else(|| {
            subject.hints.push(format!(
                "--usedns {usedns} is not known and counts as no, as in fail2ban; write yes, warn, no or raw"
            ));
            UseDns::No
        });
    }
    Ok(subject)
}

impl Subject {
    /// Takes IGNOREREGEX, always as an expression, as fail2ban 1.0.2 does.
    pub(super) fn add_ignoreregex(&mut self, ignoreregex: &str) {
        self.announced.push(format!("Use ignoreregex line : {}", shortened(ignoreregex)));
        self.rules.ignoreregex.push(ignoreregex.to_owned());
        let is_file = Path::new(ignoreregex).is_file() || ignoreregex.ends_with(".conf");
        if is_file {
            self.hints.push(format!(
                "IGNOREREGEX is taken as an expression, here and in fail2ban 1.0.2, and {ignoreregex} is the name of \
                 a file. The filter's own ignoreregex is applied in any case: leave the third argument away"
            ));
        }
    }

    fn set_maxlines(&mut self, maxlines: usize) {
        if self.maxlines.is_none() {
            self.maxlines = Some(maxlines);
            self.rules.max_lines = maxlines;
            self.announced.push(format!("Use         maxlines : {maxlines}"));
        }
    }

    fn set_datepattern(&mut self, datepattern: &str) {
        if self.rules.datepattern.is_empty() {
            datepattern.clone_into(&mut self.rules.datepattern);
            let name = date_name(datepattern);
            self.announced.push(format!("Use      datepattern : {datepattern} : {name}"));
        }
    }
}

/// The format that a datepattern is, or that there are several.
fn date_name(datepattern: &str) -> String {
    use bannkreis_filter::date::detector::DateDetector;
    let detector = DateDetector::new(datepattern, &DefaultTemplates::new());
    let names: Vec<String> = detector
        .iter()
        .flat_map(DateDetector::formats)
        .map(|(format, _)| super::date_names::shown(&format.name))
        .collect();
    match names.as_slice() {
        [first] | [first, _] => first.clone(),
        _ => "Default Detectors".to_owned(),
    }
}

/// A text in one line, so long that it can still be recognised.
pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARS_MAX - 3).chain("...".chars()).collect()
}

fn use_dns(text: &str) -> Option<UseDns> {
    match text.trim().to_lowercase().as_str() {
        "yes" => Some(UseDns::Yes),
        "warn" => Some(UseDns::Warn),
        "no" => Some(UseDns::No),
        "raw" => Some(UseDns::Raw),
        _ => None,
    }
}

/// The filter that `regex` names, if it has the form of a name or of a path, with parameters or without.
fn named_filter(regex: &str) -> Result<Option<Named>, String> {
    let name = regex.find('[').map_or(regex, |at| &regex[..at]);
    let has_form = !name.is_empty()
        && name.chars().all(|c| c.is_alphanumeric() || "/_-.".contains(c))
        && (name.len() == regex.len() || regex.ends_with(']'));
    if !has_form {
        return Ok(None);
    }
    match parameters::parse(regex) {
        Ok(named) => Ok(Some(named)),
        // `a[0-9]` has the form too, and is an expression.
        Err(why) if regex.contains('=') => {
            Err(format!("the filter or its parameters are not well formed: {why}"))
        }
        Err(_) => Ok(None),
    }
}

/// The file that a name or a path means, if it is there.
fn file_of(name: &str, config_dir: &Path) -> Option<PathBuf> {
    let directory = if name.contains('/') {
        PathBuf::new()
    } else if config_dir.ends_with("filter.d") {
        config_dir.to_owned()
    } else {
        config_dir.join("filter.d")
    };
    FILE_ENDS.iter().map(|end| directory.join(format!("{name}{end}"))).find(|file| file.is_file())
}

fn is_filter(named: &Named, config_dir: &Path) -> bool {
    file_of(&named.name, config_dir).is_some() || (!named.name.contains('/') && is_built_in(&named.name))
}

fn is_built_in(name: &str) -> bool {
    let nothing = bannkreis_filter::tree::MemoryTree::new("");
    let name = name.strip_suffix(".conf").unwrap_or(name);
    matches!(Layered::on_our_base(&nothing).read(&format!("filter.d/{name}.conf")), Ok(Some(_)))
}

fn read_filter(
    subject: &mut Subject,
    named: Named,
    args: &RegexArgs,
    config_dir: &Path,
) -> Result<(), String> {
    let typed = named.name.clone();
    let file = file_of(&typed, config_dir);
    let own_dir = file.as_deref().and_then(Path::parent).map(Path::to_owned);
    let stem =
        Path::new(&typed).file_stem().map_or(typed.clone(), |stem| stem.to_string_lossy().into_owned());
    let is_foreign = typed.contains('/') && !own_dir.as_deref().is_some_and(|dir| dir.ends_with("filter.d"));
    let named = Named {
        name: if typed.contains('/') || file.is_some() && typed.contains('.') { stem } else { typed.clone() },
        ..named
    };
    let config = match &own_dir {
        Some(dir) if dir.ends_with("filter.d") => dir.parent().map(Path::to_owned).unwrap_or_default(),
        _ => config_dir.to_owned(),
    };
    let tree = DirTree::new(&config);
    let layered = Layered::on_our_base(&tree);
    let foreign = file.clone().filter(|_| is_foreign).map(|file| ForeignFile {
        file,
        name: named.name.clone(),
        rest: &layered,
    });
    let tree: &dyn ConfigTree = match &foreign {
        Some(foreign) => foreign,
        None => &layered,
    };
    if is_foreign {
        subject.announced.push(format!("Use   failregex file : {typed}"));
    } else {
        let base = if file.is_some() { config.display().to_string() } else { "(built in)".to_owned() };
        subject.announced.push(format!("Use   failregex filter file : {}, basedir: {base}", named.name));
    }
    let given = || named.parameters.iter().map(|(key, value)| (key.as_str(), python::text(value)));
    if !named.parameters.is_empty() {
        subject.announced.push(format!("Use   filter options : {}", python::dictionary(given())));
    }
    let values = Definition::read(tree, Kind::Filter { logtype: "file" }, &named)
        .and_then(|definition| definition.combined(&Vars::new(), false))
        .map_err(|error| format!("the filter {typed} can not be used: {error}"))?;
    let value = |option: &str| values.get(option).map(|value| value.text.as_str());
    if args.verbosity() > 1 {
        let mut names = vec!["logtype", "datepattern"];
        names.extend(
            named
                .parameters
                .iter()
                .map(|(key, _)| key.as_str())
                .filter(|key| !["logtype", "datepattern"].contains(key)),
        );
        let real = names.into_iter().filter_map(|name| Some((name, python::text(value(name)?))));
        subject.announced.push(format!("Real  filter options : {}", python::dictionary(real)));
    }
    subject.take(&value)
}

impl Subject {
    /// Takes the values of a filter.
    fn take<'v>(&mut self, value: &dyn Fn(&str) -> Option<&'v str>) -> Result<(), String> {
        let lines = |option: &str| -> Vec<String> {
            value(option)
                .unwrap_or_default()
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(str::to_owned)
                .collect()
        };
        let set = |option: &str| value(option).map(str::trim).filter(|text| !text.is_empty());
        if let Some(text) = set("maxlines") {
            let maxlines = text
                .parse()
                .ok()
                .filter(|&n| n > 0)
                .ok_or_else(|| format!("`maxlines = {text}` is no number of lines; write 1 or more"))?;
            self.set_maxlines(maxlines);
        }
        if let Some(text) = set("datepattern") {
            self.set_datepattern(text);
        }
        if let Some(text) = set("usedns") {
            self.rules.use_dns = use_dns(text)
                .ok_or_else(|| format!("`usedns = {text}` is not known; write yes, warn, no or raw"))?;
        }
        self.rules.prefregex = set("prefregex").map(str::to_owned);
        self.rules.failregex = lines("failregex");
        self.rules.ignoreregex = lines("ignoreregex");
        if self.rules.failregex.is_empty() {
            self.hints.push("the filter has no failregex, so no line could ever be a failure".to_owned());
        }
        Ok(())
    }
}

/// A filter file that lies elsewhere, with the files beside it, on top of the configuration.
struct ForeignFile<'a> {
    file: PathBuf,
    name: String,
    rest: &'a dyn ConfigTree,
}

impl ForeignFile<'_> {
    /// The file beside it that a path of the configuration means here.
    fn beside(&self, path: &str) -> Option<PathBuf> {
        let name = path.strip_prefix("filter.d/")?;
        if name == format!("{}.conf", self.name) {
            return Some(self.file.clone());
        }
        let file = self.file.parent()?.join(name);
        file.is_file().then_some(file)
    }
}

impl ConfigTree for ForeignFile<'_> {
    fn read(&self, path: &str) -> Result<Option<String>, String> {
        match self.beside(path) {
            Some(file) => DirTree::new(Path::new("")).read(&file.display().to_string()),
            None => self.rest.read(path),
        }
    }

    fn list(&self, _directory: &str) -> Vec<String> {
        // Such a file is read alone, with what it includes.
        Vec::new()
    }

    fn shown(&self, path: &str) -> String {
        self.beside(path).map_or_else(|| self.rest.shown(path), |file| file.display().to_string())
    }
}
