//! Which positions of which sources wait for an answer: a source counts as read only up to the first of them.

use bannkreis_core::failure::{SourceId, SourcePosition};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HeldPositions {
    sources: BTreeMap<SourceId, Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Lines that wait, and for how many answers.
    waiting: BTreeMap<SourcePosition, u32>,
    read_up_to: Option<SourcePosition>,
}

impl HeldPositions {
    /// The line at `position` waits for one more answer.
    pub(super) fn hold(&mut self, source: SourceId, position: SourcePosition) {
        *self.sources.entry(source).or_default().waiting.entry(position).or_insert(0) += 1;
    }

    /// One answer came. How far the source counts as read now, when that is worth telling.
    pub(super) fn release(&mut self, source: SourceId, position: SourcePosition) -> Option<SourcePosition> {
        let held = self.sources.get_mut(&source)?;
        let was_first = held.waiting.first_key_value().is_some_and(|(&first, _)| first == position);
        let left = held.waiting.get_mut(&position)?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        held.waiting.remove(&position);
        held.counts_as_read().filter(|_| was_first)
    }

    /// Nothing comes from the source any more; what waits still does.
    pub(super) fn close(&mut self, source: SourceId) {
        if self.sources.get(&source).is_some_and(|held| held.waiting.is_empty()) {
            self.sources.remove(&source);
        }
    }

    /// The source was read up to `position`. How far it counts as read.
    pub(super) fn read_up_to(&mut self, source: SourceId, position: SourcePosition) -> SourcePosition {
        let held = self.sources.entry(source).or_default();
        held.read_up_to = Some(position);
        held.counts_as_read().unwrap_or(position)
    }
}

impl Held {
    fn counts_as_read(&self) -> Option<SourcePosition> {
        let first = self.waiting.first_key_value().map(|(&first, _)| first);
        let read = self.read_up_to?;
        Some(first.map_or(read, |first| first.min(read)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_counts_as_read_up_to_the_first_line_that_waits() {
        let mut held = HeldPositions::default();
        let (source, at) = (SourceId(1), SourcePosition);
        assert_eq!(held.read_up_to(source, at(10)), at(10));
        held.hold(source, at(12));
        held.hold(source, at(12));
        held.hold(source, at(20));
        assert_eq!(held.read_up_to(source, at(30)), at(12));
        assert_eq!(held.release(source, at(20)), None, "an earlier one waits");
        assert_eq!(held.release(source, at(12)), None, "it waits for a second answer");
        assert_eq!(held.release(source, at(12)), Some(at(30)));
        assert_eq!(held.release(source, at(12)), None, "it waits no more");
        assert_eq!(held.read_up_to(SourceId(2), at(5)), at(5), "sources do not wait for each other");
    }

    #[test]
    fn an_answer_before_the_end_of_the_batch_says_nothing() {
        let mut held = HeldPositions::default();
        held.hold(SourceId(1), SourcePosition(3));
        assert_eq!(held.release(SourceId(1), SourcePosition(3)), None);
        assert_eq!(held.read_up_to(SourceId(1), SourcePosition(9)), SourcePosition(9));
    }
}
