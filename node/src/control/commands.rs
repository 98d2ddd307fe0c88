//! `ban` and `unban`: from a request to operations, from the cluster's word to an outcome per target, and
//! waiting until every node that can be reached enforces it. What other commands of that kind need is here as well.
//!
//! Operations carry their ids, so whatever is not surely settled is proposed again until the time is over: the
//! ban list answers a repeated command with the first outcome, and refuses another one with its id.

use super::answers::Snapshot;
use super::guards::{Guards, Objection};
use super::{About, NodeApi, Peer, ProposeFailure, enforcement, overrides, remaining};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::{BanKey, OpResult, Outcome};
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::event::OverrideKind;
use bannkreis_core::ids::{CommandId, Operator, Position};
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, HOUR_MS, Timestamp};
use bannkreis_proto::convert::bounds::TEXT_BYTES_MAX;
use bannkreis_proto::v1;
use bannkreis_proto::v1::ban_request::Length;
use std::fs::File;
use std::io::Read;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// One call takes so many targets; more are refused.
const TARGETS_MAX: usize = 1_000;
/// How long is waited when nobody says, in ms.
const WAIT_DEFAULT_MS: u64 = 5_000;
/// Nobody waits longer, in ms; more is refused.
const WAIT_MAX_MS: u64 = 600_000;
/// A ban in a jail that this host does not have lasts so long, when nobody says.
const BAN_TIME_DEFAULT: BanTime = BanTime::Ms(HOUR_MS);
/// Between two proposals of the same operations.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// What came of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It was done to so many.
    Done { n_affected: u32 },
    /// It was not done, and will not be.
    Refused { why: String },
    /// It was done or not.
    Unknown { why: String },
    /// It was not done; later it may be.
    NotNow { why: String },
}

/// An operation, and what speaks against it.
pub(super) struct Order {
    pub(super) op: Op,
    pub(super) objection: Option<String>,
}

/// Executes `ban`.
pub(super) async fn ban(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::BanRequest,
) -> Result<v1::BanResponse, Status> {
    let deadline = deadline(request.wait_ms)?;
    let targets = targets(&request.targets)?;
    if targets.is_empty() {
        return Err(Status::invalid_argument("nobody to ban: name an address or a prefix"));
    }
    let before = Snapshot::take_counts(api).await?;
    let jail = match request.jail.as_str() {
        "" => JailName::operator(),
        name => jail_name(name)?,
    };
    let (ban_time, ports) = jail_terms(&before, &jail)?;
    let ban_time = match request.length {
        Some(Length::BanTimeMs(0)) => return Err(Status::invalid_argument("a ban of no length bans nobody")),
        Some(Length::BanTimeMs(ms)) => BanTime::Ms(ms),
        Some(Length::ForEver(_)) => BanTime::Forever,
        None => ban_time,
    };
    let guards = Guards::of(&before, &request.works_from, peer.from)?;
    let given = Given::by(peer, &request.command_id, &request.reason)?;
    let order = |(n, &target): (usize, &Subnet)| {
        let objection = match guards.objection(target) {
            Some(Objection::UnlessForced(why)) => (!request.force).then_some(why),
            Some(Objection::Never(why)) => Some(why),
            None => None,
        };
        let (jail, ports) = (jail.clone(), ports.clone());
        let operator = given.operator(n);
        let op = Op::OperatorBan { operator, target, jail, ban_time, ports, force: request.force };
        Order { op, objection }
    };
    let orders: Vec<Order> = targets.iter().enumerate().map(order).collect();
    let (settled, position) = carry_out(api, &orders, deadline).await;
    enforcement::wait(api, position, deadline).await;
    let after = Snapshot::take(api, About::Decisions).await?;
    let is_longer = |subnet| {
        let ban = after.view.live(&BanKey { subnet, jail: jail.clone() }, after.now.cluster);
        ban.is_some_and(|ban| ban.until > ban_time.from(after.now.cluster))
    };
    let results = orders.iter().zip(&targets).zip(settled).map(|((order, &target), settled)| {
        let mut result = result(target.to_string(), &order.op, settled);
        if result.outcome() == v1::CommandOutcome::Done {
            let longer = is_longer(target).then(|| {
                format!("it is banned for longer already, and that stays; `bannkreis why {target}` shows it")
            });
            let passing = guards.held(target).map(|held| format!("it holds {held}: packets from there pass"));
            let released = overrides::standing_against(&after, Some(target), OverrideKind::Release);
            result.why = longer.into_iter().chain(passing).chain(released).collect::<Vec<_>>().join("; ");
        }
        result
    });
    Ok(v1::BanResponse {
        state: Some(after.state()),
        results: results.collect(),
        enforcement: enforcement::list(&after, position),
    })
}

/// Executes `unban`.
pub(super) async fn unban(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::UnbanRequest,
) -> Result<v1::UnbanResponse, Status> {
    let deadline = deadline(request.wait_ms)?;
    let before = Snapshot::take_counts(api).await?;
    let jail = known_jail(&before, &request.jail)?;
    let settings = *before.view.settings();
    let lifted = |target: Subnet| if target.is_host() { settings.counting_subnet(target) } else { target };
    let targets: Vec<Subnet> = targets(&request.targets)?.into_iter().map(lifted).collect();
    let selections = selections(&before, &request, &targets, jail.as_ref())?;
    let given = Given::by(peer, &request.command_id, &request.reason)?;
    let op = |(n, selection)| Op::Unban { operator: given.operator(n), selection };
    let ops: Vec<Op> = selections.into_iter().enumerate().map(op).collect();
    let (settled, position) = commit(api, &ops, deadline).await;
    enforcement::wait(api, position, deadline).await;
    let after = Snapshot::take(api, About::Decisions).await?;
    let mut results: Vec<v1::CommandResult> = ops
        .iter()
        .zip(settled)
        .enumerate()
        .map(|(n, (op, settled))| {
            result(targets.get(n).map(ToString::to_string).unwrap_or_default(), op, settled)
        })
        .collect();
    for (result, op) in results.iter_mut().zip(&ops) {
        let is_done = result.outcome() == v1::CommandOutcome::Done;
        let Op::Unban { selection, .. } = op else { continue };
        let asked = match selection {
            UnbanSelection::ByNode { node, .. } => {
                let name = after.names.name(*node);
                result.target.clone_from(&name);
                if is_done {
                    result.why = format!(
                        "nothing of {name} is shared any more; when it is right again: `bannkreis cluster trust {name}`"
                    );
                }
                continue;
            }
            UnbanSelection::Target { target, .. } => Some(*target),
            UnbanSelection::All { .. } => None,
        };
        if is_done && jail.is_none() {
            result.why = overrides::standing_against(&after, asked, OverrideKind::Block).unwrap_or_default();
        }
    }
    let (view, now) = (after.view.clone(), after.now.cluster);
    let looks_inside = jail.is_some();
    let remaining =
        super::service::on_worker(move || remaining::of(&view, now, &targets, looks_inside)).await?;
    for (result, (bans, n_bans)) in results.iter_mut().zip(remaining) {
        if result.outcome() == v1::CommandOutcome::Done {
            (result.remaining, result.n_remaining) = (bans, n_bans);
        }
    }
    Ok(v1::UnbanResponse {
        state: Some(after.state()),
        results,
        enforcement: enforcement::list(&after, position),
    })
}

/// When waiting ends; 0: by default.
pub(super) fn deadline(wait_ms: u64) -> Result<Instant, Status> {
    let wait_ms = if wait_ms == 0 { WAIT_DEFAULT_MS } else { wait_ms };
    if wait_ms > WAIT_MAX_MS {
        return Err(Status::invalid_argument(format!(
            "nobody waits {wait_ms} ms: wait {WAIT_MAX_MS} ms at most"
        )));
    }
    Ok(Instant::now() + Duration::from_millis(wait_ms))
}

/// The addresses and prefixes that were typed.
pub(super) fn targets(texts: &[String]) -> Result<Vec<Subnet>, Status> {
    if texts.len() > TARGETS_MAX {
        let n = texts.len();
        return Err(Status::invalid_argument(format!(
            "{n} targets are too many: name at most {TARGETS_MAX} at once"
        )));
    }
    texts.iter().map(|text| subnet(text)).collect()
}

/// The address or prefix that was typed.
pub(super) fn subnet(text: &str) -> Result<Subnet, Status> {
    text.parse()
        .map_err(|error: bannkreis_core::subnet::SubnetError| Status::invalid_argument(error.to_string()))
}

/// The jail that was typed.
pub(super) fn jail_name(text: &str) -> Result<JailName, Status> {
    JailName::new(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// How long `jail` bans and what it closes: as this host has it, or as other nodes declare it.
pub(super) fn jail_terms(before: &Snapshot, jail: &JailName) -> Result<(BanTime, Ports), Status> {
    if let Some(here) = before.inspection.jails.iter().find(|inspected| inspected.jail.name == *jail) {
        return Ok((here.jail.policy.ban_time, here.jail.ports.clone()));
    }
    let declared = before.view.nodes().flat_map(|(_, entry)| &entry.record.jails);
    let ports = declared.filter(|(name, _)| name == jail).map(|(_, ports)| ports.clone());
    match ports.reduce(|all, more| all.union(&more)) {
        Some(ports) => Ok((BAN_TIME_DEFAULT, ports)),
        None if *jail == JailName::operator() => Ok((BAN_TIME_DEFAULT, Ports::whole_host())),
        None => Err(no_such_jail(before, jail)),
    }
}

/// The jail that was typed, if any: one that some node has, or that something was banned in.
pub(super) fn known_jail(before: &Snapshot, text: &str) -> Result<Option<JailName>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let jail = jail_name(text)?;
    let is_it = |other: &JailName| *other == jail;
    let is_known = is_it(&JailName::operator())
        || before.inspection.jails.iter().any(|inspected| is_it(&inspected.jail.name))
        || before.view.nodes().any(|(_, entry)| entry.record.jails.iter().any(|(name, _)| is_it(name)))
        || before.inspection.outbox.iter().any(|entry| is_it(&entry.key.jail))
        || before.inspection.notices.iter().any(|(key, _, _)| is_it(&key.jail))
        || before.view.bans().any(|(key, _)| is_it(&key.jail));
    if is_known { Ok(Some(jail)) } else { Err(no_such_jail(before, &jail)) }
}

/// Says which jails there are.
pub(super) fn no_such_jail(before: &Snapshot, jail: &JailName) -> Status {
    let declared = before.view.nodes().flat_map(|(_, entry)| entry.record.jails.iter().map(|(name, _)| name));
    let here = before.inspection.jails.iter().map(|inspected| &inspected.jail.name);
    let mut names: Vec<&str> = declared.chain(here).map(JailName::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let there_are = if names.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    };
    Status::not_found(format!("no node has a jail `{jail}`; {there_are}"))
}

fn selections(
    before: &Snapshot,
    request: &v1::UnbanRequest,
    targets: &[Subnet],
    jail: Option<&JailName>,
) -> Result<Vec<UnbanSelection>, Status> {
    match (targets, request.all, request.by_node.as_str()) {
        ([], true, "") => Ok(vec![UnbanSelection::All { jail: jail.cloned() }]),
        ([], false, name) if !name.is_empty() && jail.is_none() => {
            Ok(vec![UnbanSelection::ByNode { node: before.names.resolve(name)?, since: Timestamp::ZERO }])
        }
        ([_, ..], false, "") => {
            let selection = |&target| UnbanSelection::Target { target, jail: jail.cloned() };
            Ok(targets.iter().map(selection).collect())
        }
        _ => Err(Status::invalid_argument(
            "whom to let go: name addresses, or all, or a node (that without a jail), and only one of the three",
        )),
    }
}

/// Who gives a command, and why; its operations' ids count on from the first one's.
pub(super) struct Given {
    first: Operator,
}

impl Given {
    /// By whoever asks, with the id that was given or a new one.
    pub(super) fn by(peer: &Peer, command_id: &str, reason: &str) -> Result<Given, Status> {
        bounded("reason", reason)?;
        let first = Operator {
            command_id: CommandId(new_or_given_id(command_id)?),
            node: peer.node_id,
            author: peer.author.clone(),
            reason: reason.to_owned(),
        };
        Ok(Given { first })
    }

    /// Who gives the `n`-th operation.
    pub(super) fn operator(&self, n: usize) -> Operator {
        let command_id = CommandId(self.first.command_id.0.wrapping_add(n as u128));
        Operator { command_id, ..self.first.clone() }
    }
}

/// Refuses a text that is longer than what is kept.
pub(super) fn bounded(what: &str, text: &str) -> Result<(), Status> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let n_bytes = text.len();
    Err(Status::invalid_argument(format!(
        "the {what} has {n_bytes} bytes, and {TEXT_BYTES_MAX} are kept: say it shorter"
    )))
}

/// The id that was given, or a new one.
pub(super) fn new_or_given_id(text: &str) -> Result<u128, Status> {
    if text.is_empty() {
        return new_id();
    }
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = if is_hex { u128::from_str_radix(text, 16).ok() } else { None };
    id.ok_or_else(|| Status::invalid_argument("a command's id is 32 hexadecimal digits"))
}

/// The id of a new command.
pub(super) fn new_id() -> Result<u128, Status> {
    let mut bytes = [0; 16];
    // random(4): never blocks, and fit for keys once the system is up.
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| Status::internal(format!("no id for the command: /dev/urandom: {error}")))?;
    Ok(u128::from_le_bytes(bytes))
}

/// Proposes until everything is settled or the time is over. Gives one outcome per operation, and how far a
/// kernel must be to enforce what was done; that is not known while nothing is known to be done.
pub(super) async fn commit(
    api: &dyn NodeApi,
    ops: &[Op],
    deadline: Instant,
) -> (Vec<Settled>, Option<Position>) {
    let all = |settled: Settled| ops.iter().map(|_| settled.clone()).collect();
    let done_at = |outcomes: &[Settled], position: Position| {
        outcomes.iter().any(|settled| matches!(settled, Settled::Done { .. })).then_some(position)
    };
    if ops.is_empty() {
        return (Vec::new(), None);
    }
    let mut may_be_written = false;
    loop {
        let answer = tokio::time::timeout_at(deadline, api.propose(ops.to_vec())).await;
        let why = match answer {
            Ok(Ok(committed)) if committed.results.len() == ops.len() => {
                let outcomes: Vec<Settled> = committed.results.into_iter().map(settled).collect();
                let position = done_at(&outcomes, committed.position);
                return (outcomes, position);
            }
            Ok(Ok(_)) => {
                may_be_written = true;
                "the leader's answer does not fit the question".to_owned()
            }
            Ok(Err(ProposeFailure::Refused { why })) if !may_be_written => {
                return (all(Settled::Refused { why }), None);
            }
            Ok(Err(ProposeFailure::NotNow { why } | ProposeFailure::Refused { why })) => why,
            Ok(Err(ProposeFailure::Unknown { why })) => {
                may_be_written = true;
                why
            }
            Err(_) => {
                may_be_written = true;
                "no answer from the leader in time".to_owned()
            }
        };
        let view = api.view();
        if let Some(outcomes) = ops.iter().map(|op| outcome(&view, op)).collect::<Option<Vec<_>>>() {
            let position = done_at(&outcomes, view.position());
            return (outcomes, position);
        }
        if Instant::now() >= deadline {
            let settled = if may_be_written { Settled::Unknown { why } } else { Settled::NotNow { why } };
            return (all(settled), None);
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + RETRY_INTERVAL)).await;
    }
}

/// Has carried out what nothing speaks against. Gives one outcome per order, and the position as [`commit`] does.
pub(super) async fn carry_out(
    api: &dyn NodeApi,
    orders: &[Order],
    deadline: Instant,
) -> (Vec<Settled>, Option<Position>) {
    let good = orders.iter().filter(|order| order.objection.is_none()).map(|order| order.op.clone());
    let (settled, position) = commit(api, &good.collect::<Vec<Op>>(), deadline).await;
    let mut settled = settled.into_iter();
    let outcome = |order: &Order| match &order.objection {
        Some(why) => Some(Settled::Refused { why: why.clone() }),
        None => settled.next(),
    };
    (orders.iter().filter_map(outcome).collect(), position)
}

fn settled(result: OpResult) -> Settled {
    match result {
        OpResult::Operator { outcome: Outcome::Done { n_affected }, .. } => Settled::Done { n_affected },
        OpResult::Operator { outcome: Outcome::Refused { why }, .. } => Settled::Refused { why },
        OpResult::Judged(_) | OpResult::Silent => {
            Settled::Unknown { why: "the answer is none to an operator's command".to_owned() }
        }
    }
}

/// What the ban list remembers of an operation.
fn outcome(view: &BanList, op: &Op) -> Option<Settled> {
    let outcome = view.outcome_again(op)?;
    Some(settled(OpResult::Operator { command_id: command_id(op), outcome }))
}

fn command_id(op: &Op) -> CommandId {
    op.operator().map_or_else(|| unreachable!("no person proposes this: {op:?}"), |by| by.command_id)
}

/// What is answered about one operation.
pub(super) fn result(target: String, op: &Op, settled: Settled) -> v1::CommandResult {
    let (outcome, n_affected, why) = match settled {
        Settled::Done { n_affected } => (v1::CommandOutcome::Done, n_affected, String::new()),
        Settled::Refused { why } => (v1::CommandOutcome::Refused, 0, why),
        Settled::Unknown { why } => (v1::CommandOutcome::Unknown, 0, why),
        Settled::NotNow { why } => (v1::CommandOutcome::NotNow, 0, why),
    };
    v1::CommandResult {
        target,
        command_id: command_id(op).to_string(),
        outcome: outcome.into(),
        n_affected: n_affected.into(),
        why,
        remaining: Vec::new(),
        n_remaining: 0,
    }
}
