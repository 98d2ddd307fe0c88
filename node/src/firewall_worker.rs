//! The thread that owns the firewall: takes deltas in order, many at once when they queue up, and tells
//! how far the kernel has got.
//!
//! It decides nothing. When the backend says that the firewall is damaged, the warden is told, and sends
//! the whole ruleset; until that is in place the worker keeps trying, rarer and rarer.

use crate::borders::Clock;
use bannkreis_core::ids::Position;
use bannkreis_core::jail::Ports;
use bannkreis_core::ruleset::{Chain, Element, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Until;
use bannkreis_firewall::{ChainCounter, Firewall, FirewallError, Held};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Jobs that may wait. When it is full the warden waits for the kernel: deltas are never dropped.
const JOBS_MAX: usize = 1_024;
/// Deltas in one job at most.
pub const DELTAS_PER_JOB_MAX: usize = 1_000;
/// With so many deltas no more are waited for before they go to the backend.
const DELTAS_PER_CALL_MIN: usize = 10_000;
/// How often a stranger's damage is looked for.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The first pause after a refused call; it doubles up to [`RETRY_LAST`].
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// The longest pause.
const RETRY_LAST: Duration = Duration::from_secs(5);
/// A call that was refused as busy so often in a row counts as failed.
const BUSY_MAX: u32 = 10;

/// Something to ask the firewall on its own thread.
type Question = Box<dyn FnOnce(&mut dyn Firewall) + Send>;

/// Something for the worker to do.
enum Job {
    Apply(Vec<FirewallDelta>),
    Replace(Box<Ruleset>),
    Restore(Box<Ruleset>),
    /// The whole ruleset, and whether what was sent so far amounts to it.
    Settle(Box<Ruleset>, bool),
    /// Everything before is in the kernel now: this is what the host enforces.
    Enforced(Position),
    Ask(Question),
    Stop,
}

/// What the worker tells about itself.
#[derive(Clone, Debug, Default)]
pub struct WorkerState {
    /// The last error, while it lasts.
    pub error: Option<String>,
    /// How often the firewall was found damaged, or lost.
    pub n_repairs: u64,
}

/// The way to the worker.
#[derive(Clone)]
pub struct FirewallWorker {
    jobs: SyncSender<Job>,
    state: Arc<Mutex<WorkerState>>,
    enforced: watch::Sender<Position>,
    name: &'static str,
    about: Arc<str>,
}

impl FirewallWorker {
    /// Starts the thread. `why` says why it is this firewall. `on_damage` is called on it whenever the warden has to send the whole ruleset; from then until
    /// that is in place `is_whole` is false.
    ///
    /// # Errors
    /// When the machine has no room for a thread.
    pub fn start(
        firewall: Box<dyn Firewall>,
        why: &str,
        clock: Arc<dyn Clock>,
        on_damage: Box<dyn Fn() + Send>,
        is_whole: watch::Sender<bool>,
    ) -> std::io::Result<(FirewallWorker, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let state = Arc::new(Mutex::new(WorkerState::default()));
        let enforced = watch::Sender::new(Position::default());
        let (name, enforced_here) = (firewall.name(), enforced.clone());
        let about = format!("{name} ({why}); {}", firewall.about()).into();
        let worker = FirewallWorker { jobs, state: state.clone(), enforced: enforced_here, name, about };
        let body = Worker {
            firewall,
            clock,
            on_damage,
            is_whole,
            state,
            enforced,
            damaged: false,
            additive: true,
            retry: RETRY_FIRST,
        };
        let thread =
            std::thread::Builder::new().name("firewall".to_owned()).spawn(move || body.run(&queue))?;
        Ok((worker, thread))
    }

    /// The backend's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its name, why it is this one, where its rules are and what it uses of the kernel: for people.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// Changes the firewall. A caller with more than [`DELTAS_PER_JOB_MAX`] comes again, so that the kernel can begin.
    pub fn apply(&self, deltas: Vec<FirewallDelta>) {
        if !deltas.is_empty() {
            self.send(Job::Apply(deltas));
        }
    }

    /// Puts `ruleset` in the place of everything.
    pub fn replace(&self, ruleset: Ruleset) {
        self.send(Job::Replace(Box::new(ruleset)));
    }

    /// Makes sure that the kernel holds `ruleset` and nothing else. `is_exact`: what was sent so far amounts to it, and
    /// nothing is to be done unless an earlier process has left something.
    pub fn settle(&self, ruleset: Ruleset, is_exact: bool) {
        self.send(Job::Settle(Box::new(ruleset), is_exact));
    }

    /// Makes sure that the kernel holds at least `ruleset`, and keeps what else it holds.
    pub fn restore(&self, ruleset: Ruleset) {
        self.send(Job::Restore(Box::new(ruleset)));
    }

    /// Says that everything sent so far makes the kernel equal to the ban list at `position`.
    pub fn mark(&self, position: Position) {
        self.send(Job::Enforced(position));
    }

    /// Up to here the kernel holds what the ban list says.
    #[must_use]
    pub fn enforced(&self) -> Position {
        *self.enforced.borrow()
    }

    /// Tells whenever the kernel has got further.
    #[must_use]
    pub fn watch_enforced(&self) -> watch::Receiver<Position> {
        self.enforced.subscribe()
    }

    /// What the worker tells about itself.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything sent so far has been tried.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        self.send(Job::Ask(Box::new(move |_| {
            let _ = done.send(());
        })));
        let _ = wait.recv();
    }

    /// What the kernel holds for exactly `subnet`.
    ///
    /// # Errors
    /// The backend's.
    pub fn lookup(&self, subnet: Subnet) -> Result<Option<Held>, FirewallError> {
        self.ask(move |firewall| firewall.lookup(subnet)).unwrap_or(Ok(None))
    }

    /// How many packets were dropped, per jail.
    ///
    /// # Errors
    /// The backend's.
    pub fn counters(&self) -> Result<Vec<ChainCounter>, FirewallError> {
        self.ask(|firewall| firewall.counters()).unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Ends the thread. The kernel keeps everything.
    pub fn stop(&self) {
        self.send(Job::Stop);
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Firewall) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, wait) = sync_channel(1);
        self.send(Job::Ask(Box::new(move |firewall| {
            let _ = answer.send(question(firewall));
        })));
        wait.recv().ok()
    }

    fn send(&self, job: Job) {
        // The receiver is gone only after `stop`; then there is nobody left to tell.
        let _ = self.jobs.send(job);
    }
}

struct Worker {
    firewall: Box<dyn Firewall>,
    clock: Arc<dyn Clock>,
    on_damage: Box<dyn Fn() + Send>,
    is_whole: watch::Sender<bool>,
    state: Arc<Mutex<WorkerState>>,
    enforced: watch::Sender<Position>,
    /// The whole ruleset was asked for and is not in place yet: single deltas are not worth trying.
    damaged: bool,
    /// No whole ruleset has been put in place since the start: the kernel may hold blocks of an earlier
    /// process that the warden will know only when it has caught up. They are extended, never cut short.
    additive: bool,
    retry: Duration,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        let mut next_check = Instant::now() + CHECK_INTERVAL;
        let mut held_back: Option<Job> = None;
        loop {
            let job = match held_back.take() {
                Some(job) => job,
                None => match queue.recv_timeout(next_check.saturating_duration_since(Instant::now())) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        next_check = Instant::now() + CHECK_INTERVAL;
                        self.check();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            match job {
                Job::Apply(mut deltas) => {
                    while deltas.len() < DELTAS_PER_CALL_MIN {
                        match queue.try_recv() {
                            Ok(Job::Apply(more)) => deltas.extend(more),
                            Ok(other) => {
                                held_back = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.apply(deltas);
                }
                Job::Replace(ruleset) => self.replace(&ruleset),
                Job::Restore(ruleset) => self.restore(&ruleset),
                Job::Settle(ruleset, is_exact) => self.settle(&ruleset, is_exact),
                Job::Enforced(position) if !self.damaged => {
                    self.enforced.send_replace(position);
                }
                Job::Enforced(_) => {}
                Job::Ask(question) => question(self.firewall.as_mut()),
                Job::Stop => return,
            }
        }
    }

    fn apply(&mut self, mut deltas: Vec<FirewallDelta>) {
        if is_sabotaged() {
            return;
        }
        if self.damaged {
            // The whole ruleset follows. Until it can be put in place, each single change is worth a try.
            let _ = self.firewall.apply(self.clock.now().cluster, &deltas);
            return;
        }
        let mut n_busy = 0;
        loop {
            let applied = self
                .extend(&mut deltas)
                .and_then(|()| self.firewall.apply(self.clock.now().cluster, &deltas));
            match applied {
                Ok(()) => {
                    self.retry = RETRY_FIRST;
                    return;
                }
                // The kernel was busy with somebody else's change: the same call again does no harm.
                Err(FirewallError::Busy { .. }) if n_busy < BUSY_MAX => {
                    n_busy += 1;
                    self.pause();
                }
                Err(error) => return self.damage(&error),
            }
        }
    }

    /// Joins blocks with what the kernel holds for the same subnets, until the first whole ruleset.
    fn extend(&mut self, deltas: &mut [FirewallDelta]) -> Result<(), FirewallError> {
        if !self.additive {
            return Ok(());
        }
        let now = self.clock.now().cluster;
        for delta in deltas {
            let FirewallDelta::Block { subnet, element, is_new } = delta else { continue };
            if !self.firewall.inherits(*subnet) {
                continue;
            }
            let Some(held) = self.firewall.lookup(*subnet)? else { continue };
            let until = Until::at(now.plus_ms(held.remaining_ms));
            // A chain that an earlier process made and this one can not read may close anything.
            let chain =
                held.chain.unwrap_or_else(|| Chain { ports: Ports::whole_host(), ..element.chain.clone() });
            *element = element.joined(&Element { chain, until });
            *is_new = false;
        }
        Ok(())
    }

    /// Waits, twice as long each time.
    fn pause(&mut self) {
        std::thread::sleep(self.retry);
        self.retry = (self.retry * 2).min(RETRY_LAST);
    }

    fn replace(&mut self, ruleset: &Ruleset) {
        if is_sabotaged() {
            return;
        }
        match self.firewall.replace(self.clock.now().cluster, ruleset) {
            Ok(()) => {
                self.additive = false;
                self.whole_again(ruleset);
            }
            Err(error) => self.damage(&error),
        }
    }

    fn settle(&mut self, ruleset: &Ruleset, is_exact: bool) {
        if is_exact && self.additive && !self.damaged && !self.firewall.inherits_any() {
            self.additive = false;
            self.whole_again(ruleset);
        } else {
            self.replace(ruleset);
        }
    }

    /// As [`Worker::replace`], for a node that does not know yet all that its earlier process blocked: what
    /// is there stays. A table that is gone altogether holds nothing that could stay.
    fn restore(&mut self, ruleset: &Ruleset) {
        if is_sabotaged() {
            return;
        }
        let restored = match self.firewall.intact() {
            Ok(true) => {
                let mut deltas = Ruleset::default().diff(ruleset);
                self.extend(&mut deltas).and_then(|()| self.firewall.apply(self.clock.now().cluster, &deltas))
            }
            Ok(false) | Err(_) => self.firewall.replace(self.clock.now().cluster, ruleset),
        };
        match restored {
            Ok(()) => self.whole_again(ruleset),
            Err(error) => self.damage(&error),
        }
    }

    fn whole_again(&mut self, ruleset: &Ruleset) {
        if self.damaged {
            tracing::warn!(elements = ruleset.elements.len(), "the firewall is whole again");
        }
        self.damaged = false;
        self.retry = RETRY_FIRST;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).error = None;
        self.is_whole.send_replace(true);
    }

    /// The kernel does not hold what it should: ask for the whole ruleset, after a pause that grows.
    fn damage(&mut self, error: &FirewallError) {
        tracing::error!("{error}");
        self.ask_for_all(error.to_string());
    }

    fn ask_for_all(&mut self, why: String) {
        self.is_whole.send_replace(false);
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.n_repairs += 1;
            state.error = Some(why);
        }
        if self.damaged {
            self.pause();
        }
        self.damaged = true;
        (self.on_damage)();
    }

    fn check(&mut self) {
        if self.damaged || is_sabotaged() {
            return;
        }
        match self.firewall.intact() {
            Ok(true) => {}
            Ok(false) => {
                let why = "somebody has changed bannkreis' part of the firewall; putting it back";
                tracing::warn!("{why}");
                self.ask_for_all(why.to_owned());
            }
            Err(error) => self.damage(&error),
        }
    }
}

/// Whether this build is to show what happens when the firewall gets nothing.
fn is_sabotaged() -> bool {
    crate::sabotage::is("netlink")
}
