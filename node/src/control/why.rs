//! `why`: everything this node knows about one address or prefix.

use super::answers::{Snapshot, lift_command, until_ms};
use super::bans::{Row, local_rows};
use super::history::{ended_ban, unswept};
use super::{About, ColdRecord, HistoryWish, NodeApi, closing, commands, enforcement, service};
use bannkreis_core::ban::Ban;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Op;
use bannkreis_core::history::{HistoryEntry, PastBans};
use bannkreis_core::ids::{NodeId, Position};
use bannkreis_core::jail::JailName;
use bannkreis_core::judge::{self, Protection};
use bannkreis_core::proposal::Proposal;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use bannkreis_core::warden::LocalProtection;
use bannkreis_proto::v1;
use tonic::Status;

/// So many bans inside a prefix are named.
const INSIDE_MAX: usize = 100;
/// So many ended bans are named, the last ones.
const PAST_MAX: usize = 100;
/// So much of the history is looked through for them.
const HISTORY_MAX: usize = 200;
/// So many ended bans are told with all that is known of them, the last ones.
const ENDED_MAX: usize = 20;
/// So many failures below maxretry are named.
const FAILURES_MAX: usize = 100;

/// What the ban list holds about a target; keys only once, so that it can be gathered on another thread.
struct Found {
    holding: Vec<(BanKey, Ban)>,
    /// Not swept away yet.
    over: Vec<(BanKey, Ban)>,
    inside: Vec<(BanKey, Ban)>,
    n_inside: u64,
    past: Vec<(BanKey, PastBans)>,
    lifted: Option<(Position, Timestamp)>,
}

fn find(view: &BanView, target: Subnet, now: Timestamp) -> Found {
    let live = |(_, ban): &(&BanKey, &Ban)| !ban.until.is_over(now);
    let owned = |(key, ban): (&BanKey, &Ban)| (key.clone(), ban.clone());
    let mut inside: Vec<_> = if target.is_host() {
        Vec::new()
    } else {
        view.bans_inside(target).filter(|(key, _)| key.subnet != target).filter(live).collect()
    };
    inside.sort_by(|a, b| a.0.cmp(b.0));
    let n_inside = inside.len() as u64;
    let concerns = |subnet: Subnet| subnet.contains(target);
    let mut past: Vec<_> = view
        .pasts()
        .filter(|(key, _)| concerns(key.subnet))
        .map(|(key, past)| (key.clone(), *past))
        .collect();
    past.sort_by_key(|(_, past)| std::cmp::Reverse(past.last_end));
    past.truncate(PAST_MAX);
    let lifts = view.tombstones().filter(|(subnet, _, _)| concerns(*subnet));
    Found {
        holding: view.bans_holding(target).filter(live).map(owned).collect(),
        over: view.bans_holding(target).filter(|entry| !live(entry)).map(owned).collect(),
        inside: inside.into_iter().take(INSIDE_MAX).map(owned).collect(),
        n_inside,
        past,
        lifted: lifts.map(|(_, _, tombstone)| (tombstone.position, tombstone.at)).max_by_key(|(_, at)| *at),
    }
}

/// Answers `why`.
pub(super) async fn why(api: &dyn NodeApi, request: v1::WhyRequest) -> Result<v1::WhyResponse, Status> {
    let target = commands::subnet(&request.target)?;
    let snapshot = Snapshot::take(api, About::One(target)).await?;
    let (view, now) = (snapshot.view.clone(), snapshot.now.cluster);
    let found = service::on_worker(move || find(&view, target, now)).await?;

    let mut bans = Vec::new();
    for (key, ban) in &found.holding {
        let evidence = match api.cold_record(ban.cause).await {
            Some(record) => evidence_of(&snapshot, key, &record),
            None => None,
        };
        let elsewhere = closing::elsewhere(&snapshot, key, ban);
        bans.push(v1::WhyBan { ban: Some(snapshot.ban_info(key, ban)), evidence, elsewhere });
    }
    let mut inside: Vec<v1::BanInfo> =
        found.inside.iter().map(|(key, ban)| snapshot.ban_info(key, ban)).collect();
    let mut n_inside = found.n_inside;
    for row in local_rows(&snapshot) {
        if row.subnet().contains(target) {
            let (ban, evidence) = (Some(row.info(&snapshot)), own_evidence(&snapshot, &row));
            bans.push(v1::WhyBan { ban, evidence, elsewhere: Vec::new() });
        } else {
            n_inside += 1;
            if inside.len() < INSIDE_MAX {
                inside.push(row.info(&snapshot));
            }
        }
    }
    let wish = HistoryWish { target: Some(target), jail: None, since: Timestamp::ZERO, n_max: HISTORY_MAX };
    let told = api.history(wish).await.map_err(Status::internal)?;
    let mut ended = told.facts.iter().filter_map(|fact| match &fact.entry {
        HistoryEntry::Ended(over) if over.key.subnet.contains(target) => {
            Some(ended_ban(&snapshot, fact, over))
        }
        _ => None,
    });
    let mut last_ended: Vec<v1::EndedBan> = ended.by_ref().take(ENDED_MAX).collect();
    for (key, ban) in &found.over {
        let fact = unswept(key, ban, now, api.cold_record(ban.cause).await);
        if let Some((fact, HistoryEntry::Ended(over))) = fact.as_ref().map(|fact| (fact, &fact.entry)) {
            last_ended.push(ended_ban(&snapshot, fact, over));
        }
    }
    last_ended.sort_by_key(|over| std::cmp::Reverse(over.end_ms));
    last_ended.truncate(ENDED_MAX);
    let has_more_ended = told.is_cut || ended.next().is_some();
    let causes = found.holding.iter().map(|(_, ban)| ban.cause.position());
    let position = causes.chain(found.lifted.map(|(position, _)| position)).max();
    Ok(v1::WhyResponse {
        state: Some(snapshot.state()),
        target: target.to_string(),
        lift_command: lift_all(&snapshot, target, &found),
        bans,
        inside,
        n_inside,
        protections: protections(&snapshot, target),
        failures: failures(&snapshot),
        past: found.past.iter().map(|(key, past)| past_bans(key, past)).collect(),
        ended: last_ended,
        has_more_ended,
        lifted_ms: found.lifted.map(|(_, at)| at.0),
        enforcement: enforcement::list(&snapshot, position),
        is_blocked_here: snapshot.is_blocking() && snapshot.inspection.is_blocked,
    })
}

/// What the operation that made a ban says about it. Positions of a cluster that this node was in before may be the
/// same, so what is about somebody else is nothing.
pub(super) fn evidence_of(snapshot: &Snapshot, key: &BanKey, record: &ColdRecord) -> Option<v1::WhyEvidence> {
    match &record.op {
        Op::Ban(proposal) if proposal.offender == key.subnet && proposal.jail == key.jail => {
            Some(proposed(snapshot, record.at, proposal))
        }
        Op::OperatorBan { operator, target, jail, .. } if *target == key.subnet && *jail == key.jail => {
            Some(v1::WhyEvidence {
                node: snapshot.names.name(operator.node),
                author: operator.author.clone(),
                reason: operator.reason.clone(),
                ..v1::WhyEvidence::default()
            })
        }
        Op::Import { operator, bans, .. } => {
            let imported = bans.iter().find(|ban| ban.subnet == key.subnet && ban.jail == key.jail)?;
            Some(v1::WhyEvidence {
                node: snapshot.names.name(operator.node),
                author: operator.author.clone(),
                reason: imported.note.clone(),
                ..v1::WhyEvidence::default()
            })
        }
        _ => None,
    }
}

fn proposed(snapshot: &Snapshot, at: Timestamp, proposal: &Proposal) -> v1::WhyEvidence {
    let contributors = names(snapshot, &proposal.contributors);
    let lines = proposal.evidence.iter();
    v1::WhyEvidence {
        node: snapshot.names.name(proposal.origin),
        n_failures: proposal.failures,
        contributors,
        lines: lines
            .map(|line| v1::WhyLine { at_ms: at.minus_ms(line.age_ms).0, text: line.text.clone() })
            .collect(),
        ..v1::WhyEvidence::default()
    }
}

/// What people call these nodes, sorted.
fn names(snapshot: &Snapshot, nodes: &[NodeId]) -> Vec<String> {
    let mut names: Vec<String> = nodes.iter().map(|node| snapshot.names.name(*node)).collect();
    names.sort();
    names
}

/// What this host's own logs say about a block that is not on the ban list.
fn own_evidence(snapshot: &Snapshot, row: &Row<'_>) -> Option<v1::WhyEvidence> {
    let Row::Outbox(entry) = row else { return None };
    let lines = entry.evidence.iter();
    Some(v1::WhyEvidence {
        node: snapshot.node.name.clone(),
        n_failures: entry.failures,
        contributors: names(snapshot, &entry.contributors),
        lines: lines.map(|(at, text)| v1::WhyLine { at_ms: at.0, text: text.clone() }).collect(),
        ..v1::WhyEvidence::default()
    })
}

/// One command that lifts everything that holds the target.
fn lift_all(snapshot: &Snapshot, target: Subnet, found: &Found) -> String {
    let own = local_rows(snapshot)
        .filter(|row| !matches!(row, Row::Override(_, _)))
        .map(|row| row.subnet())
        .filter(|subnet| subnet.contains(target));
    let mut subnets: Vec<Subnet> = found.holding.iter().map(|(key, _)| key.subnet).chain(own).collect();
    if subnets.is_empty() && found.n_inside > 0 {
        subnets.push(target);
    }
    subnets.sort_unstable();
    // Lifting a prefix lifts everything inside it.
    let widest: Vec<Subnet> = subnets
        .iter()
        .copied()
        .filter(|subnet| !subnets.iter().any(|other| other != subnet && other.contains(*subnet)))
        .collect();
    match widest.first() {
        Some(&subnet) => lift_command(subnet, None),
        None => String::new(),
    }
}

fn protections(snapshot: &Snapshot, target: Subnet) -> Vec<v1::WhyProtection> {
    let mut protections = Vec::new();
    let plain = |subnet: Subnet, what: String, is_this_host_only| v1::WhyProtection {
        subnet: subnet.to_string(),
        what,
        is_this_host_only,
        ..v1::WhyProtection::default()
    };
    if judge::is_never_bannable(target) {
        protections.push(plain(target, Protection::NeverBannable.to_string(), false));
    }
    for (node, entry) in snapshot.view.nodes().filter(|(_, entry)| !entry.revoked) {
        let name = snapshot.names.name(node);
        let record = &entry.record;
        let kinds = [
            (&record.own, "an address"),
            (&record.gateways, "a router"),
            (&record.resolvers, "a name server"),
        ];
        for (subnets, what) in kinds {
            for &subnet in subnets.iter().filter(|subnet| subnet.intersects(target)) {
                protections.push(plain(subnet, format!("is {what} of {name}"), false));
            }
        }
    }
    let allow = snapshot.view.allow_list();
    let inside = allow.inside(target).filter(|(subnet, _)| *subnet != target);
    for (subnet, entry) in allow.holding(target).chain(inside) {
        if !entry.until.is_over(snapshot.now.cluster) {
            protections.push(v1::WhyProtection {
                author: entry.author.clone(),
                note: entry.note.clone(),
                until_ms: until_ms(entry.until),
                ..plain(subnet, Protection::AllowList.to_string(), false)
            });
        }
    }
    for &(subnet, why) in &snapshot.inspection.protections {
        let is_known = protections.iter().any(|known| known.subnet == subnet.to_string());
        match why {
            LocalProtection::Own | LocalProtection::Peer if is_known => {}
            LocalProtection::Own => protections.push(plain(subnet, "is this host's own".to_owned(), true)),
            LocalProtection::Peer => protections.push(plain(subnet, "is a configured peer".to_owned(), true)),
            LocalProtection::BroughtAlong => {
                let what = "is on the allow list that this node brings along".to_owned();
                protections.push(plain(subnet, what, true));
            }
            LocalProtection::IgnoreIp => {
                let jails: Vec<&str> =
                    snapshot.ignored_by(subnet).into_iter().map(JailName::as_str).collect();
                let what = format!("is in ignoreip of jail {}", jails.join(", "));
                protections.push(plain(subnet, what, true));
            }
        }
    }
    protections
}

fn failures(snapshot: &Snapshot) -> Vec<v1::WhyFailures> {
    let max_retry = |key: &BanKey| {
        let jails = snapshot.inspection.jails.iter().map(|inspected| &inspected.jail);
        jails.into_iter().find(|jail| jail.name == key.jail).map_or(0, |jail| jail.max_retry)
    };
    let found = snapshot.inspection.failures.iter().take(FAILURES_MAX);
    found
        .map(|failures| v1::WhyFailures {
            subnet: failures.key.subnet.to_string(),
            jail: failures.key.jail.to_string(),
            n_failures: failures.n_failures,
            n_told: failures.told.n_failures,
            told_by: names(snapshot, &failures.told.contributors),
            max_retry: max_retry(&failures.key),
            last_ms: snapshot.now.to_cluster(failures.last).0,
        })
        .collect()
}

/// What the ban list remembers of somebody's bans that are over.
pub(super) fn past_bans(key: &BanKey, past: &PastBans) -> v1::WhyPast {
    v1::WhyPast {
        subnet: key.subnet.to_string(),
        jail: key.jail.to_string(),
        n_bans: past.count,
        last_since_ms: past.last_since.0,
        last_end_ms: past.last_end.0,
    }
}
