//! How a ban list goes over into a new generation: a cluster that lost its majority, or that is set back to a
//! backup, begins anew with one node, and keeps all it knew.
//!
//! What changes is who speaks: every node of before is given up, so that nothing is believed of it and its
//! addresses are nobody's, and the one that goes on has a new id. Where the clocks of before were wrong, all
//! times are moved by the same length, so that every ban keeps what is left of it.
//!
//! A node that leaves takes its list along as well, and its host closes the same ports as before.
//!
//! Not for files and logs (`bannkreis-raft`), nor for who may begin a generation.

use crate::apply::hold_origin;
use crate::ban::{Ban, Origin, Origins};
use crate::ban_list::{BanList, NodeEntry, Tombstone};
use crate::change::BanKey;
use crate::ids::{NodeId, Position};
use crate::quota::Quota;
use crate::record::{Head, Record};
use crate::time::{Timestamp, Until};
use crate::voters_clocks::ClockRead;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Moves times from one clock to another by the same length each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeShift {
    /// What time it was.
    pub from: Timestamp,
    /// What time that is by the other clock.
    pub to: Timestamp,
}

impl TimeShift {
    /// `at` by the other clock. The beginning of time stays where it is: it stands for "never".
    #[must_use]
    pub fn of(self, at: Timestamp) -> Timestamp {
        if at == Timestamp::ZERO {
            return at;
        }
        at.plus_ms(self.to.ms_since(self.from)).minus_ms(self.from.ms_since(self.to))
    }

    /// An end by the other clock; for ever stays for ever.
    #[must_use]
    pub fn of_end(self, until: Until) -> Until {
        until.end().map_or(until, |end| Until::at(self.of(end)))
    }
}

/// The beginning of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGeneration {
    /// Its number: higher than that of the list.
    pub generation: u32,
    /// The one node it begins with, under an id that was never used.
    pub node: NodeId,
    /// Under which ids the same host was known before.
    pub formerly: Vec<NodeId>,
    /// What time it is; `None` goes on from the list's own time.
    pub now: Option<Timestamp>,
}

impl NewGeneration {
    fn renamed(&self, node: NodeId) -> NodeId {
        if self.formerly.contains(&node) { self.node } else { node }
    }
}

impl BanList {
    /// This list as `new` begins with it, at the same log index.
    #[must_use]
    pub fn in_generation(&self, new: &NewGeneration) -> BanList {
        let shift = TimeShift { from: self.now, to: new.now.unwrap_or(self.now) };
        let mut list = BanList::new(self.settings);
        for record in self.records() {
            if let Some(record) = carried_over(record, new, shift) {
                list.restore(record);
            }
        }
        list
    }
}

impl BanList {
    /// This list as `node` takes it along when it goes on alone. There every ban will count as its own, and close what
    /// it asks for and no more: so what it closes there by its reach is written into it.
    #[must_use]
    pub fn taken_by(&self, node: NodeId) -> BanList {
        let there = self.elsewhere(node);
        let mut list = self.clone();
        let theirs: Vec<BanKey> = self
            .bans()
            .filter(|(_, ban)| ban.origins.iter().all(|origin| origin.node != node))
            .map(|(key, _)| key.clone())
            .collect();
        for key in theirs {
            let Some(ban) = self.ban(&key) else { continue };
            let ports = list.shared_ports(&there.closes(&key, ban));
            list.put_ban(key, Ban { ports, ..ban.clone() });
        }
        list
    }

    /// Time has passed that no command has told of: what has ended since is over.
    pub fn pass_to(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.last_tick = self.last_tick.max(now);
    }
}

fn carried_over(record: Record, new: &NewGeneration, shift: TimeShift) -> Option<Record> {
    Some(match record {
        Record::Head(head) => Record::Head(Head {
            position: Position { generation: new.generation, index: head.position.index },
            now: shift.of(head.now),
            // Whoever sets the time has read the clocks: stamps go on from there.
            last_tick: if new.now.is_some() { shift.of(head.now) } else { head.last_tick },
            tombstone_floor: tombstone(head.tombstone_floor, shift),
            ..head
        }),
        Record::Node(entry) if new.formerly.contains(&entry.record.node) => {
            let mut entry = NodeEntry { untrusted: false, revoked: false, ..*entry };
            entry.record.node = new.node;
            Record::Node(Box::new(entry))
        }
        Record::Node(entry) => Record::Node(Box::new(given_up(*entry))),
        Record::Allow(mut entry) => {
            entry.until = shift.of_end(entry.until);
            Record::Allow(entry)
        }
        Record::Tombstone { subnet, mut voided, tombstone: held } => {
            voided.origin = voided.origin.map(|origin| new.renamed(origin));
            Record::Tombstone { subnet, voided, tombstone: tombstone(held, shift) }
        }
        Record::Quota { node, quota } => {
            Record::Quota { node: new.renamed(node), quota: Quota { at: shift.of(quota.at), ..quota } }
        }
        record @ Record::Outcome { .. } => record,
        // Of the others nobody will read a clock again, and the own one may just have been set.
        Record::Clock { node, read } if new.now.is_none() && new.formerly.contains(&node) => {
            let ClockRead { clock, at } = read;
            Record::Clock { node: new.node, read: ClockRead { clock, at: shift.of(at) } }
        }
        Record::Clock { .. } => return None,
        Record::Token { hash, expires } => Record::Token { hash, expires: shift.of(expires) },
        Record::Ban { key, ban } => Record::Ban { key, ban: moved_ban(ban, new, shift) },
        Record::Past { key, mut past } => {
            past.last_since = shift.of(past.last_since);
            past.last_end = shift.of(past.last_end);
            Record::Past { key, past }
        }
    })
}

/// Its name stays, for the bans that it has brought in. Its key may come back under another id, unless it was
/// revoked before.
fn given_up(mut entry: NodeEntry) -> NodeEntry {
    if !entry.revoked {
        entry.record.key_fingerprint.clear();
    }
    for addresses in [&mut entry.record.own, &mut entry.record.gateways, &mut entry.record.resolvers] {
        addresses.clear();
    }
    entry.record.jails.clear();
    entry.record.reaches.clear();
    NodeEntry { record: entry.record, pending: Vec::new(), untrusted: entry.untrusted, revoked: true }
}

fn tombstone(held: Tombstone, shift: TimeShift) -> Tombstone {
    Tombstone { at: shift.of(held.at), ..held }
}

fn moved_ban(mut ban: Ban, new: &NewGeneration, shift: TimeShift) -> Ban {
    let mut origins = Origins::with_capacity(ban.origins.len());
    for origin in &ban.origins {
        let moved = Origin { node: new.renamed(origin.node), until: shift.of_end(origin.until) };
        hold_origin(&mut origins, moved);
    }
    ban.origins = origins;
    ban.since = shift.of(ban.since);
    ban.until = shift.of_end(ban.until);
    ban.damped_by = ban.damped_by.map(|node| new.renamed(node));
    ban
}
