//! The thread on which the warden lives: takes events in, one at a time, and carries its effects out.
//!
//! It decides nothing itself. The order in which one step's effects are carried out is part of the
//! promise: the kernel first, then the peers, then the leader, then the disk.

use crate::ban_ends::BanEnds;
use crate::borders::Clock;
use crate::fail2ban_log;
use crate::firewall_worker::{DELTAS_PER_JOB_MAX, FirewallWorker};
use crate::local_store::{Batch, LocalStore, LocalStoreError};
use crate::stored;
use crate::told;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::change::Change;
use bannkreis_core::event::{Effect, Event};
use bannkreis_core::failure::{SourceId, SourcePosition};
use bannkreis_core::ids::NodeId;
use bannkreis_core::node_clock::{StoredTime, is_time_due};
use bannkreis_core::proposal::{Notice, Proposal, Report};
use bannkreis_core::time::Now;
use bannkreis_core::warden::Warden;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Events that may wait. Sources wait when it is full; the ban list does not: see [`LoopHandle::applied`].
const EVENTS_MAX: usize = 16_384;
/// Under a shifted test clock, timers are looked at this often.
const SHIFTED_CLOCK_INTERVAL: Duration = Duration::from_millis(50);

/// Where the effects go that leave the thread.
pub trait Outlets: Send {
    /// Send these to the leader, and answer with [`Event::Answered`].
    fn propose(&mut self, proposals: Vec<Proposal>);
    /// Tell every peer.
    fn notify(&mut self, notices: Vec<Notice>);
    /// Tell one peer, or every one, of failures below maxretry.
    fn report(&mut self, to: Option<NodeId>, reports: Vec<Report>);
    /// After a restart, read the source from here: put what that takes into the batch.
    fn store_position(&mut self, source: SourceId, position: SourcePosition, batch: &mut Batch);
}

/// Something to ask the warden on its own thread.
type Question = Box<dyn FnOnce(&Warden, Now) + Send>;

enum Input {
    Event(Box<Event>),
    Ask(Question),
    Stop,
}

/// The way to the warden.
#[derive(Clone)]
pub struct LoopHandle {
    inputs: SyncSender<Input>,
    /// A view that found no room in the queue: the warden must catch up with it.
    overflow: Arc<Mutex<Option<BanView>>>,
    is_overflown: Arc<AtomicBool>,
    /// The firewall must be told everything again.
    is_damaged: Arc<AtomicBool>,
}

impl LoopHandle {
    /// The way to a warden that is still to be started, and the queue it will read.
    #[must_use]
    pub fn new() -> (LoopHandle, EventQueue) {
        let (inputs, queue) = sync_channel(EVENTS_MAX);
        let handle = LoopHandle {
            inputs,
            overflow: Arc::default(),
            is_overflown: Arc::default(),
            is_damaged: Arc::default(),
        };
        (handle.clone(), EventQueue { queue, handle })
    }

    /// Hands over an event, waiting for room.
    pub fn send(&self, event: Event) {
        // Nobody reads any more only when the daemon is stopping.
        let _ = self.inputs.send(Input::Event(Box::new(event)));
    }

    /// Hands over what may be lost, without ever waiting.
    pub fn offer(&self, event: Event) {
        // When the warden is that busy, the Raft log brings the ban.
        let _ = self.inputs.try_send(Input::Event(Box::new(event)));
    }

    /// Hands over what the ban list did, without ever waiting: what finds no room is caught up with by
    /// the newest view, as after a snapshot.
    pub fn applied(&self, view: &BanView, event: Event) {
        let is_full = self.is_overflown.load(Ordering::Acquire)
            || matches!(self.inputs.try_send(Input::Event(Box::new(event))), Err(TrySendError::Full(_)));
        if is_full {
            *self.overflow.lock().unwrap_or_else(PoisonError::into_inner) = Some(view.clone());
            self.is_overflown.store(true, Ordering::Release);
            // The warden may have emptied the queue meanwhile and be asleep.
            let _ = self.inputs.try_send(Input::Event(Box::new(Event::Timer)));
        }
    }

    /// Says that the firewall does not hold what it should. Never waits: the firewall's own thread calls
    /// it, and the warden may be waiting for that thread.
    pub fn damaged(&self) {
        self.is_damaged.store(true, Ordering::Release);
        // When there is no room, the warden is at work, and looks at the flag when it is done.
        let _ = self.inputs.try_send(Input::Event(Box::new(Event::Timer)));
    }

    /// Asks the warden something and waits for the answer; `None` when the daemon is stopping.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Warden, Now) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, wait) = sync_channel(1);
        let question = Box::new(move |warden: &Warden, now: Now| {
            let _ = answer.send(question(warden, now));
        });
        self.inputs.send(Input::Ask(question)).ok()?;
        wait.recv().ok()
    }

    /// Ends the thread after what was sent before.
    pub fn stop(&self) {
        let _ = self.inputs.send(Input::Stop);
    }
}

/// The reading end, for [`EventLoop::start`].
pub struct EventQueue {
    queue: Receiver<Input>,
    handle: LoopHandle,
}

#[cfg(test)]
impl EventQueue {
    /// The next event, if one comes within `time`.
    pub(crate) fn next_event(&self, time: Duration) -> Option<Event> {
        match self.queue.recv_timeout(time) {
            Ok(Input::Event(event)) => Some(*event),
            _ => None,
        }
    }
}

/// The warden with everything its effects need.
pub struct EventLoop {
    /// The warden.
    pub warden: Warden,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Owns the kernel's rules.
    pub firewall: FirewallWorker,
    /// Keeps what must survive a restart.
    pub store: Arc<LocalStore>,
    /// The rest.
    pub outlets: Box<dyn Outlets>,
    /// This boot's id, stored with the time.
    pub boot_id: String,
    /// The clock is a test's: it may jump while the thread waits.
    pub is_clock_shifted: bool,
    /// When the time was stored last, by CLOCK_BOOTTIME in ms, if that was no guess.
    pub time_stored_ms: Option<u64>,
    /// When bans end, where fail2ban's log is written.
    pub ban_ends: Option<BanEnds>,
}

impl EventLoop {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the machine has no room for a thread.
    pub fn start(self, queue: EventQueue) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("warden".to_owned()).spawn(move || self.run(&queue))
    }

    fn run(mut self, queue: &EventQueue) {
        loop {
            match self.next(queue) {
                Some(Input::Event(event)) => self.step(*event),
                Some(Input::Ask(question)) => question(&self.warden, self.clock.now()),
                Some(Input::Stop) => return,
                None => self.step(Event::Timer),
            }
            if queue.handle.is_overflown.load(Ordering::Acquire) {
                self.catch_up(queue);
            }
            if queue.handle.is_damaged.swap(false, Ordering::AcqRel) {
                self.step(Event::FirewallDamaged);
            }
        }
    }

    /// The next input, or `None` when a timer is due first.
    fn next(&self, queue: &EventQueue) -> Option<Input> {
        let ban_end = self.ban_ends.as_ref().and_then(BanEnds::next);
        let wait = self.warden.next_timer().into_iter().chain(ban_end).min().map(|at| {
            let wait = Duration::from_millis(at.ms_since(self.clock.now().cluster));
            if self.is_clock_shifted { wait.min(SHIFTED_CLOCK_INTERVAL) } else { wait }
        });
        match wait {
            None => Some(queue.queue.recv().unwrap_or(Input::Stop)),
            Some(wait) => match queue.queue.recv_timeout(wait) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Input::Stop),
            },
        }
    }

    /// Events were left out because the queue was full: what counts is where the ban list stands now.
    fn catch_up(&mut self, queue: &EventQueue) {
        // In this order: a view that comes in between raises the flag again.
        queue.handle.is_overflown.store(false, Ordering::Release);
        let newest = queue.handle.overflow.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(view) = newest {
            tracing::warn!("the ban list is faster than this host; catching up with its newest state");
            self.step(Event::Installed { view });
        }
    }

    fn step(&mut self, event: Event) {
        // After an overflow, what was queued before it is older than what is known.
        if let Event::Applied { view, .. } | Event::Installed { view } = &event
            && view.position() < self.warden.view().position()
        {
            return;
        }
        let now = self.clock.now();
        let mut effects = Vec::new();
        let moves_on = matches!(
            event,
            Event::Applied { .. } | Event::Installed { .. } | Event::CaughtUp | Event::FirewallDamaged
        );
        let (changes, n_changes) = self.to_tell(&event);
        let is_caught_up = matches!(event, Event::CaughtUp);
        let missed_from = match &event {
            Event::Installed { .. } if self.warden.is_caught_up() => Some(self.warden.view().clone()),
            _ => None,
        };
        // While the list still has them.
        self.tell_ends(now);
        self.warden.step(now, event, &mut effects);
        self.carry_out(now, effects);
        told::tell_changes(&changes, n_changes, self.warden.view(), self.warden.node(), now.cluster);
        self.note_ends(&changes);
        if let Some(ends) = self.ban_ends.as_mut().filter(|_| is_caught_up || missed_from.is_some()) {
            let (view, node) = (self.warden.view(), self.warden.node());
            match &missed_from {
                Some(before) => fail2ban_log::tell_missed(before, view, node, now.cluster),
                None => fail2ban_log::tell_restored(view, now.cluster),
            }
            ends.begin(&self.warden, now.cluster);
        }
        if moves_on {
            self.firewall.mark(self.warden.view().position());
        }
    }

    fn tell_ends(&mut self, now: Now) {
        if let Some(ends) = &mut self.ban_ends {
            ends.over(self.warden.view(), now.cluster).iter().for_each(fail2ban_log::tell_end);
        }
    }

    fn note_ends(&mut self, changes: &[Change]) {
        if let Some(ends) = &mut self.ban_ends {
            let over = changes.iter().flat_map(|change| ends.note_change(change, &self.warden));
            over.for_each(|key| fail2ban_log::tell_end(&key));
        }
    }

    /// What people should read of a change of the ban list, and how much there is. What a node only catches up
    /// with after its start is old.
    fn to_tell(&self, event: &Event) -> (Vec<Change>, usize) {
        match event {
            Event::Applied { changes, .. } if self.warden.is_caught_up() => {
                let n_told_max = if self.ban_ends.is_some() { usize::MAX } else { told::CHANGES_TOLD_MAX };
                (changes.iter().take(n_told_max).cloned().collect(), changes.len())
            }
            _ => (Vec::new(), 0),
        }
    }

    fn carry_out(&mut self, now: Now, effects: Vec<Effect>) {
        let mut batch = Batch::new();
        let mut later = Vec::new();
        let mut deltas = Vec::new();
        for effect in effects {
            match effect {
                Effect::Firewall(delta) => {
                    deltas.push(delta);
                    if deltas.len() >= DELTAS_PER_JOB_MAX {
                        self.firewall.apply(std::mem::take(&mut deltas));
                    }
                }
                Effect::ReplaceFirewall(ruleset) => {
                    self.firewall.apply(std::mem::take(&mut deltas));
                    if self.warden.is_caught_up() {
                        self.firewall.replace(ruleset);
                    } else {
                        // The kernel may hold what this node does not know of yet.
                        self.firewall.restore(ruleset);
                    }
                }
                Effect::SettleFirewall { ruleset, is_exact } => {
                    self.firewall.apply(std::mem::take(&mut deltas));
                    self.firewall.settle(ruleset, is_exact);
                }
                other => later.push(other),
            }
        }
        self.firewall.apply(deltas);
        for effect in later {
            match effect {
                // Done above: the kernel comes first.
                Effect::Firewall(_) | Effect::ReplaceFirewall(_) | Effect::SettleFirewall { .. } => {}
                Effect::Notify(notices) => self.outlets.notify(notices),
                Effect::Report { to, reports } => self.outlets.report(to, reports),
                Effect::Propose(proposals) => self.outlets.propose(proposals),
                Effect::StoreOutbox { key, entry } => {
                    report(stored::put_outbox(&mut batch, &key, entry.as_deref()));
                }
                Effect::StoreOverride { subnet, decision } => {
                    report(stored::put_override(&mut batch, subnet, decision.as_ref()));
                }
                Effect::StorePosition { source, position } => {
                    self.outlets.store_position(source, position, &mut batch);
                }
                Effect::Tell(notable) => {
                    told::tell(&notable, now.cluster);
                    let over = self.ban_ends.as_mut().and_then(|ends| ends.note(&notable));
                    over.iter().for_each(fail2ban_log::tell_end);
                }
            }
        }
        let (boottime_ms, guessed) = (self.clock.boottime_ms(), self.clock.is_guessed());
        if !batch.is_empty() || is_time_due(self.time_stored_ms, boottime_ms, guessed) {
            let time = StoredTime {
                cluster: now.cluster,
                wall: now.wall,
                boottime_ms,
                boot: self.boot_id.clone(),
                guessed,
            };
            self.time_stored_ms = (!guessed).then_some(boottime_ms);
            report(stored::put_time(&mut batch, &time));
            // The warden waits for the disk rather than forget what it has blocked.
            match self.store.commit(batch.clone()) {
                Err(LocalStoreError::Full) => {
                    report(self.store.flush());
                    report(self.store.commit(batch));
                }
                result => report(result),
            }
        }
    }
}

/// A local store that fails is said once per failure; blocking goes on without it.
fn report(result: Result<(), LocalStoreError>) {
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}
