//! Levels: what this release reads of the log, what happens at the first entry that it does not read, and when
//! the leader raises the level that counts.
//!
//! ```text
//! entry or snapshot that can not be read ─▶ halted: nothing more is applied here, everything is still stored
//!                                             │      this node votes, and leaves leading to others
//!                                             └─ a newer release is installed: it goes on at that entry
//! every member's record reads level n    ─▶ the leader writes RaiseLevel n; from the next entry on n counts
//! ```
//!
//! Guessing would make this node's ban list differ from the others', and stopping altogether would cost the
//! cluster a vote. So openraft goes on believing that entries are applied, while the ban list stays where it is: no
//! snapshot is made of it, so that the log keeps all that is missing. Not for what belongs to which level: that
//! is `bannkreis_core::command`.

use crate::handle::Inner;
use crate::membership::members;
use crate::status::Decided;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{Command, LEVEL, Op};
use bannkreis_core::ids::NodeId;
use bannkreis_proto::convert::{DecodeError, EncodedOp, decode_command_up_to};
use std::fmt;
use tokio::sync::watch;

/// The version of this release, for the sentence that asks for another one.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a release reads of the log. The default is what this one reads; tests make newer ones.
#[derive(Clone, Copy)]
pub struct Release {
    /// The highest level.
    pub(crate) level_max: u32,
    /// Reads the command in an entry, given that level.
    pub(crate) decode: fn(&[u8], u32) -> Result<Command, DecodeError>,
}

impl Default for Release {
    fn default() -> Release {
        Release { level_max: LEVEL, decode: decode_command_up_to }
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a release of level {}", self.level_max)
    }
}

impl Release {
    /// The command in an entry, if this release can carry it out.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Command, DecodeError> {
        let command = (self.decode)(bytes, self.level_max)?;
        let raised = command.ops.iter().filter_map(|op| match op {
            Op::RaiseLevel { level } => Some(*level),
            _ => None,
        });
        match raised.max() {
            // What follows could not be read, and a snapshot of it neither.
            Some(found) if found > self.level_max => {
                Err(DecodeError::Level { found, readable: self.level_max })
            }
            _ => Ok(command),
        }
    }
}

/// Where applying has halted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halt {
    /// What can not be read: "log entry 1.57".
    pub(crate) what: String,
    /// The level that would have to be read, when that is known.
    pub(crate) level: Option<u32>,
    /// The cause, as a sentence.
    pub(crate) why: String,
}

impl Halt {
    pub(crate) fn of(what: String, error: &DecodeError) -> Halt {
        let level = match error {
            DecodeError::Level { found, .. } => Some(*found),
            DecodeError::Field { .. } | DecodeError::Malformed { .. } | DecodeError::TooLong { .. } => None,
        };
        Halt { what, level, why: error.to_string() }
    }

    /// What an operator reads: what is wrong, what holds meanwhile, and the remedy.
    pub(crate) fn sentence(&self, list: &BanList, own: NodeId) -> String {
        let wanted = self.level.unwrap_or(LEVEL + 1);
        let newer = list.nodes().filter(|(node, entry)| *node != own && entry.record.level_max >= wanted);
        let names: Vec<&str> = newer.map(|(_, entry)| &entry.record.name[..]).collect();
        let release = match &names[..] {
            [] => "the release that the other nodes run".to_owned(),
            names => format!("the release that {} runs", names.join(" or ")),
        };
        format!(
            "{} can not be read by this release ({VERSION}): {}. Nothing after it counts here: this host keeps what \
             it blocks, and goes on by its own logs and its peers' notices. Install {release} on this host and \
             restart bannkreisd; it goes on where it has stopped",
            self.what, self.why
        )
    }
}

/// Whether applying has halted, for everybody who has to know.
#[derive(Debug, Default)]
pub(crate) struct Halted {
    halt: watch::Sender<Option<Halt>>,
}

impl Halted {
    /// The first reason counts: nothing is applied after it.
    pub(crate) fn set(&self, halt: Halt) {
        self.halt.send_if_modified(|held| {
            let is_first = held.is_none();
            if is_first {
                tracing::error!("{} can not be read: {}; nothing more is applied", halt.what, halt.why);
                *held = Some(halt);
            }
            is_first
        });
    }

    /// A snapshot that can be read has taken the place of what could not.
    pub(crate) fn clear(&self) {
        self.halt.send_if_modified(|held| held.take().is_some());
    }

    pub(crate) fn get(&self) -> Option<Halt> {
        self.halt.borrow().clone()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.halt.borrow().is_some()
    }
}

/// A node that applies nothing, or has no room for what is written, stands for election only when nobody else has for so many election times: it can
/// answer nobody, but it can hand over.
const STANDS_BACK_ELECTIONS: u64 = 4;

/// Sees to it that such a node leaves leading to others.
pub(crate) fn stand_back(inner: &Inner) {
    let patience_ms = STANDS_BACK_ELECTIONS * inner.timing.election_max_ms;
    let leaves_it =
        (inner.halted.is_set() || inner.room.is_lacking()) && inner.without_leader_ms() < patience_ms;
    inner.raft.runtime_config().elect(!leaves_it);
}

/// What the leader does about the level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is the highest that the leader can read.
    Nothing,
    /// Some member can not read more. Why, as a sentence.
    Waits(String),
    /// This level counts from now on.
    Raise(u32),
}

/// What is to be done, given the members with their names and what the leader itself can read.
pub(crate) fn due(list: &BanList, members: &[(NodeId, String)], level_max: u32) -> Due {
    let level = list.level();
    if level_max <= level {
        return Due::Nothing;
    }
    let reads = |node: NodeId| list.node(node).map_or(0, |entry| entry.record.level_max);
    let lowest = members.iter().min_by_key(|(node, _)| reads(*node));
    let Some((node, name)) = lowest else { return Due::Nothing };
    match reads(*node).min(level_max) {
        0 => Due::Waits(format!("{name} has not said yet what it can read")),
        readable if readable > level => Due::Raise(readable),
        readable => Due::Waits(format!(
            "{name} reads up to level {readable}, and this leader up to {level_max}: install the newer release there"
        )),
    }
}

/// The leader raises the level when every member can read the next one. Says what it did, or waits for.
pub(crate) async fn steer(inner: &Inner) -> Option<Decided> {
    let look = || {
        let members = members(&inner.metrics()).into_iter();
        let members: Vec<_> = members.map(|(node, member)| (NodeId(node), member.name)).collect();
        due(&inner.views.borrow(), &members, inner.release.level_max)
    };
    let mut due = look();
    if matches!(due, Due::Raise(_)) {
        // Nobody who reads less may come in between.
        let _nobody_joins = inner.joining.write().await;
        due = look();
        if let Due::Raise(level) = due
            && inner.propose_here(vec![EncodedOp::new(Op::RaiseLevel { level })]).await.is_ok()
        {
            tracing::info!("all members read level {level}: it counts from now on");
        }
    }
    match due {
        Due::Nothing => None,
        Due::Waits(why) => Some(Decided::new("level", "wait", why)),
        Due::Raise(level) => Some(Decided::new(
            "level",
            "raise",
            format!("all members read level {level}: it counts from now on"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::empty_list;
    use bannkreis_core::ids::Position;
    use bannkreis_core::node_record::NodeRecord;

    #[test]
    fn the_level_is_raised_when_the_last_one_can_read_it() {
        let mut list = empty_list();
        let say = |list: &mut BanList, ops: Vec<(u64, u32)>| {
            let record = |(node, level_max): (u64, u32)| {
                Op::NodeSeen(NodeRecord { node: NodeId(node), level_max, ..NodeRecord::default() })
            };
            let position = Position { generation: 1, index: list.position().index + 1 };
            let ops = ops.into_iter().map(record).collect();
            list.apply(position, &Command { level: 1, ops, ..Command::default() });
        };
        let members: Vec<_> = (1..=3).map(|node| (NodeId(node), format!("mx{node}"))).collect();
        let waits_for = |list: &BanList, name: &str| match due(list, &members, 3) {
            Due::Waits(why) => assert!(why.contains(name), "{why}"),
            other => panic!("{other:?}"),
        };
        say(&mut list, vec![(1, 3), (2, 2)]);
        waits_for(&list, "mx3 has not said");
        say(&mut list, vec![(3, 1)]);
        waits_for(&list, "mx3 reads up to level 1");
        // As far as all can, and no further.
        say(&mut list, vec![(3, 3)]);
        assert_eq!(due(&list, &members, 3), Due::Raise(2));
        say(&mut list, vec![(2, 4)]);
        assert_eq!(due(&list, &members, 3), Due::Raise(3));
        // A leader raises nothing that it can not read itself.
        assert_eq!(due(&list, &members, 1), Due::Nothing);
        // Who is no member is not asked.
        say(&mut list, vec![(9, 1)]);
        assert_eq!(due(&list, &members, 3), Due::Raise(3));
    }

    #[test]
    fn a_halted_node_names_the_remedy() {
        let mut list = empty_list();
        let record =
            NodeRecord { node: NodeId(2), name: "kerio".to_owned(), level_max: 9, ..NodeRecord::default() };
        let ops = vec![Op::NodeSeen(record)];
        list.apply(Position { generation: 1, index: 1 }, &Command { level: 1, ops, ..Command::default() });
        let error = DecodeError::Level { found: 9, readable: LEVEL };
        let sentence = Halt::of("log entry 1.57".to_owned(), &error).sentence(&list, NodeId(1));
        for part in
            ["log entry 1.57", "level 9", "keeps what it blocks", "the release that kerio runs", "restart"]
        {
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
