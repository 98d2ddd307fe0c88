//! The threads that ask, and the queue in front of them.
//!
//! A thread is started when the first question comes, and ends when the sources do. What waits then is not
//! decided: its position was held, so the next start reads the line again.

use super::commands::Commands;
use super::held_positions::HeldPositions;
use super::names::CachedNames;
use super::{COMMAND_TIME_MAX, JailQuestions};
use crate::borders::{Clock, Names};
use bannkreis_core::event::Event;
use bannkreis_core::failure::{Failure, SourceId, SourcePosition};
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_filter::filter::{NamedFailure, UseDns};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Questions that may wait for a thread, of each kind. What finds no room is dropped and said so: a failure that
/// an excuse is pending for bans nobody, and a name whose owner answers slowly must not stop the reading of logs.
pub const QUESTIONS_MAX: usize = 1_024;
/// Threads that look names up.
const NAME_THREADS: usize = 2;
/// Threads that run commands, so many at once.
const COMMAND_THREADS: usize = 4;
/// Dropped questions are said so often.
const SAY_DROPPED_EVERY_MS: u64 = 60_000;

/// Takes what was decided to the warden; may wait for room.
pub type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// See [`super`].
pub struct SecondLook {
    shared: Arc<Shared>,
    names: Pool<NamedFailure>,
    commands: Pool<Failure>,
}

/// What the threads share with the sources' thread.
struct Shared {
    tell: Tell,
    clock: Arc<dyn Clock>,
    names: CachedNames,
    commands: Commands,
    /// Jails that want a warning for each name that is looked up.
    warned: BTreeSet<JailName>,
    held: Mutex<HeldPositions>,
    is_over: AtomicBool,
    said_dropped_at_ms: AtomicU64,
}

/// A queue and the threads that read it, once there are any.
struct Pool<T> {
    name: &'static str,
    n_threads: usize,
    work: fn(&Shared, T),
    queue: Option<SyncSender<T>>,
}

impl SecondLook {
    /// What `jails` want to know, asked of `names` and of their commands.
    #[must_use]
    pub fn new(
        jails: Vec<JailQuestions>,
        names: Arc<dyn Names>,
        tell: Tell,
        clock: Arc<dyn Clock>,
    ) -> SecondLook {
        let warned = jails.iter().filter(|jail| jail.use_dns == UseDns::Warn).map(|jail| jail.jail.clone());
        let warned = warned.collect();
        let commands = jails.into_iter().filter_map(|jail| Some((jail.jail, jail.ignore_command?)));
        let shared = Shared {
            tell,
            names: CachedNames::new(names, clock.clone()),
            commands: Commands::new(commands, clock.clone()),
            clock,
            warned,
            held: Mutex::default(),
            is_over: AtomicBool::new(false),
            said_dropped_at_ms: AtomicU64::new(0),
        };
        SecondLook {
            shared: Arc::new(shared),
            names: Pool { name: "names", n_threads: NAME_THREADS, work: Shared::look_up, queue: None },
            commands: Pool { name: "commands", n_threads: COMMAND_THREADS, work: Shared::ask, queue: None },
        }
    }

    /// Gives back a failure that counts as it is. What must be asked about is taken, and becomes an event when
    /// it counts.
    pub fn look(&mut self, failure: Failure) -> Option<Failure> {
        if !self.shared.commands.is_asked(&failure.jail) {
            return Some(failure);
        }
        if let Some(is_excused) = self.shared.commands.known(&failure) {
            return (!is_excused).then_some(failure);
        }
        let (source, position) = (failure.source, failure.position);
        self.shared.hold(source, position);
        if !self.commands.offer(failure, &self.shared) {
            self.shared.dropped("ignorecommand", source, position);
        }
        None
    }

    /// Takes a failure whose offender is a name.
    pub fn look_up(&mut self, named: NamedFailure) {
        let (source, position) = (named.failure.source, named.failure.position);
        self.shared.hold(source, position);
        if !self.names.offer(named, &self.shared) {
            self.shared.dropped("usedns", source, position);
        }
    }

    /// The source was read up to here, and what was found was handed over or taken.
    pub fn read_up_to(&mut self, source: SourceId, position: SourcePosition) {
        // Sent under the lock, so that no thread's later word comes first.
        let mut held = self.shared.held.lock().unwrap_or_else(PoisonError::into_inner);
        let position = held.read_up_to(source, position);
        (self.shared.tell)(Event::ReadUpTo { source, position });
    }

    /// Nothing comes from the source any more.
    pub fn close(&mut self, source: SourceId) {
        let mut held = self.shared.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.close(source);
        (self.shared.tell)(Event::SourceClosed { source });
    }
}

impl Drop for SecondLook {
    /// The threads end by themselves: within the time of one command or of one answer of the resolver.
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
    }
}

impl<T: Send + 'static> Pool<T> {
    /// Queues a question; whether there was room for it.
    fn offer(&mut self, question: T, shared: &Arc<Shared>) -> bool {
        let queue = match &self.queue {
            Some(queue) => queue,
            None => match self.start(shared) {
                Ok(queue) => self.queue.insert(queue),
                Err(error) => {
                    tracing::error!("no thread can be started for {}: {error}", self.name);
                    return false;
                }
            },
        };
        !matches!(queue.try_send(question), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)))
    }

    fn start(&self, shared: &Arc<Shared>) -> std::io::Result<SyncSender<T>> {
        let (queue, questions) = sync_channel(QUESTIONS_MAX);
        let questions = Arc::new(Mutex::new(questions));
        for _ in 0..self.n_threads {
            let (shared, questions, work) = (shared.clone(), questions.clone(), self.work);
            std::thread::Builder::new().name(self.name.to_owned()).spawn(move || {
                while let Some(question) = next(&questions) {
                    if shared.is_over.load(Ordering::Acquire) {
                        return;
                    }
                    work(&shared, question);
                }
            })?;
        }
        Ok(queue)
    }
}

/// The next question; `None` when there will be none.
fn next<T>(questions: &Mutex<Receiver<T>>) -> Option<T> {
    questions.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Shared {
    fn hold(&self, source: SourceId, position: SourcePosition) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).hold(source, position);
    }

    /// Hands over what counts of a line, and lets its source go on.
    fn decided(&self, source: SourceId, position: SourcePosition, failures: Vec<Failure>) {
        if !failures.is_empty() {
            (self.tell)(Event::Failures(failures));
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = held.release(source, position) {
            (self.tell)(Event::ReadUpTo { source, position });
        }
    }

    /// No room for a question.
    fn dropped(&self, option: &str, source: SourceId, position: SourcePosition) {
        self.decided(source, position, Vec::new());
        let now = self.clock.boottime_ms();
        let said = self.said_dropped_at_ms.load(Ordering::Relaxed);
        if said == 0 || now.saturating_sub(said) >= SAY_DROPPED_EVERY_MS {
            self.said_dropped_at_ms.store(now.max(1), Ordering::Relaxed);
            tracing::warn!(
                "failures are dropped, because {QUESTIONS_MAX} wait for the answer of {option}; make it quicker, \
                 remember answers with ignorecache, or do without"
            );
        }
    }

    /// Looks a name up, and asks the jail's command about each address.
    fn look_up(&self, named: NamedFailure) {
        let NamedFailure { name, failure } = named;
        let (source, position, jail) = (failure.source, failure.position, failure.jail.clone());
        let is_new = self.names.known(&name).is_none();
        let addresses = self.names.addresses(&name).unwrap_or_else(|error| {
            tracing::warn!("[{jail}] {name} has no address: {error}");
            Vec::new()
        });
        if is_new && !addresses.is_empty() && self.warned.contains(&jail) {
            let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            tracing::warn!(
                "[{jail}] the log names {name}, which was looked up: {}; whoever owns a name decides what it \
                 means, so let the server log addresses",
                all.join(", ")
            );
        }
        let of = |address| Failure { offender: Subnet::host(address), ..failure.clone() };
        let failures = addresses.into_iter().map(of).filter(|failure| !self.is_excused(failure)).collect();
        self.decided(source, position, failures);
    }

    /// Asks the jail's command.
    fn ask(&self, failure: Failure) {
        let (source, position) = (failure.source, failure.position);
        let failures = if self.is_excused(&failure) { Vec::new() } else { vec![failure] };
        self.decided(source, position, failures);
    }

    /// Waits for the command, at most [`COMMAND_TIME_MAX`].
    fn is_excused(&self, failure: &Failure) -> bool {
        const { assert!(COMMAND_TIME_MAX.as_secs() <= 60, "a thread is not given away for longer") };
        let is_excused = self.commands.is_asked(&failure.jail) && self.commands.excuses(failure);
        if is_excused {
            tracing::info!("[{}] Ignore {}: ignorecommand says so", failure.jail, failure.offender);
        }
        is_excused
    }
}

#[cfg(test)]
mod tests;
