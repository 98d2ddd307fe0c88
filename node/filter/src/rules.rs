//! What a filter is made of, and what it needs to know besides: the options that it was read from, all tags and names
//! replaced.
//!
//! Not for reading a configuration (`definition`), and not for judging (`filter`).

use crate::date::convert::Zone;
use crate::encoding::LogEncoding;
use bannkreis_core::jail::JailName;
use std::fmt;

/// What a filter is made of, all tags and names replaced.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rules {
    /// `prefregex`.
    pub prefregex: Option<String>,
    /// `failregex`, one per line of the option.
    pub failregex: Vec<String>,
    /// `ignoreregex`, one per line of the option.
    pub ignoreregex: Vec<String>,
    /// `datepattern`; empty for the default formats.
    pub datepattern: String,
    /// `maxlines`: at so many lines the filter looks at once; 0 is 1.
    pub max_lines: usize,
    /// `usedns`.
    pub use_dns: UseDns,
}

/// `usedns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseDns {
    /// Names would be resolved.
    Yes,
    /// Names would be resolved with a warning.
    #[default]
    Warn,
    /// `<HOST>` matches addresses only.
    No,
    /// Names are taken as they are.
    Raw,
}

/// Which expression does not compile, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// `prefregex`, `failregex`, `ignoreregex` or `datepattern`.
    pub option: &'static str,
    /// The sentence.
    pub problem: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for FilterError {}

/// What a filter needs to know besides its rules.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The jail that its failures belong to.
    pub jail: JailName,
    /// `findtime` in ms.
    pub find_time_ms: u64,
    /// How dates without a zone are read.
    pub zone: Zone,
    /// `logencoding`.
    pub encoding: LogEncoding,
}
