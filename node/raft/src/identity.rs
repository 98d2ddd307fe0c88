//! The file `identity`: which cluster this node belongs to, in which generation, under which id.
//!
//! ```text
//! format = 2
//! cluster = 0f4c6a52-93b1-4c0e-8d5e-1f0b6a7c2d3e
//! generation = 1
//! node = 5f1c0a9b3d7e2f48
//! stage = member
//! check = 3d9a41c0
//! ```
//!
//! `check` is the CRC-32 of the values before it, so that a flipped bit does not make another node of this one, whose log
//! would be put aside. Format 1 has no `check`, and is read.
//!
//! It is written once when a node is born or joins, and once more when its Raft log exists (`stage`):
//! from then on an identity without a log means that the log was lost, and a node without its log
//! must never take part under the same id, because it has forgotten what it voted for.

use crate::random::random_bytes;
use bannkreis_core::ids::{ClusterId, NodeId};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file's name in the state directory.
const FILE: &str = "identity";
/// The file's format.
const FORMAT: u32 = 2;
/// The one before: without a check.
const FORMAT_UNCHECKED: u32 = 1;
/// A check is written with so many hexadecimal digits.
const CHECK_DIGITS: usize = 8;
/// The file is a few lines; whatever is longer is something else.
const FILE_BYTES_MAX: u64 = 4_096;

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is making a cluster of its own; its log may not be there yet.
    Founding,
    /// It is about to join a cluster; its log may not be there yet.
    Joining,
    /// It begins a new generation of its cluster with the snapshot that lies there; its log may not be there yet.
    Recovering,
    /// Its log is there, and without it the id must not be used any more.
    Member,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Founding => "founding",
            Stage::Joining => "joining",
            Stage::Recovering => "recovering",
            Stage::Member => "member",
        }
    }

    fn parse(name: &str) -> Option<Stage> {
        let all = [Stage::Founding, Stage::Joining, Stage::Recovering, Stage::Member];
        all.into_iter().find(|stage| stage.name() == name)
    }
}

/// Who this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// Counts the cluster's recoveries, from 1 on.
    pub generation: u32,
    /// This node: random 63 bits, never 0, never used again by another.
    pub node: NodeId,
    /// How far it has come.
    pub stage: Stage,
}

/// Why the identity can not be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file says something that makes no sense.
    #[error(
        "{path}:{line}: {what}; restore the file from a backup, or move the whole state directory away \
         and join the cluster again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on; 0 when a line is missing.
        line: usize,
        /// What is wrong, with the value.
        what: String,
    },
}

impl Identity {
    /// A new cluster of one, with a new id.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn founding() -> io::Result<Identity> {
        let cluster = ClusterId(random_uuid()?);
        Ok(Identity { cluster, generation: 1, node: random_node_id()?, stage: Stage::Founding })
    }

    /// A new id in an existing cluster.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn for_joining(cluster: ClusterId, generation: u32) -> io::Result<Identity> {
        Ok(Identity { cluster, generation, node: random_node_id()?, stage: Stage::Joining })
    }

    /// The identity in the state directory `dir`; `None` when there is none.
    ///
    /// # Errors
    /// When the file is there and can not be read, or is damaged.
    pub fn read(dir: &Path) -> Result<Option<Identity>, IdentityError> {
        let path = dir.join(FILE);
        let failed = |error| IdentityError::Io { path: path.clone(), error };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                let what = format!("{} bytes long, an identity has {FILE_BYTES_MAX} at most", metadata.len());
                return Err(IdentityError::Damaged { path, line: 0, what });
            }
            Ok(_) => {}
        }
        let text = fs::read(&path).map_err(failed)?;
        let text = String::from_utf8_lossy(&text);
        parse(&text).map(Some).map_err(|(line, what)| IdentityError::Damaged { path, line, what })
    }

    /// Writes it durably: a temporary file, fsync, rename, fsync of the directory.
    ///
    /// # Errors
    /// When one of these fails; the file that was there before is then still there.
    pub fn write(&self, dir: &Path) -> Result<(), IdentityError> {
        let path = dir.join(FILE);
        let failed = |error| IdentityError::Io { path: path.clone(), error };
        fs::create_dir_all(dir).map_err(failed)?;
        let temporary = dir.join(format!("{FILE}.tmp"));
        let mut file = File::create(&temporary).map_err(failed)?;
        file.write_all(self.to_string().as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Who this bannkreis node is. Never copy it to another host.")?;
        writeln!(f, "format = {FORMAT}")?;
        writeln!(f, "cluster = {}", self.cluster)?;
        writeln!(f, "generation = {}", self.generation)?;
        writeln!(f, "node = {}", self.node)?;
        writeln!(f, "stage = {}", self.stage.name())?;
        writeln!(f, "check = {:08x}", self.check())
    }
}

impl Identity {
    /// Of its values.
    fn check(&self) -> u32 {
        let values = [self.cluster.to_string(), self.generation.to_string(), self.node.to_string()];
        crc32fast::hash(format!("{} {}", values.join(" "), self.stage.name()).as_bytes())
    }
}

type Complaint = (usize, String);

fn parse(text: &str) -> Result<Identity, Complaint> {
    const NAMES: [&str; 6] = ["format", "cluster", "generation", "node", "stage", "check"];
    let mut fields: [Option<(usize, &str)>; NAMES.len()] = [None; NAMES.len()];
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (name, value) =
            content.split_once('=').ok_or_else(|| (line, format!("{content:?} is not `name = value`")))?;
        let name = name.trim();
        let n = NAMES
            .iter()
            .position(|known| *known == name)
            .ok_or_else(|| (line, format!("unknown field {name:?}")))?;
        if fields[n].replace((line, value.trim())).is_some() {
            return Err((line, format!("{name:?} is there twice")));
        }
    }
    let field = |n: usize| fields[n].ok_or_else(|| (0, format!("the field {:?} is missing", NAMES[n])));
    let (line, format) = field(0)?;
    let is_checked = match format.parse() {
        Ok(FORMAT) => true,
        Ok(FORMAT_UNCHECKED) => false,
        _ => {
            let readable = format!("{FORMAT_UNCHECKED} and {FORMAT}");
            return Err((line, format!("format {format:?} is unknown, this release reads {readable}")));
        }
    };
    let bad = |(line, value): (usize, &str), wanted: &str| (line, format!("{value:?} is not {wanted}"));
    let cluster = field(1)?;
    let generation = field(2)?;
    let node = field(3)?;
    let stage = field(4)?;
    let identity = Identity {
        cluster: parse_cluster_id(cluster.1).ok_or_else(|| bad(cluster, "a UUID"))?,
        generation: generation
            .1
            .parse()
            .ok()
            .filter(|generation| *generation > 0)
            .ok_or_else(|| bad(generation, "a generation from 1 on"))?,
        node: parse_node_id(node.1).ok_or_else(|| bad(node, "a node id of 16 hexadecimal digits"))?,
        stage: Stage::parse(stage.1).ok_or_else(|| bad(stage, "founding, joining, recovering or member"))?,
    };
    if is_checked {
        let check = field(5)?;
        if u32::from_str_radix(check.1, 16) != Ok(identity.check()) || check.1.len() != CHECK_DIGITS {
            return Err(bad(check, "the check of the values above: one of them is damaged, or it is"));
        }
    }
    Ok(identity)
}

/// A cluster id as [`ClusterId`] displays it.
pub(crate) fn parse_cluster_id(text: &str) -> Option<ClusterId> {
    let digits = text.replace('-', "");
    let id = u128::from_str_radix(&digits, 16).ok().map(|id| ClusterId(id.to_be_bytes()))?;
    (id.to_string() == text).then_some(id)
}

/// A node id as [`NodeId`] displays it.
pub(crate) fn parse_node_id(text: &str) -> Option<NodeId> {
    let id = u64::from_str_radix(text, 16).ok().map(NodeId)?;
    (id.to_string() == text && id.0 != 0).then_some(id)
}

/// RFC 9562 §5.4: version 4, random.
fn random_uuid() -> io::Result<[u8; 16]> {
    let mut bytes: [u8; 16] = random_bytes()?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Ok(bytes)
}

fn random_node_id() -> io::Result<NodeId> {
    let id = u64::from_be_bytes(random_bytes()?) >> 1;
    // 0 means "nobody" on the wire; it comes once in 2^63 times.
    Ok(NodeId(id.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::read(dir.path()).unwrap().is_none());
        let born = Identity::founding().unwrap();
        born.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(born));
        let joining = Identity::for_joining(born.cluster, 3).unwrap();
        assert_ne!(joining.node, born.node);
        joining.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(joining));
    }

    #[test]
    fn every_torn_file_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let text = Identity::founding().unwrap().to_string();
        // All but the last line break may be missing.
        for length in 0..text.len() - 1 {
            fs::write(dir.path().join(FILE), &text[..length]).unwrap();
            let why = Identity::read(dir.path()).expect_err(&text[..length]).to_string();
            assert!(why.contains("/identity:") && why.contains("restore"), "{why}");
        }
    }

    #[test]
    fn no_flipped_bit_makes_another_node_of_it() {
        let born = Identity::founding().unwrap();
        let text = born.to_string();
        for at in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at / 8] ^= 1 << (at % 8);
            if let Ok(read) = parse(&String::from_utf8_lossy(&bytes)) {
                assert_eq!(read, born, "bit {at}");
            }
        }
    }

    #[test]
    fn what_this_and_the_previous_format_say_is_read() {
        let identity = Identity {
            cluster: parse_cluster_id("0f4c6a52-93b1-4c0e-8d5e-1f0b6a7c2d3e").unwrap(),
            generation: 3,
            node: parse_node_id("5f1c0a9b3d7e2f48").unwrap(),
            stage: Stage::Member,
        };
        assert_eq!(parse(include_str!("../golden/identity-1")), Ok(identity));
        assert_eq!(parse(include_str!("../golden/identity-2")), Ok(identity));
        assert_eq!(identity.to_string(), include_str!("../golden/identity-2"));
    }

    #[test]
    fn damage_is_named() {
        let good = Identity::founding().unwrap().to_string();
        let node = good.lines().find(|line| line.starts_with("node")).unwrap();
        for (bad, line, says) in [
            (good.replace("format = 2", "format = 9"), 2, "\"9\" is unknown"),
            (good.replace(node, "node = 5f1c"), 5, "16 hexadecimal digits"),
            (good.replace(node, "node = 0000000000000000"), 5, "16 hexadecimal digits"),
            (good.replace("founding", "leading"), 6, "\"leading\" is not founding"),
            (good.replace("generation = 1", "generation = 0"), 4, "from 1 on"),
            (good.replace("generation = 1\n", ""), 0, "\"generation\" is missing"),
            (good.replace("check = ", "check = 0"), 7, "one of them is damaged"),
            (format!("{good}colour = red\n"), 8, "unknown field \"colour\""),
            (format!("{good}{node}\n"), 8, "twice"),
        ] {
            let (at, what) = parse(&bad).unwrap_err();
            assert_eq!(at, line, "{bad}");
            assert!(what.contains(says), "{what}");
        }
    }
}
