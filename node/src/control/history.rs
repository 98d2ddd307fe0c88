//! `history`: what was and is, the newest first: bans that are over, bans that hold, and operators' commands.
//!
//! Bans that hold are the ban list's; the rest is what this node has kept since it has been a member. Not for where
//! that lies, nor for how long it stays.

use super::answers::Snapshot;
use super::told_commands::given_command;
use super::why::{evidence_of, past_bans};
use super::{ColdRecord, NodeApi, commands, service};
use bannkreis_core::ban::Ban;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::BanKey;
use bannkreis_core::history::{EndedBan, Ending, HistoryEntry, PastBans};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tonic::Status;

/// So many entries are given when nobody says how many.
const LIMIT_DEFAULT: usize = 50;
/// So many fit into one answer, whatever their evidence.
const LIMIT_MAX: usize = 1_000;
/// So many ended bans that only the ban list remembers are named.
const PAST_MAX: usize = 100;

/// What is asked of what this node has kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryWish {
    /// About something inside it or around it; `None`: about anything.
    pub target: Option<Subnet>,
    /// In this jail only.
    pub jail: Option<JailName>,
    /// At this time or later.
    pub since: Timestamp,
    /// So many, the newest.
    pub n_max: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryFound {
    /// The newest first.
    pub facts: Vec<HistoryFact>,
    /// There are older ones.
    pub is_cut: bool,
}

/// Something that this node has kept.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryFact {
    /// What it is.
    pub entry: HistoryEntry,
    /// What the nodes in it were called then.
    pub names: Vec<(NodeId, String)>,
    /// What an ended ban was for, when that is here.
    pub evidence: Option<ColdRecord>,
}

impl HistoryFact {
    /// A node's name: the one it has, or the one it had.
    fn name(&self, snapshot: &Snapshot, node: NodeId) -> String {
        match self.names.iter().find(|(named, _)| *named == node) {
            Some((_, name)) if !snapshot.names.knows(node) => name.clone(),
            _ => snapshot.names.name(node),
        }
    }
}

/// What the ban list says about it.
struct Listed {
    /// Bans that hold, and those that are over and not swept away yet; the newest first, and one more than was asked
    /// for if there are more.
    bans: Vec<(BanKey, Ban)>,
    past: Vec<(BanKey, PastBans)>,
}

fn listed(view: &BanView, wish: &HistoryWish, now: Timestamp) -> Listed {
    let concerns = |subnet: Subnet| wish.target.is_none_or(|target| target.intersects(subnet));
    let is_in = |jail: &JailName| wish.jail.as_ref().is_none_or(|only| only == jail);
    let mut newest = BinaryHeap::new();
    for (key, ban) in view.bans() {
        let at = over_at(ban, now).unwrap_or(ban.since);
        if concerns(key.subnet) && is_in(&key.jail) && at >= wish.since {
            newest.push(Reverse((at, key)));
        }
        if newest.len() > wish.n_max.saturating_add(1) {
            newest.pop();
        }
    }
    let keys = newest.into_sorted_vec().into_iter().map(|Reverse((_, key))| key);
    let bans = keys.filter_map(|key| Some((key.clone(), view.ban(key)?.clone()))).collect();
    let mut past = Vec::new();
    if wish.target.is_some() {
        let all = view.pasts().map(|(key, past)| (key.clone(), *past));
        past.extend(
            all.filter(|(key, past)| concerns(key.subnet) && is_in(&key.jail) && past.last_end >= wish.since),
        );
        past.sort_by_key(|(_, past)| Reverse(past.last_end));
        past.truncate(PAST_MAX);
    }
    Listed { bans, past }
}

/// When a ban ended that stands on the ban list still; `None`: it holds.
fn over_at(ban: &Ban, now: Timestamp) -> Option<Timestamp> {
    ban.until.end().filter(|_| ban.until.is_over(now))
}

/// A ban that is over, before a sweep has made history of it.
pub(super) fn unswept(
    key: &BanKey,
    ban: &Ban,
    now: Timestamp,
    evidence: Option<ColdRecord>,
) -> Option<HistoryFact> {
    let ended = EndedBan {
        key: key.clone(),
        since: ban.since,
        end: over_at(ban, now)?,
        count: ban.count,
        origins: ban.origins.iter().map(|origin| origin.node).collect(),
        cause: ban.cause,
        ending: Ending::Expired,
    };
    Some(HistoryFact { entry: HistoryEntry::Ended(ended), names: Vec::new(), evidence })
}

/// Answers `history`.
pub(super) async fn history(
    api: &dyn NodeApi,
    request: v1::HistoryRequest,
) -> Result<v1::HistoryResponse, Status> {
    let target = match request.target.as_str() {
        "" => None,
        text => Some(commands::subnet(text)?),
    };
    let n_max = match usize::try_from(request.limit).unwrap_or(usize::MAX) {
        0 => LIMIT_DEFAULT,
        limit if limit <= LIMIT_MAX => limit,
        limit => {
            let message = format!("{limit} entries are too many for one answer: ask for at most {LIMIT_MAX}");
            return Err(Status::invalid_argument(message));
        }
    };
    let snapshot = Snapshot::take_counts(api).await?;
    let jail = jail_in_question(&request.jail)?;
    let wish = HistoryWish { target, jail, since: Timestamp(request.since_ms), n_max };
    let (view, now, wished) = (snapshot.view.clone(), snapshot.now.cluster, wish.clone());
    let listed = service::on_worker(move || listed(&view, &wished, now)).await?;
    let found = api.history(wish).await.map_err(Status::internal)?;

    let past = untold(&listed.past, &found);
    let mut entries = Vec::new();
    for fact in &found.facts {
        entries.push(entry(&snapshot, fact));
    }
    let has_more = found.is_cut || found.facts.len() + listed.bans.len() > n_max;
    for (key, ban) in &listed.bans {
        let evidence = api.cold_record(ban.cause).await;
        if let Some(fact) = unswept(key, ban, now, evidence.clone()) {
            entries.push(entry(&snapshot, &fact));
            continue;
        }
        let evidence = evidence.and_then(|record| evidence_of(&snapshot, key, &record));
        let live = v1::WhyBan { ban: Some(snapshot.ban_info(key, ban)), evidence, elsewhere: Vec::new() };
        let entry = Some(v1::history_entry::Entry::Live(live));
        entries.push(v1::HistoryEntry { at_ms: ban.since.0, entry });
    }
    entries.sort_by_key(|entry| Reverse(entry.at_ms));
    entries.truncate(n_max);
    Ok(v1::HistoryResponse {
        state: Some(snapshot.state()),
        target: target.map(|target| target.to_string()).unwrap_or_default(),
        entries,
        has_more,
        past: past.iter().map(|(key, past)| past_bans(key, past)).collect(),
        retention_ms: snapshot.view.settings().history_retention_ms,
    })
}

/// A jail that is gone has a history too, so any name that could be one will do.
fn jail_in_question(text: &str) -> Result<Option<JailName>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    JailName::new(text).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// What the ban list remembers and this node has nothing more of.
fn untold(past: &[(BanKey, PastBans)], found: &HistoryFound) -> Vec<(BanKey, PastBans)> {
    let is_told = |key: &BanKey, past: &PastBans| {
        found.facts.iter().any(|fact| match &fact.entry {
            HistoryEntry::Ended(ended) => ended.key == *key && ended.end == past.last_end,
            HistoryEntry::Given(_) => false,
        })
    };
    // What is older than the entries that were given may be among those that were not.
    let oldest = found.facts.last().filter(|_| found.is_cut).map(|fact| match &fact.entry {
        HistoryEntry::Ended(ended) => ended.end,
        HistoryEntry::Given(given) => given.at,
    });
    let untold = past
        .iter()
        .filter(|(key, past)| !is_told(key, past) && oldest.is_none_or(|oldest| past.last_end >= oldest));
    untold.cloned().collect()
}

fn entry(snapshot: &Snapshot, fact: &HistoryFact) -> v1::HistoryEntry {
    let name = |node: NodeId| fact.name(snapshot, node);
    let (at, entry) = match &fact.entry {
        HistoryEntry::Ended(ended) => {
            (ended.end, v1::history_entry::Entry::Ended(ended_ban(snapshot, fact, ended)))
        }
        HistoryEntry::Given(given) => {
            (given.at, v1::history_entry::Entry::Given(given_command(given, &name)))
        }
    };
    v1::HistoryEntry { at_ms: at.0, entry: Some(entry) }
}

/// A ban that is over, for people.
pub(super) fn ended_ban(snapshot: &Snapshot, fact: &HistoryFact, ended: &EndedBan) -> v1::EndedBan {
    let name = |node: NodeId| fact.name(snapshot, node);
    let kind = match &ended.ending {
        Ending::Expired => v1::BanEnding::Expired,
        Ending::Lifted(_) => v1::BanEnding::Lifted,
        Ending::Allowed(_) => v1::BanEnding::Allowed,
        Ending::ByNode(_) => v1::BanEnding::ByNode,
        Ending::OwnAddress(_) => v1::BanEnding::OwnAddress,
        Ending::Late => v1::BanEnding::Late,
    };
    let (ended_on, ended_by, reason) = match &ended.ending {
        Ending::Lifted(by) | Ending::Allowed(by) | Ending::ByNode(by) => {
            (name(by.node), by.author.clone(), by.reason.clone())
        }
        Ending::OwnAddress(node) => (name(*node), String::new(), String::new()),
        Ending::Expired | Ending::Late => Default::default(),
    };
    let evidence = fact.evidence.as_ref().and_then(|record| evidence_of(snapshot, &ended.key, record));
    v1::EndedBan {
        subnet: ended.key.subnet.to_string(),
        jail: ended.key.jail.to_string(),
        since_ms: ended.since.0,
        end_ms: ended.end.0,
        count: ended.count,
        origins: ended.origins.iter().map(|node| name(*node)).collect(),
        evidence,
        ending: kind.into(),
        ended_on,
        ended_by,
        reason,
    }
}
