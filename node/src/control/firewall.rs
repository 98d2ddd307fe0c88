//! `firewall`: what this host's firewall holds, what it has dropped, and how often it had to be repaired.
//!
//! Not for who is blocked in it: that is `bans`.

use super::NodeApi;
use super::answers::Snapshot;
use bannkreis_proto::v1;
use std::cmp::Reverse;
use tonic::Status;

/// Answers `firewall`.
pub(super) async fn firewall(api: &dyn NodeApi) -> Result<v1::FirewallResponse, Status> {
    let snapshot = Snapshot::take_counts(api).await?;
    let facts = api.firewall().await;
    let facts = facts.map_err(|why| Status::unavailable(format!("the firewall did not answer: {why}")))?;
    let is_blocking = snapshot.is_blocking();
    let held = |n: usize| if is_blocking { n as u64 } else { 0 };
    let mut chains: Vec<v1::ChainDrops> = facts
        .chains
        .into_iter()
        .map(|counter| v1::ChainDrops {
            jail: counter.chain.jail.to_string(),
            ports: counter.chain.ports.to_string(),
            packets: counter.packets,
            bytes: counter.bytes,
        })
        .collect();
    chains.sort_by(|a, b| {
        (Reverse(a.packets), &a.jail, &a.ports).cmp(&(Reverse(b.packets), &b.jail, &b.ports))
    });
    Ok(v1::FirewallResponse {
        state: Some(snapshot.state()),
        about: snapshot.node.firewall.clone(),
        n_blocked: held(snapshot.inspection.n_blocked),
        n_protected: held(snapshot.inspection.n_protected),
        n_repairs: facts.n_repairs,
        error: facts.error.unwrap_or_default(),
        chains,
    })
}
