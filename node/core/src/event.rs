//! What goes into the warden and what comes out of it.
//!
//! Both enums are closed: the daemon's event loop is one `match` over the effects, and the simulator
//! is another.

use crate::ban_list::BanView;
use crate::change::{BanKey, Change};
use crate::failure::{Failure, SourceId, SourcePosition};
use crate::ids::{NodeId, Position};
use crate::jail::{BanPolicy, Jail, JailName, Ports};
use crate::judge::{NotSharedReason, Protection};
use crate::proposal::{Notice, Proposal, Report};
use crate::ruleset::{FirewallDelta, Ruleset};
use crate::subnet::Subnet;
use crate::time::{Timestamp, Until};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Filters have recognised failures, in the order of their lines.
    Failures(Vec<Failure>),
    /// A source was read up to here and all its failures were handed over.
    ReadUpTo {
        /// Which source.
        source: SourceId,
        /// The end of the last line.
        position: SourcePosition,
    },
    /// What is to be stored for a place in this source has become more certain since it was stored.
    PlaceKnownBetter {
        /// Which source.
        source: SourceId,
    },
    /// What comes from this source may be anybody's words.
    LowTrust {
        /// Which source.
        source: SourceId,
    },
    /// A source is gone, and nothing comes from it any more.
    SourceClosed {
        /// Which source.
        source: SourceId,
    },
    /// Commands were applied.
    Applied {
        /// The ban list after them.
        view: BanView,
        /// What they changed, in order.
        changes: Vec<Change>,
    },
    /// A snapshot took the place of everything applied before.
    Installed {
        /// The ban list now.
        view: BanView,
    },
    /// This node has applied everything that was committed when it started: what is missing in the
    /// view is really gone.
    CaughtUp,
    /// The answer to proposals came; the view decides what it is worth.
    Answered {
        /// What was proposed.
        keys: Vec<BanKey>,
        /// The log position it was committed at, when it was.
        committed: Option<Position>,
    },
    /// A leader is known, or none is.
    Leader {
        /// Whether there is one.
        known: bool,
    },
    /// A peer blocks somebody; the wire has checked that the peer is who it says.
    Noticed(Notice),
    /// A peer tells of failures below maxretry; the wire has checked that the peer is who it says.
    Reported(Vec<Report>),
    /// A peer can be told something (again): it has come, or come back.
    PeerReached(NodeId),
    /// An operator decided something for this host only, or took it back.
    Override {
        /// Whom it is about.
        subnet: Subnet,
        /// The decision; `None` takes it back.
        decision: Option<Override>,
    },
    /// The node changes clusters, and the new one does not hold yet what the node had: until
    /// [`Event::CaughtUp`] that holds here as well.
    BroughtAlong {
        /// The ban list of its former life.
        former: BanView,
        /// Who it was there.
        formerly: NodeId,
    },
    /// This host's jails and addresses, at the start and after every reload.
    Configured(Configuration),
    /// The firewall does not hold what it was told.
    FirewallDamaged,
    /// Time has passed.
    Timer,
}

/// What this host contributes to the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Its enabled jails.
    pub jails: Vec<Jail>,
    /// Its own addresses, routers and name servers, before they are replicated.
    pub own: Vec<Subnet>,
    /// Peers' addresses that are configured, before they are replicated.
    pub peers: Vec<Subnet>,
    /// Counts and shows, but proposes and blocks nothing.
    pub observe: bool,
}

/// What an operator decided for one host only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Block or release.
    pub kind: OverrideKind,
    /// By whom.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Until,
    /// The end was worked out by an estimate of cluster time, and is worked out again when that is known: see
    /// [`Now::estimated`](crate::time::Now::estimated). The warden sets it.
    pub estimated: bool,
}

/// What an override does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideKind {
    /// Blocks the whole host.
    Block,
    /// Blocks nothing, whatever the bans say.
    Release,
}

/// An offence whose block was over before the cluster heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedOffence {
    /// The first failure, in cluster time.
    pub first_failure: Timestamp,
    /// The last failure, in cluster time.
    pub last_failure: Timestamp,
    /// How many failures.
    pub failures: u32,
    /// The last line.
    pub line: String,
}

/// An outbox entry remembers at most this many served offences; the oldest goes first. Ban times do
/// not grow any further by then.
pub const SERVED_OFFENCES_MAX: usize = 20;

/// A proposal that has no settled answer yet, or that only this node keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// What it is about.
    pub key: BanKey,
    /// What the node had applied when it last sent it.
    pub basis: Position,
    /// The first failure, in cluster time.
    pub first_failure: Timestamp,
    /// The last failure, in cluster time.
    pub last_failure: Timestamp,
    /// How many failures, those of contributors included.
    pub failures: u32,
    /// Other nodes whose failures were counted with this one's; at most
    /// [`CONTRIBUTORS_MAX`](crate::proposal::CONTRIBUTORS_MAX).
    pub contributors: Vec<NodeId>,
    /// How long to ban.
    pub policy: BanPolicy,
    /// What to close.
    pub ports: Ports,
    /// The lines with their times, in cluster time.
    pub evidence: Vec<(Timestamp, String)>,
    /// Until when this host blocks.
    pub until: Until,
    /// The cluster does not take it: it is this node's alone.
    pub local: Option<NotSharedReason>,
    /// Offences of the same offender before this one that the cluster has not heard of either, the
    /// oldest first: they are proposed before it, so that each makes the next ban longer.
    pub served: Vec<ServedOffence>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Change the firewall.
    Firewall(FirewallDelta),
    /// Put this in the place of all that the firewall holds, without a gap.
    ReplaceFirewall(Ruleset),
    /// This node has caught up: from now on the firewall holds this and nothing else.
    SettleFirewall {
        /// All that it should hold.
        ruleset: Ruleset,
        /// What was sent since the warden was made amounts to it: only what was there before can be too much.
        is_exact: bool,
    },
    /// Send these to the leader.
    Propose(Vec<Proposal>),
    /// Tell every peer.
    Notify(Vec<Notice>),
    /// Tell peers of failures below maxretry.
    Report {
        /// Whom; `None`: every peer.
        to: Option<NodeId>,
        /// What.
        reports: Vec<Report>,
    },
    /// Keep this outbox entry over a restart, or forget it.
    StoreOutbox {
        /// Which.
        key: BanKey,
        /// The entry; `None` forgets it.
        entry: Option<Box<OutboxEntry>>,
    },
    /// Keep this override over a restart, or forget it.
    StoreOverride {
        /// Whose.
        subnet: Subnet,
        /// The override; `None` forgets it.
        decision: Option<Override>,
    },
    /// After a restart, read this source from here.
    StorePosition {
        /// Which source.
        source: SourceId,
        /// From here.
        position: SourcePosition,
    },
    /// Worth telling people.
    Tell(Notable),
}

/// What people want to read in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notable {
    /// A failure was counted.
    Found {
        /// In which jail.
        jail: JailName,
        /// Whose.
        offender: Subnet,
        /// When, in this host's time.
        at: Timestamp,
    },
    /// A failure was not counted.
    Ignored {
        /// In which jail.
        jail: JailName,
        /// Whose.
        offender: Subnet,
        /// Why.
        why: IgnoredBecause,
    },
    /// This host blocks somebody because of its own logs.
    Blocked {
        /// Who, in which jail.
        key: BanKey,
        /// Until when.
        until: Until,
        /// After how many failures.
        failures: u32,
        /// How many of them peers told of.
        n_told: u32,
        /// The last line.
        evidence: String,
        /// It is known only from a source of low trust.
        is_of_low_trust: bool,
    },
    /// A proposal is settled: the cluster bans.
    Settled {
        /// Which.
        key: BanKey,
    },
    /// A proposal is settled: the offender must not be blocked.
    Protected {
        /// Which.
        key: BanKey,
        /// Why.
        why: Protection,
    },
    /// A proposal is settled: only this node blocks.
    KeptLocal {
        /// Which.
        key: BanKey,
        /// Why.
        why: NotSharedReason,
    },
    /// The outbox was full, and this entry went.
    OutboxFull {
        /// Which.
        key: BanKey,
    },
    /// On words of low trust as many are blocked as may be: nobody else is.
    LowTrustFull,
    /// A peer's notice was not honoured because the peer sent too many.
    NoticesDropped {
        /// From whom.
        origin: NodeId,
    },
}

/// Why a failure was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredBecause {
    /// `ignoreip` of the jail.
    IgnoreIp,
    /// An address of this host.
    OwnAddress,
    /// See [`Protection`].
    Protected(Protection),
    /// It happened before an operator let the offender go.
    BeforeUnban,
    /// The jail is not configured here (any more).
    NoSuchJail,
}
