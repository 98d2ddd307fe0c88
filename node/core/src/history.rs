//! What is remembered of bans that are over, and of operators' commands.
//!
//! [`PastBans`] is the replicated part: how often, and when the last one ended; escalation reads it. The rest is
//! for people: [`entries`] says what of an applied command is worth telling later. Every node keeps it for itself,
//! beside the ban list. Not for where it is kept, nor for how long.

use crate::ban::Cause;
use crate::change::{Applied, BanKey, Change, OpResult, Outcome, UnbanReason};
use crate::command::{Command, Op, UnbanSelection};
use crate::ids::{NodeId, Operator, Position};
use crate::jail::JailName;
use crate::settings::Setting;
use crate::subnet::Subnet;
use crate::time::Timestamp;
use alloc::vec::Vec;

/// The ended bans of one (subnet, jail).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PastBans {
    /// How many there were.
    pub count: u32,
    /// When the last one began.
    pub last_since: Timestamp,
    /// When the last one ended: by time, or when it was lifted.
    pub last_end: Timestamp,
    /// The node that has brought in all of them; `None` if they are of several.
    pub origin: Option<NodeId>,
}

impl PastBans {
    /// What is known of both: the most bans, the last beginning and the last end.
    #[must_use]
    pub fn and(self, other: PastBans) -> PastBans {
        let origin = match (self.count, other.count) {
            (0, _) => other.origin,
            (_, 0) => self.origin,
            _ => self.origin.filter(|origin| other.origin == Some(*origin)),
        };
        PastBans {
            origin,
            count: self.count.max(other.count),
            last_since: self.last_since.max(other.last_since),
            last_end: self.last_end.max(other.last_end),
        }
    }
}

/// Where an entry of the history stands: in the order of time. Equal on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryKey {
    /// When it happened.
    pub at: Timestamp,
    /// The log entry that brought it.
    pub position: Position,
    /// Which of its operations.
    pub op: u32,
    /// Which of that operation's entries.
    pub n: u32,
}

/// Something that people may ask about later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryEntry {
    /// A ban is over.
    Ended(EndedBan),
    /// An operator gave a command.
    Given(GivenCommand),
}

/// A ban that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedBan {
    /// Whom it banned, in which jail.
    pub key: BanKey,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The how-manieth of this offender in this jail.
    pub count: u32,
    /// Who asked for it.
    pub origins: Vec<NodeId>,
    /// Where its evidence stands.
    pub cause: Cause,
    /// How it ended.
    pub ending: Ending,
}

/// How a ban ended, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its time was over.
    Expired,
    /// An operator lifted it.
    Lifted(Operator),
    /// An operator put the address on the allow list.
    Allowed(Operator),
    /// An operator struck out the node that had brought it in.
    ByNode(Operator),
    /// This node announced the address as its own.
    OwnAddress(NodeId),
    /// It was over before the cluster could agree on it: only its origin blocked.
    Late,
}

/// An operator's command, with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenCommand {
    /// When it was written.
    pub at: Timestamp,
    /// What was asked for. Lists of an import are empty, there is no key in settings, and a command to forget says not
    /// about whom.
    pub op: Op,
    /// How long an import's lists were: bans, allow entries, histories.
    pub n_imported: [u32; 3],
    /// What came of it.
    pub outcome: Outcome,
}

impl HistoryEntry {
    /// Whom it is about; `None`: nobody in particular.
    #[must_use]
    pub fn subnet(&self) -> Option<Subnet> {
        match self {
            HistoryEntry::Ended(ended) => Some(ended.key.subnet),
            HistoryEntry::Given(given) => match &given.op {
                Op::OperatorBan { target, .. }
                | Op::Unban { selection: UnbanSelection::Target { target, .. }, .. } => Some(*target),
                Op::Allow { entry, .. } => Some(entry.subnet),
                Op::Disallow { subnet, .. } => Some(*subnet),
                _ => None,
            },
        }
    }

    /// The jail that it is about; `None`: none, or all.
    #[must_use]
    pub fn jail(&self) -> Option<&JailName> {
        match self {
            HistoryEntry::Ended(ended) => Some(&ended.key.jail),
            HistoryEntry::Given(given) => match &given.op {
                Op::OperatorBan { jail, .. } => Some(jail),
                Op::Unban { selection, .. } => match selection {
                    UnbanSelection::Target { jail, .. } | UnbanSelection::All { jail } => jail.as_ref(),
                    UnbanSelection::ByNode { .. } => None,
                },
                _ => None,
            },
        }
    }

    /// All nodes that it names.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        match self {
            HistoryEntry::Ended(ended) => {
                let mut nodes = ended.origins.clone();
                nodes.extend(match &ended.ending {
                    Ending::Lifted(by) | Ending::Allowed(by) | Ending::ByNode(by) => Some(by.node),
                    Ending::OwnAddress(node) => Some(*node),
                    Ending::Expired | Ending::Late => None,
                });
                nodes
            }
            HistoryEntry::Given(given) => {
                let about = match &given.op {
                    Op::Unban { selection: UnbanSelection::ByNode { node, .. }, .. }
                    | Op::Trust { node, .. }
                    | Op::Revoke { node, .. } => Some(*node),
                    _ => None,
                };
                given.op.operator().map(|by| by.node).into_iter().chain(about).collect()
            }
        }
    }
}

/// What of a command that was applied at `position`, at this time in the end, people may ask about later.
#[must_use]
pub fn entries(
    position: Position,
    now: Timestamp,
    command: &Command,
    applied: &Applied,
) -> Vec<(HistoryKey, HistoryEntry)> {
    let mut entries = Vec::new();
    let mut begin = 0;
    for (n_op, op) in command.ops.iter().enumerate() {
        let end = applied.changes_end.get(n_op).copied().unwrap_or(begin);
        let changes = applied.changes.get(begin..end).unwrap_or_default();
        begin = end;
        let op_number = u32::try_from(n_op).unwrap_or(u32::MAX);
        let cause = Cause::new(position, op_number);
        let ended = changes.iter().filter_map(|change| ended_ban(change, op, cause));
        let mut found: Vec<(Timestamp, HistoryEntry)> =
            ended.map(|ended| (ended.end, HistoryEntry::Ended(ended))).collect();
        if let Some(OpResult::Operator { outcome, .. }) = applied.results.get(n_op)
            && !applied.retries.contains(&n_op)
        {
            found.push((now, HistoryEntry::Given(given_command(now, op, outcome))));
        }
        let numbered = (0..).zip(found);
        entries
            .extend(numbered.map(|(n, (at, entry))| (HistoryKey { at, position, op: op_number, n }, entry)));
    }
    entries
}

fn ended_ban(change: &Change, op: &Op, cause: Cause) -> Option<EndedBan> {
    match change {
        Change::Unbanned { key, reason, ban, end } => Some(EndedBan {
            key: key.clone(),
            since: ban.since,
            end: *end,
            count: ban.count,
            origins: ban.origins.iter().map(|origin| origin.node).collect(),
            cause: ban.cause,
            ending: ending(*reason, op),
        }),
        Change::Remembered { key, origin, span: (since, end), count } => Some(EndedBan {
            key: key.clone(),
            since: *since,
            end: *end,
            count: *count,
            origins: [*origin].into(),
            cause,
            ending: Ending::Late,
        }),
        _ => None,
    }
}

/// Who has ended it is who gave the operation that did.
fn ending(reason: UnbanReason, op: &Op) -> Ending {
    let by = || op.operator().cloned();
    let told = match reason {
        UnbanReason::Expired => None,
        UnbanReason::Operator => by().map(Ending::Lifted),
        UnbanReason::Allowed => by().map(Ending::Allowed),
        UnbanReason::ByNode => by().map(Ending::ByNode),
        UnbanReason::OwnAddress => match op {
            Op::NodeSeen(record) => Some(Ending::OwnAddress(record.node)),
            _ => None,
        },
    };
    told.unwrap_or(Ending::Expired)
}

fn given_command(at: Timestamp, op: &Op, outcome: &Outcome) -> GivenCommand {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut n_imported = [0; 3];
    let op = match op {
        Op::Import { operator, bans, allow, history } => {
            n_imported = [count(bans.len()), count(allow.len()), count(history.len())];
            let operator = operator.clone();
            Op::Import { operator, bans: Vec::new(), allow: Vec::new(), history: Vec::new() }
        }
        Op::Settings { operator, fields } => {
            let told = fields.iter().filter(|field| !matches!(field, Setting::EventKey(_)));
            Op::Settings { operator: operator.clone(), fields: told.copied().collect() }
        }
        // Whom it was about is what is to be forgotten.
        Op::Forget { operator, target } => {
            let target = if target.is_v4() { Subnet::all_v4() } else { Subnet::all_v6() };
            Op::Forget { operator: operator.clone(), target }
        }
        other => other.clone(),
    };
    GivenCommand { at, op, n_imported, outcome: outcome.clone() }
}
