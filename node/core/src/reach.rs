//! Reach: what a ban closes on nodes other than those whose logs have seen the attack.
//!
//! The cluster's setting says it for all jails, and a node for its own. Not for what is closed where the attack was seen:
//! that are the jail's ports there (`warden/reaching.rs` puts the two together).

use crate::ban::{Ban, Origin};
use crate::ban_list::BanList;
use crate::change::BanKey;
use crate::ids::NodeId;
use crate::jail::{JailName, Ports};

/// What a ban closes on nodes other than its origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// The jail's ports and those of all jails of the node; a node without jails closes all.
    #[default]
    Guarded,
    /// The jail's ports only.
    Ports,
    /// Everything.
    Host,
}

impl Reach {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reach::Guarded => "guarded",
            Reach::Ports => "ports",
            Reach::Host => "host",
        }
    }

    /// The one that `word` stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Reach> {
        [Reach::Guarded, Reach::Ports, Reach::Host].into_iter().find(|reach| reach.as_str() == word)
    }

    /// The one that closes more.
    #[must_use]
    pub fn or_wider(self, other: Reach) -> Reach {
        let rank = |reach| match reach {
            Reach::Ports => 0,
            Reach::Guarded => 1,
            Reach::Host => 2,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// What a ban closes on a node that did not see the attack. `ports`: the ban's, and those of the node's own jail
    /// of that name; `guarded`: the ports of all its jails, if it has any.
    #[must_use]
    pub fn closes(self, ports: Ports, guarded: Option<&Ports>) -> Ports {
        match self {
            Reach::Host => Ports::whole_host(),
            Reach::Ports => ports,
            Reach::Guarded => guarded.map_or_else(Ports::whole_host, |guarded| ports.union(guarded)),
        }
    }
}

impl BanList {
    /// What a ban of `jail` closes on nodes other than its origins: the widest of what these say of their jail, where
    /// one that says nothing means the setting.
    #[must_use]
    pub fn reach_of(&self, jail: &JailName, origins: &[Origin]) -> Reach {
        let said = origins.iter().map(|origin| {
            let record = self.node(origin.node).map(|entry| &entry.record);
            let of_jail = record.and_then(|record| record.reaches.iter().find(|(name, _)| name == jail));
            of_jail.map_or(self.settings().reach, |(_, reach)| *reach)
        });
        said.reduce(Reach::or_wider).unwrap_or(self.settings().reach)
    }

    /// What bans close on `node`, by what that says of its jails.
    #[must_use]
    pub fn elsewhere(&self, node: NodeId) -> Elsewhere<'_> {
        let jails = self.node(node).map(|entry| &entry.record.jails[..]).unwrap_or_default();
        let guarded = jails.iter().map(|(_, ports)| ports.clone()).reduce(|all, ports| all.union(&ports));
        Elsewhere { list: self, jails, guarded }
    }
}

/// A node that did not ask for a ban.
#[derive(Debug)]
pub struct Elsewhere<'l> {
    list: &'l BanList,
    jails: &'l [(JailName, Ports)],
    /// The ports of all its jails, if it has any.
    guarded: Option<Ports>,
}

impl Elsewhere<'_> {
    /// What `ban` closes there.
    #[must_use]
    pub fn closes(&self, key: &BanKey, ban: &Ban) -> Ports {
        let own = self.jails.iter().filter(|(name, _)| *name == key.jail);
        let ports = own.fold(ban.ports.clone(), |all, (_, ports)| all.union(ports));
        self.list.reach_of(&key.jail, &ban.origins).closes(ports, self.guarded.as_ref())
    }
}
