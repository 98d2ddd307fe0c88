//! **Snapshot equals replay**: a ban list that was written out as records, read back and carried on is the
//! one that applied every entry itself.
//!
//! The comparison itself is in `replica_agreement.rs`, which names this promise when a snapshot was in
//! between; here is the direct one, at the end of a world.

use crate::world::World;
use bannkreis_core::ban_list::BanList;

pub(crate) const NAME: &str = "snapshot equals replay";

impl World {
    /// Writes the newest list out, reads it back, and compares.
    pub(crate) fn check_round_trip(&mut self) {
        let Some(newest) = self.raft.history.last().cloned() else { return };
        let mut copy = BanList::new(self.plan.settings);
        newest.records().for_each(|record| copy.restore(record));
        if copy != *newest {
            self.fail(NAME, "the records of the newest list give another one".to_owned());
        }
    }
}
