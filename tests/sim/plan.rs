//! What a seed's world is like: how many nodes, which jails, who attacks whom and when, what operators
//! do, and which faults strike. Made once, before the world begins.

use crate::clock::WORLD_BEGINS_MS;
use crate::random::Random;
use bannkreis_core::apply::STAMP_LEAD_MAX_MS;
use bannkreis_core::jail::{BanPolicy, Growth, Jail, JailName, Ports, Scope};
use bannkreis_core::reach::Reach;
use bannkreis_core::settings::{PrivateOffenders, Settings};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, SECOND_MS};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first quiet seconds, in which the nodes find each other.
const QUIET_MS: u64 = 5 * SECOND_MS;

/// How fast or slow a broken clock runs, in parts per million: a second in a minute.
pub(crate) const RUNAWAY_PPM: i64 = 17_000;

/// For so long a line counts.
pub(crate) const FIND_TIME_MS: u64 = 600 * SECOND_MS;

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// An attacker fails so often at a node's jail, within a few seconds.
    Attack { node: usize, jail: usize, offender: usize, n_lines: u32, in_flight: bool },
    /// Somebody writes lines into a log that name an address nobody may block.
    Spoof { node: usize, jail: usize, address: IpAddr, n_lines: u32 },
    /// An operator gives a command through a node.
    Order { via: usize, order: Order },
    /// An operator decides for one host.
    Override { node: usize, offender: usize, release: bool, for_ms: u64 },
    /// An operator takes that back.
    EndOverride { node: usize, offender: usize },
    /// The process is killed; with `power`, the machine stops.
    Crash { node: usize, power: bool, down_ms: u64 },
    /// The same, and what it kept for itself can not be read afterwards.
    Corrupt { node: usize, down_ms: u64 },
    /// A node's configuration is read again, without this jail.
    Reload { node: usize, without: Option<usize> },
    /// The network splits, in both ways or in one.
    Partition { group: u32, one_way: bool, for_ms: u64 },
    /// Nobody leads for a while.
    Leaderless { for_ms: u64 },
    /// The leader hands over.
    NewLeader,
    /// A node applies nothing for a while.
    Lag { node: usize, for_ms: u64 },
    /// A stranger flushes a node's firewall.
    Flush { node: usize },
    /// A node's firewall refuses calls.
    Refuse { node: usize, n_calls: u32 },
    /// A node's firewall stops half-way once.
    StopHalfWay { node: usize, n_deltas: usize },
    /// Somebody with a node's key tells its peers, again and again, that it blocks innocent addresses.
    Rogue { node: usize, for_ms: u64 },
    /// A node's wall clock jumps.
    Jump { node: usize, by_ms: i64 },
}

/// What an operator wants of the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Ban { offender: usize, for_ms: u64 },
    Unban { offender: usize, jail: Option<usize> },
    UnbanNetwork { of_offender: usize },
    UnbanByNode { node: usize },
    Trust { node: usize },
    Allow { offender: usize, for_ms: u64 },
    Disallow { offender: usize },
}

/// A world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) n_nodes: usize,
    pub(crate) settings: Settings,
    pub(crate) jails: Vec<JailPlan>,
    /// Attackers' addresses.
    pub(crate) offenders: Vec<IpAddr>,
    /// The node whose wall clock is not to be trusted, if one is.
    pub(crate) wrong_clock: Option<usize>,
    /// The wall clocks' skews.
    pub(crate) skews_ms: Vec<i64>,
    pub(crate) drifts_ppm: Vec<i64>,
    /// Of a thousand notices, so many are lost, doubled, delayed.
    pub(crate) notice_faults: u64,
    /// Of a thousand proposals, so many are lost, doubled, delayed, or not answered.
    pub(crate) proposal_faults: u64,
    /// Of a thousand appended entries, so many wait for a slow majority.
    pub(crate) slow_quorums: u64,
    /// A node further behind than this gets a snapshot.
    pub(crate) snapshot_lag: usize,
    /// A node that stamps what it appends a year ahead while it leads: no clock of ours says so, but a peer is believed no
    /// more than it must be.
    pub(crate) stamps_wrongly: Option<usize>,
    /// Nodes that tell about themselves late.
    pub(crate) late_records: bool,
    /// The last node votes and has no jails: it never proposes anything.
    pub(crate) has_witness: bool,
    /// In order of time: when, what.
    pub(crate) acts: Vec<(u64, Act)>,
    /// When all faults stop.
    pub(crate) heals_at_ms: u64,
}

/// A jail as it is configured on the nodes that have it.
#[derive(Clone, Debug)]
pub(crate) struct JailPlan {
    pub(crate) name: &'static str,
    pub(crate) max_retry: u32,
    pub(crate) policy: BanPolicy,
    /// On nodes with an even number.
    pub(crate) ports_even: &'static [u16],
    /// On the others.
    pub(crate) ports_odd: &'static [u16],
    /// The nodes that have it.
    pub(crate) nodes: Vec<usize>,
}

impl JailPlan {
    /// What it closes on `node`.
    pub(crate) fn ports(&self, node: usize) -> &'static [u16] {
        if node.is_multiple_of(2) { self.ports_even } else { self.ports_odd }
    }

    /// The jail as `node`'s warden gets it.
    pub(crate) fn jail(&self, node: usize) -> Jail {
        Jail {
            name: JailName::new(self.name).expect("a valid name"),
            max_retry: self.max_retry,
            find_time_ms: FIND_TIME_MS,
            policy: self.policy.clone(),
            ports: Ports::tcp(self.ports(node)),
            max_matches: 3,
            scope: Scope::Cluster,
            counts_bans: false,
            reach: None,
            ignore: ignored_on(node).map(Subnet::host).into_iter().collect(),
        }
    }

    /// How long the `n`-th ban lasts at least, from 1 on; `None` means for ever.
    pub(crate) fn ban_time_ms(&self, n: usize) -> Option<u64> {
        let BanTime::Ms(base_ms) = self.policy.ban_time else { return None };
        match &self.policy.growth {
            Some(growth) if n > 1 => growth.table_ms.get(n - 1).or(growth.table_ms.last()).copied(),
            _ => Some(base_ms),
        }
    }

    /// What a line counts for at most, when it is about somebody who was banned so often here: where ban
    /// times grow, 1, 2, 3, 5, 9 and so on.
    pub(crate) fn weight_at_most(&self, n_bans: u32) -> u32 {
        match n_bans.min(20) {
            0 => 1,
            _ if self.policy.growth.is_none() => 1,
            n_bans => ((1 << (n_bans - 1)) + 1).min(self.max_retry),
        }
    }

    /// The longest ban; `None` means for ever.
    pub(crate) fn ban_time_max_ms(&self) -> Option<u64> {
        self.ban_time_ms(usize::MAX)
    }
}

/// An address that only this node's own `ignoreip` protects.
pub(crate) fn ignored_on(node: usize) -> Option<IpAddr> {
    (node == 1).then(|| IpAddr::from([45, 7, 7, 7]))
}

/// So many addresses nobody ever complained about.
pub(crate) const N_INNOCENT: u8 = 40;

/// One of them.
pub(crate) fn innocent(n: u8) -> IpAddr {
    IpAddr::from([45, 66, 6, n % N_INNOCENT])
}

/// Whether it is one of them.
pub(crate) fn is_innocent(subnet: Subnet) -> bool {
    (0..N_INNOCENT).any(|n| Subnet::host(innocent(n)) == subnet)
}

/// A node's own address.
pub(crate) fn own_address(node: usize) -> IpAddr {
    IpAddr::from([80, 1, 1, 10 + u8::try_from(node).unwrap_or(0)])
}

/// The nodes' common router.
pub(crate) fn gateway() -> IpAddr {
    IpAddr::from([80, 1, 1, 1])
}

impl Plan {
    /// The world of `seed`.
    pub(crate) fn new(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x6261_6e6e_6b72_6569);
        let random = &mut random;
        let n_nodes = [3, 3, 3, 4, 5][random.index(5)];
        let wrong_clock = random.chance(500).then(|| random.index(n_nodes));
        let skews_ms = (0..n_nodes)
            .map(|node| match wrong_clock {
                Some(wrong) if wrong == node => wrong_skew(random),
                _ => i64::try_from(random.below(1_001)).unwrap_or(0) - 500,
            })
            .collect();
        let mut drifts_ppm: Vec<i64> =
            (0..n_nodes).map(|_| i64::try_from(random.below(101)).unwrap_or(0) - 50).collect();
        // A clock that is not to be trusted may also run at its own speed.
        if let Some(wrong) = wrong_clock
            && random.chance(500)
        {
            drifts_ppm[wrong] = if random.chance(700) { RUNAWAY_PPM } else { -RUNAWAY_PPM };
        }
        let heals_at_ms = WORLD_BEGINS_MS + random.between(240, 600) * SECOND_MS;
        let has_witness = random.chance(200);
        let mut plan = Plan {
            n_nodes,
            settings: settings(random),
            jails: jails(n_nodes - usize::from(has_witness), random),
            offenders: offenders(random),
            wrong_clock,
            skews_ms,
            drifts_ppm,
            notice_faults: [0, 50, 300][random.index(3)],
            proposal_faults: [0, 30, 150][random.index(3)],
            slow_quorums: 40,
            snapshot_lag: [6, 20, 60][random.index(3)],
            stamps_wrongly: None,
            late_records: random.chance(250),
            has_witness,
            acts: Vec::new(),
            heals_at_ms,
        };
        plan.acts = plan.plan_acts(random);
        plan.stamps_wrongly = random.chance(50).then(|| random.index(n_nodes));
        plan
    }

    /// A world in which nothing goes wrong by itself, and nobody does anything.
    pub(crate) fn quiet(n_nodes: usize) -> Plan {
        Plan {
            n_nodes,
            settings: Settings::at_birth([7; 16]),
            jails: all_jails(n_nodes),
            offenders: (1..=8).map(|n| IpAddr::V4(Ipv4Addr::new(45, 9, 8, n))).collect(),
            wrong_clock: None,
            skews_ms: vec![0; n_nodes],
            drifts_ppm: vec![0; n_nodes],
            notice_faults: 0,
            proposal_faults: 0,
            slow_quorums: 0,
            snapshot_lag: 60,
            stamps_wrongly: None,
            late_records: false,
            has_witness: false,
            acts: Vec::new(),
            heals_at_ms: 0,
        }
    }

    /// By so much a leader may lead cluster time on.
    pub(crate) fn led_ms(&self) -> u64 {
        if self.stamps_wrongly.is_some() { STAMP_LEAD_MAX_MS } else { 0 }
    }

    /// Whether nodes may be over their quotas in such a world.
    pub(crate) fn has_small_quotas(&self) -> bool {
        self.settings.quota_burst < 100
    }

    fn plan_acts(&self, random: &mut Random) -> Vec<(u64, Act)> {
        let begin = WORLD_BEGINS_MS + QUIET_MS;
        let mut acts = Vec::new();
        let n_attacks = random.between(15, 45);
        for _ in 0..n_attacks {
            let at = random.between(begin, self.heals_at_ms);
            // Half of the attackers come in waves over several hosts at once.
            let n_hosts = if random.chance(300) { 2 } else { 1 };
            let (jail, offender) = (random.index(self.jails.len()), random.index(self.offenders.len()));
            for _ in 0..n_hosts {
                let hosts = &self.jails[jail].nodes;
                let node = hosts[random.index(hosts.len())];
                let full = self.jails[jail].max_retry;
                let n_lines = match random.below(10) {
                    0..=6 => full,
                    7 => full + 1,
                    _ => u32::try_from(random.between(1, u64::from(full))).unwrap_or(1),
                };
                let in_flight = random.chance(250);
                let at = at + random.below(3_000);
                acts.push((at, Act::Attack { node, jail, offender, n_lines, in_flight }));
            }
        }
        for _ in 0..random.below(4) {
            let jail = random.index(self.jails.len());
            let hosts = &self.jails[jail].nodes;
            let node = hosts[random.index(hosts.len())];
            let address = match random.below(4) {
                0 => own_address(random.index(self.n_nodes)),
                1 => gateway(),
                2 => IpAddr::from([127, 0, 0, 1]),
                _ => IpAddr::from([45, 7, 7, 7]),
            };
            let n_lines = self.jails[jail].max_retry;
            acts.push((random.between(begin, self.heals_at_ms), Act::Spoof { node, jail, address, n_lines }));
        }
        for _ in 0..random.between(2, 9) {
            let at = random.between(begin, self.heals_at_ms);
            self.plan_order(at, random, &mut acts);
        }
        for _ in 0..random.between(2, 10) {
            let at = random.between(begin, self.heals_at_ms);
            self.plan_fault(at, random, &mut acts);
        }
        acts.sort_by_key(|(at, _)| *at);
        acts
    }

    fn plan_order(&self, at: u64, random: &mut Random, acts: &mut Vec<(u64, Act)>) {
        let via = random.index(self.n_nodes);
        let offender = random.index(self.offenders.len());
        let order = match random.below(20) {
            0..=3 => Order::Ban { offender, for_ms: random.between(20, 200) * SECOND_MS },
            4..=10 => {
                let jail = random.chance(300).then(|| random.index(self.jails.len()));
                Order::Unban { offender, jail }
            }
            11 => Order::UnbanNetwork { of_offender: offender },
            12 | 13 => {
                let node = random.index(self.n_nodes);
                if random.chance(600) {
                    let later = at + random.between(5, 60) * SECOND_MS;
                    acts.push((later, Act::Order { via, order: Order::Trust { node } }));
                }
                Order::UnbanByNode { node }
            }
            14 | 15 => {
                if random.chance(600) {
                    let later = at + random.between(5, 60) * SECOND_MS;
                    acts.push((later, Act::Order { via, order: Order::Disallow { offender } }));
                }
                Order::Allow { offender, for_ms: random.between(20, 200) * SECOND_MS }
            }
            _ => {
                let node = random.index(self.n_nodes);
                let for_ms = random.between(20, 120) * SECOND_MS;
                acts.push((at, Act::Override { node, offender, release: random.chance(600), for_ms }));
                if random.chance(500) {
                    let later = at + random.between(5, 60) * SECOND_MS;
                    acts.push((later, Act::EndOverride { node, offender }));
                }
                return;
            }
        };
        acts.push((at, Act::Order { via, order }));
    }

    fn plan_fault(&self, at: u64, random: &mut Random, acts: &mut Vec<(u64, Act)>) {
        let node = random.index(self.n_nodes);
        let long_ms = if random.chance(250) { 150 } else { 20 } * SECOND_MS;
        let fault = match random.below(22) {
            20 => {
                let without = random.index(self.jails.len());
                acts.push((
                    at + random.between(SECOND_MS, 60 * SECOND_MS),
                    Act::Reload { node, without: None },
                ));
                Act::Reload { node, without: Some(without) }
            }
            21 => Act::Corrupt { node, down_ms: random.between(SECOND_MS, 20 * SECOND_MS) },
            0..=4 => {
                let power = random.chance(350);
                Act::Crash { node, power, down_ms: random.between(SECOND_MS, long_ms) }
            }
            5..=8 => {
                let group = u32::try_from(random.between(1, (1 << self.n_nodes) - 2)).unwrap_or(1);
                let for_ms = random.between(SECOND_MS, long_ms);
                Act::Partition { group, one_way: random.chance(300), for_ms }
            }
            9 => Act::Leaderless { for_ms: random.between(SECOND_MS, long_ms) },
            10 | 11 => Act::NewLeader,
            12 => Act::Lag { node, for_ms: random.between(SECOND_MS, 20 * SECOND_MS) },
            14 | 15 => Act::Flush { node },
            13 => Act::Rogue { node, for_ms: random.between(60, 200) * SECOND_MS },
            16 => Act::Refuse { node, n_calls: u32::try_from(random.between(1, 6)).unwrap_or(1) },
            17 => Act::StopHalfWay { node, n_deltas: random.index(2) },
            18 => {
                // A power cut for all at once.
                for node in 0..self.n_nodes {
                    let down_ms = random.between(SECOND_MS, 10 * SECOND_MS);
                    acts.push((at, Act::Crash { node, power: random.chance(300), down_ms }));
                }
                return;
            }
            _ => match self.wrong_clock {
                Some(node) => Act::Jump { node, by_ms: wrong_skew(random) },
                None => Act::Flush { node },
            },
        };
        acts.push((at, fault));
    }
}

/// How far off a wall clock is that nobody may trust.
pub(crate) fn wrong_skew(random: &mut Random) -> i64 {
    let far_ms = [60_000, 3_600_000, 86_400_000, 31_536_000_000][random.index(4)];
    if random.chance(500) { far_ms } else { -far_ms }
}

fn settings(random: &mut Random) -> Settings {
    let mut settings = Settings::at_birth([7; 16]);
    if random.chance(200) {
        settings.private_offenders = PrivateOffenders::Origin;
    }
    settings.reach = [Reach::Guarded, Reach::Guarded, Reach::Ports, Reach::Host][random.index(4)];
    if random.chance(200) {
        settings.quota_burst = 3;
        settings.quota_per_minute = 1;
        settings.damped_ms = 40 * SECOND_MS;
        settings.damped_live_max = 2;
    }
    settings
}

/// What the nodes watch.
fn all_jails(n_nodes: usize) -> Vec<JailPlan> {
    let grows = |table_s: &[u64]| {
        let table_ms: Vec<u64> = table_s.iter().map(|s| s * SECOND_MS).collect();
        let growth = Growth { max_ms: None, rnd_ms: 0, overall_jails: false, table_ms };
        BanPolicy { ban_time: BanTime::Ms(growth.table_ms[0]), growth: Some(growth) }
    };
    let fixed = |s: u64| BanPolicy::fixed(BanTime::Ms(s * SECOND_MS));
    let all: Vec<usize> = (0..n_nodes).collect();
    vec![
        JailPlan {
            name: "ssh",
            max_retry: 3,
            policy: fixed(90),
            ports_even: &[22],
            ports_odd: &[22],
            nodes: all.clone(),
        },
        JailPlan {
            name: "mail",
            max_retry: 2,
            policy: grows(&[30, 60, 120, 240]),
            ports_even: &[25, 587],
            ports_odd: &[25, 587],
            nodes: vec![0, 1],
        },
        JailPlan {
            name: "web",
            max_retry: 4,
            policy: fixed(200),
            ports_even: &[443],
            ports_odd: &[80, 8443],
            nodes: all[..n_nodes - 1].to_vec(),
        },
    ]
}

/// Those, and in some worlds one that bans for ever.
fn jails(n_nodes: usize, random: &mut Random) -> Vec<JailPlan> {
    let mut jails = all_jails(n_nodes);
    if random.chance(200) {
        let policy = BanPolicy::fixed(BanTime::Forever);
        jails.push(JailPlan {
            name: "dark",
            max_retry: 1,
            policy,
            ports_even: &[110],
            ports_odd: &[110],
            nodes: (0..n_nodes).collect(),
        });
    }
    jails
}

fn offenders(random: &mut Random) -> Vec<IpAddr> {
    let n_offenders = random.between(4, 14);
    (0..n_offenders)
        .map(|n| {
            let last = u8::try_from(n).unwrap_or(0);
            match random.below(5) {
                0 => IpAddr::V6(Ipv6Addr::new(0x2a01, 0x4f8, 0, 0x100 + u16::from(last), 0, 0, 0, 5)),
                1 => IpAddr::V4(Ipv4Addr::new(10, 9, 8, 1 + last)),
                _ => IpAddr::V4(Ipv4Addr::new(45, 9, 8, 1 + last)),
            }
        })
        .collect()
}
