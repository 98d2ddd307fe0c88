//! What became of a line: the outcomes of judging, with reasons that stay the same.
//!
//! Tables, metrics and `bannkreis regex` speak in these words. Not for how an outcome comes about
//! (`filter`).

use bannkreis_core::failure::Failure;
use bannkreis_core::time::Timestamp;
use std::net::{IpAddr, Ipv4Addr};

/// Whether a log is followed or caught up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Lines come as they are written: a date that is far from now counts as now.
    Following,
    /// Lines are older than the start: a date before findtime is of no interest.
    CatchingUp,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// An offender failed.
    Failure(Failure),
    /// An expression matches, and it is no failure nevertheless.
    Ignored(Ignored),
    /// No expression matches.
    NoMatch(NoMatch),
}

/// A failure whose offender the line names by a host's name only, of a jail that looks names up (`usedns`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFailure {
    /// The host's name.
    pub name: String,
    /// Everything else. Its offender is [`NOBODY`] until the name is looked up.
    pub failure: Failure,
}

/// Stands for an offender that is not known yet: never bannable, should it ever get through.
pub const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Why a line that matches is no failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The ignoreregex with this index, from 0, matches.
    Ignoreregex(usize),
    /// `<F-NOFAIL>` or `<F-MLFGAINED>`: it is remembered for its connection only.
    NoFail,
    /// A failure whose offender a later line of its connection may name.
    Pending,
    /// What stands where an address should be is none: a host's name, or 999.1.1.1.
    NotAnAddress(String),
    /// Older than findtime, when a log is caught up with.
    TooOld,
    /// It has no date and the log is caught up with, so nobody knows how old it is.
    NoDate,
}

/// Why a line does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// prefregex does not match.
    Prefregex,
    /// No failregex matches.
    Failregex,
    /// A backtracking expression gave up, and no other matches.
    GaveUp,
}

impl Judged {
    /// A word for tables and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Judged::Failure(_) => "failure",
            Judged::Ignored(Ignored::Ignoreregex(_)) => "ignoreregex",
            Judged::Ignored(Ignored::NoFail) => "nofail",
            Judged::Ignored(Ignored::Pending) => "pending",
            Judged::Ignored(Ignored::NotAnAddress(_)) => "not_an_address",
            Judged::Ignored(Ignored::TooOld) => "too_old",
            Judged::Ignored(Ignored::NoDate) => "no_date",
            Judged::NoMatch(NoMatch::Prefregex) => "no_prefregex",
            Judged::NoMatch(NoMatch::Failregex) => "no_failregex",
            Judged::NoMatch(NoMatch::GaveUp) => "gave_up",
        }
    }
}

/// What a filter has seen since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines.
    pub lines: u64,
    /// Failures.
    pub failures: u64,
    /// Lines that match with something that is no address: see [`Ignored::NotAnAddress`].
    pub not_addresses: u64,
    /// Searches given up at [`crate::pattern::BACKTRACK_STEPS_MAX`].
    pub gave_up: u64,
    /// Lines whose date was far from now while the log was followed.
    pub odd_dates: u64,
}

/// How a line was judged, for people who want to know more than the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The outcome.
    pub judged: Judged,
    /// Which failregex matched, from 0.
    pub failregex: Option<usize>,
    /// What the line's date says, before it is compared with now.
    pub date: Option<Timestamp>,
    /// All groups, `user` and the like, of the line and its connection.
    pub facts: Vec<(String, String)>,
}
