//! `forget`: what is over about somebody is forgotten, by the ban list at once and by every node's history soon after.
//!
//! Not for how a node does that: `retention.rs`.

use super::answers::Snapshot;
use super::commands::{Given, commit, deadline, result, targets};
use super::{NodeApi, Peer};
use bannkreis_core::ban::Ban;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Op;
use bannkreis_core::subnet::Subnet;
use bannkreis_proto::v1;
use tonic::Status;

/// Executes `forget`.
pub(super) async fn forget(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::ForgetRequest,
) -> Result<v1::ForgetResponse, Status> {
    let deadline = deadline(request.wait_ms)?;
    let settings = *api.view().settings();
    let counted = |target: Subnet| if target.is_host() { settings.counting_subnet(target) } else { target };
    let targets: Vec<Subnet> = targets(&request.targets)?.into_iter().map(counted).collect();
    if targets.is_empty() {
        return Err(Status::invalid_argument("nobody to forget: name an address or a prefix"));
    }
    let given = Given::by(peer, &request.command_id, &request.reason)?;
    let op = |(n, &target): (usize, &Subnet)| Op::Forget { operator: given.operator(n), target };
    let ops: Vec<Op> = targets.iter().enumerate().map(op).collect();
    let (settled, _) = commit(api, &ops, deadline).await;
    let after = Snapshot::take_counts(api).await?;
    let results = ops.iter().zip(&targets).zip(settled);
    let results = results.map(|((op, target), settled)| {
        let mut result = result(target.to_string(), op, settled);
        if result.outcome() == v1::CommandOutcome::Refused {
            let live = |(_, ban): &(&BanKey, &Ban)| !ban.until.is_over(after.now.cluster);
            if let Some((BanKey { subnet, jail }, _)) = after.view.bans_inside(*target).find(live) {
                let command = format!("`bannkreis unban {target}` first");
                result.why.push_str(&format!(", and {subnet} is banned in jail {jail}: {command}"));
            }
        }
        result
    });
    Ok(v1::ForgetResponse { state: Some(after.state()), results: results.collect() })
}
