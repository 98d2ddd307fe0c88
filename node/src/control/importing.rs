//! `import`: bans and allow entries of another list are taken over, as that list has them.
//!
//! A list comes in parts, each of which is one operation; asked for again, it changes nothing. Not for how a list is
//! written (the operator's tool).

use super::answers::Snapshot;
use super::commands::{self, Given, commit, deadline, jail_terms, result};
use super::guards::{Guards, Objection};
use super::{NodeApi, Peer, enforcement};
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::command::{ImportedBan, Op};
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::time::{BanTime, Now, Timestamp, Until};
use bannkreis_proto::v1;
use bannkreis_proto::v1::import_ban::End;
use std::collections::BTreeMap;
use tonic::Status;

/// One call takes so many entries.
const ENTRIES_MAX: usize = 1_000;

/// Executes `import`.
pub(super) async fn import(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::ImportRequest,
) -> Result<v1::ImportResponse, Status> {
    let deadline = deadline(request.wait_ms)?;
    let n_entries = request.bans.len() + request.allow.len();
    if n_entries > ENTRIES_MAX {
        return Err(Status::invalid_argument(format!(
            "{n_entries} entries are too many: send at most {ENTRIES_MAX} at once"
        )));
    }
    let before = Snapshot::take_counts(api).await?;
    let guards = Guards::of(&before, &request.works_from, peer.from)?;
    let given = Given::by(peer, "", &request.reason)?;
    let mut jails = Jails { before: &before, known: BTreeMap::new() };
    let mut refused = Vec::new();
    let (mut bans, mut allow) = (Vec::new(), Vec::new());
    for ban in &request.bans {
        match imported(ban, &mut jails, &guards, request.force) {
            Ok(ban) => bans.push(ban),
            Err(why) => refused.push((&ban.target, &ban.jail, why)),
        }
    }
    let no_jail = String::new();
    for entry in &request.allow {
        match allowed(entry, peer, &guards, request.force, before.now).await {
            Ok(entry) => allow.push(entry),
            Err(why) => refused.push((&entry.target, &no_jail, why)),
        }
    }
    let refused = refused.into_iter().map(|(target, jail, why)| v1::ImportRefusal {
        target: target.clone(),
        jail: jail.clone(),
        why,
    });
    let refused: Vec<v1::ImportRefusal> = refused.collect();
    let n_over = bans.iter().filter(|ban| ban.until.is_over(before.now.cluster)).count();
    // Of nothing that is left there is no command.
    let is_nothing = bans.is_empty() && allow.is_empty();
    let op = Op::Import { operator: given.operator(0), bans, allow, history: Vec::new() };
    let ops = if is_nothing { &[][..] } else { std::slice::from_ref(&op) };
    let (settled, position) = commit(api, ops, deadline).await;
    enforcement::wait(api, position, deadline).await;
    let after = Snapshot::take_counts(api).await?;
    let result = settled.into_iter().next().map(|settled| result(String::new(), &op, settled));
    let enforcement = enforcement::list(&after, position);
    Ok(v1::ImportResponse { state: Some(after.state()), result, refused, n_over: n_over as u64, enforcement })
}

/// The jails that a list names, each looked for once.
struct Jails<'s> {
    before: &'s Snapshot,
    known: BTreeMap<JailName, Result<(BanTime, Ports), String>>,
}

impl Jails<'_> {
    fn terms(&mut self, jail: &JailName) -> Result<(BanTime, Ports), String> {
        let before = self.before;
        let look = || jail_terms(before, jail).map_err(|status| status.message().to_owned());
        self.known.entry(jail.clone()).or_insert_with(look).clone()
    }
}

fn imported(
    ban: &v1::ImportBan,
    jails: &mut Jails<'_>,
    guards: &Guards<'_>,
    force: bool,
) -> Result<ImportedBan, String> {
    let said = |status: Status| status.message().to_owned();
    let subnet = commands::subnet(&ban.target).map_err(said)?;
    let jail = match ban.jail.as_str() {
        "" => JailName::operator(),
        name => commands::jail_name(name).map_err(said)?,
    };
    // As the jail itself would ban: whoever comes back is known by it.
    let subnet = match jail == JailName::operator() || !subnet.is_host() {
        true => subnet,
        false => jails.before.view.settings().counting_subnet(subnet),
    };
    commands::bounded("note", &ban.note).map_err(said)?;
    let (ban_time, ports) = jails.terms(&jail)?;
    match guards.objection(subnet) {
        Some(Objection::Never(why)) => return Err(why),
        Some(Objection::UnlessForced(why)) if !force => return Err(why),
        Some(Objection::UnlessForced(_)) | None => {}
    }
    let now = jails.before.now;
    let at = |wall_ms| now.to_cluster(Timestamp(wall_ms));
    let since = ban.since_ms.map_or(now.cluster, at).min(now.cluster);
    let until = match ban.end {
        Some(End::UntilMs(until_ms)) => Until::at(end_of(until_ms, now)),
        Some(End::ForEver(_)) => Until::FOREVER,
        Some(End::BanTimeMs(ms)) => Until::at(since.plus_ms(ms)),
        None => ban_time.from(since),
    };
    let lasts = until.end().map_or(BanTime::Forever, |end| BanTime::Ms(end.ms_since(since)));
    Ok(ImportedBan {
        subnet,
        jail,
        since,
        until,
        count: ban.count.max(1),
        ports,
        policy: BanPolicy::fixed(lasts),
        note: ban.note.clone(),
    })
}

/// A time that may be yet to come, in cluster time.
fn end_of(until_ms: u64, now: Now) -> Timestamp {
    match until_ms.checked_sub(now.wall.0) {
        Some(left_ms) => now.cluster.plus_ms(left_ms),
        None => now.to_cluster(Timestamp(until_ms)),
    }
}

async fn allowed(
    entry: &v1::ImportAllowed,
    peer: &Peer,
    guards: &Guards<'_>,
    force: bool,
    now: Now,
) -> Result<AllowEntry, String> {
    let said = |status: Status| status.message().to_owned();
    let subnet = commands::subnet(&entry.target).map_err(said)?;
    commands::bounded("note", &entry.note).map_err(said)?;
    let too_wide = guards.too_wide_to_pass(subnet, "inside it lifted on all nodes").await.map_err(said)?;
    if let Some(why) = too_wide.filter(|_| !force) {
        return Err(why);
    }
    let until = entry.until_ms.map_or(Until::FOREVER, |until_ms| Until::at(end_of(until_ms, now)));
    Ok(AllowEntry {
        subnet,
        note: entry.note.clone(),
        author: peer.author.clone(),
        node: peer.node_id,
        until,
    })
}
