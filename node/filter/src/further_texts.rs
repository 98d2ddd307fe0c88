//! What else must stand in a line that the prefilter found for a filter.
//!
//! One text of each of these choices stands in every line that the filter can match, as with those that the
//! prefilter looks for, so a line without any is none of its business. Good for lines only whose date begins where
//! the line begins: what is cut out of the middle of a line may make a new text of its two halves.

use crate::engine::required::Needle;
use memchr::memmem::Finder;

/// So many choices are asked for at most, beside that of the prefilter.
const CHOICES_MAX: usize = 2;
/// A choice with more texts than this costs more than it saves.
const TEXTS_MAX: usize = 4;

/// Of each choice one text must stand in the line.
#[derive(Debug, Default)]
pub(crate) struct FurtherTexts(Vec<Vec<Finder<'static>>>);

impl FurtherTexts {
    /// These choices, as far as they are worth it.
    pub(crate) fn new(choices: &[Vec<Needle>]) -> FurtherTexts {
        let is_worth_it =
            |choice: &&Vec<Needle>| choice.len() <= TEXTS_MAX && choice.iter().all(|needle| !needle.any_case);
        let finders = |choice: &Vec<Needle>| {
            choice.iter().map(|needle| Finder::new(&needle.text).into_owned()).collect()
        };
        FurtherTexts(choices.iter().filter(is_worth_it).take(CHOICES_MAX).map(finders).collect())
    }

    /// Whether there is nothing to ask for.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one text of each choice stands in this line.
    pub(crate) fn are_in(&self, line: &[u8]) -> bool {
        self.0.iter().all(|choice| choice.iter().any(|finder| finder.find(line).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_choice_has_to_be_there() {
        let needle = |text: &&str| Needle { text: text.as_bytes().to_vec(), any_case: *text == "any" };
        let choices: Vec<Vec<Needle>> =
            [&["any"][..], &["a1", "a2"], &["b", "c", "d", "e", "f"], &["#"], &["never"]]
                .iter()
                .map(|choice| choice.iter().map(needle).collect())
                .collect();
        let further = FurtherTexts::new(&choices);
        for (line, are_in) in [("x a2 # x", true), ("#a1", true), ("a1", false), ("#", false), ("", false)] {
            assert_eq!(further.are_in(line.as_bytes()), are_in, "{line}");
        }
        assert!(FurtherTexts::new(&choices[..1]).is_empty() && FurtherTexts::default().are_in(b""));
    }
}
