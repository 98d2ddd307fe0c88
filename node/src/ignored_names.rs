//! Names in `ignoreip`: their addresses, looked up at the start and again every few minutes.
//!
//! The warden compares addresses only. What a name means is told to it as part of the configuration (`configuring`), and
//! told again when it changes. Not for names in log lines (`second_look`).

use crate::borders::Names;
use bannkreis_core::event::Configuration;
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often the names are looked up again, as in fail2ban.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// So long the start waits for the names, kept bans with it: nothing that is ignored may be blocked meanwhile.
/// What is not known by then is not ignored until it is.
const START_WAIT_MAX: Duration = Duration::from_secs(3);

/// See the module.
pub struct IgnoredNames {
    /// The configuration without the names.
    configuration: Configuration,
    /// The jails that have names.
    jails: Vec<(JailName, Vec<String>)>,
    names: Arc<dyn Names>,
    known: Mutex<BTreeMap<String, Vec<IpAddr>>>,
}

impl IgnoredNames {
    /// The names of these jails, none of them looked up yet.
    #[must_use]
    pub fn new(
        configuration: Configuration,
        jails: Vec<(JailName, Vec<String>)>,
        names: Arc<dyn Names>,
    ) -> IgnoredNames {
        IgnoredNames { configuration, jails, names, known: Mutex::default() }
    }

    /// What the warden is told, with the addresses that are known now.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        let mut configuration = self.configuration.clone();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, words) in &self.jails {
            let Some(jail) = configuration.jails.iter_mut().find(|jail| jail.name == *name) else { continue };
            let addresses = words.iter().filter_map(|word| known.get(word)).flatten();
            jail.ignore.extend(addresses.map(|&address| Subnet::host(address)));
        }
        configuration
    }

    /// Looks every name up; whether any has other addresses than before. A name that can not be looked up keeps
    /// the addresses that it had.
    pub fn look_up(&self) -> bool {
        let mut has_changed = false;
        for (jail, words) in &self.jails {
            for word in words {
                // Without the lock: an answer may take its time.
                let answer = self.names.addresses(word);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                match answer {
                    Ok(addresses) if addresses.is_empty() => say_unknown(jail, word, "it has none", &known),
                    Ok(addresses) => {
                        has_changed |= known.get(word) != Some(&addresses);
                        known.insert(word.clone(), addresses);
                    }
                    Err(error) => say_unknown(jail, word, &error, &known),
                }
            }
        }
        has_changed
    }

    /// Looks them up for the first time, and waits for that, but not for ever.
    pub async fn look_up_at_start(self: &Arc<Self>) {
        if self.jails.is_empty() {
            return;
        }
        let names = self.clone();
        let looking = tokio::task::spawn_blocking(move || names.look_up());
        if tokio::time::timeout(START_WAIT_MAX, looking).await.is_err() {
            tracing::warn!(
                "the names in ignoreip were not looked up within {} s; they are not ignored until they are",
                START_WAIT_MAX.as_secs()
            );
        }
    }

    /// Whether there are any.
    #[must_use]
    pub fn are_there(&self) -> bool {
        !self.jails.is_empty()
    }
}

fn say_unknown(jail: &JailName, word: &str, why: &str, known: &BTreeMap<String, Vec<IpAddr>>) {
    let instead = if known.contains_key(word) {
        "the addresses that it had are ignored on"
    } else {
        "nobody is ignored for it; write its address"
    };
    tracing::warn!("[{jail}] the address of {word} in ignoreip can not be told ({why}): {instead}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::jail::{BanPolicy, Jail, Ports, Scope};
    use bannkreis_core::time::BanTime;

    /// Answers with what is in it.
    #[derive(Default)]
    struct Book(Mutex<BTreeMap<String, Vec<IpAddr>>>);

    impl Names for Book {
        fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
            self.0.lock().unwrap().get(name).cloned().ok_or_else(|| "no such name".to_owned())
        }
    }

    fn jail(name: &str) -> Jail {
        Jail {
            name: JailName::new(name).unwrap(),
            max_retry: 1,
            find_time_ms: 1,
            policy: BanPolicy::fixed(BanTime::Forever),
            ports: Ports::whole_host(),
            max_matches: 1,
            scope: Scope::Cluster,
            counts_bans: false,
            reach: None,
            ignore: vec!["10.0.0.0/8".parse().unwrap()],
        }
    }

    #[test]
    fn a_name_is_its_addresses_until_it_has_others() {
        let book = Arc::new(Book::default());
        let set = |name: &str, last: Option<u8>| match last {
            Some(last) => book.0.lock().unwrap().insert(name.to_owned(), vec![[192, 0, 2, last].into()]),
            None => book.0.lock().unwrap().remove(name),
        };
        let configuration = Configuration {
            jails: vec![jail("a"), jail("b")],
            own: Vec::new(),
            peers: Vec::new(),
            observe: false,
        };
        let jails = vec![(JailName::new("b").unwrap(), vec!["x.example".to_owned(), "y.example".to_owned()])];
        let names = IgnoredNames::new(configuration, jails, book.clone());
        let ignored = |n: usize| -> Vec<String> {
            names.configuration().jails[n].ignore.iter().map(ToString::to_string).collect()
        };
        assert!(!names.look_up(), "nothing is known of either");
        assert_eq!(ignored(1), ["10.0.0.0/8"]);
        set("x.example", Some(1));
        assert!(names.look_up() && !names.look_up());
        assert_eq!(
            (ignored(0), ignored(1)),
            (vec!["10.0.0.0/8".into()], vec!["10.0.0.0/8".into(), "192.0.2.1".into()])
        );
        set("x.example", None);
        assert!(!names.look_up(), "an answer that fails changes nothing");
        assert_eq!(ignored(1).len(), 2);
        set("x.example", Some(2));
        assert!(names.look_up());
        assert_eq!(ignored(1), ["10.0.0.0/8", "192.0.2.2"]);
    }
}
