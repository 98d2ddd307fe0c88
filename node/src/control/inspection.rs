//! What only the warden knows, copied out on its thread so that an answer can be made of it elsewhere.
//!
//! Pure: reads the warden, changes nothing.

use bannkreis_core::ban::Ban;
use bannkreis_core::change::BanKey;
use bannkreis_core::event::{OutboxEntry, Override, OverrideKind};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::Jail;
use bannkreis_core::judge;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::tally::TallyKey;
use bannkreis_core::time::{Now, Timestamp, Until};
use bannkreis_core::warden::{JailCounts, LocalProtection, ToldCount, Warden};
use std::collections::BTreeMap;

/// Whose affairs an [`Inspection`] is about. Jails and how many there are of everything it holds always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Nobody's.
    Nobody,
    /// Nobody's, but all that operators decided for this host.
    Decisions,
    /// Whoever has an address in common with this.
    One(Subnet),
    /// Everybody's.
    Everybody,
}

/// A host's own knowledge: about everybody, or about one subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// This host's jails.
    pub jails: Vec<InspectedJail>,
    /// How many addresses and prefixes the firewall should hold.
    pub n_blocked: usize,
    /// How many addresses and prefixes the firewall should let pass whatever blocks them.
    pub n_protected: usize,
    /// How many blocks wait for the cluster's answer.
    pub n_waiting: usize,
    /// Blocks of this host's own making, those that wait and those that are not shared.
    pub outbox: Vec<OutboxEntry>,
    /// Bans of its former life, until the cluster that it changes to holds them.
    pub brought_along: Vec<(BanKey, Ban)>,
    /// Peers' notices: which, from whom, until when.
    pub notices: Vec<(BanKey, NodeId, Timestamp)>,
    /// Until when everybody is let through on this host by an operator's decision, if so.
    pub paused_until: Option<Until>,
    /// How many decisions of operators for this host hold.
    pub n_overrides: usize,
    /// Operators' decisions for this host.
    pub overrides: Vec<(Subnet, Override)>,
    /// What this host must not block: own addresses, peers, `ignoreip`. Only when asked about a subnet.
    pub protections: Vec<(Subnet, LocalProtection)>,
    /// Failures that still count. Only when asked about a subnet.
    pub failures: Vec<InspectedFailures>,
    /// Whether packets from the whole subnet are dropped by this host's rules, on some port at least. Only
    /// when asked about a subnet.
    pub is_blocked: bool,
}

/// A jail with what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedJail {
    /// The jail.
    pub jail: Jail,
    /// Since the daemon's start.
    pub counts: JailCounts,
    /// Offenders whose failures still count.
    pub n_failing: usize,
}

/// Failures that still count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedFailures {
    /// Whose, and in which jail.
    pub key: BanKey,
    /// How many this host has counted.
    pub n_failures: u32,
    /// What peers told that counts with them.
    pub told: ToldCount,
    /// The last one, in this host's time.
    pub last: Timestamp,
}

impl Inspection {
    /// What `warden` knows, as far as it is `about` somebody who was asked for. Blocks that are over at `now` are left
    /// out.
    #[must_use]
    pub fn of(warden: &Warden, now: Now, about: About) -> Inspection {
        let concerns = |subnet: Subnet| match about {
            About::Nobody | About::Decisions => false,
            About::One(asked) => asked.intersects(subnet),
            About::Everybody => true,
        };
        let jails = warden.jails().map(|(jail, counts)| InspectedJail {
            jail: jail.clone(),
            counts,
            n_failing: warden.tally().n_offenders(&jail.name),
        });
        let live = |entry: &&OutboxEntry| !entry.until.is_over(now.cluster);
        let overrides =
            || warden.overrides().iter().filter(|(_, decision)| !decision.until.is_over(now.cluster));
        let mut inspection = Inspection {
            jails: jails.collect(),
            n_blocked: warden.ruleset().elements.len(),
            n_protected: warden.ruleset().protected.len(),
            n_waiting: warden.n_waiting(now.cluster),
            outbox: warden
                .outbox()
                .filter(live)
                .filter(|entry| concerns(entry.key.subnet))
                .cloned()
                .collect(),
            brought_along: warden
                .brought_along(now.cluster)
                .filter(|(key, _)| concerns(key.subnet))
                .map(|(key, ban)| (key.clone(), ban.clone()))
                .collect(),
            notices: warden
                .notices(now.cluster)
                .filter(|(key, _, _)| concerns(key.subnet))
                .map(|(key, origin, until)| (key.clone(), origin, until))
                .collect(),
            paused_until: paused_until(warden, now),
            n_overrides: overrides().count(),
            overrides: overrides()
                .filter(|(subnet, _)| about == About::Decisions || concerns(*subnet))
                .map(|(subnet, decision)| (subnet, decision.clone()))
                .collect(),
            ..Inspection::default()
        };
        if let About::One(asked) = about {
            inspection.look_at(warden, now, asked);
        }
        inspection
    }

    fn look_at(&mut self, warden: &Warden, now: Now, asked: Subnet) {
        let ruleset = warden.ruleset();
        let holding = || (0..=asked.prefix_len()).map(|length| asked.widened_to(length));
        let is_protected = holding().any(|outer| ruleset.protected.contains(&outer));
        self.is_blocked = !is_protected
            && holding().any(|outer| {
                ruleset.elements.get(&outer).is_some_and(|element| !element.until.is_over(now.cluster))
            });
        self.protections = warden.protections_here(asked);
        let find_time_ms = |key: &BanKey| {
            self.jails.iter().find(|known| known.jail.name == key.jail).map(|known| known.jail.find_time_ms)
        };
        // Where nothing is ever banned nothing is counted either, and looking at all counts takes a while.
        if judge::is_never_bannable(asked) {
            return;
        }
        let key = |key: &TallyKey| BanKey { subnet: key.offender, jail: key.jail.clone() };
        let mut found: BTreeMap<BanKey, InspectedFailures> = BTreeMap::new();
        for (tally_key, count) in warden.tally().about(asked) {
            let key = key(tally_key);
            if find_time_ms(&key).is_some_and(|window| now.wall.ms_since(count.last) <= window) {
                let (n_failures, told, last) = (count.failures, ToldCount::default(), count.last);
                found.insert(key.clone(), InspectedFailures { key, n_failures, told, last });
            }
        }
        for (tally_key, told) in warden.told_about(now, asked) {
            let key = key(tally_key);
            let none = InspectedFailures {
                key: key.clone(),
                n_failures: 0,
                told: ToldCount::default(),
                last: told.last,
            };
            let failures = found.entry(key).or_insert(none);
            failures.last = failures.last.max(told.last);
            failures.told = told;
        }
        self.failures = found.into_values().collect();
    }
}

/// Until when all of IPv4 is let through: `pause` says so of both families at once.
fn paused_until(warden: &Warden, now: Now) -> Option<Until> {
    let released = warden.overrides().iter().filter(|(_, held)| held.kind == OverrideKind::Release);
    let mut live = released.filter(|(_, held)| !held.until.is_over(now.cluster));
    live.find(|(subnet, _)| *subnet == Subnet::all_v4()).map(|(_, held)| held.until)
}
