//! What a filter remembers of a connection: lines that share a `<F-MLFID>` are judged together.
//!
//! ssh writes one line that names the address, another that names the failure, and perhaps a third
//! that says the login succeeded after all. The rules of the merge are fail2ban's; the memory is
//! small and short, so that no flood of connections can fill it.

use crate::facts::Facts;
use crate::group_name::Name;
use bannkreis_core::time::{MINUTE_MS, Timestamp};
use std::collections::VecDeque;

/// At most so many connections are remembered; the oldest is forgotten for a new one.
pub const CONNECTIONS_MAX: usize = 100;
/// A connection is forgotten this long after its first line.
pub const CONNECTION_AGE_MAX_MS: u64 = 5 * MINUTE_MS;
/// At most so many lines are remembered of a connection; the later ones are left out.
pub const LINES_MAX: usize = 32;
/// Hashes are counted by their remainder.
const N_KINDS: usize = 4096;

/// Where it stands what is known of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// In the line's own facts.
    Line,
    /// In those of its connection, by its place; good until the next line.
    Connection(usize),
}

/// The connections of one filter, oldest first.
#[derive(Debug, Default)]
pub struct Connections {
    known: VecDeque<Connection>,
    /// Of their ids, in the same order: most of those that are compared differ.
    hashes: VecDeque<u32>,
    /// How many of them have which remainder: most ids are new. Empty before the first connection.
    n_with: Vec<u8>,
    /// None of them is older than this.
    since: Timestamp,
    /// The id of a line that is being joined.
    id: String,
}

#[derive(Debug, Default)]
struct Connection {
    id: String,
    since: Timestamp,
    facts: Box<Facts>,
}

impl Connections {
    /// Joins a line's facts with what is known of its connection (`<F-MLFID>`), and says where that stands then;
    /// `None` for a line without a connection.
    pub fn merge(&mut self, line: &mut Box<Facts>, now: Timestamp) -> Option<Known> {
        let id = line.get(Name::MLFID)?;
        self.id.clear();
        self.id.push_str(id);
        self.forget_old(now);
        let gained = line.has(Name::MLFGAINED);
        if gained && !line.has(Name::NOFAIL) {
            line.groups.set_as(Name::NOFAIL, Name::MLFGAINED);
        }
        let forget = line.groups.remove(Name::MLFFORGET);
        let new_lines = std::mem::take(&mut line.lines);
        let hash = hash_of(&self.id);
        let Some(index) = self.place(hash) else {
            if !forget && let Some(user) = line.groups.value(Name::USER) {
                line.users.insert(user);
            }
            settle(line, new_lines, gained, forget);
            return Some(if forget { Known::Line } else { self.add(hash, line, now) });
        };
        let facts = &mut self.known[index].facts;
        if let Some(user) = line.groups.value(Name::USER) {
            facts.users.insert(user);
        }
        let was_none = facts.groups.remove(Name::NOFAIL) | facts.groups.remove(Name::MLFGAINED);
        if gained {
            facts.pending = false;
        }
        // What made a failure before has been told with it.
        if !was_none && !facts.pending {
            facts.lines.clear();
        }
        facts.groups.set_all(&line.groups);
        settle(facts, new_lines, gained, forget);
        if !forget {
            return Some(Known::Connection(index));
        }
        self.uncount(hash);
        self.hashes.remove(index);
        if let Some(known) = self.known.remove(index) {
            *line = known.facts;
        }
        Some(Known::Line)
    }

    /// What is known, when `line` are the facts that were joined last.
    #[must_use]
    pub fn facts<'f>(&'f self, known: Known, line: &'f Facts) -> &'f Facts {
        match known {
            Known::Line => line,
            Known::Connection(index) => self.known.get(index).map_or(line, |known| &*known.facts),
        }
    }

    /// Remembers a new connection by its first line, whose facts it takes; `line` gets the memory of the one that
    /// is forgotten for it.
    fn add(&mut self, hash: u32, line: &mut Box<Facts>, now: Timestamp) -> Known {
        let mut new = Connection::default();
        if self.known.len() >= CONNECTIONS_MAX {
            if let Some(oldest) = self.hashes.pop_front() {
                self.uncount(oldest);
            }
            new = self.known.pop_front().unwrap_or_default();
        }
        self.since = if self.known.is_empty() { now } else { self.since.min(now) };
        new.since = now;
        std::mem::swap(&mut new.id, &mut self.id);
        std::mem::swap(&mut new.facts, line);
        self.hashes.push_back(hash);
        self.n_with.resize(N_KINDS, 0);
        self.n_with[hash as usize % N_KINDS] += 1;
        self.known.push_back(new);
        Known::Connection(self.known.len() - 1)
    }

    fn uncount(&mut self, hash: u32) {
        self.n_with[hash as usize % N_KINDS] -= 1;
    }

    fn forget_old(&mut self, now: Timestamp) {
        let is_old = |since: Timestamp| now.ms_since(since) >= CONNECTION_AGE_MAX_MS;
        if self.known.is_empty() || !is_old(self.since) {
            return;
        }
        // The clock may have been set back meanwhile, so any of them may be the one that is too old.
        self.known.retain(|known| !is_old(known.since));
        self.hashes = self.known.iter().map(|known| hash_of(&known.id)).collect();
        self.n_with.fill(0);
        for &hash in &self.hashes {
            self.n_with[hash as usize % N_KINDS] += 1;
        }
        self.since = self.known.iter().map(|known| known.since).min().unwrap_or(now);
    }

    /// Where the connection is that has the id and this hash of it.
    fn place(&self, hash: u32) -> Option<usize> {
        if self.n_with.get(hash as usize % N_KINDS).is_none_or(|&n| n == 0) {
            return None;
        }
        let same = |(&other, known): (&u32, &Connection)| other == hash && known.id == self.id;
        self.hashes.iter().zip(&self.known).position(same)
    }

    /// Notes that the failure of a connection waits for its offender.
    pub fn wait(&mut self, known: Known) {
        if let Known::Connection(index) = known
            && let Some(known) = self.known.get_mut(index)
        {
            known.facts.pending = true;
        }
    }
}

/// A number for an id (FNV-1a by Fowler, Noll and Vo, with eight bytes at once). Whoever finds ids with the same
/// number makes us compare [`CONNECTIONS_MAX`] texts.
fn hash_of(id: &str) -> u32 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let mix = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(PRIME);
        hash ^ hash >> 29
    };
    let (words, rest) = id.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(BASIS, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let hash = mix(hash, rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    u32::try_from(hash >> 32).unwrap_or_default()
}

/// A waiting failure, or a second account, makes a failure of what would be none. `new_lines` belong to
/// the failure, or are held for the next one.
fn settle(facts: &mut Facts, new_lines: Vec<String>, gained: bool, forget: bool) {
    let is_failure_nevertheless = std::mem::take(&mut facts.pending) || facts.users.len() > 1;
    if is_failure_nevertheless {
        facts.groups.remove(Name::NOFAIL);
        facts.groups.remove(Name::MLFGAINED);
    }
    if !facts.has(Name::NOFAIL) {
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

    /// A line of connection `id`, joined with what is known: all that is known then.
    fn merge(
        connections: &mut Connections,
        id: &str,
        groups: &[(&str, &str)],
        now: Timestamp,
    ) -> (Known, Facts) {
        let mut line = Box::<Facts>::default();
        for &(name, value) in [("mlfid", id)].iter().chain(groups) {
            line.groups.set(Name::of(name).expect("few names"), Some(value));
        }
        let known = connections.merge(&mut line, now).expect("it has an id");
        (known, connections.facts(known, &line).clone())
    }

    #[test]
    fn a_failure_waits_for_the_line_that_names_its_offender() {
        let mut connections = Connections::default();
        let (known, first) = merge(&mut connections, "c1", &[("user", "root")], NOW);
        assert!(first.group("ip4").is_none());
        connections.wait(known);
        let (_, second) = merge(&mut connections, "c1", &[("ip4", "192.0.2.1"), ("nofail", "closed")], NOW);
        assert_eq!((second.group("ip4"), second.has(Name::NOFAIL)), (Some("192.0.2.1"), false));
        assert_eq!(second.group("user"), Some("root"));
        let (_, third) = merge(&mut connections, "c1", &[("nofail", "closed")], NOW);
        assert!(third.has(Name::NOFAIL), "one failure counts once");
    }

    #[test]
    fn a_success_clears_what_was_waiting_unless_several_accounts_were_tried() {
        let mut connections = Connections::default();
        let (known, _) = merge(&mut connections, "c1", &[("user", "a"), ("ip4", "192.0.2.1")], NOW);
        connections.wait(known);
        let (_, gained) = merge(&mut connections, "c1", &[("mlfgained", "Accepted"), ("user", "a")], NOW);
        assert_eq!(gained.group("nofail"), Some("Accepted"));
        let (_, other) = merge(&mut connections, "c1", &[("mlfgained", "Accepted"), ("user", "b")], NOW);
        assert!(!other.has(Name::NOFAIL));
        assert_eq!(other.users().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn the_memory_is_small_and_short() {
        let mut connections = Connections::default();
        for n in 0..CONNECTIONS_MAX + 5 {
            let id = format!("c{n}");
            let (_, facts) = merge(&mut connections, &id, &[("user", "a")], NOW);
            assert_eq!((facts.group("mlfid"), facts.users().count()), (Some(id.as_str()), 1));
        }
        assert_eq!((connections.known.len(), connections.hashes.len()), (CONNECTIONS_MAX, CONNECTIONS_MAX));
        let late = NOW.plus_ms(CONNECTION_AGE_MAX_MS);
        let _ = merge(&mut connections, "late", &[], late);
        assert_eq!((connections.known.len(), connections.hashes.len()), (1, 1));
        let (known, facts) = merge(&mut connections, "late", &[("mlfforget", "bye")], late);
        assert_eq!((known, facts.group("mlfid")), (Known::Line, Some("late")));
        assert!(connections.known.is_empty() && connections.hashes.is_empty());
    }

    #[test]
    fn a_connection_is_found_wherever_it_stands() {
        let mut connections = Connections::default();
        for n in 0..250 {
            let _ = merge(&mut connections, &format!("c{n}"), &[("user", &n.to_string())], NOW);
        }
        for n in 200..240 {
            let _ = merge(&mut connections, &format!("c{n}"), &[("mlfforget", "bye")], NOW);
        }
        for n in (150..200).chain(240..250) {
            let id = format!("c{n}");
            let (_, facts) = merge(&mut connections, &id, &[("user", "x")], NOW);
            assert_eq!(facts.users().collect::<Vec<_>>(), [n.to_string().as_str(), "x"]);
        }
        let (_, new) = merge(&mut connections, "c210", &[], NOW);
        assert_eq!(new.users().count(), 0);
    }
}
