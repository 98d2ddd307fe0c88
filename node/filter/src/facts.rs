//! What is known of one failure: the groups of its lines, its accounts and the lines themselves.
//!
//! The memory of one line's facts serves the next line. Not for how the lines of a connection are joined
//! (`connection`), and not for whom the facts blame (`offender`).

use crate::group_name::Name;
use crate::groups::Groups;

/// At most so many accounts are remembered of a connection: more than one is all that matters.
pub const USERS_MAX: usize = 16;

/// What is known of one failure: the groups of its lines, and what they say together.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub(crate) groups: Groups,
    pub(crate) users: Users,
    /// A failure was seen whose offender is not known yet.
    pub(crate) pending: bool,
    /// The lines that make it, as far as somebody asked for them: see [`Facts::set_lines`].
    pub(crate) lines: Vec<String>,
    /// Lines that are no failure by themselves, for the failure that may come.
    pub(crate) held_lines: Vec<String>,
}

/// What is known before a line was recognised.
pub(crate) static NO_FACTS: Facts = Facts {
    groups: Groups::NONE,
    users: Users { text: String::new(), ends: Vec::new() },
    pending: false,
    lines: Vec::new(),
    held_lines: Vec::new(),
};

impl Facts {
    /// The facts of one line: the groups of prefregex, overridden by those of failregex.
    #[must_use]
    pub fn of(groups: Groups) -> Facts {
        Facts { groups, ..Facts::default() }
    }

    /// Forgets all; most of the memory stays.
    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.users.clear();
        self.pending = false;
        self.lines.clear();
        self.held_lines.clear();
    }

    /// Notes the lines that they come from.
    pub fn set_lines(&mut self, lines: Vec<String>) {
        self.lines = lines;
    }

    /// The lines that make this failure.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Every group in the order of the expressions; `None` for what took no part.
    pub fn groups(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.groups.iter()
    }

    /// To add the groups of a line.
    pub(crate) fn groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// The accounts that the lines of the connection name, sorted.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        let mut users: Vec<&str> = self.users.iter().collect();
        users.sort_unstable();
        users.into_iter()
    }

    /// The value of a group that took part; an empty one counts.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&str> {
        self.groups().find(|(other, _)| *other == name)?.1
    }

    /// The same, for a name that is known as a number.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<&str> {
        self.groups.get(name)
    }

    /// Whether a group took part and is not empty.
    #[must_use]
    pub fn has(&self, name: Name) -> bool {
        self.groups.value(name).is_some()
    }
}

/// Accounts, each of them once and [`USERS_MAX`] at most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    /// The names, one after the other.
    text: String,
    ends: Vec<usize>,
}

impl Users {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&end| self.text.get(std::mem::replace(&mut start, end)..end))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn insert(&mut self, user: &str) {
        if self.ends.len() < USERS_MAX && !self.iter().any(|other| other == user) {
            self.text.push_str(user);
            self.ends.push(self.text.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_there_once_and_sorted_and_few() {
        let mut facts = Facts::default();
        for user in ["root", "anna", "root", ""] {
            facts.users.insert(user);
        }
        assert_eq!(facts.users().collect::<Vec<_>>(), ["", "anna", "root"]);
        (0..2 * USERS_MAX).for_each(|n| facts.users.insert(&n.to_string()));
        assert_eq!(facts.users().count(), USERS_MAX);
        facts.groups_mut().set(Name::USER, Some(""));
        assert_eq!(
            (facts.get(Name::USER), facts.group("user"), facts.has(Name::USER)),
            (Some(""), Some(""), false)
        );
        facts.clear();
        assert_eq!((facts.users().count(), facts.group("user"), NO_FACTS.lines().count()), (0, None, 0));
    }
}
