//! What the test has found so far: counts, and as many lines as will be printed.
//!
//! Memory is bounded whatever the log: lists that nobody wants to see are not kept, and one that is wanted
//! whole stops at [`LIST_BYTES_MAX`], which is said where it is printed.

use bannkreis_core::time::Timestamp;
use bannkreis_filter::filter::Filter;
use bannkreis_filter::trial::Tried;

/// One list of lines, or the offenders of all expressions, keeps so much text; more is counted only.
pub(super) const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// So many lines are printed without asking, when `-L` says nothing else.
pub(super) const LINES_SHOWN: usize = 20;

/// Lines of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// How many there were.
    pub(super) n: u64,
    /// Those that are kept.
    pub(super) kept: Vec<String>,
    kept_bytes: usize,
}

impl Lines {
    /// Counts a line and keeps it, if it is one of the first `n_kept`.
    pub(super) fn add(&mut self, line: &str, n_kept: usize) {
        self.n += 1;
        if self.n <= n_kept as u64 && self.kept_bytes + line.len() <= LIST_BYTES_MAX {
            self.kept_bytes += line.len();
            self.kept.push(line.to_owned());
        }
    }
}

impl Lines {
    /// Takes a line back that turned out to be of another kind.
    fn remove(&mut self, line: &str) {
        self.n = self.n.saturating_sub(1);
        if let Some(at) = self.kept.iter().position(|kept| kept == line) {
            self.kept_bytes -= self.kept.remove(at).len();
        }
    }
}

/// What one expression has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hits {
    /// The expression as it is written.
    pub(super) written: String,
    /// How often it matched.
    pub(super) n: u64,
    /// For those who want to see them: who it was, when, and whether other expressions matched too.
    pub(super) offenders: Vec<(Option<String>, Timestamp, bool)>,
}

/// Which lines are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Of the matched.
    pub(super) matched: usize,
    /// Of the missed.
    pub(super) missed: usize,
    /// Of the ignored.
    pub(super) ignored: usize,
    /// The offenders of each expression, and the groups of so many matches of prefregex.
    pub(super) offenders: Option<usize>,
}

/// All that has been found.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    wanted: Wanted,
    now: Timestamp,
    offender_bytes: usize,
    /// Lines that were tested.
    pub(super) n_tested: u64,
    /// Lines with a failure.
    pub(super) matched: Lines,
    /// Lines without one.
    pub(super) missed: Lines,
    /// Lines that an ignoreregex or `<F-NOFAIL>` took.
    pub(super) ignored: Lines,
    /// How often prefregex matched.
    pub(super) n_prefregex: u64,
    /// Its groups, of the first matches.
    pub(super) prefix_groups: Vec<Vec<(String, Option<String>)>>,
    /// By failregex.
    pub(super) failregex: Vec<Hits>,
    /// By ignoreregex.
    pub(super) ignoreregex: Vec<Hits>,
    /// Failures without a date.
    pub(super) n_undated: u64,
    /// Failures of something that is no address, and an example.
    pub(super) not_addresses: (u64, String),
    /// Names that would have to be resolved, and an example.
    pub(super) names: (u64, String),
    /// Lines judged on their beginning only.
    pub(super) n_cut: u64,
    /// Searches that were given up.
    pub(super) n_gave_up: u64,
}

impl Tally {
    /// Nothing found yet, with the expressions of `filter`. A failure without a date is from `now`.
    #[must_use]
    pub(super) fn new(filter: &Filter, wanted: Wanted, now: Timestamp) -> Tally {
        let hits = |written: &str| Hits { written: written.to_owned(), ..Hits::default() };
        Tally {
            wanted,
            now,
            failregex: filter.failregexes().map(hits).collect(),
            ignoreregex: filter.ignoreregexes().map(hits).collect(),
            ..Tally::default()
        }
    }

    /// Adds what `line` showed, or its beginning when it was `cut`.
    pub(super) fn add(&mut self, line: &str, cut: bool, tried: &Tried) {
        self.n_tested += 1;
        self.n_cut += u64::from(cut);
        self.n_gave_up += tried.gave_up;
        if let Some(groups) = &tried.prefregex {
            self.n_prefregex += 1;
            if self.wanted.offenders.is_some_and(|n| self.prefix_groups.len() < n) {
                let owned = |(name, value): (&str, Option<&str>)| (name.to_owned(), value.map(str::to_owned));
                self.prefix_groups.push(groups.iter().map(owned).collect());
            }
        }
        for &index in &tried.ignoreregex {
            self.ignoreregex[index].n += 1;
        }
        for name in &tried.names {
            note(&mut self.names, name);
        }
        let mut n_failures = 0;
        for found in &tried.found {
            let is_one_of_several = n_failures > 1;
            let hits = &mut self.failregex[found.failregex];
            hits.n += 1;
            let n_bytes = found.id.as_ref().map_or(0, String::len) + size_of::<Hits>();
            if self.wanted.offenders.is_some() && self.offender_bytes + n_bytes <= LIST_BYTES_MAX {
                self.offender_bytes += n_bytes;
                hits.offenders.push((found.id.clone(), found.at.unwrap_or(self.now), is_one_of_several));
            }
            if !found.is_nofail {
                n_failures += 1;
                self.n_undated += u64::from(found.at.is_none());
                if let Some(id) = found.id.as_ref().filter(|id| !is_address(id)) {
                    note(&mut self.not_addresses, id);
                }
            }
        }
        for taken in &tried.taken {
            self.missed.remove(taken);
            self.matched.add(taken, self.wanted.matched);
        }
        let is_nofail = tried.found.iter().any(|found| found.is_nofail);
        if is_nofail || !tried.ignoreregex.is_empty() {
            self.ignored.add(line, self.wanted.ignored);
        } else if n_failures > 0 {
            self.matched.add(line, self.wanted.matched);
        } else {
            self.missed.add(line, self.wanted.missed);
        }
    }
}

fn is_address(id: &str) -> bool {
    id.parse::<bannkreis_core::subnet::Subnet>().is_ok()
}

fn note((n, example): &mut (u64, String), text: &str) {
    if *n == 0 {
        text.clone_into(example);
    }
    *n += 1;
}
