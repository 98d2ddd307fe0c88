//! A node alone can be asked to let somebody in while it is about to join somebody itself; never both may happen,
//! or each would wait for a cluster that is given up. Of two nodes that join each other at the same moment, the
//! one whose cluster has the lower id stays.
//!
//! Not for tokens and certificates (`wire::admission`). It is forgotten with the process: whoever was let in
//! then asks again.

use bannkreis_core::ids::ClusterId;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whoever was let in has joined within this time, or does not come.
const ARRIVAL_TIME: Duration = Duration::from_secs(60);

/// See the module. One per process: it outlives a join.
#[derive(Debug, Default)]
pub struct Admissions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The cluster that this node is about to join.
    joining: Option<ClusterId>,
    /// When somebody was let in last.
    admitted_at: Option<Instant>,
}

/// This node is about to join, until this is dropped.
#[derive(Debug)]
pub struct Leaving<'a>(&'a Admissions);

impl Admissions {
    /// This node is about to give up its own cluster for `target`.
    ///
    /// # Errors
    /// When somebody was let into its own a moment ago.
    pub fn leave_for(&self, target: ClusterId) -> Result<Leaving<'_>, String> {
        let mut state = self.lock();
        check_nobody_comes(&state)?;
        state.joining = Some(target);
        Ok(Leaving(self))
    }

    /// A node of the cluster of one `from` wants to come into this node's cluster `own`.
    ///
    /// # Errors
    /// When this node is about to leave it.
    pub fn let_in(&self, own: ClusterId, from: ClusterId) -> Result<(), String> {
        let mut state = self.lock();
        match state.joining {
            Some(target) if target != from || own > from => Err(format!(
                "that node is itself about to join the cluster {target}: it can let nobody in until that is decided, \
                 which `bannkreis status` there says"
            )),
            _ => {
                state.admitted_at = Some(Instant::now());
                Ok(())
            }
        }
    }

    /// Whoever was let in was let into a cluster that this node has left.
    pub fn forget(&self) {
        self.lock().admitted_at = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leaving<'_> {
    /// Whether it may still go: nobody was let in meanwhile.
    ///
    /// # Errors
    /// When somebody was.
    pub fn check(&self) -> Result<(), String> {
        check_nobody_comes(&self.0.lock())
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.lock().joining = None;
    }
}

fn check_nobody_comes(state: &State) -> Result<(), String> {
    match state.admitted_at {
        Some(at) if at.elapsed() < ARRIVAL_TIME => Err(format!(
            "another node is just joining this one: see `bannkreis cluster status`, and try again in {} s if it does \
             not come",
            ARRIVAL_TIME.as_secs()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: ClusterId = ClusterId([1; 16]);
    const HIGH: ClusterId = ClusterId([2; 16]);

    #[test]
    fn of_two_that_join_each_other_the_lower_cluster_stays() {
        let (low, high) = (Admissions::default(), Admissions::default());
        let of_low = low.leave_for(HIGH).unwrap();
        let of_high = high.leave_for(LOW).unwrap();
        // Each asks the other, in any order.
        assert!(high.let_in(HIGH, LOW).unwrap_err().contains("about to join"));
        low.let_in(LOW, HIGH).unwrap();
        assert!(of_low.check().unwrap_err().contains("joining this one"));
        of_high.check().unwrap();
    }

    #[test]
    fn a_node_that_lets_somebody_in_stays_and_one_that_leaves_lets_nobody_in() {
        let node = Admissions::default();
        node.let_in(LOW, HIGH).unwrap();
        assert!(node.leave_for(HIGH).is_err());

        let node = Admissions::default();
        let leaving = node.leave_for(HIGH).unwrap();
        assert!(node.let_in(LOW, ClusterId([3; 16])).is_err());
        drop(leaving);
        node.let_in(LOW, ClusterId([3; 16])).unwrap();
    }
}
