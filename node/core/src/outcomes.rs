//! What came of the last operators' commands, so that a retry gets the first answer: found by the command's id, and
//! forgotten in the order in which they came.
//!
//! Not for what is told to people later (`history.rs`).

use crate::change::Outcome;
use crate::ids::CommandId;
use alloc::collections::{BTreeMap, VecDeque};

/// Operators' commands whose outcome is remembered; the oldest is forgotten first.
pub const OUTCOMES_MAX: usize = 4_096;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    in_order: VecDeque<CommandId>,
    /// With what was asked (`op_digest.rs`).
    by_id: BTreeMap<CommandId, (u64, Outcome)>,
}

impl Outcomes {
    /// What was asked by this command, and what came of it.
    pub(crate) fn get(&self, command: CommandId) -> Option<(u64, &Outcome)> {
        self.by_id.get(&command).map(|(asked, outcome)| (*asked, outcome))
    }

    /// Remembers what came of a command; of one that is known the first outcome stays.
    pub(crate) fn remember(&mut self, command: CommandId, asked: u64, outcome: Outcome) {
        if self.by_id.contains_key(&command) {
            return;
        }
        if self.in_order.len() >= OUTCOMES_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.in_order.push_back(command);
        self.by_id.insert(command, (asked, outcome));
    }

    /// All of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CommandId, u64, &Outcome)> {
        self.in_order.iter().filter_map(|command| {
            let (asked, outcome) = self.by_id.get(command)?;
            Some((*command, *asked, outcome))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_oldest_is_forgotten_and_the_first_outcome_stays() {
        let mut outcomes = Outcomes::default();
        let done = |n_affected| Outcome::Done { n_affected };
        for n in 0..=OUTCOMES_MAX {
            outcomes.remember(CommandId(n as u128), 1, done(0));
        }
        outcomes.remember(CommandId(1), 2, done(9));
        assert_eq!(outcomes.get(CommandId(0)), None);
        assert_eq!(outcomes.get(CommandId(1)), Some((1, &done(0))));
        let ids: Vec<u128> = outcomes.iter().map(|(command, _, _)| command.0).collect();
        assert_eq!(ids, (1..=OUTCOMES_MAX as u128).collect::<Vec<u128>>());
    }
}
