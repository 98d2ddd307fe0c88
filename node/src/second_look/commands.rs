//! `ignorecommand`: asks the operator's command whether a failure counts, and remembers its answers as
//! `ignorecache` says.

use super::run_command::{self, COMMAND_TIME_MAX, Ended};
use crate::borders::Clock;
use bannkreis_core::failure::Failure;
use bannkreis_core::jail::JailName;
use bannkreis_filter::ignore_command::{CACHE_ANSWERS_MAX, IgnoreCache, IgnoreCommand, KeyPart, Tag};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers that one jail may remember: see [`IgnoreCache::answers_max`].
pub const ANSWERS_MAX: usize = CACHE_ANSWERS_MAX;

/// The commands of all jails, with their memories.
pub struct Commands {
    jails: BTreeMap<JailName, (IgnoreCommand, Mutex<Memory>)>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Memory {
    /// Whether it is excused, and until when that holds, in ms since the boot.
    answers: HashMap<String, (bool, u64)>,
    /// The keys in the order in which they were learned.
    order: VecDeque<String>,
}

impl Commands {
    /// The commands of these jails.
    #[must_use]
    pub fn new(
        jails: impl IntoIterator<Item = (JailName, IgnoreCommand)>,
        clock: Arc<dyn Clock>,
    ) -> Commands {
        let jails = jails.into_iter().map(|(name, command)| (name, (command, Mutex::default()))).collect();
        Commands { jails, clock }
    }

    /// Whether the jail has a command.
    #[must_use]
    pub fn is_asked(&self, jail: &JailName) -> bool {
        self.jails.contains_key(jail)
    }

    /// What is remembered about such a failure; `None` when the command must be asked.
    #[must_use]
    pub fn known(&self, failure: &Failure) -> Option<bool> {
        let (command, memory) = self.jails.get(&failure.jail)?;
        let key = key(command.cache.as_ref()?, failure);
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (excused, until) = memory.answers.get(&key)?;
        (*until > self.clock.boottime_ms()).then_some(*excused)
    }

    /// Whether the jail's command excuses this failure. Waits for it: at most [`COMMAND_TIME_MAX`].
    pub fn excuses(&self, failure: &Failure) -> bool {
        if let Some(excused) = self.known(failure) {
            return excused;
        }
        let Some((command, memory)) = self.jails.get(&failure.jail) else { return false };
        let variables = Tag::ALL.map(|tag| (tag.variable(), value(tag, failure)));
        let jail = &failure.jail;
        let excused = match run_command::run(&command.script, &variables, COMMAND_TIME_MAX) {
            Ok(Ended::Exited(Some(0))) => true,
            Ok(Ended::Exited(Some(1))) => false,
            // As in fail2ban: an error excuses nobody.
            Ok(Ended::Exited(code)) => {
                let how = code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"));
                tracing::warn!(
                    "[{jail}] ignorecommand ended {how}, which is neither yes (0) nor no (1); the failure counts"
                );
                false
            }
            Ok(Ended::TimedOut) => {
                tracing::warn!(
                    "[{jail}] ignorecommand was not done after {} s and was killed; the failure counts",
                    COMMAND_TIME_MAX.as_secs()
                );
                false
            }
            Err(error) => {
                tracing::error!("[{jail}] ignorecommand can not be run: {error}; the failure counts");
                false
            }
        };
        if let Some(cache) = &command.cache {
            let until = self.clock.boottime_ms() + cache.time_ms;
            memory.lock().unwrap_or_else(PoisonError::into_inner).learn(
                cache,
                key(cache, failure),
                excused,
                until,
            );
        }
        excused
    }
}

impl Memory {
    fn learn(&mut self, cache: &IgnoreCache, key: String, excused: bool, until: u64) {
        if self.answers.insert(key.clone(), (excused, until)).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > cache.answers_max {
            if let Some(oldest) = self.order.pop_front() {
                self.answers.remove(&oldest);
            }
        }
    }
}

fn key(cache: &IgnoreCache, failure: &Failure) -> String {
    let part = |part: &KeyPart| match part {
        KeyPart::Text(text) => text.clone(),
        KeyPart::Tag(tag) => value(*tag, failure),
    };
    cache.key.iter().map(part).collect()
}

fn value(tag: Tag, failure: &Failure) -> String {
    match tag {
        Tag::Address => failure.offender.to_string(),
        Tag::Family => match failure.offender.address() {
            IpAddr::V4(_) => "inet4".to_owned(),
            IpAddr::V6(_) => "inet6".to_owned(),
        },
        Tag::User => failure.user.clone().unwrap_or_default(),
        Tag::Time => (failure.at.0 / 1_000).to_string(),
        Tag::Failures => "1".to_owned(),
        Tag::Line => failure.evidence.clone(),
        Tag::Jail => failure.jail.to_string(),
    }
}
