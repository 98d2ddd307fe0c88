//! Replicated settings: everything that steers `BanList::apply` and is not a law of nature.
//!
//! They are written in full when a cluster is born, so two releases with other defaults still agree;
//! later each field is set alone, so that two operators do not undo each other.

use crate::reach::Reach;
use crate::time::{DAY_MS, MINUTE_MS};

/// What happens to offenders in private address ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrivateOffenders {
    /// They are banned like all others.
    #[default]
    Share,
    /// Only the node that saw them blocks them.
    Origin,
}

/// One replicated setting with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// See [`Settings::private_offenders`].
    PrivateOffenders(PrivateOffenders),
    /// See [`Settings::reach`].
    Reach(Reach),
    /// See [`Settings::counting_prefix_v4`].
    CountingPrefixV4(u8),
    /// See [`Settings::counting_prefix_v6`].
    CountingPrefixV6(u8),
    /// See [`Settings::widest_prefix_v4`].
    WidestPrefixV4(u8),
    /// See [`Settings::widest_prefix_v6`].
    WidestPrefixV6(u8),
    /// See [`Settings::quota_per_minute`].
    QuotaPerMinute(u32),
    /// See [`Settings::quota_burst`].
    QuotaBurst(u32),
    /// See [`Settings::damped_ms`].
    DampedMs(u64),
    /// See [`Settings::damped_live_max`].
    DampedLiveMax(u32),
    /// See [`Settings::tombstone_retention_ms`].
    TombstoneRetentionMs(u64),
    /// See [`Settings::history_retention_ms`].
    HistoryRetentionMs(u64),
    /// See [`Settings::skew_max_ms`].
    SkewMaxMs(u64),
    /// See [`Settings::event_key`].
    EventKey([u8; 16]),
}

/// All replicated settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What happens to offenders in private address ranges.
    pub private_offenders: PrivateOffenders,
    /// What a ban closes on nodes other than its origin.
    pub reach: Reach,
    /// IPv4 offenders are counted by this prefix.
    pub counting_prefix_v4: u8,
    /// IPv6 offenders are counted by this prefix: a /64 is one customer.
    pub counting_prefix_v6: u8,
    /// IPv4 prefixes shorter than this are banned by an operator's `--force` only.
    pub widest_prefix_v4: u8,
    /// IPv6 prefixes shorter than this are banned by an operator's `--force` only.
    pub widest_prefix_v6: u8,
    /// Bans per minute that one node may bring in for their full time.
    pub quota_per_minute: u32,
    /// How many full-time bans a rested node may bring in at once.
    pub quota_burst: u32,
    /// A ban over the quota lasts this long at most, in ms.
    pub damped_ms: u64,
    /// So many damped bans of one node may be alive; more are not shared.
    pub damped_live_max: u32,
    /// How long it is remembered that somebody was let go, in ms.
    pub tombstone_retention_ms: u64,
    /// How long ended bans are remembered, in ms.
    pub history_retention_ms: u64,
    /// A host whose clock is further than this from cluster time is named to operators, in ms.
    pub skew_max_ms: u64,
    /// Key of the event ids in reports; made at the cluster's birth, never changed.
    pub event_key: [u8; 16],
}

/// The widest prefix that may be one customer's: /24 in IPv4, /64 in IPv6. Wider ones are somebody's whole network, and
/// whoever bans one or lets one through is asked whether they mean it.
#[must_use]
pub fn customer_prefix(subnet: crate::subnet::Subnet) -> u8 {
    if subnet.is_v4() { 24 } else { 64 }
}

impl Settings {
    /// The settings of a new cluster with this event key. For new clusters only: an existing one
    /// has its own in the replicated state.
    #[must_use]
    pub fn at_birth(event_key: [u8; 16]) -> Settings {
        Settings {
            private_offenders: PrivateOffenders::Share,
            reach: Reach::Guarded,
            counting_prefix_v4: 32,
            counting_prefix_v6: 64,
            widest_prefix_v4: 16,
            widest_prefix_v6: 32,
            quota_per_minute: 3_000,
            quota_burst: 30_000,
            damped_ms: 10 * MINUTE_MS,
            damped_live_max: 50_000,
            tombstone_retention_ms: 7 * DAY_MS,
            history_retention_ms: 30 * DAY_MS,
            skew_max_ms: MINUTE_MS,
            event_key,
        }
    }

    /// Takes over one field.
    pub fn set(&mut self, setting: Setting) {
        match setting {
            Setting::PrivateOffenders(v) => self.private_offenders = v,
            Setting::Reach(v) => self.reach = v,
            Setting::CountingPrefixV4(v) => self.counting_prefix_v4 = v.min(32),
            Setting::CountingPrefixV6(v) => self.counting_prefix_v6 = v.min(128),
            Setting::WidestPrefixV4(v) => self.widest_prefix_v4 = v.min(32),
            Setting::WidestPrefixV6(v) => self.widest_prefix_v6 = v.min(128),
            Setting::QuotaPerMinute(v) => self.quota_per_minute = v,
            Setting::QuotaBurst(v) => self.quota_burst = v,
            Setting::DampedMs(v) => self.damped_ms = v,
            Setting::DampedLiveMax(v) => self.damped_live_max = v,
            Setting::TombstoneRetentionMs(v) => self.tombstone_retention_ms = v.max(7 * DAY_MS),
            Setting::HistoryRetentionMs(v) => self.history_retention_ms = v,
            Setting::SkewMaxMs(v) => self.skew_max_ms = v,
            Setting::EventKey(v) => self.event_key = v,
        }
    }

    /// All fields, one setting each, in a fixed order: what a cluster's first entry holds.
    #[must_use]
    pub fn fields(&self) -> alloc::vec::Vec<Setting> {
        alloc::vec![
            Setting::PrivateOffenders(self.private_offenders),
            Setting::Reach(self.reach),
            Setting::CountingPrefixV4(self.counting_prefix_v4),
            Setting::CountingPrefixV6(self.counting_prefix_v6),
            Setting::WidestPrefixV4(self.widest_prefix_v4),
            Setting::WidestPrefixV6(self.widest_prefix_v6),
            Setting::QuotaPerMinute(self.quota_per_minute),
            Setting::QuotaBurst(self.quota_burst),
            Setting::DampedMs(self.damped_ms),
            Setting::DampedLiveMax(self.damped_live_max),
            Setting::TombstoneRetentionMs(self.tombstone_retention_ms),
            Setting::HistoryRetentionMs(self.history_retention_ms),
            Setting::SkewMaxMs(self.skew_max_ms),
            Setting::EventKey(self.event_key),
        ]
    }

    /// The subnet by which an offender at `address` is counted. One behind a NAT64 translator is counted as its IPv4
    /// address would be: all of them share one /64.
    #[must_use]
    pub fn counting_subnet(&self, address: crate::subnet::Subnet) -> crate::subnet::Subnet {
        if address.translated_v4().is_some() {
            return address.widened_to(crate::subnet::NAT64_PREFIX_LEN + self.counting_prefix_v4);
        }
        address.widened_to(self.counting_prefix(address))
    }

    /// The counting prefix of `subnet`'s family.
    #[must_use]
    pub fn counting_prefix(&self, subnet: crate::subnet::Subnet) -> u8 {
        if subnet.is_v4() { self.counting_prefix_v4 } else { self.counting_prefix_v6 }
    }

    /// The shortest prefix of `subnet`'s family that is banned without force.
    #[must_use]
    pub fn widest_prefix(&self, subnet: crate::subnet::Subnet) -> u8 {
        if subnet.is_v4() { self.widest_prefix_v4 } else { self.widest_prefix_v6 }
    }
}
