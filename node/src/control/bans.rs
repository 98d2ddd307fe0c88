//! The list of everything that is banned or blocked: the cluster's bans, and what only this host blocks, in
//! the order of addresses.

use super::answers::{Snapshot, until_ms};
use super::commands;
use super::{About, NodeApi, answers};
use bannkreis_core::ban::Ban;
use bannkreis_core::change::BanKey;
use bannkreis_core::event::{OutboxEntry, Override, OverrideKind};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Timestamp, Until};
use bannkreis_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Bans in one message.
const BANS_PER_MESSAGE_MAX: usize = 500;
/// Messages that are made before somebody reads them; then the maker waits.
const MESSAGES_AHEAD_MAX: usize = 4;

/// What one line of the list is made from.
pub(super) enum Row<'s> {
    Ban(&'s BanKey, &'s Ban),
    BroughtAlong(&'s BanKey, &'s Ban),
    Outbox(&'s OutboxEntry),
    Notice(&'s BanKey, NodeId, Timestamp),
    Override(Subnet, &'s Override),
}

impl Row<'_> {
    /// Addresses first, then the cluster's bans before this host's own.
    fn order(&self) -> (Subnet, u8, Option<&JailName>) {
        match self {
            Row::Ban(key, _) => (key.subnet, 0, Some(&key.jail)),
            Row::BroughtAlong(key, _) => (key.subnet, 1, Some(&key.jail)),
            Row::Outbox(entry) => (entry.key.subnet, 2, Some(&entry.key.jail)),
            Row::Notice(key, _, _) => (key.subnet, 3, Some(&key.jail)),
            Row::Override(subnet, _) => (*subnet, 4, None),
        }
    }

    /// Whom it is about.
    pub(super) fn subnet(&self) -> Subnet {
        self.order().0
    }

    /// The line.
    pub(super) fn info(&self, snapshot: &Snapshot) -> v1::BanInfo {
        let here = snapshot.node.node;
        match self {
            Row::Ban(key, ban) => snapshot.ban_info(key, ban),
            Row::BroughtAlong(key, ban) => v1::BanInfo {
                since_ms: Some(ban.since.0),
                count: ban.count,
                ports: ban.ports.to_string(),
                note: "brought along by this node, until the cluster has taken it over".to_owned(),
                ..local(snapshot, key, v1::BanKind::Waiting, here, ban.until)
            },
            Row::Outbox(entry) => {
                let kind = if entry.local.is_some() { v1::BanKind::Local } else { v1::BanKind::Waiting };
                v1::BanInfo {
                    since_ms: Some(entry.last_failure.0),
                    ports: entry.ports.to_string(),
                    note: entry.local.map(|why| why.to_string()).unwrap_or_default(),
                    ..local(snapshot, &entry.key, kind, here, entry.until)
                }
            }
            Row::Notice(key, origin, until) => {
                local(snapshot, key, v1::BanKind::Notice, *origin, Until::at(*until))
            }
            Row::Override(subnet, decision) => {
                let kind = match decision.kind {
                    OverrideKind::Block => v1::BanKind::OverrideBlock,
                    OverrideKind::Release => v1::BanKind::OverrideRelease,
                };
                let reason = if decision.reason.is_empty() { "no reason given" } else { &decision.reason };
                v1::BanInfo {
                    subnet: subnet.to_string(),
                    kind: kind.into(),
                    until_ms: until_ms(decision.until),
                    origins: vec![origin(snapshot, here, decision.until)],
                    note: format!("{}: {reason}", decision.author),
                    not_blocked_here: match decision.kind {
                        OverrideKind::Block => snapshot.passes_here(*subnet),
                        OverrideKind::Release => String::new(),
                    },
                    lift_command: answers::end_command(*subnet, decision.kind),
                    ..v1::BanInfo::default()
                }
            }
        }
    }
}

/// A block of this host that an unban lifts.
fn local(snapshot: &Snapshot, key: &BanKey, kind: v1::BanKind, node: NodeId, until: Until) -> v1::BanInfo {
    v1::BanInfo {
        subnet: key.subnet.to_string(),
        jail: key.jail.to_string(),
        kind: kind.into(),
        until_ms: until_ms(until),
        origins: vec![origin(snapshot, node, until)],
        not_blocked_here: snapshot.not_blocked_here(key.subnet),
        lift_command: answers::lift_command(key.subnet, Some(&key.jail)),
        ..v1::BanInfo::default()
    }
}

fn origin(snapshot: &Snapshot, node: NodeId, until: Until) -> v1::BanOrigin {
    v1::BanOrigin { node_id: node.to_string(), name: snapshot.names.name(node), until_ms: until_ms(until) }
}

/// This host's own blocks, without those that a live ban has taken the place of.
pub(super) fn local_rows(snapshot: &Snapshot) -> impl Iterator<Item = Row<'_>> {
    let now = snapshot.now.cluster;
    let is_banned = move |key: &BanKey| snapshot.view.live(key, now).is_some();
    let inspection = &snapshot.inspection;
    let waits = inspection.outbox.iter().filter(move |entry| entry.local.is_some() || !is_banned(&entry.key));
    let brought = inspection.brought_along.iter().filter(move |(key, _)| !is_banned(key));
    let notices = inspection.notices.iter().filter(move |(key, _, _)| !is_banned(key));
    let overrides = inspection.overrides.iter().map(|(subnet, decision)| Row::Override(*subnet, decision));
    waits
        .map(Row::Outbox)
        .chain(brought.map(|(key, ban)| Row::BroughtAlong(key, ban)))
        .chain(notices.map(|(key, origin, until)| Row::Notice(key, *origin, *until)))
        .chain(overrides)
}

/// What is asked for.
struct Filter {
    jail: Option<JailName>,
    node: Option<NodeId>,
    since: Timestamp,
}

impl Filter {
    fn takes(&self, row: &Row<'_>, here: NodeId) -> bool {
        let (jail, since) = match row {
            Row::Ban(key, ban) | Row::BroughtAlong(key, ban) => (Some(&key.jail), Some(ban.since)),
            Row::Outbox(entry) => (Some(&entry.key.jail), Some(entry.last_failure)),
            Row::Notice(key, _, _) => (Some(&key.jail), None),
            Row::Override(_, _) => (None, None),
        };
        let is_from = |node: NodeId| match row {
            Row::Ban(_, ban) => ban.origins.iter().any(|origin| origin.node == node),
            Row::Notice(_, origin, _) => *origin == node,
            Row::BroughtAlong(_, _) | Row::Outbox(_) | Row::Override(_, _) => here == node,
        };
        self.jail.as_ref().is_none_or(|only| jail == Some(only))
            && self.node.is_none_or(is_from)
            && (self.since == Timestamp::ZERO || since.is_some_and(|since| since >= self.since))
    }
}

/// Answers `bans`, as a stream.
pub(super) async fn list(
    api: &dyn NodeApi,
    request: v1::ListBansRequest,
) -> Result<ReceiverStream<Result<v1::ListBansResponse, Status>>, Status> {
    let snapshot = Snapshot::take(api, About::Everybody).await?;
    let jail = commands::known_jail(&snapshot, &request.jail)?;
    let node = match request.node.as_str() {
        "" => None,
        name => Some(snapshot.names.resolve(name)?),
    };
    let filter = Filter { jail, node, since: Timestamp(request.since_ms) };
    let (messages, stream) = mpsc::channel(MESSAGES_AHEAD_MAX);
    // Ends when all is sent, or when nobody reads any more.
    tokio::task::spawn_blocking(move || send(&snapshot, &filter, &messages));
    Ok(ReceiverStream::new(stream))
}

fn send(snapshot: &Snapshot, filter: &Filter, messages: &mpsc::Sender<Result<v1::ListBansResponse, Status>>) {
    let (here, now) = (snapshot.node.node, snapshot.now.cluster);
    let live = snapshot.view.bans().filter(|(_, ban)| !ban.until.is_over(now));
    let mut rows: Vec<Row<'_>> = live
        .map(|(key, ban)| Row::Ban(key, ban))
        .chain(local_rows(snapshot))
        .filter(|row| filter.takes(row, here))
        .collect();
    rows.sort_by(|a, b| a.order().cmp(&b.order()));
    let first = v1::ListBansResponse { state: Some(snapshot.state()), bans: Vec::new() };
    if messages.blocking_send(Ok(first)).is_err() {
        return;
    }
    for some in rows.chunks(BANS_PER_MESSAGE_MAX) {
        let bans = some.iter().map(|row| row.info(snapshot)).collect();
        if messages.blocking_send(Ok(v1::ListBansResponse { state: None, bans })).is_err() {
            return;
        }
    }
}
