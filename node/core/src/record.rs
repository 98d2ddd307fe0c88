//! The ban list as a sequence of records, for snapshots: written one by one from a view, read back one
//! by one, so that no second copy of a million bans is ever held.
//!
//! Not for the wire form of the records (`proto`), nor for files (`bannkreis-raft`).

use crate::allow_list::AllowEntry;
use crate::ban::Ban;
use crate::ban_list::{BanList, NodeEntry, TOKENS_MAX, Tombstone};
use crate::change::{BanKey, Outcome, Voided};
use crate::history::PastBans;
use crate::ids::{CommandId, NodeId, Position};
use crate::quota::Quota;
use crate::settings::Settings;
use crate::shards::SHARD_GROUPS;
use crate::subnet::Subnet;
use crate::time::Timestamp;
use crate::voters_clocks::{CLOCKS_MAX, ClockRead};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One piece of a ban list. The head comes first, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// What there is one of.
    Head(Head),
    /// A node.
    Node(Box<NodeEntry>),
    /// An allow entry.
    Allow(AllowEntry),
    /// Somebody was let go.
    Tombstone {
        /// Who.
        subnet: Subnet,
        /// Which evidence is void.
        voided: Voided,
        /// When.
        tombstone: Tombstone,
    },
    /// A node's quota.
    Quota {
        /// The node.
        node: NodeId,
        /// Its bucket.
        quota: Quota,
    },
    /// What came of an operator's command; the oldest first.
    Outcome {
        /// Which.
        command_id: CommandId,
        /// A digest of what it asked for: whatever else has this id is another command.
        asked: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// What a voter's clock said when it was last read.
    Clock {
        /// Whose.
        node: NodeId,
        /// What it said.
        read: ClockRead,
    },
    /// A join token.
    Token {
        /// SHA-256 of it.
        hash: Vec<u8>,
        /// When it ends.
        expires: Timestamp,
    },
    /// A ban.
    Ban {
        /// Which.
        key: BanKey,
        /// The ban.
        ban: Ban,
    },
    /// History.
    Past {
        /// Of which.
        key: BanKey,
        /// The history.
        past: PastBans,
    },
}

/// What a ban list has one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How far the log was applied.
    pub position: Position,
    /// Cluster time there.
    pub now: Timestamp,
    /// When the voters' clocks were last read.
    pub last_tick: Timestamp,
    /// The level that counts.
    pub level: u32,
    /// Replicated settings.
    pub settings: Settings,
    /// Where the next sweep goes on.
    pub sweep_next: u32,
    /// Below this, tombstones may be gone.
    pub tombstone_floor: Tombstone,
}

impl BanList {
    /// All records, the head first. Putting them into an empty list gives an equal list.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let head = Record::Head(Head {
            position: self.position,
            now: self.now,
            last_tick: self.last_tick,
            level: self.level,
            settings: self.settings,
            sweep_next: u32::try_from(self.sweep_next).unwrap_or(0),
            tombstone_floor: self.tombstone_floor,
        });
        let nodes = self.nodes.values().map(|entry| Record::Node(Box::new(entry.clone())));
        let allow = self.allow.iter().map(|(_, entry)| Record::Allow(entry.clone()));
        let tombstones = self.tombstones().map(|(subnet, voided, tombstone)| Record::Tombstone {
            subnet,
            voided: voided.clone(),
            tombstone: *tombstone,
        });
        let quotas = self.quotas.iter().map(|(&node, &quota)| Record::Quota { node, quota });
        let outcomes = self.outcomes.iter().map(|(command_id, asked, outcome)| Record::Outcome {
            command_id,
            asked,
            outcome: outcome.clone(),
        });
        let clocks = self.voters_clocks.iter().map(|(&node, &read)| Record::Clock { node, read });
        let tokens =
            self.tokens.iter().map(|(hash, expires)| Record::Token { hash: hash.clone(), expires: *expires });
        let bans = self.bans().map(|(key, ban)| Record::Ban { key: key.clone(), ban: ban.clone() });
        let pasts = self.pasts().map(|(key, past)| Record::Past { key: key.clone(), past: *past });
        core::iter::once(head)
            .chain(nodes)
            .chain(allow)
            .chain(tombstones)
            .chain(quotas)
            .chain(outcomes)
            .chain(clocks)
            .chain(tokens)
            .chain(bans)
            .chain(pasts)
    }

    /// Takes one record in, when reading a snapshot into an empty list.
    pub fn restore(&mut self, record: Record) {
        match record {
            Record::Head(head) => {
                self.position = head.position;
                self.now = head.now;
                self.last_tick = head.last_tick;
                self.level = head.level;
                self.settings = head.settings;
                self.sweep_next = usize::try_from(head.sweep_next).unwrap_or(0) % SHARD_GROUPS;
                self.tombstone_floor = head.tombstone_floor;
            }
            Record::Node(entry) => {
                Arc::make_mut(&mut self.nodes).insert(entry.record.node, *entry);
                self.recount_cluster_addresses();
            }
            Record::Allow(entry) => {
                Arc::make_mut(&mut self.allow).insert(entry.subnet, entry);
            }
            Record::Tombstone { subnet, voided, tombstone } => self.put_tombstone(subnet, voided, tombstone),
            Record::Quota { node, quota } => {
                Arc::make_mut(&mut self.quotas).insert(node, quota);
            }
            Record::Outcome { command_id, asked, outcome } => {
                Arc::make_mut(&mut self.outcomes).remember(command_id, asked, outcome);
            }
            Record::Clock { node, read } => {
                if self.voters_clocks.len() < CLOCKS_MAX {
                    Arc::make_mut(&mut self.voters_clocks).insert(node, read);
                }
            }
            Record::Token { hash, expires } => {
                if self.tokens.len() < TOKENS_MAX {
                    Arc::make_mut(&mut self.tokens).insert(hash, expires);
                }
            }
            Record::Ban { key, mut ban } => {
                let key = self.shared_key(key.subnet, &key.jail);
                ban.ports = self.shared_ports(&ban.ports);
                self.put_ban(key, ban);
            }
            Record::Past { key, past } => {
                let key = self.shared_key(key.subnet, &key.jail);
                self.shards.insert_past(key, past);
            }
        }
    }
}
