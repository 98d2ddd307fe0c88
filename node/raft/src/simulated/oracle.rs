//! What must be true of a world, watched while it is lived: it knows what clients were told and what nodes show, and
//! nothing of how they come to it. Also what happened, as a trace, and how often.
//!
//! Not for causing anything.

use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Command;
use bannkreis_core::ids::{NodeId, Position};
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Views of so many positions are kept to compare others with; the oldest go.
const VIEWS_MAX: usize = 2_000;

/// Nothing that was acknowledged is missing where it was applied.
pub(super) const ACKNOWLEDGED: &str = "what is acknowledged stays";
/// Two nodes at the same position have equal ban lists.
pub(super) const EQUAL: &str = "equal positions, equal lists";
/// What one node has executed at a place of the log, no other executes something else there.
pub(super) const SAME_COMMAND: &str = "same place, same command";
/// A leader's lead ends with its life. (That a term has one leader is none of openraft's promises: a lead is one of a
/// term and a node, and the later of two in one term counts.)
pub(super) const NO_LEADING_ON: &str = "a restarted leader is elected again";
/// No node ends its part for faults that it must survive, and no start is refused.
pub(super) const GOES_ON: &str = "a node goes on";
/// When the faults have ended, all agree, and something new is committed.
pub(super) const HEALS: &str = "the cluster heals";

/// A promise was broken.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) promise: String,
    pub(super) how: String,
}

/// What a client knows of one subnet since its last command was acknowledged.
#[derive(Clone, Copy)]
struct Settled {
    position: Position,
    is_banned: bool,
}

/// See the module.
pub(super) struct Oracle {
    seen: Mutex<Seen>,
    began: Instant,
    prints: bool,
}

struct Seen {
    settled: BTreeMap<u32, Settled>,
    views: BTreeMap<Position, (usize, BanView)>,
    commands: BTreeMap<Position, (usize, Arc<Command>)>,
    /// In which life of its host a node has led in a term.
    leads: BTreeMap<(u64, NodeId), u32>,
    broken: Option<Broken>,
    happened: BTreeMap<&'static str, u64>,
    trace_hash: u64,
}

/// The ban that the `n`-th subnet gets.
pub(super) fn key(n: u32) -> BanKey {
    BanKey { subnet: subnet(n), jail: jail() }
}

pub(super) fn subnet(n: u32) -> Subnet {
    Subnet::host(Ipv4Addr::from(0x0909_0000 + n).into())
}

pub(super) fn jail() -> JailName {
    JailName::new("sshd").unwrap()
}

impl Oracle {
    pub(super) fn new(prints: bool) -> Oracle {
        let seen = Seen {
            settled: BTreeMap::new(),
            views: BTreeMap::new(),
            commands: BTreeMap::new(),
            leads: BTreeMap::new(),
            broken: None,
            happened: BTreeMap::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
        };
        Oracle { seen: Mutex::new(seen), began: Instant::now(), prints }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line for the trace.
    pub(super) fn note(&self, what: Arguments<'_>) {
        let line = format!("{:>9.3} {what}", self.began.elapsed().as_secs_f64());
        let mut seen = self.seen();
        for byte in line.bytes() {
            // FNV-1a.
            seen.trace_hash = (seen.trace_hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.prints {
            println!("{line}");
        }
    }

    /// Something of this kind has happened.
    pub(super) fn happened(&self, kind: &'static str) {
        *self.seen().happened.entry(kind).or_default() += 1;
    }

    pub(super) fn broke(&self, promise: &'static str, how: Arguments<'_>) {
        self.note(format_args!("broken: {promise}: {how}"));
        self.seen().broken.get_or_insert(Broken { promise: promise.to_owned(), how: how.to_string() });
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        self.seen().broken.clone()
    }

    /// How often what has happened, and the trace in one number.
    pub(super) fn sums(&self) -> (BTreeMap<String, u64>, u64) {
        let seen = self.seen();
        (seen.happened.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect(), seen.trace_hash)
    }

    /// From now on nothing is known of this subnet: somebody is about to change it.
    pub(super) fn unsettle(&self, n: u32) {
        self.seen().settled.remove(&n);
    }

    /// A client was told that its command stands there.
    pub(super) fn acknowledged(&self, n: u32, is_banned: bool, position: Position) {
        self.note(format_args!(
            "acknowledged: {n} is {}banned at {position}",
            if is_banned { "" } else { "un" }
        ));
        self.seen().settled.insert(n, Settled { position, is_banned });
    }

    /// How many subnets something was acknowledged of.
    pub(super) fn n_settled(&self) -> usize {
        self.seen().settled.len()
    }

    /// Whether this view has all that was ever acknowledged.
    pub(super) fn is_complete(&self, view: &BanView) -> bool {
        let seen = self.seen();
        seen.settled.iter().all(|(n, settled)| {
            view.position() >= settled.position && view.ban(&key(*n)).is_some() == settled.is_banned
        })
    }

    /// A host shows this view.
    pub(super) fn look(&self, host: usize, view: &BanView) {
        let missing = self.seen().settled.iter().find_map(|(n, settled)| {
            let is_wrong =
                settled.position <= view.position() && view.ban(&key(*n)).is_some() != settled.is_banned;
            is_wrong.then_some((*n, *settled))
        });
        if let Some((n, Settled { position, is_banned })) = missing {
            let said = if is_banned { "banned" } else { "unbanned" };
            let shown = view.position();
            self.broke(
                ACKNOWLEDGED,
                format_args!("{n} was {said} at {position}, and is not on host {host} at {shown}"),
            );
        }
        self.compare(host, view);
    }

    fn compare(&self, host: usize, view: &BanView) {
        let position = view.position();
        let held = self.seen().views.get(&position).cloned();
        match held {
            None => {
                let mut seen = self.seen();
                seen.views.insert(position, (host, view.clone()));
                if seen.views.len() > VIEWS_MAX {
                    seen.views.pop_first();
                }
            }
            Some((other, held)) if other != host => {
                self.happened("checked: same position");
                if held != *view {
                    let differing = held.records().zip(view.records()).find(|(one, two)| one != two);
                    self.broke(EQUAL, format_args!("hosts {other} and {host} at {position}: {differing:?}"));
                }
            }
            Some(_) => {}
        }
    }

    /// A host has executed this command there.
    pub(super) fn executed(&self, host: usize, position: Position, command: &Arc<Command>) {
        let known = self.seen().commands.entry(position).or_insert_with(|| (host, command.clone())).clone();
        if known.1 != *command {
            let other = known.0;
            self.broke(
                SAME_COMMAND,
                format_args!("hosts {other} and {host} at {position}: {known:?}, {command:?}"),
            );
        }
    }

    /// A node says that it leads, in this life of its host.
    pub(super) fn leads(&self, term: u64, node: NodeId, life: u32) {
        let known = self.seen().leads.insert((term, node), life);
        match known {
            None => {
                self.happened("checked: lead");
                self.note(format_args!("{node} leads in term {term}"));
            }
            Some(former) if former != life => {
                self.broke(NO_LEADING_ON, format_args!("{node} leads on in term {term}, in its life {life}"));
            }
            Some(_) => {}
        }
    }
}
