//! Faults: each act of the plan is a task that does harm, waits, and mends what it has done. When the faults end, all of
//! them mend at once.
//!
//! Not for which faults there are and when (`plan.rs`).

use super::clients::operator;
use super::host::Host;
use super::network::{Network, address};
use super::oracle::Oracle;
use super::plan::{Act, Plan};
use crate::identity::Stage;
use crate::orders::{Order, OrderError};
use bannkreis_core::ids::NodeId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// An order that was not carried out is given again after this long, in ms.
const ORDER_PAUSE_MS: u64 = 500;
/// So often, when nothing depends on it.
const ORDER_TRIES: usize = 6;
/// Whoever cuts a leader off to see another one elected waits so long for that.
const ELECTION: Duration = Duration::from_secs(6);
/// A candidate that has got a vote leads within this time, or lacks another one.
const COUNTING: Duration = Duration::from_millis(300);
/// A host that was taken out is a member again within this time.
const REJOINING: Duration = Duration::from_secs(90);

/// See the module.
pub(super) struct Faults {
    network: Arc<Network>,
    hosts: Arc<Vec<Host>>,
    oracle: Arc<Oracle>,
    delay_us: (u64, u64),
    n_orders: AtomicU64,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    has_ended: watch::Sender<bool>,
}

impl Faults {
    pub(super) fn new(
        network: Arc<Network>,
        hosts: Arc<Vec<Host>>,
        oracle: Arc<Oracle>,
        plan: &Plan,
    ) -> Faults {
        Faults {
            network,
            hosts,
            oracle,
            delay_us: plan.delay_us,
            n_orders: AtomicU64::new(0),
            tasks: Mutex::default(),
            has_ended: watch::Sender::new(false),
        }
    }

    pub(super) fn begin(self: &Arc<Faults>, act: Act) {
        self.oracle.note(format_args!("{act:?}"));
        let faults = self.clone();
        let task = tokio::spawn(async move { faults.carry_out(act).await });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Mends everything, and waits until all hosts run.
    pub(super) async fn end(&self) {
        self.has_ended.send_replace(true);
        self.network.mend_all();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // One that has panicked has said so.
            let _ = task.await;
        }
        self.network.mend_all();
    }

    /// As long as the fault lasts.
    async fn last(&self, for_ms: u64) {
        let mut ended = self.has_ended.subscribe();
        let _ = tokio::time::timeout(Duration::from_millis(for_ms), ended.wait_for(|ended| *ended)).await;
    }

    async fn carry_out(&self, act: Act) {
        match act {
            Act::Partition { group, one_way, for_ms } => self.partition(group, one_way, for_ms).await,
            Act::Bad { delay_us, loss, for_ms } => {
                self.oracle.happened("network: slow and lossy");
                self.network.set_delays(delay_us, loss);
                self.last(for_ms).await;
                self.network.set_delays(self.delay_us, 0);
            }
            Act::Reset { one, other } => {
                self.oracle.happened("network: connections reset");
                self.network.reset(one, other);
            }
            Act::Crash { host, power, down_ms } => self.crash(&[host], power, down_ms).await,
            Act::CrashLeader { power, down_ms } => {
                let Some(leader) = self.leader() else { return };
                self.oracle.happened("node: leader crashed");
                self.crash(&[leader], power, down_ms).await;
            }
            Act::Blackout { down_ms } => {
                self.oracle.happened("node: all without power");
                let all: Vec<usize> = (0..self.hosts.len()).collect();
                self.crash(&all, true, down_ms).await;
            }
            Act::SlowDisk { host, sync_ms, for_ms } => {
                self.oracle.happened("disk: slow");
                self.hosts[host].slow_down(Some(Duration::from_millis(sync_ms)));
                self.last(for_ms).await;
                self.hosts[host].slow_down(None);
            }
            Act::Jump { host, by_ms } => {
                self.oracle.happened("clock: jump");
                self.hosts[host].wall.jump(by_ms);
            }
            Act::Snapshot { host } => self.snapshot(host, false).await,
            Act::Purge => {
                let Some(leader) = self.leader() else { return };
                self.snapshot(leader, true).await;
            }
            Act::Lead { host } => {
                self.order(host, |node| Order::Lead(Some(node)), "operator: lead").await;
            }
            Act::Demote { host } => self.order(host, Order::Demote, "operator: demote").await,
            Act::Promote { host } => self.order(host, Order::Promote, "operator: promote").await,
            Act::Remove { host } => self.remove(host).await,
            Act::Turncoat { stops_after_us, down_ms, for_ms } => {
                self.turncoat(Duration::from_micros(stops_after_us), down_ms, for_ms).await;
            }
        }
    }

    fn leader(&self) -> Option<usize> {
        (0..self.hosts.len()).find(|host| self.leads(*host))
    }

    fn leads(&self, host: usize) -> bool {
        self.hosts[host].node().is_some_and(|node| node.is_leader())
    }

    async fn partition(&self, group: u32, one_way: bool, for_ms: u64) {
        self.oracle.happened(if one_way { "network: one-way partition" } else { "network: partition" });
        let is_inside = |host: usize| group >> host & 1 == 1;
        let inside = (0..self.hosts.len()).filter(|host| is_inside(*host));
        let pairs: Vec<(usize, usize)> = inside
            .flat_map(|from| (0..self.hosts.len()).filter(|to| !is_inside(*to)).map(move |to| (from, to)))
            .flat_map(|(from, to)| [(from, to)].into_iter().chain((!one_way).then_some((to, from))))
            .collect();
        pairs.iter().for_each(|(from, to)| self.network.cut(*from, *to));
        self.last(for_ms).await;
        pairs.iter().for_each(|(from, to)| self.network.mend(*from, *to));
    }

    async fn crash(&self, hosts: &[usize], power: bool, down_ms: u64) {
        let down: Vec<usize> = hosts.iter().copied().filter(|host| self.hosts[*host].crash(power)).collect();
        self.last(down_ms).await;
        for host in down {
            self.hosts[host].start().await;
        }
    }

    async fn snapshot(&self, host: usize, purge: bool) {
        let Some(node) = self.hosts[host].node() else { return };
        self.oracle.happened("log: snapshot written");
        node.save_snapshot().await;
        if purge && let Some(upto) = node.status().snapshot {
            self.oracle.happened("log: purged");
            let _ = node.inner.raft.trigger().purge_log(upto).await;
        }
    }

    fn node_id(&self, host: usize) -> Option<NodeId> {
        self.hosts[host].node().map(|node| node.node_id())
    }

    /// Gives an order about a host through another one. `Err`: it may or may not be carried out.
    async fn give(&self, host: usize, order: &Order) -> Result<(), OrderError> {
        let number = self.n_orders.fetch_add(1, Ordering::Relaxed);
        let vias = self.hosts.iter().cycle().skip(usize::try_from(number).unwrap_or(0));
        let via = vias.take(self.hosts.len()).filter(|via| via.number != host).find_map(Host::node);
        let via = via.ok_or_else(|| OrderError::NotNow("no other node runs".to_owned()))?;
        let by = operator(via.node_id(), u128::from(number) << 96 | 1);
        let given = tokio::time::timeout(Duration::from_secs(20), via.order(order, &by)).await;
        let given = given.unwrap_or_else(|_| Err(OrderError::NotNow("no answer".to_owned())));
        self.oracle.note(format_args!("{order:?}: {given:?}"));
        match (order, given) {
            // It was carried out before, and the answer was lost.
            (Order::Remove(_), Err(OrderError::Refused(why))) if why.contains("is no member") => Ok(()),
            (_, given) => given,
        }
    }

    async fn order(&self, host: usize, order: impl FnOnce(NodeId) -> Order, kind: &'static str) {
        let Some(node) = self.node_id(host) else { return };
        let order = order(node);
        for _ in 0..ORDER_TRIES {
            match self.give(host, &order).await {
                Ok(()) => return self.oracle.happened(kind),
                Err(OrderError::NotNow(_)) => self.last(ORDER_PAUSE_MS).await,
                Err(OrderError::Refused(_)) => return,
            }
        }
    }

    /// Out of the cluster, and back under another id.
    async fn remove(&self, host: usize) {
        let Some(node) = self.node_id(host) else { return };
        let deadline = Instant::now() + REJOINING;
        let mut may_be_out = false;
        loop {
            match self.give(host, &Order::Remove(node)).await {
                Ok(()) => break,
                Err(OrderError::Refused(_)) if !may_be_out => return,
                Err(_) if Instant::now() >= deadline => return,
                Err(error) => {
                    may_be_out |= matches!(error, OrderError::NotNow(_));
                    tokio::time::sleep(Duration::from_millis(ORDER_PAUSE_MS)).await;
                }
            }
        }
        self.oracle.happened("operator: remove");
        // Whoever has stopped it meanwhile starts it first.
        while !self.hosts[host].crash(false) {
            tokio::time::sleep(Duration::from_millis(ORDER_PAUSE_MS)).await;
        }
        self.hosts[host].set_up(Stage::Joining);
        self.hosts[host].start().await;
        let others: Vec<String> = (0..self.hosts.len()).filter(|other| *other != host).map(address).collect();
        if self.hosts[host].join(&others, deadline).await {
            self.oracle.happened("node: joined again");
        }
    }

    /// See [`Act::Turncoat`].
    async fn turncoat(&self, stops_after: Duration, down_ms: u64, for_ms: u64) {
        let Some(leader) = self.leader() else { return };
        let others = || (0..self.hosts.len()).filter(|host| *host != leader);
        let cut = |one: usize, other: usize| {
            self.network.cut(one, other);
            self.network.cut(other, one);
        };
        others().for_each(|other| cut(leader, other));
        let (votes, mut voters) = mpsc::unbounded_channel();
        let watches: Vec<JoinHandle<()>> = others()
            .map(|other| {
                let (disk, votes) = (self.hosts[other].disk(), votes.clone());
                tokio::spawn(async move {
                    disk.voted().await;
                    let _ = votes.send(other);
                })
            })
            .collect();
        // The candidate votes first, for itself.
        let elected =
            tokio::time::timeout(ELECTION, async { (voters.recv().await, voters.recv().await) }).await;
        watches.iter().for_each(JoinHandle::abort);
        if let Ok((Some(candidate), Some(voter))) = elected {
            self.oracle.happened("node: turned coat");
            let leads = async {
                while !self.leads(candidate) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            // Others may be needed for that, and not be there.
            let _ = tokio::time::timeout(COUNTING, leads).await;
            tokio::time::sleep(stops_after).await;
            let has_stopped = self.hosts[voter].crash(true);
            self.last(down_ms).await;
            self.network.mend_all();
            (0..self.hosts.len()).filter(|host| *host != candidate).for_each(|host| cut(candidate, host));
            if has_stopped {
                self.hosts[voter].start().await;
            }
            self.last(for_ms).await;
        }
        self.network.mend_all();
    }
}
