//! The groups of a match: their names in the order of the expression, and what they took of the text.
//!
//! All values lie in one text, one after the other, so that the memory of one match serves the next. Not for
//! what they mean (`connection`, `offender`).

use crate::group_name::Name;
use std::fmt;

/// Values that were replaced may fill so much of the text, in bytes, and no more than the others.
const WASTE_BYTES_MAX: usize = 256;

/// Where the value of a group begins that took no part.
const NOWHERE: u32 = u32::MAX;

/// Groups with their values; `None` for what took no part.
#[derive(Clone, Default)]
pub struct Groups {
    entries: Vec<Entry>,
    text: String,
    /// What of the text no group has any more, in bytes.
    n_waste: usize,
    /// Which groups there are, by [`Name::bit`]: most of those that are asked for are not there.
    there: u64,
    /// Which of them took part.
    part: u64,
}

/// One of them, and where its value stands in the text. Written number by number, and so read: as one it would be
/// waited for.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    /// Or [`NOWHERE`].
    start: u32,
    end: u32,
}

impl Entry {
    fn n_bytes(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }
}

impl Groups {
    /// None.
    pub const NONE: Groups =
        Groups { entries: Vec::new(), text: String::new(), n_waste: 0, there: 0, part: 0 };

    /// Forgets all; the memory stays.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.n_waste = 0;
        (self.there, self.part) = (0, 0);
    }

    /// Every group in the order of the expression.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.entries().map(|(name, value)| (name.as_str(), value))
    }

    /// The same, with the names as numbers.
    pub fn entries(&self) -> impl Iterator<Item = (Name, Option<&str>)> {
        self.entries.iter().map(|entry| (entry.name, self.at(*entry)))
    }

    /// The value of a group that took part; an empty one counts.
    #[must_use]
    #[inline]
    pub fn get(&self, name: Name) -> Option<&str> {
        if is_missing(self.part, name) { None } else { self.find(name) }
    }

    fn find(&self, name: Name) -> Option<&str> {
        self.at(*self.entries.iter().find(|entry| entry.name == name)?)
    }

    /// The value of a group that took part and is not empty.
    #[must_use]
    pub fn value(&self, name: Name) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether there is such a group, and if it took no part.
    #[must_use]
    pub fn contains(&self, name: Name) -> bool {
        !is_missing(self.there, name) && self.entries.iter().any(|entry| entry.name == name)
    }

    /// Gives a group this value, which may be none; a new one comes last.
    pub fn set(&mut self, name: Name, value: Option<&str>) {
        let start = self.text.len();
        self.text.push_str(value.unwrap_or_default());
        self.place(name, value.is_some(), start);
    }

    /// Gives the group `name` the value of `other`.
    pub fn set_as(&mut self, name: Name, other: Name) {
        let value = self.entries.iter().find(|entry| entry.name == other && entry.start != NOWHERE).copied();
        let start = self.text.len();
        if let Some(value) = value {
            self.text.extend_from_within(value.start as usize..value.end as usize);
        }
        self.place(name, value.is_some(), start);
    }

    /// Gives these groups the values that took part in others.
    pub fn set_all(&mut self, others: &Groups) {
        for (name, value) in others.entries() {
            if value.is_some() {
                self.set(name, value);
            }
        }
    }

    /// Takes a group out; whether it took part and was not empty.
    pub fn remove(&mut self, name: Name) -> bool {
        if is_missing(self.there, name) {
            return false;
        }
        let Some(index) = self.entries.iter().position(|entry| entry.name == name) else { return false };
        let n_bytes = self.entries.remove(index).n_bytes();
        self.there &= !name.bit();
        self.part &= !name.bit();
        self.wasted(n_bytes);
        n_bytes > 0
    }

    fn at(&self, entry: Entry) -> Option<&str> {
        self.text.get(entry.start as usize..entry.end as usize)
    }

    /// Gives a group the value that stands in the text behind `start`, or none. What is longer than all that a line
    /// can be has no place.
    fn place(&mut self, name: Name, took_part: bool, start: usize) {
        let has_place = took_part && self.text.len() < NOWHERE as usize;
        let place = |at: usize| u32::try_from(at).ok().filter(|_| has_place).unwrap_or(NOWHERE);
        let entry = Entry { name, start: place(start), end: place(self.text.len()) };
        let is_new = is_missing(self.there, name);
        self.there |= name.bit();
        self.part &= !name.bit();
        self.part |= if has_place { name.bit() } else { 0 };
        let present = if is_new { None } else { self.entries.iter_mut().find(|entry| entry.name == name) };
        match present {
            Some(present) => {
                let n_bytes = std::mem::replace(present, entry).n_bytes();
                self.wasted(n_bytes);
            }
            None => self.entries.push(entry),
        }
    }

    /// A connection whose lines never end must not keep all that they said.
    fn wasted(&mut self, n_bytes: usize) {
        self.n_waste += n_bytes;
        if self.n_waste > WASTE_BYTES_MAX && self.n_waste > self.text.len() / 2 {
            let before = std::mem::take(self);
            for (name, value) in before.entries() {
                self.set(name, value);
            }
        }
    }
}

/// Whether a set of names has not this one for certain.
#[inline]
fn is_missing(set: u64, name: Name) -> bool {
    name.bit() != 0 && set & name.bit() == 0
}

impl PartialEq for Groups {
    fn eq(&self, other: &Groups) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Groups {}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    proptest! {
        /// The names are more than have a bit.
        #[test]
        fn groups_are_what_a_list_of_them_would_be(
            steps in proptest::collection::vec((0_u8..5, 0_usize..90, 0_usize..90, any::<Option<[char; 2]>>()), 0..60),
        ) {
            let few = ["user", "nofail", "ip4", "mlfid"].map(str::to_owned);
            let names: Vec<Name> = (0..80).map(|n| format!("n{n}")).chain(few).filter_map(|n| Name::of(&n)).collect();
            let mut groups = Groups::default();
            let mut list: Vec<(Name, Option<String>)> = Vec::new();
            let set = |list: &mut Vec<(Name, Option<String>)>, name, value| {
                match list.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, present)) => *present = value,
                    None => list.push((name, value)),
                }
            };
            for (step, name, other, value) in steps {
                let (name, other) = (names[name % names.len()], names[other % names.len()]);
                let value = value.map(|chars| String::from_iter(chars).repeat(9));
                match step {
                    0 | 1 => {
                        groups.set(name, value.as_deref());
                        set(&mut list, name, value);
                    }
                    2 => {
                        groups.set_as(name, other);
                        let value = list.iter().find(|(same, _)| *same == other).and_then(|(_, value)| value.clone());
                        set(&mut list, name, value);
                    }
                    3 => {
                        let had = list.iter().any(|(same, value)| *same == name && value.is_some());
                        assert_eq!(groups.remove(name), had);
                        list.retain(|(same, _)| *same != name);
                    }
                    _ if name == other => {
                        groups.clear();
                        list.clear();
                    }
                    _ => {}
                }
                let expected: Vec<_> = list.iter().map(|(name, value)| (*name, value.as_deref())).collect();
                assert_eq!(groups.entries().collect::<Vec<_>>(), expected);
                let found = expected.iter().find(|(same, _)| *same == other);
                assert_eq!((groups.contains(other), groups.get(other)), (found.is_some(), found.and_then(|(_, v)| *v)));
            }
        }
    }

    #[test]
    fn groups_are_replaced_where_they_stand_and_waste_does_not_grow() {
        let mut groups = Groups::default();
        groups.set(Name::USER, Some("root"));
        groups.set(Name::IP4, None);
        groups.set(Name::NOFAIL, Some(""));
        for n in 0..10_000 {
            groups.set(Name::USER, Some(&format!("user{n}")));
        }
        let all: Vec<_> = groups.iter().collect();
        assert_eq!(all, [("user", Some("user9999")), ("ip4", None), ("nofail", Some(""))]);
        assert!(groups.text.len() < 3 * WASTE_BYTES_MAX, "{}", groups.text.len());
        assert_eq!((groups.value(Name::NOFAIL), groups.get(Name::NOFAIL)), (None, Some("")));
        groups.set_as(Name::NOFAIL, Name::USER);
        assert!(groups.remove(Name::NOFAIL) && !groups.remove(Name::NOFAIL) && !groups.remove(Name::IP4));
        assert!(!groups.contains(Name::IP4));
        let mut others = Groups::default();
        others.set(Name::FID, Some("x"));
        others.set(Name::USER, None);
        groups.set_all(&others);
        assert_eq!(groups.iter().collect::<Vec<_>>(), [("user", Some("user9999")), ("fid", Some("x"))]);
        groups.clear();
        assert_eq!(groups, Groups::default());
    }
}
