//! What a filter remembers of a connection: lines that share a `<F-MLFID>` are judged together.
//!
//! ssh writes one line that names the address, another that names the failure, and perhaps a third
//! that says the login succeeded after all. The rules of the merge are fail2ban's; the memory is
//! small and short, so that no flood of connections can fill it.

use crate::pattern::{Groups, value_of};
use bannkreis_core::time::{MINUTE_MS, Timestamp};
use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// At most so many connections are remembered; the oldest is forgotten for a new one.
pub const CONNECTIONS_MAX: usize = 100;
/// A connection is forgotten this long after its first line.
pub const CONNECTION_AGE_MAX_MS: u64 = 5 * MINUTE_MS;
/// At most so many accounts are remembered of a connection: more than one is all that matters.
pub const USERS_MAX: usize = 16;
/// At most so many lines are remembered of a connection; the later ones are left out.
pub const LINES_MAX: usize = 32;

/// What is known of one failure: the groups of its lines, and what they say together.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    groups: Groups,
    users: BTreeSet<String>,
    /// A failure was seen whose offender is not known yet.
    pending: bool,
    /// The lines that make it, as far as somebody asked for them: see [`Facts::with_lines`].
    lines: Vec<String>,
    /// Lines that are no failure by themselves, for the failure that may come.
    held_lines: Vec<String>,
}

impl Facts {
    /// The facts of one line: the groups of prefregex, overridden by those of failregex.
    #[must_use]
    pub fn of(mut prefix_groups: Groups, groups: Groups) -> Facts {
        for (name, value) in groups {
            set(&mut prefix_groups, &name, value);
        }
        Facts { groups: prefix_groups, ..Facts::default() }
    }

    /// These facts, with the lines that they come from.
    #[must_use]
    pub fn with_lines(mut self, lines: Vec<String>) -> Facts {
        self.lines = lines;
        self
    }

    /// The lines that make this failure.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Every group in the order of the expressions; `None` for what took no part.
    pub fn groups(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.groups.iter().map(|(name, value)| (name.as_ref(), value.as_deref()))
    }

    /// The accounts that the lines of the connection name.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(String::as_str)
    }

    /// The value of a group that took part; an empty one counts.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&str> {
        self.groups.iter().find(|(other, _)| other.as_ref() == name)?.1.as_deref()
    }

    /// Whether a group took part and is not empty.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        value_of(&self.groups, name).is_some()
    }

    fn remove(&mut self, name: &str) -> bool {
        match self.groups.iter().position(|(other, _)| other.as_ref() == name) {
            Some(index) => self.groups.remove(index).1.is_some_and(|value| !value.is_empty()),
            None => false,
        }
    }

    fn add_user(&mut self, user: Option<String>) {
        if let Some(user) = user
            && self.users.len() < USERS_MAX
        {
            self.users.insert(user);
        }
    }
}

fn set(groups: &mut Groups, name: &Arc<str>, value: Option<String>) {
    match groups.iter_mut().find(|(other, _)| other == name) {
        Some((_, present)) => *present = value,
        None => groups.push((Arc::clone(name), value)),
    }
}

/// The connections of one filter, oldest first.
#[derive(Debug, Default)]
pub struct Connections {
    known: VecDeque<Connection>,
    hashes: RandomState,
}

#[derive(Debug)]
struct Connection {
    /// Of the id: most of those that are compared differ.
    hash: u64,
    id: String,
    since: Timestamp,
    facts: Arc<Facts>,
}

impl Connections {
    /// Joins a line's facts with what is known of its connection `id`, and says what is known then.
    #[must_use]
    pub fn merge(&mut self, id: &str, mut line: Facts, now: Timestamp) -> Arc<Facts> {
        // The clock may have been set back meanwhile, so any of them may be the one that is too old.
        if self.known.iter().any(|known| now.ms_since(known.since) >= CONNECTION_AGE_MAX_MS) {
            self.known.retain(|known| now.ms_since(known.since) < CONNECTION_AGE_MAX_MS);
        }
        let gained = line.has("mlfgained");
        if gained && !line.has("nofail") {
            let value = line.group("mlfgained").map(str::to_owned);
            set(&mut line.groups, &Arc::from("nofail"), value);
        }
        let forget = line.remove("mlfforget");
        let new_lines = std::mem::take(&mut line.lines);
        let user = value_of(&line.groups, "user").map(str::to_owned);
        let hash = self.hashes.hash_one(id);
        let Some(index) = self.place(hash, id) else {
            if forget {
                settle(&mut line, new_lines, gained, forget);
                return Arc::new(line);
            }
            line.add_user(user);
            settle(&mut line, new_lines, gained, forget);
            if self.known.len() >= CONNECTIONS_MAX {
                self.known.pop_front();
            }
            let facts = Arc::new(line);
            let known = Connection { hash, id: id.to_owned(), since: now, facts: Arc::clone(&facts) };
            self.known.push_back(known);
            return facts;
        };
        let shared = &mut self.known[index].facts;
        let facts = Arc::make_mut(shared);
        facts.add_user(user);
        let was_none = facts.remove("nofail") | facts.remove("mlfgained");
        if gained {
            facts.pending = false;
        }
        // What made a failure before has been told with it.
        if !was_none && !facts.pending {
            facts.lines.clear();
        }
        for (name, value) in line.groups {
            if value.is_some() {
                set(&mut facts.groups, &name, value);
            }
        }
        settle(facts, new_lines, gained, forget);
        let settled = Arc::clone(shared);
        if forget {
            self.known.remove(index);
        }
        settled
    }

    fn place(&self, hash: u64, id: &str) -> Option<usize> {
        self.known.iter().position(|known| known.hash == hash && known.id == id)
    }

    /// Notes that a failure of connection `id` waits for its offender.
    pub fn wait(&mut self, id: &str) {
        if let Some(index) = self.place(self.hashes.hash_one(id), id) {
            Arc::make_mut(&mut self.known[index].facts).pending = true;
        }
    }
}

/// A waiting failure, or a second account, makes a failure of what would be none. `new_lines` belong to
/// the failure, or are held for the next one.
fn settle(facts: &mut Facts, new_lines: Vec<String>, gained: bool, forget: bool) {
    let is_failure_nevertheless = std::mem::take(&mut facts.pending) || facts.users.len() > 1;
    if is_failure_nevertheless {
        facts.remove("nofail");
        facts.remove("mlfgained");
    }
    if !facts.has("nofail") {
        let mut lines = std::mem::take(&mut facts.held_lines);
        lines.append(&mut facts.lines);
        if !gained || is_failure_nevertheless {
            lines.extend(new_lines);
        }
        lines.truncate(LINES_MAX);
        facts.lines = lines;
    } else if !forget {
        facts.held_lines.extend(new_lines);
        facts.held_lines.truncate(LINES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn line(groups: &[(&str, &str)]) -> Facts {
        let groups = groups.iter().map(|&(name, value)| (Arc::from(name), Some(value.to_owned())));
        Facts::of(Groups::new(), groups.collect())
    }

    #[test]
    fn a_failure_waits_for_the_line_that_names_its_offender() {
        let mut connections = Connections::default();
        let first = connections.merge("c1", line(&[("user", "root")]), NOW);
        assert!(first.group("ip4").is_none());
        connections.wait("c1");
        let second = connections.merge("c1", line(&[("ip4", "192.0.2.1"), ("nofail", "closed")]), NOW);
        assert_eq!((second.group("ip4"), second.has("nofail")), (Some("192.0.2.1"), false));
        let third = connections.merge("c1", line(&[("nofail", "closed")]), NOW);
        assert!(third.has("nofail"), "one failure counts once");
    }

    #[test]
    fn a_success_clears_what_was_waiting_unless_several_accounts_were_tried() {
        let mut connections = Connections::default();
        let _ = connections.merge("c1", line(&[("user", "a"), ("ip4", "192.0.2.1")]), NOW);
        connections.wait("c1");
        let gained = connections.merge("c1", line(&[("mlfgained", "Accepted"), ("user", "a")]), NOW);
        assert!(gained.has("nofail"));
        let other = connections.merge("c1", line(&[("mlfgained", "Accepted"), ("user", "b")]), NOW);
        assert!(!other.has("nofail"));
    }

    #[test]
    fn the_memory_is_small_and_short() {
        let mut connections = Connections::default();
        for n in 0..CONNECTIONS_MAX + 5 {
            let _ = connections.merge(&format!("c{n}"), line(&[("user", "a")]), NOW);
        }
        assert_eq!(connections.known.len(), CONNECTIONS_MAX);
        let _ = connections.merge("late", line(&[]), NOW.plus_ms(CONNECTION_AGE_MAX_MS));
        assert_eq!(connections.known.len(), 1);
        let _ = connections.merge("late", line(&[("mlfforget", "bye")]), NOW.plus_ms(CONNECTION_AGE_MAX_MS));
        assert!(connections.known.is_empty());
    }
}
