//! Where the warden's effects leave its thread: proposals to the leader, notices and reports to the peers, positions
//! to the batch that is being stored.

use crate::event_loop::{LoopHandle, Outlets};
use crate::local_store::{Batch, Key};
use crate::open_sources::OpenSources;
use crate::wire::Links;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Op;
use bannkreis_core::event::Event;
use bannkreis_core::failure::{SourceId, SourcePosition};
use bannkreis_core::ids::NodeId;
use bannkreis_core::proposal::{Notice, Proposal, Report};
use bannkreis_raft::RaftNode;
use std::sync::Arc;

/// See the module.
pub struct NodeOutlets {
    /// The way to the leader.
    pub raft: RaftNode,
    /// The ways to the peers.
    pub links: Arc<Links>,
    /// Answers go back here.
    pub events: LoopHandle,
    /// The sources.
    pub sources: Arc<OpenSources>,
    /// Runs the proposals.
    pub runtime: tokio::runtime::Handle,
}

impl Outlets for NodeOutlets {
    fn propose(&mut self, proposals: Vec<Proposal>) {
        if crate::sabotage::is("raft") {
            return;
        }
        let keys: Vec<BanKey> = proposals
            .iter()
            .map(|proposal| BanKey { subnet: proposal.offender, jail: proposal.jail.clone() })
            .collect();
        let (raft, events) = (self.raft.clone(), self.events.clone());
        self.runtime.spawn(async move {
            let ops = proposals.into_iter().map(Op::Ban).collect();
            let committed = match raft.propose(ops).await {
                Ok(proposed) => Some(proposed.position),
                Err(error) => {
                    tracing::debug!("{} proposals wait: {error}", keys.len());
                    None
                }
            };
            // The queue may be full, and the warden must not be waited for on this runtime.
            let answer = move || events.send(Event::Answered { keys, committed });
            let _ = tokio::task::spawn_blocking(answer).await;
        });
    }

    fn notify(&mut self, notices: Vec<Notice>) {
        self.links.notify(&notices);
    }

    fn report(&mut self, to: Option<NodeId>, reports: Vec<Report>) {
        self.links.report(to, &reports);
    }

    fn store_position(&mut self, source: SourceId, position: SourcePosition, batch: &mut Batch) {
        let known = self.sources.ask(|sources| sources.stored_at(source, position));
        let Some(place) = known.flatten() else { return };
        if let Err(error) = batch.put(Key::Source(place.name), place.bytes) {
            tracing::error!("{error}");
        }
    }
}
