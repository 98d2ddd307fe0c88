//! The whole configuration at once: every jail as it will run, with warnings and errors.
//!
//! This is what the node starts with and what `bannkreis check` prints.

use crate::base;
use crate::date::templates::DefaultTemplates;
use crate::ini::Layer;
use crate::jail_config::{self, JailError, ReadJail};
use crate::jail_text::JailText;
use crate::merged::{self, ReadError};
use crate::tree::{ConfigTree, Layered};
use crate::unsupported::{self, Remark};
use jiff::tz::TimeZone;
use std::fmt;
use std::sync::Arc;

/// Whose language this is, for `%(fail2ban_version)s`.
const FAIL2BAN_VERSION: &str = "1.0.2";

/// What the configuration is read for: the host's own facts, which are not in it.
#[derive(Clone)]
pub struct Host<'a> {
    /// The zone of times in logs that name none.
    pub zone: TimeZone,
    /// Ports of services that our own table does not have; `|_| None` when there is nothing to ask.
    pub services: &'a dyn Fn(&str) -> Option<u16>,
    /// Whether a jail with this `logpath` reads the journal when its `backend` is auto: none of its files is there, and this
    /// host has a journal.
    pub is_journal_instead: &'a dyn Fn(&str) -> bool,
    /// The directory that the user's tree is, for `%(fail2ban_confpath)s`.
    pub config_dir: String,
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("zone", &self.zone)
            .field("config_dir", &self.config_dir)
            .finish_non_exhaustive()
    }
}

/// A configuration that was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// The jails that can run, in the order of the configuration.
    pub jails: Vec<ReadJail>,
    /// Jails that are enabled and can not run.
    pub errors: Vec<JailError>,
    /// Names of jails that are not enabled.
    pub disabled: Vec<String>,
    /// Warnings that belong to no running jail; each jail has its own besides.
    pub remarks: Vec<Remark>,
    /// The files of the jail configuration in the order in which they were read.
    pub files: Vec<String>,
}

impl Reading {
    /// Every warning, those of the jails included, each only once.
    #[must_use]
    pub fn warnings(&self) -> Vec<&Remark> {
        let mut all: Vec<&Remark> = Vec::new();
        for remark in self.remarks.iter().chain(self.jails.iter().flat_map(|jail| &jail.remarks)) {
            if !all.contains(&remark) {
                all.push(remark);
            }
        }
        all
    }
}

/// Reads the jails of `user` (a tree such as /etc/fail2ban, which may be empty) on top of our own
/// base.
///
/// # Errors
/// When a file of the jail configuration itself is malformed or unreadable: fail2ban does not
/// start then either. A mistake in one jail or filter is in [`Reading::errors`].
pub fn read(user: &dyn ConfigTree, host: &Host<'_>) -> Result<Reading, ReadError> {
    read_tree(&Layered::on_our_base(user), host)
}

/// Reads the jails of `tree` alone, with nothing below it.
///
/// # Errors
/// As [`read`].
pub fn read_tree(tree: &dyn ConfigTree, host: &Host<'_>) -> Result<Reading, ReadError> {
    let mut reading = Reading::default();
    let formats = DefaultTemplates::new();
    let texts = texts(tree, &host.config_dir, host.is_journal_instead)?;
    reading.files = texts.files;
    reading.disabled = texts.disabled;
    reading.remarks = texts.remarks;
    for text in texts.jails {
        match text.and_then(|text| jail_config::read(text, host, &formats)) {
            Ok(jail) => reading.jails.push(jail),
            Err(error) => reading.errors.push(error),
        }
    }
    Ok(reading)
}

/// The jails of a tree in their own words.
#[derive(Debug, Default)]
pub struct Texts {
    /// The jails that are enabled, in the order of the configuration.
    pub jails: Vec<Result<JailText, JailError>>,
    /// Names of jails that are not enabled.
    pub disabled: Vec<String>,
    /// What looks like a mistake in jails that can not be read.
    pub remarks: Vec<Remark>,
    /// The files of the jail configuration in the order in which they were read.
    pub files: Vec<String>,
}

/// Reads what the jails of `tree` say, for people who know the tree as `config_dir`.
///
/// # Errors
/// As [`read`].
pub fn texts(
    tree: &dyn ConfigTree,
    config_dir: &str,
    is_journal_instead: &dyn Fn(&str) -> bool,
) -> Result<Texts, ReadError> {
    let mut texts = Texts { remarks: daemon_options(tree), ..Texts::default() };
    let Some(mut merged) = merged::read(tree, "jail")? else { return Ok(texts) };
    if let Some(distribution) = tree.base() {
        base::complete(&mut merged, distribution)?;
    }
    texts.remarks.append(&mut merged.remarks);
    texts.files = merged.files.iter().map(ToString::to_string).collect();
    for (option, text) in [("fail2ban_version", FAIL2BAN_VERSION), ("fail2ban_confpath", config_dir)] {
        let place = crate::ini::Place { file: base::SHOWN_AS.trim_end().into(), line: 0 };
        merged.defaults.insert(option.to_owned(), crate::ini::Raw { text: text.to_owned(), place });
    }
    let merged = Arc::new(merged);
    for (name, options) in &merged.sections {
        if name == "INCLUDES" {
            continue;
        }
        match JailText::read(tree, &merged, name, is_journal_instead) {
            Ok(Some(jail)) => texts.jails.push(Ok(jail)),
            Ok(None) => texts.disabled.push(name.clone()),
            Err(error) => {
                let lost = options.iter().filter_map(|(option, raw)| {
                    let sentence = unsupported::lost_indentation(option, &raw.text)?;
                    Some(Remark { place: Some(raw.place.clone()), sentence })
                });
                texts.remarks.extend(lost);
                texts.jails.push(Err(error));
            }
        }
    }
    Ok(texts)
}

/// What somebody has changed of fail2ban's own daemon: in any file of it but the one that it brings along.
fn daemon_options(tree: &dyn ConfigTree) -> Vec<Remark> {
    // Nothing depends on these files, so a mistake in them is none of ours.
    let Ok(Some(merged)) = merged::read(tree, "fail2ban") else { return Vec::new() };
    let options = merged.sections.iter().flat_map(|(_, options)| options).chain(&merged.defaults);
    let changed = options.filter(|(_, raw)| Layer::of_file(&raw.place.file) != Layer::Conf);
    changed
        .map(|(option, raw)| Remark {
            place: Some(raw.place.clone()),
            sentence: unsupported::daemon_option(option, &raw.text),
        })
        .collect()
}
