//! Backup, and the two ways into a new generation: `recover` goes on alone with what this node has, `restore` with
//! what a backup has. Each says first what it means, and does nothing without an operator's yes.
//!
//! Neither touches the firewall: the next life finds it as it is, and what it held before is in the new ban list.
//! Not for the steps on the disk (`bannkreis_raft::recovery`) nor for what goes over (`bannkreis_core::generation`).

use crate::app::Lives;
use crate::borders::Clock;
use crate::config::{NodeConfig, TlsMode};
use crate::control::{BackupFacts, NewLife, NewTime, RecoverWish};
use crate::joining;
use crate::pki::{PkiError, keyring};
use crate::redating;
use crate::running::Running;
use crate::wire::Security;
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::generation::{NewGeneration, TimeShift};
use bannkreis_core::ids::{ClusterId, CommandId, NodeId, Operator};
use bannkreis_core::node_clock::StoredTime;
use bannkreis_core::time::Timestamp;
use bannkreis_raft::apart::Answer;
use bannkreis_raft::backup::nameless_file;
use bannkreis_raft::{AuthorityPem, Backup, begin_generation, identity_for, read_backup, with_log_tail};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nobody sets a cluster's time to before this: 2020 begins.
const TIME_MIN: Timestamp = Timestamp(1_577_836_800_000);
/// An answer waits so long for the new life to know what time it is.
const SETTLED_MAX: Duration = Duration::from_secs(5);
/// Between two looks.
const SETTLED_LOOK: Duration = Duration::from_millis(20);

/// A backup of what `running` has now.
///
/// # Errors
/// A sentence: the keys are not here, or the disk refuses.
pub async fn back_up(running: Arc<Running>, with_keys: bool) -> Result<(BackupFacts, File), String> {
    let authority = if with_keys { Some(authority_of(&running.security)?) } else { None };
    let made = tokio::task::spawn_blocking(move || running.raft.back_up(authority.as_ref())).await;
    let (facts, file) = made.map_err(|error| error.to_string())?.map_err(|error| {
        format!("the backup can not be written into the state directory: {error}; make room and ask again")
    })?;
    Ok((facts, file))
}

fn authority_of(security: &Security) -> Result<AuthorityPem, String> {
    let Security::Tls(tls) = security else {
        return Err("--with-keys: this node has no keys (tls.mode = \"insecure\"): leave it out".to_owned());
    };
    if !tls.keyring().is_own() {
        return Err(
            "--with-keys: certificates come from elsewhere (tls.mode = \"files\"): back them up there"
                .to_owned(),
        );
    }
    let authority = tls.keyring().authority().ok_or(
        "--with-keys: only voters have the key of the cluster's authority, and this node does not vote: ask a voter",
    )?;
    Ok(AuthorityPem {
        certificate: authority.certificate_pem().to_owned(),
        key: authority.key_pem().to_owned(),
    })
}

/// A file for a backup that comes in.
///
/// # Errors
/// The disk's.
pub fn spool(config: &NodeConfig) -> Result<File, String> {
    let dir = config.state_dir.join("snapshots");
    nameless_file(&dir).map_err(|error| format!("{}: {error}", dir.display()))
}

/// Reads a backup to its end.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub async fn read(file: File) -> Result<Backup, String> {
    let read = tokio::task::spawn_blocking(move || read_backup(&file)).await;
    read.map_err(|error| error.to_string())?
        .map_err(|error| format!("the backup can not be used: {error}; take another one"))
}

/// Under which ids this host was known.
fn formerly(running: &Running) -> Vec<NodeId> {
    let lost = running.raft.spectator().map(|lost| lost.former);
    lost.into_iter().chain([running.raft.node_id()]).collect()
}

/// `1 ban`, `2 bans`.
fn counted(n: u64, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

fn own_state(view: &BanList) -> String {
    let n_allow = view.allow_list().len() as u64;
    format!(
        "{} and {}",
        counted(n_live(view), "ban", "bans"),
        counted(n_allow, "allow entry", "allow entries")
    )
}

fn n_live(list: &BanList) -> u64 {
    list.bans().filter(|(_, ban)| !ban.until.is_over(list.now())).count() as u64
}

/// Where the keys of the next generation come from.
enum Keys {
    /// There are none in this mode.
    None,
    /// From this node's generation of the same cluster, if it has them.
    Carried { from: u32 },
    /// From the backup.
    Given(AuthorityPem),
}

/// A life that is about to begin.
struct Next {
    cluster: ClusterId,
    generation: u32,
    keys: Keys,
    formerly: Vec<NodeId>,
    now: Option<Timestamp>,
    /// What this node has itself, and the backup does not.
    own: Option<BanView>,
}

/// Does what `recover` and `restore` have in common. Returns the live bans of the new life.
fn prepare(
    config: &NodeConfig,
    list: &BanList,
    next: Next,
    time: Option<StoredTime<String>>,
) -> Result<u64, String> {
    let identity = identity_for(next.cluster, next.generation).map_err(|error| error.to_string())?;
    let new = NewGeneration {
        generation: next.generation,
        node: identity.node,
        formerly: next.formerly,
        now: next.now,
    };
    let shift = TimeShift { from: list.now(), to: next.now.unwrap_or(list.now()) };
    let mut list = list.in_generation(&new);
    if let Some(own) = &next.own {
        let operator = Operator {
            command_id: CommandId(u128::from(identity.node.0) << 64),
            node: identity.node,
            author: "restore".to_owned(),
            reason: "what this node had before the restore".to_owned(),
        };
        joining::take_along(&mut list, own, &operator);
    }
    put_keys(&config.state_dir, next.cluster, next.generation, next.keys)?;
    if let Some(stored) = time {
        redating::write(&config.state_dir, identity.node, &redating::NewTime { shift, stored })?;
    }
    begin_generation(&config.state_dir, &identity, &list, &config.advertised(), &config.name)
        .map_err(|error| error.to_string())?;
    Ok(n_live(&list))
}

fn put_keys(state_dir: &Path, cluster: ClusterId, generation: u32, keys: Keys) -> Result<(), String> {
    let put = match keys {
        Keys::None => return Ok(()),
        Keys::Carried { from } => keyring::carry_over(state_dir, cluster, from, generation).map(drop),
        Keys::Given(pem) => keyring::put_authority(state_dir, cluster, generation, pem.certificate, pem.key),
    };
    put.map_err(|PkiError(why)| why)
}

/// Goes on as a cluster of one with what this node has.
///
/// # Errors
/// Why not, as a sentence with what to do; nothing has changed then, unless it says so.
pub async fn recover(lives: &Lives, wish: RecoverWish) -> Result<NewLife, String> {
    let _only_one = lives.only_one().await;
    let running = lives.current();
    let raft = &running.raft;
    if joining::is_open(&lives.config().state_dir) {
        return Err("this node is joining a cluster: `bannkreis cluster leave --force` gives that up first"
            .to_owned());
    }
    let answers = raft.ask_members().await;
    check_is_lost(&running, &answers, wish)?;
    let view = raft.view();
    let (cluster, generation) = (raft.cluster_id(), raft.generation() + 1);
    let wall = running.clock.wall();
    let now = wish.new_time.map(|time| match time {
        NewTime::Now => wall,
        NewTime::At(at) => at,
    });
    if let Some(now) = now.filter(|now| *now < TIME_MIN) {
        return Err(format!(
            "--now: {} is before 2020, so a clock is wrong: set this host's clock (`chronyc makestep`) or name the time",
            shown(now)
        ));
    }
    let mut life = NewLife {
        is_done: false,
        cluster,
        generation,
        position: view.position(),
        n_bans: n_live(&view),
        consequences: consequences(lives, &running, &answers, now),
    };
    if !wish.is_confirmed {
        return Ok(life);
    }
    let time = now.map(|cluster| StoredTime {
        cluster,
        wall,
        boottime_ms: running.clock.boottime_ms(),
        boot: lives.host().boot_id.clone(),
        guessed: false,
    });
    let is_own = matches!(lives.config().tls.mode, TlsMode::Own);
    let keys = if is_own { Keys::Carried { from: raft.generation() } } else { Keys::None };
    let next = Next { cluster, generation, keys, formerly: formerly(&running), now, own: None };
    tracing::warn!(
        "an operator has recovered the cluster {cluster}: this node goes on alone, as generation {generation}"
    );
    life.n_bans = begin(lives, &running, None, next, time).await?;
    life.is_done = true;
    life.position = lives.current().raft.view().position();
    Ok(life)
}

/// Ends this life and begins the next, from `list` or from what this node has when it has stopped.
async fn begin(
    lives: &Lives,
    running: &Arc<Running>,
    list: Option<BanList>,
    next: Next,
    time: Option<StoredTime<String>>,
) -> Result<u64, String> {
    let (config, stopped) = (lives.config().clone(), running.clone());
    let (told, mut n_bans) = tokio::sync::mpsc::channel(1);
    let preparing = async move {
        let work = move || {
            // Only now: what was acknowledged until the end is in it.
            let view = with_log_tail(&config.state_dir, stopped.raft.view()).map_err(|error| {
                format!(
                    "the Raft log can not be read to its end ({error}): restart bannkreisd, which puts a damaged one \
                     aside, and ask again"
                )
            })?;
            let next = Next { own: next.own.map(|_| view.clone()), ..next };
            prepare(&config, list.as_ref().unwrap_or(&view), next, time)
        };
        let prepared = tokio::task::spawn_blocking(work).await;
        let prepared = prepared.unwrap_or_else(|error| Err(error.to_string()))?;
        // There is room for the one answer.
        let _ = told.try_send(prepared);
        Ok(())
    };
    lives.begin_anew(running, preparing).await?;
    let begun = lives.current();
    let deadline = Instant::now() + SETTLED_MAX;
    while begun.clock.now().estimated && Instant::now() < deadline {
        tokio::time::sleep(SETTLED_LOOK).await;
    }
    Ok(n_bans.recv().await.unwrap_or_default())
}

fn check_is_lost(running: &Running, answers: &[Answer], wish: RecoverWish) -> Result<(), String> {
    let raft = &running.raft;
    let own = raft.generation();
    let newer = answers.iter().find(|answer| answer.said.is_some_and(|(generation, _)| generation > own));
    if let Some(Answer { name, address, .. }) = newer {
        return Err(format!(
            "the cluster was recovered on {name} already: run `bannkreis token create` there and the command that it \
             prints here (bannkreis cluster join {address} --token TOKEN)"
        ));
    }
    if wish.force {
        return Ok(());
    }
    if raft.spectator().is_none() && raft.is_alone() && wish.new_time.is_none() {
        return Err(
            "this node is alone and works: there is nothing to recover (a wrong cluster time is set by --now)"
                .to_owned(),
        );
    }
    let Some(leader) = raft.leads(answers).filter(|_| !raft.is_alone()) else { return Ok(()) };
    let view = raft.view();
    let name = view.node(leader).map_or(leader.to_string(), |entry| entry.record.name.clone());
    Err(format!(
        "the cluster has a quorum: {name} leads. A node that is gone is taken out with `bannkreis cluster remove`; recovering \
         here would split the cluster in two. If you mean it, --force"
    ))
}

/// What it means, one sentence each.
fn consequences(lives: &Lives, running: &Running, answers: &[Answer], now: Option<Timestamp>) -> Vec<String> {
    let raft = &running.raft;
    let view = raft.view();
    let name = &lives.config().name;
    let mut said = vec![format!(
        "{name} goes on alone with its state of {}: {}, history, settings and tokens.",
        view.position(),
        own_state(&view)
    )];
    if let Some(lost) = raft.spectator() {
        said.push(format!(
            "Its log is lost ({}): what was committed after {} is not in it, and what only the kernel still blocks of \
             that is released.",
            lost.why,
            view.position()
        ));
    }
    for answer in answers {
        let is_alive = if answer.said.is_some() { "answers, but" } else { "does not answer and" };
        said.push(format!(
            "{} ({}) {is_alive} is given up: when it comes back, `bannkreis token create` here prints the command that \
             lets it join again; its bans come along.",
            answer.name, answer.address
        ));
    }
    if !answers.is_empty() {
        said.push(
            "Lost is what the others had agreed on and this node has not heard of: bans that their hosts still have \
             come back when they join, unbans do not."
                .to_owned(),
        );
    }
    if let Security::Tls(tls) = &running.security
        && tls.keyring().is_own()
        && tls.keyring().authority().is_none()
    {
        said.push(
            "This node does not have the key of the cluster's authority (only voters have it): it makes a new one. \
             Tokens of before let nobody in, and nodes of before can not tell by themselves that the cluster goes on \
             here."
                .to_owned(),
        );
    }
    if let Some(now) = now {
        said.push(format!(
            "Cluster time is set from {} to {}; every ban keeps what is left of it.",
            shown(running.clock.now().cluster),
            shown(now)
        ));
    }
    said
}

/// A time as people write it, UTC.
fn shown(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| at.to_string(), |at| format!("{at:.0}"))
}

/// Replaces this node's state by a backup's; its own bans and allow entries are merged in.
///
/// # Errors
/// Why not, as a sentence with what to do; nothing has changed then, unless it says so.
pub async fn restore(
    lives: &Lives,
    file: File,
    is_confirmed: bool,
) -> Result<(BackupFacts, NewLife), String> {
    let _only_one = lives.only_one().await;
    let running = lives.current();
    let raft = &running.raft;
    if joining::is_open(&lives.config().state_dir) {
        return Err("this node is joining a cluster: `bannkreis cluster leave --force` gives that up first"
            .to_owned());
    }
    if raft.spectator().is_none() && !raft.is_alone() {
        let status = raft.status();
        return Err(format!(
            "this node is one of {} of a cluster, and a restore would split it in two: take it out first \
             (`bannkreis cluster leave`), or restore on a new host",
            status.voters.len() + status.learners.len()
        ));
    }
    let backup = read(file).await?;
    let facts = backup.facts();
    let is_same = backup.cluster == raft.cluster_id();
    // Also of another cluster: what this host remembers of places in its log must not be taken for places in this one.
    let own_generation = raft.generation();
    let generation = facts.position.generation.max(own_generation) + 1;
    let is_own = matches!(lives.config().tls.mode, TlsMode::Own);
    let keys = match backup.authority {
        _ if !is_own => Keys::None,
        Some(pem) => Keys::Given(pem),
        None if is_same => Keys::Carried { from: own_generation },
        None => Keys::Carried { from: facts.position.generation },
    };
    let view = raft.view();
    let mut life = NewLife {
        is_done: false,
        cluster: backup.cluster,
        generation,
        position: backup.list.position(),
        n_bans: facts.n_bans,
        consequences: restore_consequences(lives, &running, &facts, &keys),
    };
    if !is_confirmed {
        return Ok((facts, life));
    }
    tracing::warn!(
        "an operator has restored the cluster {} here: this node goes on alone, as generation {generation}",
        backup.cluster
    );
    // Time has passed since the backup; of this node's own state it is known how much.
    let mut list = backup.list;
    list.pass_to(view.now());
    let formerly = if is_same { formerly(&running) } else { Vec::new() };
    let next = Next { cluster: backup.cluster, generation, keys, formerly, now: None, own: Some(view) };
    life.n_bans = begin(lives, &running, Some(list), next, None).await?;
    life.is_done = true;
    life.position = lives.current().raft.view().position();
    Ok((facts, life))
}

fn restore_consequences(lives: &Lives, running: &Running, facts: &BackupFacts, keys: &Keys) -> Vec<String> {
    let view = running.raft.view();
    let name = &lives.config().name;
    let mut said = vec![
        format!(
            "{name} goes on alone as the cluster {} of the backup, with its state of {} ({}); bans that have ended since \
             are over.",
            facts.cluster,
            facts.position,
            shown(facts.now)
        ),
        format!(
            "Its own {} are merged in, and nothing that it blocks is released on the way.",
            own_state(&view)
        ),
    ];
    if !facts.members.is_empty() {
        said.push(format!(
            "The nodes of the backup ({}) are given up: each joins again with the command that `bannkreis token \
             create` prints here. None of them may go on without: there would be two clusters.",
            facts.members.join(", ")
        ));
    }
    if let (Keys::Carried { .. }, false) = (keys, facts.has_keys)
        && facts.cluster != running.raft.cluster_id()
    {
        said.push(
            "The backup was made without --with-keys: a new authority is made for the cluster, and tokens of before \
             let nobody in."
                .to_owned(),
        );
    }
    said
}
