//! `allow add`, `allow remove` and `allow list`: the cluster's allow list.
//!
//! Not for `ignoreip`, which is a host's own, nor for releases on one host only (`overrides`).

use super::answers::{Snapshot, until_ms};
use super::commands::{self, Given, Order};
use super::guards::Guards;
use super::{NodeApi, Peer, enforcement, remaining, service};
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::command::Op;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Until;
use bannkreis_proto::v1;
use tokio::time::Instant;
use tonic::Status;

/// Entries in one message.
const ENTRIES_PER_MESSAGE_MAX: usize = 500;

/// The allow list as it is sent: it is bounded, and made at once.
pub(super) type AllowedStream =
    tokio_stream::Iter<std::vec::IntoIter<Result<v1::ListAllowedResponse, Status>>>;

/// Executes `allow add`.
pub(super) async fn add(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::AllowRequest,
) -> Result<v1::CommandResponse, Status> {
    let deadline = commands::deadline(request.wait_ms)?;
    let targets = named(&request.targets)?;
    commands::bounded("note", &request.note)?;
    let before = Snapshot::take_counts(api).await?;
    let now = before.now.cluster;
    let until = match request.allow_ms {
        Some(0) => return Err(Status::invalid_argument("an entry of no length allows nobody")),
        Some(ms) => Until::at(now.plus_ms(ms)),
        None => Until::FOREVER,
    };
    let given = Given::by(peer, &request.command_id, "")?;
    let guards = Guards::of(&before, &[], peer.from)?;
    let mut orders = Vec::with_capacity(targets.len());
    for (n, &target) in targets.iter().enumerate() {
        let (note, author) = (request.note.clone(), peer.author.clone());
        let entry = AllowEntry { subnet: target, note, author, node: peer.node_id, until };
        let op = Op::Allow { operator: given.operator(n), entry };
        let objection = match request.force {
            true => None,
            false => guards.too_wide_to_pass(target, "inside it lifted on all nodes").await?,
        };
        orders.push(Order { op, objection });
    }
    let mut answer = carry_out(api, &orders, &targets, deadline).await?;
    for (result, &target) in answer.results.iter_mut().zip(&targets) {
        if result.outcome() != v1::CommandOutcome::Done {
            continue;
        }
        // One of them is the entry.
        result.n_affected = result.n_affected.saturating_sub(1);
        if before.view.allow_list().get(target).is_some_and(|entry| !entry.until.is_over(now)) {
            result.why = "it was on the allow list already: its end and note are the new ones".to_owned();
        }
    }
    Ok(answer)
}

/// Executes `allow remove`.
pub(super) async fn remove(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::DisallowRequest,
) -> Result<v1::CommandResponse, Status> {
    let deadline = commands::deadline(request.wait_ms)?;
    let targets = named(&request.targets)?;
    let given = Given::by(peer, &request.command_id, &request.reason)?;
    let before = Snapshot::take_counts(api).await?;
    let guards = Guards::of(&before, &request.works_from, peer.from)?;
    let order = |(n, &target): (usize, &Subnet)| Order {
        op: Op::Disallow { operator: given.operator(n), subnet: target },
        objection: (!request.force).then(|| guards.shuts_out(target, &targets)).flatten(),
    };
    let orders: Vec<Order> = targets.iter().enumerate().map(order).collect();
    let mut answer = carry_out(api, &orders, &targets, deadline).await?;
    let (view, now) = (api.view(), api.now().cluster);
    let live = |(subnet, entry): (Subnet, &AllowEntry)| (!entry.until.is_over(now)).then_some(subnet);
    for (result, &target) in answer.results.iter_mut().zip(&targets) {
        let around = view.allow_list().holding(target).filter_map(live).find(|outer| *outer != target);
        if view.allow_list().get(target).is_some() {
            continue;
        }
        let inside = || view.allow_list().inside(target).filter_map(live).find(|inner| *inner != target);
        match (result.outcome(), around) {
            (v1::CommandOutcome::Done, Some(outer)) => {
                result.why = format!("it is still allowed as part of {outer}: `bannkreis allow remove {outer}`");
            }
            (v1::CommandOutcome::Refused, Some(outer)) => {
                result.why.push_str(&format!(
                    "; the entry that holds it is {outer}: `bannkreis allow remove {outer}`"
                ));
            }
            (v1::CommandOutcome::Refused, None) => match inside() {
                Some(inner) => result.why.push_str(&format!(
                    "; entries inside it are removed one by one, such as {inner}: `bannkreis allow list` shows them"
                )),
                None => result.why.push_str("; `bannkreis allow list` shows what is"),
            },
            _ => {}
        }
    }
    Ok(answer)
}

fn named(texts: &[String]) -> Result<Vec<Subnet>, Status> {
    match commands::targets(texts)? {
        targets if targets.is_empty() => {
            Err(Status::invalid_argument("no entry is named: name an address or a prefix"))
        }
        targets => Ok(targets),
    }
}

/// Has the operations carried out that nothing speaks against, and waits for the kernels. Names the bans that are wider
/// than a target: they stand, and only an entry lets the target's packets pass.
async fn carry_out(
    api: &dyn NodeApi,
    orders: &[Order],
    targets: &[Subnet],
    deadline: Instant,
) -> Result<v1::CommandResponse, Status> {
    let (settled, position) = commands::carry_out(api, orders, deadline).await;
    enforcement::wait(api, position, deadline).await;
    let after = Snapshot::take_counts(api).await?;
    let outcomes = orders.iter().zip(targets).zip(settled);
    let mut results: Vec<v1::CommandResult> = outcomes
        .map(|((order, target), settled)| commands::result(target.to_string(), &order.op, settled))
        .collect();
    let about = targets.to_vec();
    let (view, now) = (after.view.clone(), after.now.cluster);
    let remaining = service::on_worker(move || remaining::of(&view, now, &about, false)).await?;
    for (result, (bans, n_bans)) in results.iter_mut().zip(remaining) {
        if result.outcome() == v1::CommandOutcome::Done {
            (result.remaining, result.n_remaining) = (bans, n_bans);
        }
    }
    Ok(v1::CommandResponse {
        state: Some(after.state()),
        results,
        enforcement: enforcement::list(&after, position),
    })
}

/// Answers `allow list`.
pub(super) async fn list(api: &dyn NodeApi) -> Result<AllowedStream, Status> {
    let snapshot = Snapshot::take_counts(api).await?;
    let now = snapshot.now.cluster;
    let mut entries: Vec<&AllowEntry> = snapshot
        .view
        .allow_list()
        .iter()
        .map(|(_, entry)| entry)
        .filter(|entry| !entry.until.is_over(now))
        .collect();
    entries.sort_by_key(|entry| entry.subnet);
    let info = |entry: &&AllowEntry| v1::AllowInfo {
        subnet: entry.subnet.to_string(),
        note: entry.note.clone(),
        author: entry.author.clone(),
        node: snapshot.names.name(entry.node),
        until_ms: until_ms(entry.until),
    };
    let first = v1::ListAllowedResponse { state: Some(snapshot.state()), entries: Vec::new() };
    let parts = entries
        .chunks(ENTRIES_PER_MESSAGE_MAX)
        .map(|some| v1::ListAllowedResponse { state: None, entries: some.iter().map(info).collect() });
    let messages: Vec<_> = std::iter::once(first).chain(parts).map(Ok).collect();
    Ok(tokio_stream::iter(messages))
}
