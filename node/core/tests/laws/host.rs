//! One node with its warden, the ban list that it applies, and the time: what laws about one host share.
//!
//! Not for hosts that hear each other: that is `reports.rs`, and the simulation's.

use crate::generated::{BEGIN, MEMBERS, command, list, position};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::Op;
use bannkreis_core::event::{Configuration, Effect, Event};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::Jail;
use bannkreis_core::time::{Now, Timestamp};
use bannkreis_core::warden::Warden;

/// See the module. It has not caught up yet.
pub(crate) struct Host {
    pub(crate) warden: Warden,
    pub(crate) list: BanList,
    pub(crate) at: Timestamp,
    /// The host's own clock is so far ahead of the cluster's, in ms.
    pub(crate) wall_ahead_ms: u64,
    index: u64,
}

impl Host {
    /// Node 1, with this jail.
    pub(crate) fn of(jail: Jail) -> Host {
        let (list, index) = list();
        let warden = Warden::new(NodeId(1), list.view(), Vec::new(), Vec::new());
        let mut host = Host { warden, list, at: BEGIN, wall_ahead_ms: 0, index };
        host.step(Event::Configured(Configuration { jails: vec![jail], ..Configuration::default() }));
        host
    }

    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let wall = self.at.plus_ms(self.wall_ahead_ms);
        self.warden.step(Now::known(self.at, wall), event, &mut effects);
        effects
    }

    /// The cluster commits these operations, with a look at all clocks before them.
    pub(crate) fn apply(&mut self, ops: Vec<Op>) -> Vec<Effect> {
        self.index += 1;
        let readings = MEMBERS.iter().map(|node| (*node, self.at)).collect();
        let ops = std::iter::once(Op::Tick { readings }).chain(ops).collect();
        let changes = self.list.apply(position(self.index), &command(self.at, ops)).changes;
        self.step(Event::Applied { view: self.list.view(), changes })
    }
}
