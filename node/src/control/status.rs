//! `status`, `cluster status` and what comes of joining.

use super::answers::Snapshot;
use super::{DecisionFacts, MemberFacts, NodeApi, advice, commands, service};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::jail::{COUNTED_BANS, JailName, Ports};
use bannkreis_core::node_record::NodeRole;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Timestamp};
use bannkreis_proto::v1;
use std::collections::{BTreeMap, BTreeSet};
use tonic::Status;

/// So many addresses of one jail are named.
const BANNED_MAX: usize = 1_000;

/// Bans per jail, and the addresses of the jail that was asked for.
struct Census {
    n_bans: u64,
    by_jail: BTreeMap<JailName, u64>,
    banned: BTreeSet<Subnet>,
}

/// Looks at every ban once.
fn census(view: &BanList, now: Timestamp, asked: Option<&JailName>) -> Census {
    let mut census = Census { n_bans: 0, by_jail: BTreeMap::new(), banned: BTreeSet::new() };
    for (key, _) in view.bans().filter(|(_, ban)| !ban.until.is_over(now)) {
        census.n_bans += 1;
        match census.by_jail.get_mut(&key.jail) {
            Some(n) => *n += 1,
            None => drop(census.by_jail.insert(key.jail.clone(), 1)),
        }
        if asked == Some(&key.jail) {
            census.banned.insert(key.subnet);
            if census.banned.len() > BANNED_MAX {
                census.banned.pop_last();
            }
        }
    }
    census
}

/// Answers `status`.
pub(super) async fn status(
    api: &dyn NodeApi,
    request: v1::StatusRequest,
) -> Result<v1::StatusResponse, Status> {
    let snapshot = Snapshot::take_counts(api).await?;
    let asked = match request.jail.as_str() {
        "" => None,
        name => Some(commands::jail_name(name)?),
    };
    let (view, now, only) = (snapshot.view.clone(), snapshot.now.cluster, asked.clone());
    let census = service::on_worker(move || census(&view, now, only.as_ref())).await?;
    let mut jails = jails(&snapshot, &census);
    if let Some(asked) = &asked {
        jails.retain(|name, _| name == asked);
        match jails.get_mut(asked) {
            Some(jail) => jail.banned = census.banned.iter().map(ToString::to_string).collect(),
            None => return Err(commands::no_such_jail(&snapshot, asked)),
        }
    }
    let mut state = snapshot.state();
    state.warnings.extend(advice::for_a_pair(&snapshot));
    Ok(v1::StatusResponse {
        state: Some(state),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: snapshot.node.uptime_ms,
        n_bans: census.n_bans,
        n_blocked: if snapshot.is_blocking() { snapshot.inspection.n_blocked as u64 } else { 0 },
        n_overrides: snapshot.inspection.n_overrides as u64,
        leader: snapshot.leader().map(|leader| snapshot.names.name(leader)).unwrap_or_default(),
        n_members: u32::try_from(snapshot.cluster.members.len()).unwrap_or(u32::MAX),
        jails: jails.into_values().collect(),
        firewall: snapshot.node.firewall.clone(),
    })
}

/// Every jail that this host has, another node declares, or a ban is in.
fn jails(snapshot: &Snapshot, census: &Census) -> BTreeMap<JailName, v1::JailStatus> {
    let mut jails: BTreeMap<JailName, v1::JailStatus> = BTreeMap::new();
    let mut ports: BTreeMap<JailName, Ports> = BTreeMap::new();
    for (node, entry) in snapshot.view.nodes().filter(|(_, entry)| !entry.revoked) {
        for (name, declared) in &entry.record.jails {
            jails.entry(name.clone()).or_default().nodes.push(snapshot.names.name(node));
            let known = ports.entry(name.clone()).or_insert_with(Ports::none);
            *known = known.union(declared);
        }
    }
    for inspected in &snapshot.inspection.jails {
        let jail = &inspected.jail;
        let status = jails.entry(jail.name.clone()).or_default();
        status.is_here = true;
        status.n_failing = inspected.n_failing as u64;
        status.n_failures = inspected.counts.n_failures;
        status.n_blocked = inspected.counts.n_blocked;
        status.max_retry = jail.max_retry;
        status.find_time_ms = jail.find_time_ms;
        status.ban_time_ms = match jail.policy.ban_time {
            BanTime::Ms(ms) => Some(ms),
            BanTime::Forever => None,
        };
        status.is_counted_with_peers = jail.is_counted_with_peers();
        if !status.nodes.contains(&snapshot.node.name) {
            status.nodes.push(snapshot.node.name.clone());
        }
        ports.insert(jail.name.clone(), jail.ports.clone());
        let sources = snapshot.node.sources.iter().filter(|source| source.jail == jail.name);
        let bans = jail.counts_bans.then(|| v1::SourceStatus {
            name: COUNTED_BANS.to_owned(),
            n_lines: inspected.counts.n_failures,
            ..v1::SourceStatus::default()
        });
        let logs = sources.map(|source| v1::SourceStatus {
            name: source.name.clone(),
            n_lines: source.n_lines,
            error: source.error.clone().unwrap_or_default(),
        });
        status.sources = bans.into_iter().chain(logs).collect();
        let given_up = snapshot.node.given_up.iter().find(|(name, _)| *name == jail.name);
        status.n_given_up = given_up.map_or(0, |(_, n)| *n);
    }
    for (name, n_bans) in &census.by_jail {
        jails.entry(name.clone()).or_default().n_banned = *n_bans;
    }
    for (name, status) in &mut jails {
        status.name = name.to_string();
        status.nodes.sort();
        status.ports = ports.get(name).map(ToString::to_string).unwrap_or_default();
    }
    jails
}

/// Answers `cluster status`.
pub(super) async fn cluster_status(api: &dyn NodeApi) -> Result<v1::ClusterStatusResponse, Status> {
    let snapshot = Snapshot::take_counts(api).await?;
    let cluster = &snapshot.cluster;
    let n_voters = cluster.members.iter().filter(|member| member.is_voter).count();
    let mut members: Vec<v1::MemberStatus> =
        cluster.members.iter().map(|member| member_status(&snapshot, member)).collect();
    members.sort_by(|a, b| (&a.name, &a.node_id).cmp(&(&b.name, &b.node_id)));
    Ok(v1::ClusterStatusResponse {
        state: Some(snapshot.state()),
        cluster_id: cluster.cluster.to_string(),
        generation: cluster.generation,
        term: cluster.term,
        leader_id: snapshot.leader().map(|leader| leader.to_string()).unwrap_or_default(),
        level: snapshot.view.level(),
        n_quorum: u32::try_from(n_voters / 2 + 1).unwrap_or(u32::MAX),
        advice: advice::of(&snapshot, &members),
        decisions: cluster.decisions.iter().map(decision).collect(),
        members,
    })
}

fn decision(decision: &DecisionFacts) -> v1::Decision {
    let DecisionFacts { about, step, why } = decision.clone();
    v1::Decision { about, step, why }
}

fn member_status(snapshot: &Snapshot, member: &MemberFacts) -> v1::MemberStatus {
    let entry = snapshot.view.node(member.node).cloned().unwrap_or_default();
    let texts = |subnets: &[Subnet]| subnets.iter().map(ToString::to_string).collect();
    let role = if member.is_voter { v1::MemberRole::Voter } else { v1::MemberRole::Learner };
    v1::MemberStatus {
        node_id: member.node.to_string(),
        name: snapshot.names.name(member.node),
        address: member.address.clone(),
        role: role.into(),
        is_witness: entry.record.role == NodeRole::Witness,
        is_self: member.node == snapshot.node.node,
        is_leader: snapshot.leader() == Some(member.node),
        is_reachable: member.is_reachable,
        heard_ms_ago: member.heard_ms_ago,
        applied: member.applied.map(|position| position.to_string()).unwrap_or_default(),
        enforced: member.enforced.map(|position| position.to_string()).unwrap_or_default(),
        clock_ahead_ms: member.clock_ahead_ms,
        n_overrides: snapshot.n_overrides(member),
        jails: entry.record.jails.iter().map(|(name, _)| name.to_string()).collect(),
        addresses: texts(&entry.record.own),
        pending: texts(&entry.pending),
        is_untrusted: entry.untrusted,
    }
}

/// Answers `cluster join`.
pub(super) async fn join(api: &dyn NodeApi, request: v1::JoinRequest) -> Result<v1::JoinResponse, Status> {
    let is_complete = request
        .address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if !is_complete {
        let address = request.address.escape_debug();
        return Err(Status::invalid_argument(format!(
            "`{address}` is no HOST:PORT, such as mx1.example.org:7420"
        )));
    }
    api.join(&request.address, &request.token).await.map_err(Status::failed_precondition)?;
    let snapshot = Snapshot::take_counts(api).await?;
    Ok(v1::JoinResponse {
        state: Some(snapshot.state()),
        cluster_id: snapshot.cluster.cluster.to_string(),
        n_members: u32::try_from(snapshot.cluster.members.len()).unwrap_or(u32::MAX),
    })
}
