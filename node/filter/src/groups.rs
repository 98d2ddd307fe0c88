//! The groups of a match: their names in the order of the expression, and what they took of the text.
//!
//! All values lie in one text, one after the other, so that the memory of one match serves the next. Not for
//! what they mean (`connection`, `offender`).

use crate::group_name::Name;
use std::fmt;
use std::ops::Range;

/// Values that were replaced may fill so much of the text, in bytes, and no more than the others.
const WASTE_BYTES_MAX: usize = 256;

/// Groups with their values; `None` for what took no part.
#[derive(Clone, Default)]
pub struct Groups {
    entries: Vec<(Name, Option<Range<u32>>)>,
    text: String,
    /// What of the text no group has any more, in bytes.
    n_waste: usize,
    /// Which groups there are, by [`Name::bit`]: most of those that are asked for are not there.
    there: u64,
    /// Which of them took part.
    part: u64,
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
        self.entries.iter().map(|(name, place)| (*name, self.at(place)))
    }

    /// The value of a group that took part; an empty one counts.
    #[must_use]
    #[inline]
    pub fn get(&self, name: Name) -> Option<&str> {
        if is_missing(self.part, name) { None } else { self.find(name) }
    }

    fn find(&self, name: Name) -> Option<&str> {
        let (_, place) = self.entries.iter().find(|(other, _)| *other == name)?;
        self.at(place)
    }

    /// The value of a group that took part and is not empty.
    #[must_use]
    pub fn value(&self, name: Name) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether there is such a group, and if it took no part.
    #[must_use]
    pub fn contains(&self, name: Name) -> bool {
        !is_missing(self.there, name) && self.entries.iter().any(|(other, _)| *other == name)
    }

    /// Gives a group this value, which may be none; a new one comes last.
    pub fn set(&mut self, name: Name, value: Option<&str>) {
        let place = value.and_then(|value| self.add(value));
        self.place(name, place);
    }

    /// Gives the group `name` the value of `other`.
    pub fn set_as(&mut self, name: Name, other: Name) {
        let place = self.entries.iter().find(|(name, _)| *name == other).and_then(|(_, place)| place.clone());
        let place = place.and_then(|place| {
            let start = self.text.len();
            self.text.extend_from_within(place.start as usize..place.end as usize);
            self.since(start)
        });
        self.place(name, place);
    }

    /// Gives these groups the values that took part in others.
    pub fn set_all(&mut self, others: &Groups) {
        for (name, place) in &others.entries {
            if let Some(value) = others.at(place) {
                self.set(*name, Some(value));
            }
        }
    }

    /// Takes a group out; whether it took part and was not empty.
    pub fn remove(&mut self, name: Name) -> bool {
        if is_missing(self.there, name) {
            return false;
        }
        let Some(index) = self.entries.iter().position(|(other, _)| *other == name) else { return false };
        let (_, place) = self.entries.remove(index);
        self.there &= !name.bit();
        self.part &= !name.bit();
        let n_bytes = place.map_or(0, |place| place.len());
        self.wasted(n_bytes);
        n_bytes > 0
    }

    fn at(&self, place: &Option<Range<u32>>) -> Option<&str> {
        let place = place.as_ref()?;
        self.text.get(place.start as usize..place.end as usize)
    }

    fn add(&mut self, value: &str) -> Option<Range<u32>> {
        let start = self.text.len();
        self.text.push_str(value);
        self.since(start)
    }

    /// What stands in the text behind `start`; what is longer than all that a line can be has no place.
    fn since(&self, start: usize) -> Option<Range<u32>> {
        let end = u32::try_from(self.text.len()).ok()?;
        Some(u32::try_from(start).ok()?..end)
    }

    fn place(&mut self, name: Name, place: Option<Range<u32>>) {
        self.part &= !name.bit();
        self.part |= if place.is_some() { name.bit() } else { 0 };
        let is_new = is_missing(self.there, name);
        self.there |= name.bit();
        let present = if is_new { None } else { self.entries.iter_mut().find(|(other, _)| *other == name) };
        match present {
            Some((_, present)) => {
                let before = std::mem::replace(present, place);
                self.wasted(before.map_or(0, |before| before.len()));
            }
            None => self.entries.push((name, place)),
        }
    }

    /// A connection whose lines never end must not keep all that they said.
    fn wasted(&mut self, n_bytes: usize) {
        self.n_waste += n_bytes;
        if self.n_waste > WASTE_BYTES_MAX && self.n_waste > self.text.len() / 2 {
            let before = std::mem::take(self);
            for (name, place) in &before.entries {
                self.set(*name, before.at(place));
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
