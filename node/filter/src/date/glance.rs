//! What is found out about one line only once, whichever of several filters asks first.
//!
//! Filters with different formats of dates read the same line, and most of their formats are the same after all. Not
//! for choosing a format, and not for lines that are not ASCII: what those are as text depends on who reads them.

use super::convert::Zone;
use super::detector::FoundDate;
use super::repeated::Repeated;
use super::runs::{self, RUN_BYTES_MIN};
use super::template::Template;
use crate::engine::ascii::is_ascii;
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

/// A line, and what is known of it.
#[derive(Debug)]
pub struct Glance<'l> {
    bytes: &'l [u8],
    ascii: OnceCell<Option<&'l str>>,
    has_row: OnceCell<bool>,
    found: Vec<Known>,
}

/// What a format that matches at the line's beginning only has found there.
#[derive(Debug)]
struct Known {
    template: Arc<Template>,
    zone: Zone,
    whole: Range<usize>,
    found: FoundDate,
    repeated: Option<Repeated>,
}

impl<'l> Glance<'l> {
    /// Nothing is known of this line yet.
    #[must_use]
    pub fn new(bytes: &'l [u8]) -> Glance<'l> {
        Glance { bytes, ascii: OnceCell::new(), has_row: OnceCell::new(), found: Vec::new() }
    }

    /// The same of a line that is ASCII and without its end.
    #[must_use]
    pub(crate) fn of_ascii(text: &'l str) -> Glance<'l> {
        Glance { ascii: OnceCell::from(Some(text)), ..Glance::new(text.as_bytes()) }
    }

    /// The line as it was read.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &'l [u8] {
        self.bytes
    }

    /// The line without its end, when it is ASCII: the same text in every encoding.
    #[must_use]
    #[inline]
    pub fn ascii(&self) -> Option<&'l str> {
        *self.ascii.get_or_init(|| {
            let text = std::str::from_utf8(self.bytes).ok().filter(|_| is_ascii(self.bytes))?;
            Some(without_end(text))
        })
    }

    /// Whether `length` digits stand in a row somewhere, [`RUN_BYTES_MIN`] of them at least: see `runs`.
    pub(super) fn has_row(&self, length: usize) -> bool {
        *self.has_row.get_or_init(|| runs::has_row(self.bytes, RUN_BYTES_MIN))
            && runs::has_row(self.bytes, length)
    }

    /// What `template` found in this line before, read in the same zone at the same time.
    pub(super) fn known(
        &self,
        template: &Arc<Template>,
        zone: &Zone,
    ) -> Option<(Range<usize>, FoundDate, Option<Repeated>)> {
        let is_it = |known: &&Known| Arc::ptr_eq(&known.template, template) && known.zone == *zone;
        let known = self.found.iter().find(is_it)?;
        Some((known.whole.clone(), known.found.clone(), known.repeated.clone()))
    }

    /// Notes what `template`, which matches at the line's beginning only, found in this line.
    pub(super) fn note(
        &mut self,
        template: &Arc<Template>,
        zone: &Zone,
        whole: Range<usize>,
        found: &FoundDate,
        repeated: Option<&Repeated>,
    ) {
        if self.ascii().is_some() {
            self.found.push(Known {
                template: Arc::clone(template),
                zone: zone.clone(),
                whole,
                found: found.clone(),
                repeated: repeated.cloned(),
            });
        }
    }
}

/// A line without its end. Most have none any more.
#[must_use]
#[inline]
pub(crate) fn without_end(text: &str) -> &str {
    match text.as_bytes().last() {
        Some(b'\r' | b'\n') => text.trim_end_matches(['\r', '\n']),
        _ => text,
    }
}
