//! What becomes of a claim: the one function that apply, the warden and the receiver of a notice
//! all ask, so that a retried, doubled or late proposal gets the same answer everywhere.
//!
//! It reads the ban list and changes nothing. Only `Protected` opens a firewall.

use crate::ban::Ban;
use crate::ban_list::BanList;
use crate::change::BanKey;
use crate::jail::{BanPolicy, JailName};
use crate::proposal::{Claim, Notice, Proposal};
use crate::settings::PrivateOffenders;
use crate::subnet::Subnet;
use crate::time::{BanTime, HOUR_MS, SECOND_MS, Timestamp, Until};
use core::fmt;
use core::net::IpAddr;

/// A ban that ends at most this much before the wanted time covers the claim: retries of one
/// offence differ by their time on the way.
pub const COVER_TOLERANCE_MS: u64 = 2 * SECOND_MS;

/// An automatic ban that is wider than the counting prefix is not shared while somebody in it was
/// let go less than this ago.
pub const WIDE_OVER_TOMBSTONE_MS: u64 = 24 * HOUR_MS;

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The ban list holds it, with this origin and these ports.
    Covered,
    /// It does not hold it yet, and would take it.
    Open,
    /// The offender must not be blocked: the origin releases its own block too.
    Protected(Protection),
    /// The cluster does not take it; the origin keeps its own block for the whole ban time.
    NotShared(NotSharedReason),
}

/// Why an offender must not be blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// No traffic of the outside world can come from there: loopback, link-local, multicast…
    NeverBannable,
    /// An address of a node, its router or its name server.
    ClusterAddress,
    /// It is on the allow list.
    AllowList,
    /// It was let go after this evidence was gathered.
    Lifted,
}

/// Why the cluster does not take a ban that its origin may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSharedReason {
    /// The origin is over its quota, and has as many damped bans as it may.
    Quota,
    /// A private address, and the cluster's setting is to keep those at their origin.
    PrivateOffender,
    /// Wider than an automatic ban may be.
    TooWide,
    /// Wider than one customer, over somebody who was let go a short while ago.
    OverTombstone,
    /// The origin is not trusted since `unban --by-node`.
    Untrusted,
    /// The origin is no member of this cluster.
    NotMember,
    /// Older than what the cluster remembers.
    TooOld,
    /// The ban list holds as many bans as it can.
    Full,
    /// It is known only from a source of low trust: see [`crate::event::Event::LowTrust`].
    LowTrust,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protection::NeverBannable => "is in a range that is never banned",
            Protection::ClusterAddress => "is an address of a node, its router or its name server",
            Protection::AllowList => "is on the allow list",
            Protection::Lifted => "was let go by an operator after this evidence",
        })
    }
}

impl fmt::Display for NotSharedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotSharedReason::Quota => "this node is over its quota of bans",
            NotSharedReason::PrivateOffender => "private addresses are banned by their origin only",
            NotSharedReason::TooWide => "the prefix is wider than an automatic ban may be",
            NotSharedReason::OverTombstone => "somebody inside was let go less than a day ago",
            NotSharedReason::Untrusted => "this node was not trusted then: its bans had been undone",
            NotSharedReason::NotMember => "this node is no member of the cluster",
            NotSharedReason::TooOld => "it is older than what the cluster remembers",
            NotSharedReason::Full => "the ban list is full",
            NotSharedReason::LowTrust => "it is known only from what anybody may have sent",
        })
    }
}

/// Whether `subnet` is in a range that nobody may ever be banned in (RFC 6890: this network,
/// loopback, link-local, multicast, reserved).
#[must_use]
pub fn is_never_bannable(subnet: Subnet) -> bool {
    match subnet.address() {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first == 0 || first == 127 || first >= 224 || v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            // `::` and `::1` live in ::/64, and nothing that is routed does.
            (subnet.prefix_len() >= 64 && v6.segments()[..4] == [0; 4])
                || v6.is_unicast_link_local()
                || v6.is_multicast()
        }
    }
}

/// Whether `subnet` is in a private range: RFC 1918, RFC 6598 (CGNAT), RFC 4193 (ULA), or the
/// documentation ranges of RFC 5737 and RFC 3849.
#[must_use]
pub fn is_private(subnet: Subnet) -> bool {
    match subnet.address() {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            v4.is_private() || v4.is_documentation() || (octets[0] == 100 && octets[1] & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.segments()[..2] == [0x2001, 0xdb8],
    }
}

impl Claim {
    /// The claim of `proposal`, which the leader stamped `sent`, as `bans` sees it at its own time.
    #[must_use]
    pub fn of_proposal(bans: &BanList, proposal: &Proposal, sent: Timestamp) -> Claim {
        let now = bans.now();
        let last_failure = proposal.last_failure_at(sent, now);
        let first_failure = proposal.first_failure_at(sent, now);
        let key = BanKey { subnet: proposal.offender, jail: proposal.jail.clone() };
        Claim {
            origin: proposal.origin,
            basis: proposal.basis,
            wanted_until: wanted_until(bans, &key, first_failure, last_failure, &proposal.policy, now),
            jail: proposal.jail.clone(),
            offender: proposal.offender,
            last_failure,
            ports: proposal.ports.clone(),
        }
    }

    /// The claim of `notice`, which came when it was `now` in cluster time.
    #[must_use]
    pub fn of_notice(notice: &Notice, now: Timestamp) -> Claim {
        Claim {
            origin: notice.origin,
            basis: notice.basis,
            jail: notice.jail.clone(),
            offender: notice.offender,
            last_failure: now.minus_ms(notice.last_failure_age_ms),
            wanted_until: notice.remaining_ms.map_or(Until::FOREVER, |ms| Until::at(now.plus_ms(ms))),
            ports: notice.ports.clone(),
        }
    }

    /// The ban it is about.
    #[must_use]
    pub fn key(&self) -> BanKey {
        BanKey { subnet: self.offender, jail: self.jail.clone() }
    }
}

/// Until when a ban for an offence from `first_failure` to `last_failure` lasts by `policy`: ban time
/// after the last failure, grown by how often it happened before. One offence counts once: inside
/// the episode of a live ban, or of the last ended one, its own step is used again.
#[must_use]
pub fn wanted_until(
    bans: &BanList,
    key: &BanKey,
    first_failure: Timestamp,
    last_failure: Timestamp,
    policy: &BanPolicy,
    now: Timestamp,
) -> Until {
    wanted_after(bans, key, (first_failure, 0), last_failure, policy, now)
}

/// The same for an offence that follows others which the ban list has not heard of: so many, the oldest
/// of which began at `first.0`.
pub(crate) fn wanted_after(
    bans: &BanList,
    key: &BanKey,
    first: (Timestamp, u32),
    last_failure: Timestamp,
    policy: &BanPolicy,
    now: Timestamp,
) -> Until {
    let (first_failure, n_unheard) = first;
    let n_before = match bans.live(key, now) {
        Some(ban) => ban.count.saturating_sub(1),
        None => bans.bans_before(key, first_failure).saturating_add(n_unheard),
    };
    let n_before = match &policy.growth {
        Some(growth) if growth.overall_jails => n_before.saturating_add(bans.bans_in_other_jails(key)),
        _ => n_before,
    };
    policy.ban_time_for(key.subnet, &key.jail, n_before).from(last_failure)
}

impl BanPolicy {
    /// How long the ban after `n_before` earlier ones lasts.
    #[must_use]
    pub fn ban_time_for(&self, subnet: Subnet, jail: &JailName, n_before: u32) -> BanTime {
        let (BanTime::Ms(base_ms), Some(growth)) = (self.ban_time, &self.growth) else {
            return self.ban_time;
        };
        // fail2ban's first ban has the plain bantime, without maxtime and rndtime.
        if n_before == 0 {
            return BanTime::Ms(base_ms);
        }
        let step =
            usize::try_from(n_before).unwrap_or(usize::MAX).min(growth.table_ms.len().saturating_sub(1));
        let grown_ms = growth.table_ms.get(step).copied().unwrap_or(base_ms);
        let bounded_ms = growth.max_ms.map_or(grown_ms, |max_ms| grown_ms.min(max_ms));
        let extra_ms = match growth.rnd_ms {
            0 => 0,
            bound => fixed_hash(subnet, jail.as_str().as_bytes(), n_before) % bound,
        };
        BanTime::Ms(bounded_ms.saturating_add(extra_ms))
    }
}

/// FNV-1a over the subnet, a text and a number: the same on every node, in every release.
#[must_use]
pub(crate) fn fixed_hash(subnet: Subnet, text: &[u8], number: u32) -> u64 {
    let octets = subnet.octets();
    let bytes = octets.iter().chain(core::slice::from_ref(&0)).chain(text).copied();
    let tail = [subnet.prefix_len()].into_iter().chain(number.to_be_bytes());
    fnv1a(bytes.chain(tail))
}

/// Fowler, Noll, Vo: 64 bits, variant 1a (RFC 9923). What goes by it is replicated, so it must never change.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl BanList {
    /// What becomes of `claim` at `now`. The answer is worth something only on a view that has
    /// applied what the claim is based on.
    #[must_use]
    pub fn judge(&self, claim: &Claim, now: Timestamp) -> Verdict {
        if let Some(protection) = self.protection(claim.offender, now) {
            return Verdict::Protected(protection);
        }
        if self.is_lifted(claim) {
            return Verdict::Protected(Protection::Lifted);
        }
        if let Some(reason) = self.not_shared(claim, now) {
            return Verdict::NotShared(reason);
        }
        let key = claim.key();
        match self.live(&key, now) {
            Some(ban) if ban.covers(claim) => Verdict::Covered,
            // Over already: it belongs to the episode of a live ban, or it was served and is remembered,
            // or it will be remembered.
            Some(_) if claim.wanted_until.is_over(now) => Verdict::Covered,
            Some(ban) => self.room_for_more(ban, claim, now),
            None if claim.wanted_until.is_over(now)
                && self.past(&key).is_some_and(|past| claim.last_failure <= past.last_end) =>
            {
                Verdict::Covered
            }
            // It counts for the next ban's length: that is not free either.
            None if claim.wanted_until.is_over(now) => self.if_has_token(claim, now),
            None => self.room_for_new(claim, now),
        }
    }

    /// Why nothing may block `offender`, if so.
    #[must_use]
    pub fn protection(&self, offender: Subnet, now: Timestamp) -> Option<Protection> {
        if is_never_bannable(offender) {
            return Some(Protection::NeverBannable);
        }
        if self.cluster_addresses().holding(offender).next().is_some() {
            return Some(Protection::ClusterAddress);
        }
        if self.allow_list().holding(offender).any(|(_, entry)| !entry.until.is_over(now)) {
            return Some(Protection::AllowList);
        }
        // Behind a translator it is the same host.
        offender.translated_v4().and_then(|v4| self.protection(v4, now))
    }

    fn not_shared(&self, claim: &Claim, now: Timestamp) -> Option<NotSharedReason> {
        let settings = self.settings();
        match self.node(claim.origin) {
            None => return Some(NotSharedReason::NotMember),
            Some(node) if node.untrusted || node.revoked => return Some(NotSharedReason::Untrusted),
            Some(_) => {}
        }
        if settings.private_offenders == PrivateOffenders::Origin && is_private(claim.offender) {
            return Some(NotSharedReason::PrivateOffender);
        }
        if claim.offender.prefix_len() < settings.widest_prefix(claim.offender) {
            return Some(NotSharedReason::TooWide);
        }
        if claim.last_failure < now.minus_ms(settings.history_retention_ms) {
            return Some(NotSharedReason::TooOld);
        }
        let is_wide = claim.offender.prefix_len() < settings.counting_prefix(claim.offender);
        let fresh_tombstone_inside = || {
            self.tombstones_inside(claim.offender)
                .any(|tombstone| now.ms_since(tombstone.at) < WIDE_OVER_TOMBSTONE_MS)
        };
        (is_wide && fresh_tombstone_inside()).then_some(NotSharedReason::OverTombstone)
    }

    fn room_for_new(&self, claim: &Claim, now: Timestamp) -> Verdict {
        if self.n_bans() >= crate::ban_list::BANS_MAX {
            return Verdict::NotShared(NotSharedReason::Full);
        }
        if self.quota(claim.origin, now).n_damped < self.settings().damped_live_max {
            return Verdict::Open;
        }
        self.if_has_token(claim, now)
    }

    /// Over its quota a node gets each of its bans for a short time, once: whoever has no token makes nothing last longer
    /// that it has asked for before.
    fn room_for_more(&self, ban: &Ban, claim: &Claim, now: Timestamp) -> Verdict {
        let has_asked = || ban.origins.iter().any(|origin| origin.node == claim.origin);
        if ban.until < claim.wanted_until && has_asked() {
            self.if_has_token(claim, now)
        } else {
            Verdict::Open
        }
    }

    fn if_has_token(&self, claim: &Claim, now: Timestamp) -> Verdict {
        let milli_tokens = self.quota(claim.origin, now).milli_tokens_at(self.settings(), now);
        if milli_tokens >= 1_000 { Verdict::Open } else { Verdict::NotShared(NotSharedReason::Quota) }
    }
}
