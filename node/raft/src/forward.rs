//! From a proposer to the leader, wherever that is: here, or at a peer that is asked once and never
//! passes a proposal on.
//!
//! ```text
//! propose ─▶ portions ─▶ who leads? ─┬─ this node ─▶ its queue (proposer.rs)
//!                ▲                   └─ a peer ─▶ with others (outgoing.rs) ─▶ its queue
//!                └── "I do not lead" (nothing was written): look again, for 5 s
//! ```

use crate::handle::Inner;
use crate::outgoing::Leader;
use crate::proposer::{
    ENTRY_BYTES_MAX, LocalError, LocalResult, ProposeError, Proposed, REQUEST_OPS_MAX, submit,
};
use bannkreis_core::command::Op;
use bannkreis_proto::convert::{EncodedOp, join_ops};
use std::time::Duration;
use tokio::time::Instant;

/// A proposer looks for a leader for this long.
const LEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// When nobody leads, or the leader is too fresh to write, it is asked again after this long.
const LEADER_RETRY_DELAY: Duration = Duration::from_millis(5);
impl Inner {
    /// Writes operations if this node leads.
    pub(crate) async fn propose_here(&self, ops: Vec<EncodedOp>) -> LocalResult {
        let level = self.views.borrow().level();
        if let Some(wanted) = ops.iter().map(|op| op.op().level()).max().filter(|wanted| *wanted > level) {
            let why = format!(
                "it belongs to level {wanted}, and this cluster is at level {level}: `bannkreis cluster status` says \
                 which node needs a newer release first"
            );
            return Err(LocalError::Failed(ProposeError::Refused { why }));
        }
        // Somebody else is about to lead, if anybody can.
        if let Some(why) = self.failure().or_else(|| self.room.lack()) {
            return Err(LocalError::Failed(ProposeError::NoLeader { why }));
        }
        submit(&self.queue, ops).await
    }

    /// Writes operations through whoever leads.
    pub(crate) async fn propose(&self, ops: Vec<EncodedOp>) -> Result<Proposed, ProposeError> {
        let encoded = join_ops(&ops);
        let deadline = Instant::now() + LEADER_TIMEOUT;
        let mut why = "nobody is known to lead".to_string();
        loop {
            match self.leader() {
                Some((leader, _)) if leader == self.identity.node => {
                    // What does not come back could not be read by any node, this one included.
                    if let Some(error) = ops.iter().find_map(|op| op.check().err()) {
                        return Err(ProposeError::Refused { why: error.to_string() });
                    }
                    match self.propose_here(ops.clone()).await {
                        Ok(proposed) => return Ok(proposed),
                        Err(LocalError::Failed(ProposeError::NoLeader { why: says })) => why = says,
                        Err(LocalError::Failed(error)) => return Err(error),
                        Err(LocalError::NotLeader) => {
                            why = "this node leads no longer, or not yet".to_string();
                        }
                    }
                }
                Some((leader, address)) => {
                    let leader = Leader { node: leader, address };
                    match self.outgoing.propose(leader, encoded.clone(), ops.len()).await {
                        Err(ProposeError::NoLeader { why: says }) => why = says,
                        settled => return settled,
                    }
                }
                None => {}
            }
            if Instant::now() + LEADER_RETRY_DELAY >= deadline {
                return Err(ProposeError::NoLeader { why });
            }
            tokio::time::sleep(LEADER_RETRY_DELAY).await;
        }
    }
}

/// Encodes a list of operations and cuts it into portions that a leader takes.
pub(crate) fn portions(ops: Vec<Op>) -> Result<Vec<Vec<EncodedOp>>, ProposeError> {
    let mut portions: Vec<Vec<EncodedOp>> = Vec::new();
    let mut n_bytes = 0;
    for op in ops.into_iter().map(EncodedOp::new) {
        let bytes = op.n_bytes();
        if bytes > ENTRY_BYTES_MAX {
            let why = format!("an operation of {bytes} bytes is over {ENTRY_BYTES_MAX}");
            return Err(ProposeError::Refused { why });
        }
        match portions.last_mut() {
            Some(last) if last.len() < REQUEST_OPS_MAX && n_bytes + bytes <= ENTRY_BYTES_MAX => last.push(op),
            _ => {
                n_bytes = 0;
                portions.push(vec![op]);
            }
        }
        n_bytes += bytes;
    }
    Ok(portions)
}
