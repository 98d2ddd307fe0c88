//! A copy of the replicated state in one file, that a new host can go on from.
//!
//! ```text
//! magic "BANNKRB1" · format u16 · cluster 16 bytes
//! certificate length u32 · key length u32 · the authority's certificate and key, in PEM
//! CRC-32 of everything up to here u32
//! a snapshot file, as `snapshot.rs` writes it
//! ```
//!
//! All numbers are little-endian. Without keys both lengths are 0. Not for sending the file nor for what is made
//! of it (`recovery.rs`).

use crate::handle::RaftNode;
use crate::membership;
use crate::snapshot::{self, UNFINISHED_SUFFIX};
use crate::types::{LogId, SnapshotMeta, invalid};
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::command::LEVEL;
use bannkreis_core::ids::{ClusterId, NodeId, Position};
use bannkreis_core::time::Timestamp;
use openraft::vote::leader_id_adv::LeaderId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: &[u8; 8] = b"BANNKRB1";
const FORMAT: u16 = 1;
/// Everything before the keys.
const HEAD_BYTES: usize = 8 + 2 + 16 + 4 + 4;
/// A certificate or a key in PEM is some hundred bytes.
const PEM_BYTES_MAX: usize = 64 * 1024;
/// A backup longer than this is not taken in, in bytes: as for snapshots.
pub const BACKUP_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The cluster's authority, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityPem {
    /// Its certificate.
    pub certificate: String,
    /// Its key: whoever has it can make members of the cluster.
    pub key: String,
}

/// What a backup holds.
pub struct Backup {
    /// Whose state.
    pub cluster: ClusterId,
    /// The state.
    pub list: BanList,
    /// The members when it was made: id, name, address.
    pub members: Vec<(NodeId, String, String)>,
    /// The cluster's authority, when it was asked for.
    pub authority: Option<AuthorityPem>,
}

/// What can be said of a backup in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFacts {
    /// Whose state.
    pub cluster: ClusterId,
    /// How far the log was applied, in which generation.
    pub position: Position,
    /// Cluster time there.
    pub now: Timestamp,
    /// The replicated level.
    pub level: u32,
    /// Live bans.
    pub n_bans: u64,
    /// Allow entries.
    pub n_allow: u64,
    /// Names of the members.
    pub members: Vec<String>,
    /// Whether the authority's key is in it.
    pub has_keys: bool,
}

impl Backup {
    /// What can be said of it.
    #[must_use]
    pub fn facts(&self) -> BackupFacts {
        let list = &self.list;
        let mut members: Vec<String> = self.members.iter().map(|(_, name, _)| name.clone()).collect();
        members.sort();
        let live = list.bans().filter(|(_, ban)| !ban.until.is_over(list.now()));
        BackupFacts {
            cluster: self.cluster,
            position: list.position(),
            now: list.now(),
            level: list.level(),
            n_bans: live.count() as u64,
            n_allow: list.allow_list().len() as u64,
            members,
            has_keys: self.authority.is_some(),
        }
    }
}

impl RaftNode {
    /// Writes a backup of this node's state, as it is now, into a file that has no name: it is gone when it is
    /// closed. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn back_up(&self, authority: Option<&AuthorityPem>) -> io::Result<(BackupFacts, File)> {
        let (view, inner) = (self.view(), &self.inner);
        let members = membership::members(&inner.metrics());
        let meta = SnapshotMeta {
            last_log_id: Some(first_log_id(&view, self.node_id())),
            last_membership: (*inner.metrics().membership_config).clone(),
        };
        let file = nameless_file(&inner.snapshots_dir)?;
        let head = head(self.cluster_id(), authority)?;
        snapshot::write_into(&file, &head, self.generation(), &meta, &view)?;
        (&file).seek(SeekFrom::Start(0))?;
        let members = members.into_iter().map(|(node, member)| (NodeId(node), member.name, member.address));
        let backup = Backup {
            cluster: self.cluster_id(),
            list: BanView::unwrap_or_clone(view),
            members: members.collect(),
            authority: authority.cloned(),
        };
        Ok((backup.facts(), file))
    }
}

/// Where a log that begins with this state stands.
pub(crate) fn first_log_id(list: &BanList, node: NodeId) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: node.0 }, index: list.position().index }
}

/// A file in `dir` that is gone when it is closed, readable by this user only.
///
/// # Errors
/// The disk's.
pub fn nameless_file(dir: &Path) -> io::Result<File> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("backup-{}{UNFINISHED_SUFFIX}", COUNTER.fetch_add(1, Ordering::Relaxed)));
    let file =
        OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

pub(crate) fn head(cluster: ClusterId, authority: Option<&AuthorityPem>) -> io::Result<Vec<u8>> {
    let (certificate, key) = authority.map_or(("", ""), |pem| (&pem.certificate, &pem.key));
    let length =
        |pem: &str| u32::try_from(pem.len()).map_err(|_| invalid("a key is too large")).map(u32::to_le_bytes);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + certificate.len() + key.len() + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&cluster.0);
    bytes.extend_from_slice(&length(certificate)?);
    bytes.extend_from_slice(&length(key)?);
    bytes.extend_from_slice(certificate.as_bytes());
    bytes.extend_from_slice(key.as_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Reads a whole backup: every record, every checksum. Blocks on the disk.
///
/// # Errors
/// What is wrong with it: damage, another format, a level above this release's.
pub fn read_backup(file: &File) -> io::Result<Backup> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut input = BufReader::with_capacity(64 * 1024, file);
    let mut bytes = vec![0; HEAD_BYTES];
    input.read_exact(&mut bytes).map_err(|_| invalid("it is too short for a backup of bannkreis"))?;
    if &bytes[..8] != MAGIC {
        return Err(invalid("it does not begin like a backup of bannkreis"));
    }
    let format = u16::from_le_bytes([bytes[8], bytes[9]]);
    if format != FORMAT {
        return Err(invalid(&format!("it has format {format}, this release reads {FORMAT}")));
    }
    let mut cluster = [0; 16];
    cluster.copy_from_slice(&bytes[10..26]);
    let length =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    let (n_certificate, n_key) = (length(26), length(30));
    if n_certificate > PEM_BYTES_MAX || n_key > PEM_BYTES_MAX {
        return Err(invalid(&format!("its keys would be {n_certificate} and {n_key} bytes")));
    }
    bytes.resize(HEAD_BYTES + n_certificate + n_key, 0);
    input.read_exact(&mut bytes[HEAD_BYTES..])?;
    let mut checksum = [0; 4];
    input.read_exact(&mut checksum)?;
    if u32::from_le_bytes(checksum) != crc32fast::hash(&bytes) {
        return Err(invalid("its beginning is damaged"));
    }
    let text =
        |part: &[u8]| String::from_utf8(part.to_vec()).map_err(|_| invalid("its keys are not readable"));
    let (certificate, key) = bytes[HEAD_BYTES..].split_at(n_certificate);
    let (certificate, key) = (text(certificate)?, text(key)?);
    let (header, list) = snapshot::load_from(&mut input, LEVEL)?;
    let nodes = header.meta.last_membership.membership().nodes();
    let members =
        nodes.map(|(node, member)| (NodeId(*node), member.name.clone(), member.address.clone())).collect();
    let authority = (n_certificate > 0 && n_key > 0).then_some(AuthorityPem { certificate, key });
    Ok(Backup { cluster: ClusterId(cluster), list, members, authority })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::settings::Settings;
    use std::io::Write;

    fn written(authority: Option<&AuthorityPem>) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let file = nameless_file(dir.path()).unwrap();
        let mut list = BanList::new(Settings::at_birth([3; 16]));
        list.skip(Position { generation: 2, index: 9 });
        let meta =
            SnapshotMeta { last_log_id: Some(first_log_id(&list, NodeId(1))), ..SnapshotMeta::default() };
        snapshot::write_into(&file, &head(ClusterId([7; 16]), authority).unwrap(), 2, &meta, &list).unwrap();
        (&file).seek(SeekFrom::Start(0)).unwrap();
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).unwrap();
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "it has no name");
        bytes
    }

    fn read(bytes: &[u8]) -> io::Result<Backup> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read_backup(&file)
    }

    #[test]
    fn a_backup_comes_back_as_it_was_with_keys_and_without() {
        let pem = AuthorityPem { certificate: "a certificate".to_string(), key: "a key".to_string() };
        for authority in [None, Some(&pem)] {
            let backup = read(&written(authority)).unwrap();
            assert_eq!(backup.cluster, ClusterId([7; 16]));
            assert!(backup.authority.as_ref() == authority);
            let facts = backup.facts();
            assert_eq!(
                (facts.position, facts.has_keys),
                (Position { generation: 2, index: 9 }, authority.is_some())
            );
            assert_eq!(backup.list.settings().event_key, [3; 16]);
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let pem = AuthorityPem { certificate: "a certificate".to_string(), key: "a key".to_string() };
        let good = written(Some(&pem));
        for at in 0..good.len() {
            assert!(read(&good[..at]).is_err(), "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            assert!(read(&bad).is_err(), "changed at {at}");
        }
        assert!(read(&[good, vec![0]].concat()).is_err());
    }
}
