//! What a seed's world is like: how many hosts, how fast their disks and their network are, and which faults strike
//! when. Made once, before the world begins.

use super::random::Random;

/// Faults strike for this long, in ms.
const FAULTS_MS: u64 = 25_000;
/// Between two faults there are so many ms at least and at most.
const GAP_MS: (u64, u64) = (100, 2_500);

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// These hosts (bits) do not reach the others, and, unless it is one way, are not reached by them.
    Partition {
        group: u32,
        one_way: bool,
        for_ms: u64,
    },
    /// Pieces are slow on all links, and so many of a thousand are lost.
    Bad {
        delay_us: (u64, u64),
        loss: u64,
        for_ms: u64,
    },
    /// The connections between two hosts break.
    Reset {
        one: usize,
        other: usize,
    },
    /// The process is killed, or, with `power`, the machine stops.
    Crash {
        host: usize,
        power: bool,
        down_ms: u64,
    },
    /// The same happens to whichever host leads.
    CrashLeader {
        power: bool,
        down_ms: u64,
    },
    /// All machines stop at once.
    Blackout {
        down_ms: u64,
    },
    /// A disk needs so long for a sync.
    SlowDisk {
        host: usize,
        sync_ms: u64,
        for_ms: u64,
    },
    /// A wall clock jumps.
    Jump {
        host: usize,
        by_ms: i64,
    },
    /// A snapshot is written.
    Snapshot {
        host: usize,
    },
    /// The same on the host that leads, and its log up to the snapshot is let go.
    Purge,
    /// An operator wants another leader.
    Lead {
        host: usize,
    },
    /// An operator takes a vote away, or gives it back.
    Demote {
        host: usize,
    },
    Promote {
        host: usize,
    },
    /// An operator takes a host out of the cluster; it comes back as a new node.
    Remove {
        host: usize,
    },
    /// The leader is cut off. The first of the others that votes for a new one stops as soon as that leads, and when it
    /// comes back, it is with the old leader that it is connected.
    Turncoat {
        stops_after_us: u64,
        down_ms: u64,
        for_ms: u64,
    },
}

/// A world.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) n_hosts: usize,
    pub(super) n_clients: u32,
    pub(super) delay_us: (u64, u64),
    pub(super) sync_us: Vec<u64>,
    pub(super) drifts_ppm: Vec<i64>,
    /// A voter that is silent for so long is replaced.
    pub(super) dead_after_ms: u64,
    /// In order of time: when, what.
    pub(super) acts: Vec<(u64, Act)>,
    /// When all faults stop.
    pub(super) heals_at_ms: u64,
}

impl Plan {
    /// A world in which nothing happens by itself.
    pub(super) fn quiet(n_hosts: usize) -> Plan {
        Plan {
            n_hosts,
            n_clients: 0,
            delay_us: (100, 1_000),
            sync_us: vec![1_000; n_hosts],
            drifts_ppm: vec![0; n_hosts],
            dead_after_ms: 600_000,
            acts: Vec::new(),
            heals_at_ms: 0,
        }
    }

    /// The plan of this seed.
    pub(super) fn of(seed: u64) -> Plan {
        let mut random = Random::new(seed);
        let n_hosts = random.index(3) + 3;
        let slowest_us = [300, 3_000, 30_000][random.index(3)];
        let mut acts = Vec::new();
        let mut at_ms = 0;
        while at_ms < FAULTS_MS {
            at_ms += random.between(GAP_MS.0, GAP_MS.1);
            acts.push((at_ms, act(n_hosts, &mut random)));
        }
        Plan {
            n_hosts,
            n_clients: 3,
            delay_us: (slowest_us / 10, slowest_us),
            sync_us: (0..n_hosts).map(|_| random.between(100, 20_000)).collect(),
            drifts_ppm: (0..n_hosts).map(|_| i64::try_from(random.below(400)).unwrap_or(0) - 200).collect(),
            dead_after_ms: if random.chance(500) { 6_000 } else { 600_000 },
            acts,
            heals_at_ms: at_ms + 2_000,
        }
    }
}

fn act(n_hosts: usize, random: &mut Random) -> Act {
    let host = random.index(n_hosts);
    let other = (host + 1 + random.index(n_hosts - 1)) % n_hosts;
    let for_ms = random.between(300, 6_000);
    // A node that is back before the others elect is another case than one that is not.
    let down_ms = if random.chance(500) { random.between(5, 300) } else { random.between(300, 4_000) };
    match random.below(100) {
        0..22 => {
            let all = (1u64 << n_hosts) - 1;
            let group = u32::try_from(random.between(1, all - 1)).unwrap_or(1);
            Act::Partition { group, one_way: random.chance(400), for_ms }
        }
        22..30 => {
            let slowest_us = random.between(20_000, 400_000);
            Act::Bad { delay_us: (1_000, slowest_us), loss: random.below(200), for_ms }
        }
        30..37 => Act::Reset { one: host, other },
        37..47 => Act::Crash { host, power: random.chance(600), down_ms },
        47..54 => Act::CrashLeader { power: random.chance(800), down_ms },
        54..60 => Act::Blackout { down_ms },
        60..67 => Act::SlowDisk { host, sync_ms: random.between(50, 1_500), for_ms },
        67..71 => {
            let by_ms = i64::try_from(random.between(0, 7_200_000)).unwrap_or(0) - 3_600_000;
            Act::Jump { host, by_ms }
        }
        71..73 => Act::Snapshot { host },
        73..79 => Act::Purge,
        79..82 => Act::Lead { host },
        82..86 => Act::Demote { host },
        86..89 => Act::Promote { host },
        89..93 => Act::Remove { host },
        _ => Act::Turncoat {
            stops_after_us: random.below(3_000),
            down_ms: random.between(10, 500),
            for_ms: random.between(2_000, 8_000),
        },
    }
}
