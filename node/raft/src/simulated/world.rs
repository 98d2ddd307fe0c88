//! A world from its beginning to its end: a cluster is formed, clients work while the plan's faults strike, the faults
//! end, and everything has to agree. One thread, one clock that moves when there is nothing left to do.
//!
//! Not for how a fault is made (`faults.rs`), nor for what must be true (`oracle.rs`).

use super::chance;
use super::clients::{Client, op, operator};
use super::faults::Faults;
use super::host::{Ground, Host};
use super::network::{Network, address};
use super::oracle::{Broken, HEALS, Oracle};
use super::plan::Plan;
use super::random::Random;
use crate::identity::Stage;
use crate::options::Timing;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::time::Instant;

/// A cluster is formed within this time.
const FORMING: Duration = Duration::from_secs(60);
/// When the faults have ended, everything agrees within this time.
const HEALING: Duration = Duration::from_secs(60);
/// How often what is waited for is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The subnets that are banned at the end.
const LAST_SUBNETS: u32 = 10_000;

/// What came of a world.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) broken: Option<Broken>,
    pub(super) happened: BTreeMap<String, u64>,
    pub(super) trace_hash: u64,
}

/// Lives this seed's world; its hosts' directories are in `dir`. To be called on a thread of its own.
pub(super) fn run(seed: u64, dir: &Path, prints: bool) -> Verdict {
    let oracle = with_clock(seed, async {
        let plan = Plan::of(seed);
        let world = World::new(&plan, seed, dir, prints);
        live(&world, &plan).await;
        world.oracle
    });
    let (happened, trace_hash) = oracle.sums();
    Verdict { broken: oracle.broken(), happened, trace_hash }
}

/// Runs this on a clock that moves when there is nothing left to do, with the seed's chance.
pub(super) fn with_clock<T>(seed: u64, life: impl Future<Output = T>) -> T {
    chance::begin(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        tokio::spawn(chance::tell_time());
        life.await
    })
}

/// See the module.
pub(super) struct World {
    pub(super) network: Arc<Network>,
    pub(super) hosts: Arc<Vec<Host>>,
    pub(super) oracle: Arc<Oracle>,
    random: Random,
}

impl World {
    /// Hosts on which nothing runs yet.
    pub(super) fn new(plan: &Plan, seed: u64, dir: &Path, prints: bool) -> World {
        let mut random = Random::new(!seed);
        let oracle = Arc::new(Oracle::new(prints));
        let network = Network::new(Random::new(random.next()), plan.delay_us);
        let ground = Arc::new(Ground {
            network: network.clone(),
            oracle: oracle.clone(),
            timing: Timing { dead_after_ms: plan.dead_after_ms, ..Timing::default() },
            random: Mutex::new(Random::new(random.next())),
            dir: dir.to_owned(),
            clocks: Mutex::default(),
            began: Instant::now(),
        });
        let host = |number: usize| {
            let sync_takes = Duration::from_micros(plan.sync_us[number]);
            Host::new(number, &ground, sync_takes, plan.drifts_ppm[number])
        };
        World { network, hosts: Arc::new((0..plan.n_hosts).map(host).collect()), oracle, random }
    }

    /// The first host begins a cluster, the others join it.
    pub(super) async fn form(&self) -> bool {
        let deadline = Instant::now() + FORMING;
        for host in self.hosts.iter() {
            host.set_up(if host.number == 0 { Stage::Founding } else { Stage::Joining });
            host.start().await;
            if host.number > 0 && !host.join(&[address(0)], deadline).await {
                return false;
            }
        }
        let n_voters = if self.hosts.len() < 5 { 3 } else { 5 };
        let has_voters = || self.hosts[0].node().is_some_and(|node| node.status().voters.len() == n_voters);
        until(deadline, has_voters).await
    }

    /// Everybody has everything within [`HEALING`], and something new is committed through everybody.
    pub(super) async fn heal(&self) {
        heal(&self.hosts, &self.oracle, Instant::now() + HEALING).await;
    }
}

async fn live(world: &World, plan: &Plan) {
    let (hosts, oracle) = (&world.hosts, &world.oracle);
    if !world.form().await {
        return oracle.broke(HEALS, format_args!("no cluster is formed"));
    }
    oracle.note(format_args!("the cluster is formed"));
    let mut random = world.random.clone();
    let is_over = Arc::new(AtomicBool::new(false));
    let client = |number| {
        let client = Client {
            number,
            hosts: hosts.clone(),
            oracle: oracle.clone(),
            random: Random::new(random.next()),
            is_over: is_over.clone(),
        };
        tokio::spawn(client.run())
    };
    let clients: Vec<_> = (0..plan.n_clients).map(client).collect();
    let faults = Arc::new(Faults::new(world.network.clone(), hosts.clone(), oracle.clone(), plan));
    let began = Instant::now();
    for (at_ms, act) in &plan.acts {
        tokio::time::sleep_until(began + Duration::from_millis(*at_ms)).await;
        if oracle.broken().is_some() {
            return;
        }
        faults.begin(act.clone());
    }
    tokio::time::sleep_until(began + Duration::from_millis(plan.heals_at_ms)).await;
    faults.end().await;
    oracle.note(format_args!("the faults have ended"));

    is_over.store(true, Ordering::Relaxed);
    let answered = tokio::time::timeout(HEALING, futures::future::join_all(clients)).await;
    if answered.is_err() {
        return oracle.broke(HEALS, format_args!("a client is not answered"));
    }
    world.heal().await;
}

/// Everybody has everything, and something new is committed through everybody.
async fn heal(hosts: &[Host], oracle: &Oracle, deadline: Instant) {
    let lacks = |host: &Host| match host.node() {
        None => Some("does not run".to_owned()),
        Some(node) if node.failure().is_some() => node.failure(),
        Some(node) if !node.status().is_member => Some("is no member".to_owned()),
        Some(node) if !oracle.is_complete(&node.view()) => {
            Some(format!("lacks something at {}", node.view().position()))
        }
        Some(_) => None,
    };
    for (number, host) in hosts.iter().enumerate() {
        if !until(deadline, || lacks(host).is_none()).await {
            let (why, status) = (lacks(host), host.node().map(|node| node.status()));
            oracle.broke(HEALS, format_args!("host {number}: {why:?}: {status:?}"));
            return;
        }
    }
    for (number, host) in hosts.iter().enumerate() {
        let Some(node) = host.node() else { return };
        let n = LAST_SUBNETS + u32::try_from(number).unwrap_or(0);
        loop {
            match node.propose(vec![op(n, true, operator(node.node_id(), u128::from(n)))]).await {
                Ok(_) => break,
                Err(error) if Instant::now() >= deadline => {
                    return oracle.broke(HEALS, format_args!("host {number} commits nothing: {error}"));
                }
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }
    let views = || hosts.iter().filter_map(|host| Some(host.node()?.view())).collect::<Vec<_>>();
    let agree = || views().windows(2).all(|pair| pair[0].position() == pair[1].position());
    if !until(deadline, agree).await {
        let positions: Vec<_> = views().iter().map(|view| view.position()).collect();
        return oracle.broke(HEALS, format_args!("they do not come to one position: {positions:?}"));
    }
    views().iter().enumerate().for_each(|(number, view)| oracle.look(number, view));
    oracle.note(format_args!("all agree on {} subnets", oracle.n_settled()));
}

async fn until(deadline: Instant, mut holds: impl FnMut() -> bool) -> bool {
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}
