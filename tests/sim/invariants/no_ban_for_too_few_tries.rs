//! **No ban for too few tries**: whoever failed less often than maxretry, on all hosts together, is not banned, however
//! often the hosts tell each other of it.

use crate::world::World;
use bannkreis_core::change::BanKey;

pub(crate) const NAME: &str = "no ban for too few tries";

impl World {
    /// A host says that it blocks somebody because of failures.
    pub(crate) fn check_tries(&mut self, node: usize, key: &BanKey) {
        let Some(jail) = self.jail_of(key) else { return };
        let plan = &self.plan.jails[jail];
        // Who was banned before needs fewer where ban times grow.
        if plan.policy.growth.is_some() {
            return;
        }
        let tries = self.oracle.evidence.iter().filter(|seen| seen.jail == jail && seen.subnet == key.subnet);
        let n_tries = tries.count();
        let n_enough = usize::try_from(plan.max_retry).unwrap_or(usize::MAX);
        if n_tries < n_enough {
            self.fail(NAME, format!("node {node} blocks {key:?} after {n_tries} tries of {n_enough}"));
        }
    }
}
