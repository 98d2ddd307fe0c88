//! From a host's name to its addresses, with a memory.
//!
//! The resolver of the system is asked (getaddrinfo(3)), which has its own time limits in resolv.conf(5). Not
//! for deciding which names are looked up.

use crate::borders::{Clock, Names};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

/// Names that are remembered; of more, the oldest is forgotten.
pub const NAMES_MAX: usize = 1_000;
/// Addresses that one name may have; more are left out.
pub const ADDRESSES_PER_NAME_MAX: usize = 16;
/// How long the addresses of a name hold, and that it has none, as in fail2ban.
const HOLDS_MS: u64 = 5 * 60 * 1_000;

/// Asks the resolver of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        // A port must be given and means nothing.
        let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_PER_NAME_MAX);
        Ok(addresses)
    }
}

/// Remembers what another one answers.
pub struct CachedNames {
    asked: Arc<dyn Names>,
    clock: Arc<dyn Clock>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The addresses, and until when they hold, in ms since the boot.
    known: HashMap<String, (Vec<IpAddr>, u64)>,
    /// The names in the order in which they were learned.
    order: VecDeque<String>,
}

impl CachedNames {
    /// A memory in front of `asked`.
    #[must_use]
    pub fn new(asked: Arc<dyn Names>, clock: Arc<dyn Clock>) -> CachedNames {
        CachedNames { asked, clock, memory: Mutex::default() }
    }

    /// What is remembered of `name`; `None` when it must be looked up.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Vec<IpAddr>> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (addresses, until) = memory.known.get(name)?;
        (*until > self.clock.boottime_ms()).then(|| addresses.clone())
    }
}

impl Names for CachedNames {
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        if let Some(addresses) = self.known(name) {
            return Ok(addresses);
        }
        // Asked without the lock: an answer may take its time. A name that can not be looked up is as one
        // without addresses, so that a broken resolver is not asked for every line.
        let answer = self.asked.addresses(name);
        let addresses = answer.as_ref().cloned().unwrap_or_default();
        let until = self.clock.boottime_ms() + HOLDS_MS;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.known.insert(name.to_owned(), (addresses, until)).is_none() {
            memory.order.push_back(name.to_owned());
        }
        while memory.order.len() > NAMES_MAX {
            if let Some(oldest) = memory.order.pop_front() {
                memory.known.remove(&oldest);
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::time::{Now, Timestamp};
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Names for Counting {
        fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if name == "broken" {
                Err("no answer".to_owned())
            } else {
                Ok(vec![IpAddr::from([192, 0, 2, 1])])
            }
        }
    }

    #[derive(Default)]
    struct StoppedClock(AtomicU64);

    impl Clock for StoppedClock {
        fn wall(&self) -> Timestamp {
            Timestamp(self.boottime_ms())
        }
        fn boottime_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
        fn now(&self) -> Now {
            Now::known(self.wall(), self.wall())
        }
    }

    #[test]
    fn a_name_is_looked_up_once_in_five_minutes() {
        let (counting, clock) = (Arc::new(Counting::default()), Arc::new(StoppedClock::default()));
        let names = CachedNames::new(counting.clone(), clock.clone());
        let asked = || counting.0.load(Ordering::Relaxed);
        assert_eq!(names.addresses("a"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        assert_eq!(names.addresses("a").map(|all| all.len()), Ok(1));
        assert_eq!(asked(), 1);
        assert!(names.addresses("broken").is_err());
        assert_eq!(names.addresses("broken"), Ok(Vec::new()), "not asked again");
        assert_eq!(asked(), 2);
        clock.0.store(HOLDS_MS, Ordering::Relaxed);
        assert!(names.addresses("a").is_ok());
        assert_eq!(asked(), 3);
    }

    #[test]
    fn the_oldest_name_is_forgotten() {
        let (counting, clock) = (Arc::new(Counting::default()), Arc::new(StoppedClock::default()));
        let names = CachedNames::new(counting, clock);
        for n in 0..=NAMES_MAX {
            assert!(names.addresses(&format!("n{n}")).is_ok());
        }
        assert_eq!(names.known("n0"), None);
        assert!(names.known("n1").is_some());
    }

    #[test]
    fn the_system_knows_localhost() {
        let addresses = SystemNames.addresses("localhost").expect("every host knows it");
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
