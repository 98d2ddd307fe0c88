//! Peers' advance notices: a minute's block on another node's word, while its proposal is on its way.
//!
//! While there is a leader, one (origin, offender, jail) is honoured once: only the ban itself renews
//! it. Without a leader the origin's reminders do. What a peer may send is bounded by the quota's own
//! numbers, so a compromised one can block few, for a minute.

use super::Warden;
use crate::change::{BanKey, Lift};
use crate::event::{Effect, Notable};
use crate::ids::NodeId;
use crate::jail::Ports;
use crate::judge::Verdict;
use crate::proposal::{Claim, Notice};
use crate::quota::Quota;
use crate::subnet::Subnet;
use crate::time::{MINUTE_MS, Now, Timestamp};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// How long a notice blocks.
pub const NOTICE_MS: u64 = MINUTE_MS;
/// Notices of one origin that may block at once; more are dropped.
pub const NOTICES_PER_ORIGIN_MAX: usize = 50_000;
/// How long after a notice, or after an unban, the same one is not honoured again.
const SILENCE_MS: u64 = 10 * MINUTE_MS;
/// Lifts remembered for silence; the oldest goes first.
const SILENCED_MAX: usize = 1_000;

#[derive(Clone, Debug)]
struct Honoured {
    until: Timestamp,
    ports: Ports,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// By whom it is about, then by who said so.
    honoured: BTreeMap<BanKey, BTreeMap<NodeId, Honoured>>,
    buckets: BTreeMap<NodeId, Quota>,
    n_by_origin: BTreeMap<NodeId, usize>,
    silenced: VecDeque<Lift>,
}

impl Notices {
    pub(super) fn is_empty(&self) -> bool {
        self.honoured.is_empty()
    }

    /// What blocks at `now`.
    pub(super) fn live(&self, now: Timestamp) -> impl Iterator<Item = (&BanKey, NodeId, Timestamp)> {
        self.honoured.iter().flat_map(move |(key, by_origin)| {
            by_origin
                .iter()
                .filter(move |(_, honoured)| honoured.until >= now)
                .map(move |(node, honoured)| (key, *node, honoured.until))
        })
    }

    /// What blocks exactly this subnet at `now`: jail, ports, end.
    pub(super) fn of_subnet(
        &self,
        subnet: Subnet,
        now: Timestamp,
    ) -> impl Iterator<Item = (&BanKey, NodeId, &Ports, Timestamp)> {
        let first = BanKey { subnet, jail: crate::jail::JailName::lowest() };
        self.honoured.range(first..).take_while(move |(key, _)| key.subnet == subnet).flat_map(
            move |(key, by_origin)| {
                by_origin
                    .iter()
                    .filter(move |(_, honoured)| honoured.until >= now)
                    .map(move |(origin, honoured)| (key, *origin, &honoured.ports, honoured.until))
            },
        )
    }

    pub(super) fn subnets(&self) -> impl Iterator<Item = Subnet> {
        self.honoured.keys().map(|key| key.subnet)
    }

    /// Forgets what a lift covers and silences it for a while; gives the subnets concerned.
    pub(super) fn lift(&mut self, lift: &Lift, now: Timestamp) -> Vec<Subnet> {
        if self.silenced.len() >= SILENCED_MAX {
            self.silenced.pop_front();
        }
        self.silenced.push_back(Lift { at: now, ..lift.clone() });
        self.forget(|key, origin, _| lift.covers(key.subnet, &key.jail, origin))
    }

    /// Forgets what a node said.
    pub(super) fn forget_origin(&mut self, origin: NodeId) -> Vec<Subnet> {
        self.forget(|_, node, _| node == origin)
    }

    /// What was dated by an estimate, which now says `estimated`, is dated by `now` in its place.
    pub(super) fn redate(&mut self, estimated: Timestamp, now: Timestamp) {
        for honoured in self.honoured.values_mut().flat_map(BTreeMap::values_mut) {
            let remaining_ms = honoured.until.ms_since(estimated).min(NOTICE_MS);
            // What was over stays over.
            honoured.until = now.plus_ms(remaining_ms).minus_ms(estimated.ms_since(honoured.until));
        }
    }

    /// Forgets what was honoured so long ago that it may be honoured again.
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        self.forget(|_, _, honoured| honoured.until.plus_ms(SILENCE_MS) < now);
        self.silenced.retain(|lift| lift.at.plus_ms(SILENCE_MS) >= now);
    }

    fn forget(&mut self, mut is_gone: impl FnMut(&BanKey, NodeId, &Honoured) -> bool) -> Vec<Subnet> {
        let mut subnets = Vec::new();
        let n_by_origin = &mut self.n_by_origin;
        self.honoured.retain(|key, by_origin| {
            by_origin.retain(|node, honoured| {
                let gone = is_gone(key, *node, honoured);
                if gone {
                    subnets.push(key.subnet);
                    if let Some(n) = n_by_origin.get_mut(node) {
                        *n = n.saturating_sub(1);
                    }
                }
                !gone
            });
            !by_origin.is_empty()
        });
        subnets
    }

    fn is_silenced(&self, key: &BanKey, origin: NodeId) -> bool {
        self.silenced.iter().any(|lift| lift.covers(key.subnet, &key.jail, origin))
    }
}

impl Warden {
    pub(super) fn on_notice(&mut self, now: Now, notice: &Notice, effects: &mut Vec<Effect>) {
        let settings = *self.view.settings();
        let is_wide = notice.offender.prefix_len() < settings.counting_prefix(notice.offender);
        if self.observe || notice.origin == self.node || is_wide {
            return;
        }
        let claim = Claim::of_notice(notice, now.cluster);
        let key = claim.key();
        if self.view.judge(&claim, now.cluster) != Verdict::Open
            || self.notices.is_silenced(&key, notice.origin)
        {
            return;
        }
        let known =
            self.notices.honoured.get(&key).is_some_and(|by_origin| by_origin.contains_key(&notice.origin));
        if known && self.leader_known {
            return;
        }
        if !known {
            let quota = self
                .notices
                .buckets
                .entry(notice.origin)
                .or_insert_with(|| Quota::full(&settings, now.cluster));
            let n_live = self.notices.n_by_origin.entry(notice.origin).or_default();
            if *n_live >= NOTICES_PER_ORIGIN_MAX || !quota.take(&settings, now.cluster) {
                effects.push(Effect::Tell(Notable::NoticesDropped { origin: notice.origin }));
                return;
            }
            *n_live += 1;
        }
        let length_ms = notice.remaining_ms.unwrap_or(NOTICE_MS).min(NOTICE_MS);
        let honoured = Honoured { until: now.cluster.plus_ms(length_ms), ports: notice.ports.clone() };
        self.notices.honoured.entry(key).or_default().insert(notice.origin, honoured);
        self.render(now.cluster, notice.offender, false, effects);
    }
}
