//! A solo node joins a cluster, or a member leaves one and is alone: its store is put aside, it takes a new identity,
//! and when it is a member there it asks for its bans, allow entries and history to be taken over. Its firewall is not
//! touched on the way.
//!
//! Every step leaves the directory in a state that the next start can go on from: see [`finish`].

use crate::local_store::{Batch, LocalStore};
use crate::stored;
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::command::{Command, Op};
use bannkreis_core::event::OutboxEntry;
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::settings::Settings;
use bannkreis_proto::convert::{decode_record, encode_record};
use bannkreis_raft::{Identity, JoinError, JoinInfo, ProposeError, RaftNode, forget_oldest, import_ops};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

/// The ban list of the former life, as length-prefixed records.
const IMPORT_FILE: &str = "join-import";
/// Where the cluster was asked to take this node in, and the name of the former life's archive, a line each.
const TARGET_FILE: &str = "join-target";
/// In [`TARGET_FILE`] of a node that goes on alone.
const ALONE: &str = "-";
/// The node's identity, in the state directory, in the archive, and as an applicant.
const IDENTITY_FILE: &str = "identity";
/// Holds the identity under which the node asks to be let in, until it is a member.
const APPLICANT_DIR: &str = "join-applicant";
/// What the archive of a cluster of one is called before its node's id, and that of a cluster that was left.
const SOLO_PREFIX: &str = "solo-";
const LEFT_PREFIX: &str = "left-";
/// The Raft log.
const LOG_DIR: &str = "raft";
/// The snapshots.
const SNAPSHOTS_DIR: &str = "snapshots";
/// Pause before a cluster that refused this node is asked again.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// Pause before an unanswered question to the cluster is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Who this node will be in `info`'s cluster: the same for every attempt until it is a member, so that a join that
/// was interrupted goes on with the token it has used.
///
/// # Errors
/// A sentence that names the file.
pub fn applicant(state_dir: &Path, info: &JoinInfo) -> Result<Identity, String> {
    let dir = state_dir.join(APPLICANT_DIR);
    let known = Identity::read(&dir).map_err(|error| error.to_string())?;
    if let Some(known) =
        known.filter(|known| (known.cluster, known.generation) == (info.cluster, info.generation))
    {
        return Ok(known);
    }
    let identity = Identity::for_joining(info.cluster, info.generation)
        .map_err(|error| format!("{}: {error}", dir.display()))?;
    identity.write(&dir).map_err(|error| error.to_string())?;
    Ok(identity)
}

/// Prepares the directory for the first start of a node that leaves its cluster and goes on alone, under a new
/// key. `node`: who it was until now. What a join that is open brings along goes along. The Raft log must be closed.
///
/// # Errors
/// A sentence that names the file. The directory still is the member's then.
pub fn prepare_alone(state_dir: &Path, view: &BanView, node: NodeId) -> Result<(), String> {
    let identity = Identity::founding().map_err(|error| format!("{}: {error}", state_dir.display()))?;
    let view = view.taken_by(node).view();
    let view = match brought_along(state_dir) {
        Ok(Some((former, _))) => both(view, &former, identity.node),
        Ok(None) => view,
        Err(why) => {
            tracing::error!("left behind is what can not be read: {why}");
            view
        }
    };
    prepare(state_dir, &view, node, &identity, ALONE)
}

/// What is in either of two lists: bans, allow entries and history, by maximum.
fn both(view: BanView, former: &BanView, node: NodeId) -> BanView {
    let (author, reason) = ("join".to_owned(), "what this node brought along".to_owned());
    let operator = Operator { command_id: CommandId(u128::from(node.0) << 64), node, author, reason };
    let mut list = BanView::unwrap_or_clone(view);
    list.pass_to(former.now());
    take_along(&mut list, former, &operator);
    list.view()
}

/// Merges bans, allow entries and history into a list that nobody has seen yet, by maximum.
pub fn take_along(list: &mut BanList, own: &BanList, operator: &Operator) {
    let position = list.position();
    for op in import_ops(own, operator) {
        let command = Command { at: own.now(), level: list.level(), ops: vec![op], ..Command::default() };
        list.apply(position, &command);
    }
}

/// Prepares the directory for the first start under the new `identity`. `node`: who the node was until
/// now. The Raft log must be closed. Writing the new identity is what begins the new life: what comes after it
/// is done by the next start as well, see [`move_aside`].
///
/// # Errors
/// A sentence that names the file. The directory still is the former life's then.
pub fn prepare(
    state_dir: &Path,
    view: &BanView,
    node: NodeId,
    identity: &Identity,
    target: &str,
) -> Result<(), String> {
    let failed = |what: &str, error: &io::Error| format!("{}: {error}", state_dir.join(what).display());
    write_import(state_dir, view).map_err(|error| failed(IMPORT_FILE, &error))?;
    let archive = format!("{}{node}", if target == ALONE { LEFT_PREFIX } else { SOLO_PREFIX });
    let archive_dir = state_dir.join(&archive);
    fs::create_dir_all(&archive_dir).map_err(|error| failed(&archive, &error))?;
    if is_open(state_dir) {
        // Given up half-way: if this does not begin either, the join is open as before.
        fs::copy(state_dir.join(TARGET_FILE), archive_dir.join(TARGET_FILE))
            .map_err(|error| failed(TARGET_FILE, &error))?;
    }
    fs::copy(state_dir.join(IDENTITY_FILE), archive_dir.join(IDENTITY_FILE))
        .map_err(|error| failed(IDENTITY_FILE, &error))?;
    write_synced(state_dir, TARGET_FILE, format!("{target}\n{archive}\n").as_bytes())
        .map_err(|error| failed(TARGET_FILE, &error))?;
    identity.write(state_dir).map_err(|error| error.to_string())?;
    move_aside(state_dir)
}

/// Moves the former life's log and snapshots into their archive, if a join has got that far and no further;
/// forgets a join that has not begun.
///
/// # Errors
/// A sentence that names the file.
pub fn move_aside(state_dir: &Path) -> Result<(), String> {
    let failed = |what: &str, error: &io::Error| format!("{}: {error}", state_dir.join(what).display());
    let Some((_, archive)) = read_target(state_dir)? else { return Ok(()) };
    let archive_dir = state_dir.join(&archive);
    let read = |dir: &Path| fs::read(dir.join(IDENTITY_FILE)).map_err(|error| failed(IDENTITY_FILE, &error));
    if read(state_dir)? == read(&archive_dir)? {
        tracing::warn!("joining or leaving was interrupted before it began; this node goes on as it was");
        let open = archive_dir.join(TARGET_FILE);
        if open.exists() {
            // What it brings along is more than it was, and none the worse for that.
            return fs::rename(open, state_dir.join(TARGET_FILE))
                .map_err(|error| failed(TARGET_FILE, &error));
        }
        // Under the same name it may ask again, with the token that it has used.
        return remove(state_dir, &[Path::new(IMPORT_FILE), Path::new(TARGET_FILE)]);
    }
    // The log goes last: when it is there, all of it is.
    if archive_dir.join(LOG_DIR).exists() {
        return Ok(());
    }
    for name in [SNAPSHOTS_DIR, LOG_DIR] {
        match fs::rename(state_dir.join(name), archive_dir.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(name, &error)),
        }
    }
    for prefix in [SOLO_PREFIX, LEFT_PREFIX] {
        forget_oldest(state_dir, prefix);
    }
    Ok(())
}

/// What the outbox was based on in another cluster says nothing in this one: entries kept from a former
/// life count as based on nothing, so that times decide. Stored at once, because the next start can not tell.
///
/// # Errors
/// A sentence, when it can not be stored or the join can not be read.
pub fn rebase_kept(state_dir: &Path, outbox: &mut [OutboxEntry], store: &LocalStore) -> Result<(), String> {
    if read_target(state_dir)?.is_none() {
        return Ok(());
    }
    let mut batch = Batch::new();
    for entry in outbox {
        entry.basis = Position::default();
        stored::put_outbox(&mut batch, &entry.key, Some(entry)).map_err(|error| error.to_string())?;
    }
    store.commit(batch).and_then(|()| store.flush()).map_err(|error| error.to_string())
}

/// While a join is open: what this node had in its former life, and who it was there.
///
/// # Errors
/// A sentence that names the file.
pub fn brought_along(state_dir: &Path) -> Result<Option<(BanView, NodeId)>, String> {
    let Some((_, archive)) = read_target(state_dir)? else { return Ok(None) };
    let former = Identity::read(&state_dir.join(&archive)).map_err(|error| error.to_string())?;
    let import = read_import(state_dir)
        .map_err(|error| format!("{}: {error}", state_dir.join(IMPORT_FILE).display()))?;
    Ok(import.zip(former.map(|former| former.node)))
}

/// Whether a join is open: begun, and not yet with all that the former life held in the cluster's hands.
#[must_use]
pub fn is_open(state_dir: &Path) -> bool {
    state_dir.join(TARGET_FILE).exists()
}

/// While a join is open: that, and what to type, as a sentence. `last_answer`: what came of asking, if anything has.
#[must_use]
pub fn unfinished(state_dir: &Path, last_answer: &str) -> Option<String> {
    let (target, _) = read_target(state_dir).ok()??;
    if target == ALONE {
        return None;
    }
    let answer =
        if last_answer.is_empty() { String::new() } else { format!("; the last answer: {last_answer}") };
    Some(format!(
        "this node is joining by {target} and no member yet: it goes on blocking what it blocked, and asks again\
         {answer}. If that cluster is gone for good, `bannkreis cluster leave --force` makes it a cluster of one \
         again, with all its bans"
    ))
}

/// Asks the cluster to take this node in, if a join is open, until it has. A refusal is said and asked again:
/// the cluster may change its mind. `note` hears what came of each attempt.
pub async fn ask(raft: &RaftNode, state_dir: &Path, note: impl Fn(String)) {
    let target = match read_target(state_dir) {
        Ok(Some((target, _))) => target,
        Ok(None) => return,
        Err(error) => return tracing::error!("{error}"),
    };
    while !raft.status().is_member {
        let pause = match raft.request_join(&target).await {
            Ok(()) => RETRY_PAUSE,
            Err(JoinError::Refused { why }) => {
                tracing::error!("{target} does not take this node in: {why}; it is asked again");
                note(why);
                REFUSED_PAUSE
            }
            Err(error) => {
                tracing::debug!("{target}: {error}");
                note(error.to_string());
                RETRY_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Hands over what the former life held, if a join is open; returns when the cluster has it and this node has
/// applied it, so that its firewall may forget what is not in the ban list.
///
/// # Errors
/// A sentence, when it is refused or can not be read: then it stays in its file.
pub async fn finish(raft: &RaftNode, state_dir: &Path) -> Result<(), String> {
    let Some((target, _)) = read_target(state_dir)? else { return Ok(()) };
    let dir = state_dir.to_owned();
    let read = tokio::task::spawn_blocking(move || read_import(&dir)).await;
    let import =
        read.map_err(|error| error.to_string())?.map_err(|error| format!("{IMPORT_FILE}: {error}"))?;
    if let Some(bans) = import {
        let operator = Operator {
            // The same for every attempt of this node, so that a lost answer does no harm.
            command_id: CommandId(u128::from(raft.node_id().0) << 64),
            node: raft.node_id(),
            author: "join".to_owned(),
            reason: match target.as_str() {
                ALONE => "kept when this node left its cluster".to_owned(),
                _ => format!("taken over when this node joined by {target}"),
            },
        };
        for op in import_ops(&bans, &operator) {
            propose_until_answered(raft, op).await?;
        }
        tracing::info!(bans = bans.n_bans(), "the cluster has taken over this node's bans");
    }
    let applicant = Path::new(APPLICANT_DIR).join(IDENTITY_FILE);
    remove(state_dir, &[&applicant, Path::new(IMPORT_FILE), Path::new(TARGET_FILE)])
}

/// Asks until there is an answer, and until this node has applied it. The operation has an id, or says the same
/// when it is said twice.
///
/// # Errors
/// When it is refused, or this node is stopped meanwhile.
pub async fn propose_until_answered(raft: &RaftNode, op: Op) -> Result<(), String> {
    let position = loop {
        match raft.propose(vec![op.clone()]).await {
            Ok(proposed) => break proposed.position,
            Err(ProposeError::Refused { why }) => return Err(why),
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    };
    let mut progress = raft.progress();
    let applied = progress.wait_for(|progress| progress.applied.unwrap_or(0) >= position.index).await;
    applied.map(|_| ()).map_err(|_| "this node was stopped meanwhile".to_owned())
}

/// Where the cluster was asked, and where the solo life was put; `None` when no join is open.
fn read_target(state_dir: &Path) -> Result<Option<(String, String)>, String> {
    let path = state_dir.join(TARGET_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    match text.lines().collect::<Vec<_>>()[..] {
        [target, archive] => Ok(Some((target.to_owned(), archive.to_owned()))),
        _ => Err(format!("{}: two lines are expected, host:port and the archive's name", path.display())),
    }
}

/// Removes files of the state directory that are there.
fn remove(state_dir: &Path, names: &[&Path]) -> Result<(), String> {
    for name in names {
        match fs::remove_file(state_dir.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", state_dir.join(name).display())),
        }
    }
    Ok(())
}

fn write_import(state_dir: &Path, view: &BanView) -> io::Result<()> {
    let mut bytes = Vec::new();
    for record in view.records() {
        let record = encode_record(&record);
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&record);
    }
    write_synced(state_dir, IMPORT_FILE, &bytes)
}

fn read_import(state_dir: &Path) -> io::Result<Option<BanView>> {
    let mut file = match File::open(state_dir.join(IMPORT_FILE)) {
        Ok(file) => io::BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bans = BanList::new(Settings::at_birth([0; 16]));
    let mut length = [0; 4];
    loop {
        match file.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(bans.view())),
            Err(error) => return Err(error),
        }
        let mut record = Vec::new();
        let n_bytes = u64::from(u32::from_be_bytes(length));
        (&mut file).take(n_bytes).read_to_end(&mut record)?;
        bans.restore(decode_record(&record).map_err(io::Error::other)?);
    }
}

/// Writes a file so that after a power cut there is the old one or the new one.
fn write_synced(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::ids::ClusterId;
    use bannkreis_core::jail::{JailName, Ports};
    use bannkreis_core::subnet::Subnet;
    use bannkreis_core::time::{BanTime, Timestamp};

    #[test]
    fn a_join_that_was_interrupted_before_it_began_goes_on_under_the_same_name() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path();
        let solo = Identity::founding().unwrap();
        solo.write(state_dir).unwrap();
        let info = JoinInfo { cluster: ClusterId([7; 16]), generation: 1, level: 1, n_members: 1 };
        let asked = applicant(state_dir, &info).unwrap();
        // As `prepare` does, up to the moment before the identity is replaced.
        let archive = state_dir.join("solo");
        solo.write(&archive).unwrap();
        write_import(state_dir, &BanList::new(Settings::at_birth([0; 16])).view()).unwrap();
        write_synced(state_dir, TARGET_FILE, b"kopano:7420\nsolo\n").unwrap();
        move_aside(state_dir).unwrap();
        assert!(!is_open(state_dir));
        assert_eq!(Identity::read(state_dir).unwrap(), Some(solo));
        assert_eq!(applicant(state_dir, &info).unwrap(), asked);
    }

    /// A list with one ban of the host with this last octet.
    fn with_ban(octet: u8) -> BanView {
        let at = Timestamp(1_800_000_000_000);
        let operator = Operator {
            command_id: CommandId(u128::from(octet)),
            node: NodeId(1),
            author: String::new(),
            reason: String::new(),
        };
        let ban = Op::OperatorBan {
            operator,
            target: Subnet::host([203, 0, 113, octet].into()),
            jail: JailName::operator(),
            ban_time: BanTime::Ms(3_600_000),
            ports: Ports::whole_host(),
            force: false,
        };
        let mut list = BanList::new(Settings::at_birth([0; 16]));
        let ops = vec![Op::Tick { readings: vec![(NodeId(1), at)] }, ban];
        let level = list.level();
        list.apply(Position::default(), &Command { at, level, ops, ..Command::default() });
        list.view()
    }

    fn banned(state_dir: &Path) -> (Vec<String>, NodeId) {
        let (view, formerly) = brought_along(state_dir).unwrap().expect("a join is open");
        (view.bans().map(|(key, _)| key.subnet.to_string()).collect(), formerly)
    }

    #[test]
    fn a_join_that_is_given_up_half_way_brings_along_what_it_had_wherever_that_is_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path();
        let solo = Identity::founding().unwrap();
        solo.write(state_dir).unwrap();
        let member = Identity::for_joining(ClusterId([7; 16]), 1).unwrap();
        prepare(state_dir, &with_ban(1), solo.node, &member, "kopano:7420").unwrap();
        assert_eq!(banned(state_dir), (vec!["203.0.113.1".to_owned()], solo.node));
        let told = unfinished(state_dir, "no leader").unwrap();
        assert!(told.contains("kopano:7420") && told.contains("no leader"), "{told}");

        // Killed before the next identity is written: the join is open as before.
        prepare_alone(state_dir, &with_ban(2), member.node).unwrap();
        member.write(state_dir).unwrap();
        move_aside(state_dir).unwrap();
        assert!(unfinished(state_dir, "").is_some_and(|told| told.contains("kopano:7420")));
        let (mut bans, formerly) = banned(state_dir);
        bans.sort();
        assert_eq!((bans, formerly), (vec!["203.0.113.1".to_owned(), "203.0.113.2".to_owned()], solo.node));

        prepare_alone(state_dir, &with_ban(3), member.node).unwrap();
        let (mut bans, formerly) = banned(state_dir);
        bans.sort();
        assert_eq!(bans, ["203.0.113.1", "203.0.113.2", "203.0.113.3"]);
        assert_eq!(formerly, member.node);
        assert_eq!(unfinished(state_dir, ""), None);
    }

    #[test]
    fn of_the_archives_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path();
        let archives = || {
            let entries = fs::read_dir(state_dir).unwrap().map(|entry| entry.unwrap().file_name());
            entries.filter(|name| name.to_string_lossy().starts_with(SOLO_PREFIX)).count()
        };
        let mut identity = Identity::founding().unwrap();
        identity.write(state_dir).unwrap();
        for _ in 0..20 {
            fs::create_dir(state_dir.join(LOG_DIR)).unwrap();
            let next = Identity::founding().unwrap();
            prepare(state_dir, &with_ban(1), identity.node, &next, "kopano:7420").unwrap();
            assert!(state_dir.join(format!("{SOLO_PREFIX}{}", identity.node)).join(LOG_DIR).exists());
            identity = next;
        }
        assert!((1..10).contains(&archives()), "{}", archives());
    }
}
